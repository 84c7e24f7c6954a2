package signalling

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// ledger counts what was begun and what became of it. Safe for concurrent use.
type ledger struct {
	mu    sync.Mutex // guards all below
	open  map[string]*entry
	done  [2]int // by kind
	bad   int
	why   string          // of the first failure
	times []time.Duration // from the INVITE to its 2xx, at the caller
}

// Kinds of entry.
const (
	registration = iota
	call
)

// entry is a registration, which has one end, or a call, which has two.
type entry struct {
	kind  int
	begun time.Time
	seen  [2]bool // by end
}

// The two ends of a call.
const (
	atBrowser = iota
	atCore
)

func newLedger() *ledger { return &ledger{open: map[string]*entry{}} }

// begin opens an entry.
func (l *ledger) begin(id string, kind int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[id] = &entry{kind: kind, begun: time.Now(), seen: [2]bool{atCore: kind == registration}}
}

// answered notes how long the caller waited for the 2xx.
func (l *ledger) answered(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.open[id]; e != nil {
		l.times = append(l.times, time.Since(e.begun))
	}
}

// end notes that one end has seen all that it should have.
func (l *ledger) end(id string, at int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.open[id]
	if e == nil {
		return // failed before
	}
	if e.seen[at] = true; e.seen[0] && e.seen[1] {
		delete(l.open, id)
		l.done[e.kind]++
	}
}

// fail closes an entry that went wrong; id may be unknown.
func (l *ledger) fail(id, why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, id)
	if l.bad++; l.why == "" {
		l.why = id + ": " + why
	}
}

// count is a reading of the ledger.
type count struct {
	done [2]int
	open int
	bad  int
	why  string
}

func (l *ledger) read() count {
	l.mu.Lock()
	defer l.mu.Unlock()
	return count{l.done, len(l.open), l.bad, l.why}
}

// reset forgets failures and times, and what is still open: nobody waits for it any more.
func (l *ledger) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open, l.bad, l.why, l.times = map[string]*entry{}, 0, "", nil
}

// settle waits until nothing is open, at most for patience; what then is open has failed.
func (l *ledger) settle(patience time.Duration) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for l.read().open > 0 {
		select {
		case <-tick.C:
		case <-deadline.C:
			l.mu.Lock()
			defer l.mu.Unlock()
			for id, e := range l.open {
				l.bad++
				if l.why == "" {
					l.why = fmt.Sprintf("%s: not finished after %v; seen at the browser %v, at the core %v", id, time.Since(e.begun).Round(time.Second), e.seen[0], e.seen[1])
				}
			}
			l.open = map[string]*entry{}
			return
		}
	}
}

// setUpTime is a quantile of the times to the 2xx.
func (l *ledger) setUpTime(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.times) == 0 {
		return 0
	}
	slices.Sort(l.times)
	return l.times[int(q*float64(len(l.times)-1))]
}
