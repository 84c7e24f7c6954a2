package wait

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a test that notes that it was ended.
type failing struct {
	testing.TB
	ended bool
}

func (f *failing) Helper() {}
func (f *failing) Fatalf(string, ...any) {
	f.ended = true
	runtime.Goexit()
}

// ends reports whether f ends its test, and after how long.
func ends(f func(testing.TB)) (bool, time.Duration) {
	t, begin, done := &failing{}, time.Now(), make(chan struct{})
	go func() {
		defer close(done)
		f(t)
	}()
	<-done
	return t.ended, time.Since(begin)
}

func TestWaitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if ended, after := ends(func(t testing.TB) { Until(t, "never", func() bool { return false }) }); !ended || after != Limit {
			t.Errorf("a condition that never holds: %v after %v", ended, after)
		}
		if ended, after := ends(func(t testing.TB) { Receive(t, make(chan int)) }); !ended || after != Limit {
			t.Errorf("a value that never comes: %v after %v", ended, after)
		}
	})
}

func TestWaitsEndWithWhatTheyWaitFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, at := make(chan int, 1), time.Now().Add(time.Second)
		time.AfterFunc(time.Second, func() { c <- 7 })
		if v := Receive(t, c); v != 7 || !time.Now().Equal(at) {
			t.Errorf("%d, %v late", v, time.Since(at))
		}
		at = time.Now().Add(time.Second)
		if Until(t, "a second", func() bool { return !time.Now().Before(at) }); time.Since(at) > 10*time.Millisecond {
			t.Errorf("%v late", time.Since(at))
		}
	})
}
