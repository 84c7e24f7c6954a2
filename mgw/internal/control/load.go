package control

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
)

// clockTicks is USER_HZ, in which Linux counts CPU time for user space (proc(5)); 100 on all of Go's platforms.
const clockTicks = 100

// loadMeter turns running totals into rates for heartbeats. Owned by Association.Run.
type loadMeter struct {
	packets func() uint64 // packets received so far, both sides
	cores   int           // what is all of the CPU
	stat    func() ([]byte, error)

	at      time.Time
	cpu     time.Duration
	count   uint64
	percent uint32
	rate    uint64
}

func newLoadMeter(packets func() uint64) *loadMeter {
	m := &loadMeter{packets: packets, cores: flow.Cores(), stat: func() ([]byte, error) { return os.ReadFile("/proc/self/stat") }}
	m.sample(time.Now())
	return m
}

// sample returns CPU use in permille of all cores and packets per second since the sample before; a sample within 100 ms
// returns the former result.
func (m *loadMeter) sample(now time.Time) (permille uint32, pps uint64) {
	elapsed := now.Sub(m.at)
	if elapsed < 100*time.Millisecond {
		return m.percent, m.rate
	}
	cpu, count := m.cpu, m.packets()
	if raw, err := m.stat(); err == nil {
		if t, ok := cpuTime(raw); ok {
			cpu = t
		}
	}
	if !m.at.IsZero() {
		m.percent = uint32(1000 * (cpu - m.cpu) / (elapsed * time.Duration(m.cores)))
		m.rate = uint64(float64(count-m.count) / elapsed.Seconds())
	}
	m.at, m.cpu, m.count = now, cpu, count
	return m.percent, m.rate
}

// cpuTime reads utime and stime, fields 14 and 15, of /proc/self/stat; the command's name may hold spaces and brackets.
func cpuTime(raw []byte) (time.Duration, bool) {
	i := bytes.LastIndexByte(raw, ')')
	if i < 0 {
		return 0, false
	}
	fields := bytes.Fields(raw[i+1:]) // from field 3
	if len(fields) < 13 {
		return 0, false
	}
	utime, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	stime, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(utime+stime) * time.Second / clockTicks, err1 == nil && err2 == nil
}
