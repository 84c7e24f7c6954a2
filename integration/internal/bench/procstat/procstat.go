// Package procstat reads what another process has used: CPU time and resident memory. Floor 0 of the integration module. Linux only.
package procstat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrFormat says that the kernel's text is not what proc(5) describes.
var ErrFormat = errors.New("procstat: unexpected format")

// userHZ is the unit of the times in /proc/PID/stat: sysconf(_SC_CLK_TCK), 100 on every Linux of today.
const userHZ = 100

// CPU is the CPU time of all threads that process pid has or had, at the scheduler's resolution. It reads the clock that
// clock_getcpuclockid(3) names: the sum behind utime+stime of /proc/PID/stat, without their ticks of 10 ms. Errors: no such process.
func CPU(pid int) (time.Duration, error) {
	const perProcessSched = 2 // CPUCLOCK_SCHED, in the low bits beside the inverted pid
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|perProcessSched), &ts); err != nil {
		return 0, fmt.Errorf("procstat: CPU clock of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// Times are user and system time of a process, in ticks of 10 ms.
type Times struct{ User, System time.Duration }

// Split reads utime and stime of process pid. Errors: no such process, ErrFormat.
func Split(pid int) (Times, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Times{}, fmt.Errorf("procstat: %w", err)
	}
	return ParseStat(b)
}

// ParseStat reads utime and stime, fields 14 and 15 of /proc/PID/stat. The name in field 2 may hold anything, spaces and brackets too.
func ParseStat(b []byte) (Times, error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return Times{}, fmt.Errorf("%w: no name", ErrFormat)
	}
	fields := bytes.Fields(b[i+1:]) // field 3 is fields[0]
	if len(fields) < 13 {
		return Times{}, fmt.Errorf("%w: %d fields after the name", ErrFormat, len(fields))
	}
	var t Times
	for n, d := range map[int]*time.Duration{11: &t.User, 12: &t.System} {
		ticks, err := strconv.ParseUint(string(fields[n]), 10, 63)
		if err != nil {
			return Times{}, fmt.Errorf("%w: field %d is %q", ErrFormat, n+3, fields[n])
		}
		*d = time.Duration(ticks) * (time.Second / userHZ)
	}
	return t, nil
}

// Resident is the resident memory of process pid, KiB. Errors: no such process, ErrFormat.
func Resident(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("procstat: %w", err)
	}
	return ParseResident(b)
}

// ParseResident reads VmRSS of /proc/PID/status, KiB.
func ParseResident(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("VmRSS:")); ok {
			f := bytes.Fields(v)
			if len(f) == 2 && string(f[1]) == "kB" {
				if n, err := strconv.Atoi(string(f[0])); err == nil && n >= 0 {
					return n, nil
				}
			}
			return 0, fmt.Errorf("%w: VmRSS %q", ErrFormat, v)
		}
	}
	return 0, fmt.Errorf("%w: no VmRSS", ErrFormat)
}

// Busy is the CPU time that all cores together have spent on anything, in ticks. Errors: ErrFormat.
func Busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("procstat: %w", err)
	}
	return ParseBusy(b)
}

// ParseBusy adds up the first line of /proc/stat without idle and iowait; the guest times at its end are in user and nice already.
func ParseBusy(b []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 9 || string(f[0]) != "cpu" {
		return 0, fmt.Errorf("%w: %q", ErrFormat, line)
	}
	sum := uint64(0)
	for i, field := range f[1:9] {
		n, err := strconv.ParseUint(string(field), 10, 62)
		if err != nil {
			return 0, fmt.Errorf("%w: %q", ErrFormat, line)
		}
		if i != 3 && i != 4 {
			sum += n
		}
	}
	return time.Duration(sum) * (time.Second / userHZ), nil
}
