package udpio

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPunctualIsOfTheThreadAlone: the thread that asked is woken without slack, another as before.
func TestPunctualIsOfTheThreadAlone(t *testing.T) {
	slack := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			t.Error(err)
		}
		return n
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := slack()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		Punctual()
		if got := slack(); got > 1 {
			t.Errorf("slack of %d ns", got)
		}
	}()
	<-done
	if got := slack(); got != before {
		t.Errorf("slack of another thread %d ns, was %d", got, before)
	}
}
