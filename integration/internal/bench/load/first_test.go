package load

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGeneratorGoesFirstForAWhile: thread and session have their priority until undo, where the test may give it.
func TestGeneratorGoesFirstForAWhile(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	thread := func() int {
		v, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid()) // 20 less the nice value
		if err != nil {
			t.Fatal(err)
		}
		return 20 - v
	}
	may := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -1) == nil
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 0)
	before, err := sessionNice()
	grouped := err == nil
	if thread() != 0 {
		t.Skip("the test itself has a priority that it cannot have back") // first ends at 0
	}
	undo := first()
	if got := thread(); may && got != -10 {
		t.Errorf("nice value %d", got)
	}
	if got, err := sessionNice(); may && grouped && (err != nil || got != -20) {
		t.Errorf("nice value of the session %d: %v", got, err)
	}
	undo()
	if got := thread(); got != 0 {
		t.Errorf("nice value %d is left", got)
	}
	if got, err := sessionNice(); grouped && (err != nil || got != before) {
		t.Errorf("nice value of the session %d is left, was %d: %v", got, before, err)
	}
}
