package udpio

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// nice is the value of the calling thread; the system call's is 20 less it.
func nice(t *testing.T) int {
	t.Helper()
	v, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
	if err != nil {
		t.Error(err)
	}
	return 20 - v
}

func TestPriorityIsOfTheThreadAlone(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := Prioritize(before + 1); err != nil {
			t.Error(err)
		}
		if got := nice(t); got != before+1 {
			t.Errorf("nice value %d, want %d", got, before+1)
		}
	}()
	<-done
	if got := nice(t); got != before {
		t.Errorf("nice value of another thread %d, want %d", got, before)
	}
}
