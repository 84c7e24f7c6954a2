package cdr

// ledger knows the last calls that were written of: how far each got, and whether it ended. Bounded: the oldest call is forgotten for a new one.
type ledger struct {
	calls map[string]mark
	ring  []string // calls by age of their first record
	next  int
}

type mark struct {
	seq    uint32
	closed bool
}

func newLedger(size int) *ledger {
	return &ledger{calls: map[string]mark{}, ring: make([]string, size)}
}

// take notes r; false when it was written before, or its call has ended.
func (l *ledger) take(r *Record) bool {
	m, known := l.calls[r.Call]
	if m.closed || r.Seq <= m.seq {
		return false
	}
	if !known {
		delete(l.calls, l.ring[l.next])
		l.ring[l.next] = r.Call
		l.next = (l.next + 1) % len(l.ring)
	}
	l.calls[r.Call] = mark{r.Seq, r.Type.closes()}
	return true
}
