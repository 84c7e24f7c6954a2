package flow

import (
	"fmt"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestCallsFillOneWorkerAfterTheOther: each up to the share that was asked for; then the one with the least load takes them, and one that has room again first.
func TestCallsFillOneWorkerAfterTheOther(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Workers, c.Fill = 3, 1 }) // four terminations of which nothing is known
	var all []*Access
	where := func(n int) (got []int) {
		for range n {
			a := b.access(fmt.Sprintf("a%d", len(all)))
			all = append(all, a)
			for i, w := range b.e.workers {
				if a.w == w {
					got = append(got, i)
				}
			}
		}
		return got
	}
	if got := fmt.Sprint(where(14)); got != "[0 0 0 0 1 1 1 1 2 2 2 2 0 1]" {
		t.Errorf("workers %s", got)
	}
	for _, i := range []int{1, 6, 7} {
		all[i].Close()
	}
	// The first has four again and is full, the second three and room for one.
	if got := fmt.Sprint(where(2)); got != "[1 0]" {
		t.Errorf("workers %s after some have ended", got)
	}
	// A worker may have more to do than its calls let expect: those of the first take all of a core.
	for _, a := range all {
		if a.w != b.e.workers[0] {
			a.Close()
		}
	}
	b.e.workers[0].shares.measured.Store(1e6)
	if got := fmt.Sprint(where(5)); got != "[1 1 1 1 2]" {
		t.Errorf("workers %s beside one without time", got)
	}
}

// TestTheFirstWorkerIsFreeWhenItsCallsHaveEnded: what it had to do until then says nothing about calls to come.
func TestTheFirstWorkerIsFreeWhenItsCallsHaveEnded(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Workers, c.Fill = 2, 50 })
	a := b.access("a")
	b.e.workers[0].shares.measured.Store(9e5)
	if got := b.e.Shares(); got[0] != 0.9 || got[1] != 0 {
		t.Errorf("shares %v", got)
	}
	if next := b.access("b"); next.w == a.w {
		t.Error("a call for a worker without time")
	}
	a.Close()
	if got := b.e.Shares(); got[0] != 0 {
		t.Errorf("shares %v after the calls", got)
	}
	if next := b.access("c"); next.w != a.w {
		t.Error("the worker without calls takes none")
	}
}

// TestCostIsThatOfTheRoutes: what a worker expects follows codecs and connections, by the source of each direction.
func TestCostIsThatOfTheRoutes(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	expects := func(what string, a, c cost) {
		t.Helper()
		if r.a.cost != a || r.c.cost != c || r.w.shares.expected.Load() != int64(a+c) {
			t.Errorf("%s: %d and %d, the worker %d; want %d and %d", what, r.a.cost, r.c.cost, r.w.shares.expected.Load(), a, c)
		}
	}
	configure := func(x *term, s Settings) {
		t.Helper()
		if err := x.configure(milli, s); err != nil {
			t.Fatal(err)
		}
	}
	expects("relayed", costRelayed, costRelayed)
	configure(r.c, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}))
	expects("to be transcoded", costCoded, costCoded)
	configure(r.a, both(SendRecv, []codec.Codec{pcma, pcmu}, pcma, codec.Codec{}))
	configure(r.c, core)
	expects("relayed as long as the source keeps to its preference", costRelayed, costRelayed)
	configure(r.c, Settings{})
	expects("without codecs", costUnknown, costUnknown)
	configure(r.c, core)
	expects("relayed again", costRelayed, costRelayed)
	r.c.disconnect()
	expects("not connected", costUnknown, costUnknown)
	r.a.close()
	expects("one has ended", 0, costUnknown)
	r.c.close()
	expects("both have", 0, 0)

	b := newBed(t, func(c *Config) { c.Workers, c.Access[0].RTCP = 1, true })
	if _, err := b.e.NewAccess(AccessSpec{ID: "a", Realm: "access", Component2: true}); err != nil {
		t.Fatal(err)
	}
	if e := b.e.workers[0].shares.expected.Load(); e != int64(costUnknown) {
		t.Errorf("%d of a termination with a second component, want %d", e, costUnknown)
	}
}

// TestShareIsThatOfRounds: time between them does not count, and of a window no more than all of it.
func TestShareIsThatOfRounds(t *testing.T) {
	var s shares
	s.expected.Store(1)
	now := int64(0)
	for range 1000 {
		s.add(now, now+milli/4)
		now += milli
	}
	s.add(now, now)
	if got := s.load(); got != 250000 {
		t.Errorf("%d millionths of a core, want 250000", got)
	}
	now += int64(time.Hour) // asleep
	s.add(now, now+milli)
	if got := s.load(); got != 1 {
		t.Errorf("%d millionths after an hour", got)
	}
	s.add(now+milli, now+5*int64(time.Second))
	if got := s.load(); got < 999000 || got > 1e6 {
		t.Errorf("%d millionths of a round that takes all", got)
	}
	access, core := relaySettings()
	for timed := range 2 { // a worker's round takes the second of two hours
		w := newRig(t, srtp.AES128GCM, access, core).w
		w.timed, w.base = timed, time.Now().Add(-time.Hour)
		w.begin()
		w.base = w.base.Add(-time.Hour)
		w.rest(0)
		if got := w.shares.measured.Load(); got < 499000 || got > 501000 {
			t.Errorf("the worker tells %d millionths, want 500000", got)
		}
	}
}
