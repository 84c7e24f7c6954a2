package signalling

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/procstat"
)

// family lists a process and its descendants.
func family(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("signalling: %w", err)
	}
	children := map[int][]int{}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // no process
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // has ended
		}
		f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(f) < 2 {
			continue
		}
		if parent, err := strconv.Atoi(string(f[1])); err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out, nil
}

// cpu is what the processes have used.
func cpu(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		d, err := procstat.CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// memory is what the processes hold together, KiB: what they share counts once.
func memory(pids []int) (int, error) {
	sum := 0
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, fmt.Errorf("signalling: %w", err)
		}
		n, err := proportional(b)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// proportional reads Pss of smaps_rollup, KiB.
func proportional(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			if f := bytes.Fields(v); len(f) == 2 {
				return strconv.Atoi(string(f[0]))
			}
		}
	}
	return 0, fmt.Errorf("%w: no Pss", procstat.ErrFormat)
}

// bystanders measures what other programs use meanwhile.
type bystanders struct {
	pids      []int // ours
	from      time.Time
	busy, own time.Duration
}

func watch(pids []int) (*bystanders, error) {
	b := &bystanders{pids: append([]int{os.Getpid()}, pids...), from: time.Now()}
	var err error
	if b.busy, err = procstat.Busy(); err != nil {
		return nil, err
	}
	b.own, err = cpu(b.pids)
	return b, err
}

// cores is how many cores the others have used since.
func (b *bystanders) cores() (float64, error) {
	busy, err := procstat.Busy()
	if err != nil {
		return 0, err
	}
	own, err := cpu(b.pids)
	if err != nil {
		return 0, err
	}
	return max(0, (busy-b.busy-(own-b.own)).Seconds()/time.Since(b.from).Seconds()), nil
}
