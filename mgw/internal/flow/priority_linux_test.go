package flow

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPacketsGoBeforeOtherWork: a worker's thread has the nice value that was asked for, and nobody inherits it.
func TestPacketsGoBeforeOtherWork(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mine := niceOf(t)
	e, err := New(Config{Workers: 1, Nice: mine + 1, Access: []AccessRealm{{Name: "access", Listen: loopback}}}) // lower, which everybody may
	if err != nil {
		t.Fatal(err)
	}
	var got int
	e.workers[0].do(func() { got = niceOf(t) })
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got != mine+1 {
		t.Errorf("nice value %d, want %d", got, mine+1)
	}
	for range 64 { // as many goroutines as are likely to meet a thread that was left
		c := make(chan int)
		go func() { c <- niceOf(t) }()
		if n := <-c; n != mine {
			t.Fatalf("nice value of another goroutine %d, want %d", n, mine)
		}
	}
}

// niceOf is the calling thread's; the system call gives 20 less it.
func niceOf(t *testing.T) int {
	v, err := unix.Getpriority(unix.PRIO_PROCESS, unix.Gettid())
	if err != nil {
		t.Error(err)
	}
	return 20 - v
}
