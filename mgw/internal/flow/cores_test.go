package flow

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// coresChild makes the test binary tell how many workers an Engine takes by default, and how many cores it goes by afterwards.
const coresChild = "FLOW_TEST_CORES"

// A process that may use other than all cores, as in a container with a CPU quota, has as many workers as it may use; what they add to
// GOMAXPROCS does not count.
func TestCoresAreThoseThatTheProcessMayUse(t *testing.T) {
	if os.Getenv(coresChild) != "" {
		var c Config
		c.defaults()
		addProcessors(c.Workers)
		fmt.Println("workers", c.Workers, "cores", Cores())
		return
	}
	may := runtime.NumCPU() + 1 // as a quota: Go reads both alike
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), coresChild+"=1", fmt.Sprintf("GOMAXPROCS=%d", may))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var workers, cores int
	if _, err := fmt.Sscanf(string(out), "workers %d cores %d", &workers, &cores); err != nil || workers != may || cores != may {
		t.Errorf("it takes %d workers and counts %d cores, want %d (%v): %q", workers, cores, may, err, out)
	}
}
