package call

import (
	"sync"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
)

// inboxSize is how many events from outside may wait for a call. When that many wait, a request is answered 500 and anything
// else that peers can send at will is dropped and counted. What the call itself has asked for always gets in: see owed.
const inboxSize = 256

// posted is what became of an event.
type posted uint8

const (
	taken posted = iota
	full         // dropped: too many wait
	over         // dropped: the call has ended, or this instance no longer owns it
)

// inbox is the queue of a call. Writers: edges, transactions, timers, Iq, registrar; reader: the owner.
type inbox struct {
	wake chan struct{} // cap 1; writers: put; full: the reader is already told

	mu     sync.Mutex // guards below
	events []callcore.Event
	shut   bool
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// put adds an event unless the inbox is closed, or is full and the event is not owed.
func (b *inbox) put(ev callcore.Event) posted {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.shut:
		return over
	case len(b.events) >= inboxSize && !owed(ev):
		return full
	}
	b.events = append(b.events, ev)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return taken
}

// next takes the oldest event; false when none waits.
func (b *inbox) next() (callcore.Event, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.events) == 0 {
		b.events = nil // an overflow's memory is not kept
		return nil, false
	}
	ev := b.events[0]
	b.events[0] = nil
	b.events = b.events[1:]
	return ev, true
}

// close refuses further events and returns those that were never read.
func (b *inbox) close() []callcore.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = true
	left := b.events
	b.events = nil
	return left
}

// owed reports whether the call waits for the event: without it the call would never end. Their number is bounded by what
// the call itself has begun: one Iq reply, its timers, a final outcome of each request, one CANCEL of each INVITE.
func owed(ev callcore.Event) bool {
	switch e := ev.(type) {
	case callcore.ResponseIn:
		return e.Msg.Status >= 200 && !e.Retransmission
	case callcore.RequestIn, callcore.AckIn, callcore.IqNotify, callcore.Play, reported:
		return false
	}
	return true
}
