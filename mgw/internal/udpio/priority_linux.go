package udpio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Punctual lets the calling thread wake up when it asked to, not up to 50 us later as the kernel has it to save power. A thread inherits it; for a
// locked one, as with Prioritize. What cannot be had is no harm.
func Punctual() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// Prioritize gives the calling thread a nice value, -20 (before all others) to 19. The caller's goroutine is locked to the thread and stays so until
// it ends, else others inherit the value. Errors: the kernel's, EACCES or EPERM where the process may not (CAP_SYS_NICE, RLIMIT_NICE).
func Prioritize(nice int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice); err != nil {
		return fmt.Errorf("udpio: nice value %d: %w", nice, err)
	}
	return nil
}
