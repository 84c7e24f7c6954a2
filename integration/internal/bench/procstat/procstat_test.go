package procstat

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestParseStatTakesTheTimesBehindAnyName(t *testing.T) {
	const tail = " S 1 2 3 0 -1 4194304 100 0 0 0 7 11 0 0 20 0 12 0 99 1000 200 18446744073709551615"
	for _, name := range []string{"(mgw)", "(a b)", "(x) y)", "(()"} {
		got, err := ParseStat([]byte("4711 " + name + tail))
		if want := (Times{70 * time.Millisecond, 110 * time.Millisecond}); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "1 mgw S 1", "1 (mgw) S 1 2", "1 (mgw) S 1 2 3 0 -1 4194304 100 0 0 0 x 11 0", "1 (mgw) S 1 2 3 0 -1 4194304 100 0 0 0 7 -1 0"} {
		if got, err := ParseStat([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func TestParseResident(t *testing.T) {
	if n, err := ParseResident([]byte("Name:\tmgw\nVmHWM:\t  99 kB\nVmRSS:\t   39040 kB\nRssAnon:\t 1 kB\n")); n != 39040 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "VmHWM:\t1 kB\n", "VmRSS:\n", "VmRSS:\t1 MB\n", "VmRSS:\t-1 kB\n", "VmRSS:\tx kB\n"} {
		if n, err := ParseResident([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %d, %v", bad, n, err)
		}
	}
}

// The two sources of the same figure agree: work in this process shows in its clock, and to a tick in its stat.
func TestClockAgreesWithStat(t *testing.T) {
	pid := os.Getpid()
	before, err := CPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	x := 1.0
	for deadline := time.Now().Add(10 * time.Second); ; {
		for range 1 << 16 {
			x = x*1.0000001 + 1
		}
		if now, err := CPU(pid); err != nil || now-before > 50*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the clock does not advance with work")
		}
	}
	runtime.KeepAlive(x)
	split, err := Split(pid)
	if err != nil {
		t.Fatal(err)
	}
	total, err := CPU(pid)
	if err != nil {
		t.Fatal(err)
	}
	// stat was read before, and rounds each of its two figures down to a tick.
	if sum := split.User + split.System; sum > total || sum < before {
		t.Errorf("stat says %v, the clock said %v before and %v after", sum, before, total)
	}
	if kib, err := Resident(pid); err != nil || kib < 1024 {
		t.Errorf("resident %d KiB, %v", kib, err)
	}
}

func TestNoSuchProcess(t *testing.T) {
	const none = 1 << 22 // beyond the largest pid
	if _, err := CPU(none); err == nil {
		t.Error("CPU of no process")
	}
	if _, err := Split(none); err == nil {
		t.Error("times of no process")
	}
	if _, err := Resident(none); err == nil {
		t.Error("memory of no process")
	}
}

func TestParseBusyLeavesIdleOut(t *testing.T) {
	got, err := ParseBusy([]byte("cpu  100 20 3 99999 88888 4 5 6 70 80\ncpu0 1 2 3 4 5 6 7 8 9 10\n"))
	if want := 1380 * time.Millisecond; got != want || err != nil {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpux 1 2 3 4 5 6 7 8", "cpu 1 2 x 4 5 6 7 8"} {
		if got, err := ParseBusy([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
	if busy, err := Busy(); err != nil || busy <= 0 {
		t.Errorf("%v, %v", busy, err)
	}
}
