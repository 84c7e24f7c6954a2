package load

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Where tasks are grouped by session (sched(7), autogroup), a nice value counts within a session only, and one busy process of another takes half a
// core from a generator of any priority, 4 ms at a time: the ticks of a kernel of 250 Hz.

// autogroup holds the nice value of this process' session.
const autogroup = "/proc/self/autogroup"

// first lets this thread go before others, and its session before others, where it may; undo ends that. It stands for a network, which does not
// wait for a processor. A system under test is of the same session.
func first() (undo func()) {
	tid := unix.Gettid()
	back := preferSession()
	if unix.Setpriority(unix.PRIO_PROCESS, tid, -10) != nil {
		return back
	}
	return func() { _ = unix.Setpriority(unix.PRIO_PROCESS, tid, 0); back() }
}

func preferSession() (undo func()) {
	before, err := sessionNice()
	if err != nil || os.WriteFile(autogroup, []byte("-20"), 0) != nil {
		return func() {}
	}
	return func() { _ = os.WriteFile(autogroup, fmt.Append(nil, before), 0) }
}

// sessionNice reads it. Errors: a kernel without such groups.
func sessionNice() (nice int, err error) {
	b, err := os.ReadFile(autogroup)
	if err != nil {
		return 0, err
	}
	var group int
	if _, err = fmt.Sscanf(string(b), "/autogroup-%d nice %d", &group, &nice); err != nil {
		return 0, fmt.Errorf("load: %s: %w", autogroup, err)
	}
	return nice, nil
}
