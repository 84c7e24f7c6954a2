package udpio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Prioritize gives the calling thread a nice value, -20 (before all others) to 19. The caller's goroutine is locked to the thread and stays so until
// it ends, else others inherit the value. Errors: the kernel's, EACCES or EPERM where the process may not (CAP_SYS_NICE, RLIMIT_NICE).
func Prioritize(nice int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), nice); err != nil {
		return fmt.Errorf("udpio: nice value %d: %w", nice, err)
	}
	return nil
}
