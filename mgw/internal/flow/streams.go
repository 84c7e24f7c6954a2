package flow

import (
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Streams of an access termination beyond its first one go over its transport (BUNDLE, RFC 9143).

const (
	// MaxStreams is how many streams an access termination has at most.
	MaxStreams = 32
)

// Errors of NewStream.
var (
	ErrComponent2     = errors.New("flow: RTCP has a component of its own, which further streams cannot share") // RFC 9143 §9.3; H.248.8 error 449
	ErrTooManyStreams = fmt.Errorf("flow: more than %d streams", MaxStreams)                                    // H.248.8 error 510
	ErrSSRC           = errors.New("flow: another stream of the termination has the SSRC")
)

// AccessEnd is one stream of an access termination: an *Access is its first.
type AccessEnd interface {
	Endpoint
	stream() (*worker, *term)
}

func (a *Access) stream() (*worker, *term)       { return a.w, a.s.t }
func (x *AccessStream) stream() (*worker, *term) { return x.a.w, x.t }

// StreamSpec describes a further stream of an access termination.
type StreamSpec struct {
	Stream uint32 // comes with its events
	SSRC   uint32 // what we send with; 0: chosen
}

// StreamLocal is what the peer must be told of a stream.
type StreamLocal struct {
	SSRC  uint32
	CName string // that of the termination: all streams are of one end (RFC 7022 §4)
}

// AccessStream is a further stream of an access termination. Its methods are safe from any goroutine but that of Config.Events.
type AccessStream struct {
	a    *Access
	t    *term // owned by the worker
	ssrc uint32

	mu    sync.Mutex // guards final
	final Stats
}

// NewStream adds a stream, Inactive and with nothing armed; it lasts as long as the termination unless it is closed before. Errors: ErrComponent2, ErrTooManyStreams,
// ErrSSRC, ErrClosed.
func (a *Access) NewStream(spec StreamSpec) (*AccessStream, error) {
	x := &AccessStream{a: a}
	t := &term{owner: x, w: a.w, number: spec.Stream, access: a.s}
	x.t = t
	err := ErrClosed
	a.w.alive(a.s.t, func() {
		if x.ssrc, err = a.s.ownSource(spec.SSRC); err == nil {
			t.out = outbound{secure: true, stamp: newStamper(x.ssrc)}
			err = a.s.add(t)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: stream %d: %w", a.id, spec.Stream, err)
	}
	return x, nil
}

// ID is the termination's.
func (x *AccessStream) ID() string { return x.a.id }

// Local is what the peer must be told.
func (x *AccessStream) Local() StreamLocal { return StreamLocal{SSRC: x.ssrc, CName: x.a.cname} }

// Configure replaces the settings. What concerns the transport (ConsentAfter, its events) is read from the first stream's. Errors: ErrBadSettings,
// ErrClosed; then the settings before stay.
func (x *AccessStream) Configure(s Settings) error { return configure(x.a.w, x.t, s) }

// Play plays signals in the place of those that are playing. Errors: ErrNoCodec, ErrBusy, ErrClosed; then those go on.
func (x *AccessStream) Play(s Signals) error { return play(x.a.w, x.t, s) }

// Stats reads the counters.
func (x *AccessStream) Stats() Stats {
	var s Stats
	if x.a.w.alive(x.t, func() { s = x.t.stats() }) {
		return s
	}
	return x.figures()
}

// Close ends the stream and returns its final counters. Idempotent; later calls return the same, also when the termination has ended it.
func (x *AccessStream) Close() Stats {
	x.a.w.alive(x.t, func() { x.t.access.remove(x.t) })
	return x.figures()
}

func (x *AccessStream) figures() Stats {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.final
}

// end closes the stream, which remove has taken out. On its worker.
func (x *AccessStream) end() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.final = x.t.stats()
	x.t.close()
}

// add lets t share the transport.
func (s *accessState) add(t *term) error {
	switch {
	case s.t.component2 != nil:
		return ErrComponent2
	case len(s.more)+1 >= MaxStreams:
		return ErrTooManyStreams
	}
	if ssrc, known := s.heard(); known && len(s.more) == 0 {
		s.bind(ssrc, s.t) // until now it was the only one, and packets need not tell any more what they are of
	}
	s.more = append(s.more, t)
	s.share()
	s.t.shareControl()
	t.begin()
	return nil
}

// heard is the newest source of the first stream.
func (s *accessState) heard() (ssrc uint32, known bool) {
	if s.t.leg == nil {
		return 0, false
	}
	return s.t.leg.Source()
}

// ownSource is an SSRC for a further stream: want, or a random one when that is 0. All streams have one key, under which an SSRC must not be used twice
// (RFC 3711 §9.1). Errors: ErrSSRC.
func (s *accessState) ownSource(want uint32) (uint32, error) {
	taken := func(ssrc uint32) bool {
		return s.t.out.stamp.SSRC() == ssrc || slices.ContainsFunc(s.more, func(t *term) bool { return t.out.stamp.SSRC() == ssrc })
	}
	if want != 0 && taken(want) {
		return 0, ErrSSRC
	}
	for want == 0 || taken(want) {
		want = random32()
	}
	return want, nil
}

// remove ends t.
func (s *accessState) remove(t *term) {
	for i, x := range s.more {
		if x == t {
			s.more = append(s.more[:i:i], s.more[i+1:]...)
			break
		}
	}
	s.unbind(t)
	t.owner.(*AccessStream).end()
}

// endStreams ends all further streams.
func (s *accessState) endStreams() {
	for len(s.more) > 0 {
		s.remove(s.more[len(s.more)-1])
	}
}

// share gives what the transport has to every stream: a packet then finds all that it needs in its own.
func (s *accessState) share() {
	from := &s.t.out
	for _, t := range s.more {
		o := &t.out
		o.sock, o.addr, o.stream, o.rtcp, o.tx, o.consent = from.sock, from.addr, from.stream, from.rtcp, from.tx, from.consent
	}
}

// nameAgain lets packets of all streams carry their MIDs again.
func (s *accessState) nameAgain() {
	s.t.out.nameAgain()
	for _, t := range s.more {
		t.out.nameAgain()
	}
}

// shareControl tells the RTCP leg that it is not alone on its transport, if that is so.
func (t *term) shareControl() {
	if t.leg != nil && t.access != nil && len(t.access.more) > 0 {
		t.leg.Share()
	}
}

// first reports whether t stands for its termination: it is the only stream, or of several the one that the transport belongs to.
func (t *term) first() bool { return t.access == nil || t.access.t == t }
