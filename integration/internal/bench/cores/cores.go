// Package cores keeps processes and threads to cores of the machine. Floor 0 of the integration module. Linux only.
package cores

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Set is some cores.
type Set = unix.CPUSet

// ErrFew says that there are too few cores.
var ErrFew = errors.New("cores: fewer than two")

// Halves gives a load generator's thread the last of the cores that this process may use, and the system that it measures the first: then
// neither can be put onto the other's core, where each would wait for the other's turn. Errors: ErrFew, the kernel's.
func Halves() (system, generator Set, err error) {
	var all Set
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return system, generator, fmt.Errorf("cores: %w", err)
	}
	first, last := -1, -1
	for i := range len(all) * 64 {
		if !all.IsSet(i) {
			continue
		}
		if first < 0 {
			first = i
		}
		last = i
	}
	if first == last {
		return system, generator, ErrFew
	}
	system.Set(first)
	generator.Set(last)
	return system, generator, nil
}

// Confine keeps all threads of process pid to s, those to come too. Errors: no such process, the kernel's.
func Confine(pid int, s *Set) error {
	for known, count := map[int]bool{}, -1; len(known) != count; { // until no thread has come meanwhile
		count = len(known)
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return fmt.Errorf("cores: %w", err)
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || known[tid] {
				continue
			}
			if err := unix.SchedSetaffinity(tid, s); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("cores: thread %d: %w", tid, err)
			}
			known[tid] = true
		}
	}
	return nil
}

// Stay keeps the calling thread, to which its goroutine is locked, to s until undo. Errors: the kernel's.
func Stay(s *Set) (undo func(), err error) {
	var before Set
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("cores: %w", err)
	}
	if err := unix.SchedSetaffinity(0, s); err != nil {
		return nil, fmt.Errorf("cores: %w", err)
	}
	return func() { _ = unix.SchedSetaffinity(0, &before) }, nil
}
