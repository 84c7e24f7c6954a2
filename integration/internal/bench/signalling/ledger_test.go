package signalling

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestACallCountsWhenBothEndsHaveSeenIt(t *testing.T) {
	l := newLedger()
	l.begin("c1", call)
	l.begin("r1", registration)
	l.end("c1", atBrowser)
	l.end("c1", atBrowser)
	if c := l.read(); c.done != [2]int{} || c.open != 2 {
		t.Fatalf("%+v", c)
	}
	l.end("c1", atCore)
	l.end("r1", atBrowser)
	l.end("c1", atCore)
	if c := l.read(); c.done != [2]int{1, 1} || c.open != 0 || c.bad != 0 {
		t.Errorf("%+v", c)
	}
}

func TestWhatIsLeftOpenHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		l.begin("c1", call)
		l.end("c1", atCore)
		begin := time.Now()
		l.settle(patience)
		if c := l.read(); time.Since(begin) != patience || c.bad != 1 || c.open != 0 || !strings.Contains(c.why, "at the browser false, at the core true") {
			t.Errorf("after %v: %+v", time.Since(begin), c)
		}
	})
}

func TestSettleWaitsForTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		l.begin("r1", registration)
		time.AfterFunc(3*time.Second, func() { l.end("r1", atBrowser) })
		begin := time.Now()
		l.settle(patience)
		if d := time.Since(begin); d < 3*time.Second || d > 4*time.Second || l.read().bad != 0 {
			t.Errorf("after %v: %+v", d, l.read())
		}
	})
}

func TestAFailureIsToldOnce(t *testing.T) {
	l := newLedger()
	l.begin("c1", call)
	l.fail("c1", "503")
	l.end("c1", atBrowser)
	l.end("c1", atCore)
	if c := l.read(); c.bad != 1 || c.why != "c1: 503" || c.done[call] != 0 {
		t.Errorf("%+v", c)
	}
	if l.reset(); l.read().bad != 0 {
		t.Error("not forgotten")
	}
}
