package flow

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// The DTLS associations of an access termination and their keys, as the worker knows them.

// startClock begins the time of a handshake that waited for a pair.
func (s *accessState) startClock(now int64) {
	s.dtlsFrom, s.begun = now, true
	s.run.connected()
}

// associate makes run the handshake in progress; the keys of former serve until it has ended. With new ICE credentials it goes over their
// pair: at the other end of the old one may be an endpoint that has only the old association.
func (s *accessState) associate(now int64, run, former *handshake) {
	s.run, s.link, s.former, s.reserve = run, run.link, former, 0
	s.dtlsFrom, s.begun = 0, false
	if s.selected.IsValid() && s.gen == s.a.newest.Load() {
		s.startClock(now)
	}
}

// resume makes the association before the present one the present one again. Its keys still serve, unless the handshake of the present one has ended
// in this moment: then they come back too.
func (s *accessState) resume(now int64, run *handshake) {
	s.run, s.link, s.former, s.reserve = run, run.link, nil, 0
	s.dtlsFrom, s.begun = 0, true
	if run.rx != nil && run.rx != s.t.in.rx {
		s.past.keep(now, s.t.in.rx)
		s.t.out.tx, s.t.in.rx = run.tx, run.rx
		s.share()
		s.keyed = run
	}
}

// secured takes the keys of run, unless another has taken its place.
func (s *accessState) secured(now int64, run *handshake, profile srtp.Profile, tx *srtp.Sender, rx *srtp.Receiver) {
	switch run {
	case s.run:
		s.dtlsFrom = 0
		if s.former != nil {
			s.former, s.reserve = nil, now+keyOverlap
			s.past.keep(now, s.t.in.rx)
		}
	case s.former: // done in the moment in which another was asked for
	default:
		return
	}
	s.keyed = run
	run.tx, run.rx = tx, rx
	s.t.out.tx, s.t.in.rx = tx, rx
	s.share()
	s.nameAgain()
	s.t.emit(Event{Kind: DTLSConnected, Profile: profile.String()})
}

// unsecured notes the end of run: kind DTLSFailed or DTLSClosed. Without keys nothing passes.
func (s *accessState) unsecured(run *handshake, kind EventKind, reason string) {
	if s.run != run {
		return // a former one may be closed by the peer before the new one is done
	}
	s.run, s.link, s.dtlsFrom, s.former, s.reserve = nil, nil, 0, nil, 0
	s.t.out.tx, s.t.in.rx, s.past.rx = nil, nil, nil
	s.share()
	s.keyed = nil
	s.a.settled(run)
	s.t.emit(Event{Kind: kind, Reason: reason})
}

// pastKeys are those of the association before, for packets on their way when the new one was done.
type pastKeys struct {
	rx    *srtp.Receiver
	until int64
}

func (k *pastKeys) keep(now int64, rx *srtp.Receiver) { k.rx, k.until = rx, now+keyOverlap }

// open authenticates and decrypts b in place. control: b is SRTCP.
func (s *accessState) open(now int64, b []byte, control bool) ([]byte, error) {
	if s.past.rx == nil {
		return openWith(s.t.in.rx, b, control)
	}
	if now >= s.past.until {
		s.past.rx = nil
		return openWith(s.t.in.rx, b, control)
	}
	scratch := s.t.w.scratch[:copy(s.t.w.scratch, b)] // a failure leaves nothing of b
	plain, err := openWith(s.t.in.rx, b, control)
	if err == srtp.ErrAuth {
		plain, err = openWith(s.past.rx, b[:copy(b, scratch)], control)
	}
	return plain, err
}
