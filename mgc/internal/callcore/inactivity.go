package callcore

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Media inactivity (TS 23.334 §5.10, H.248.40): the MGW tells which side has fallen silent and when it speaks again; the call is ended when that
// lasts for Policy.InactivityGrace, and never when that is 0. A side that shall not speak, on hold, is not silent.

// inactivityEvents arms what the MGW is to tell of.
func (s *State) inactivityEvents() []*iqv1.EventSpec {
	p := &s.d.Cfg.Policy
	inactive := &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE, StreamId: offeranswer.StreamID, Rtcp: p.InactivityRTCP}
	if p.InactivityAfter > 0 {
		inactive.Timer = durationpb.New(p.InactivityAfter)
	}
	return []*iqv1.EventSpec{inactive, {Type: iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE, StreamId: offeranswer.StreamID}}
}

// legOf is the leg of a termination; the browser's when it is of none.
func (s *State) legOf(termination string) Leg {
	if termination != "" && termination == s.d.Node.Terms[LegCore] {
		return LegCore
	}
	return LegAccess
}

// onSilence takes that a side has fallen silent.
func (s *State) onSilence(l Leg) {
	if s.d.Cfg.Policy.InactivityGrace <= 0 || s.d.Phase == phaseEnding {
		return
	}
	if s.d.Silent[l].IsZero() {
		s.d.Silent[l] = s.now
	}
	s.watchSilence()
}

// onSpeech takes that a side is not silent any more, or shall be.
func (s *State) onSpeech(l Leg) {
	s.d.Silent[l] = time.Time{}
	s.watchSilence()
}

// watchSilence runs the time of the side that has been silent for longest; what lies before the answer does not count.
func (s *State) watchSilence() {
	var first time.Time
	for _, t := range s.d.Silent {
		if t.IsZero() {
			continue
		}
		if t.Before(s.d.Rec.Answer) {
			t = s.d.Rec.Answer
		}
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	if first.IsZero() || s.d.Phase != phaseUp {
		s.stop(timerInactive)
		return
	}
	at := first.Add(s.d.Cfg.Policy.InactivityGrace)
	if old, runs := s.d.Timers[timerInactive]; !runs || !old.Equal(at) {
		s.start(timerInactive, at.Sub(s.now))
	}
}

// sinceWhen takes the silence of a record that does not say when it began: the time that runs tells.
func (s *State) sinceWhen() {
	at, runs := s.d.Timers[timerInactive]
	for l, silent := range s.d.Hushed {
		if silent && runs && s.d.Silent[l].IsZero() {
			s.d.Silent[l] = at.Add(-s.d.Cfg.Policy.InactivityGrace)
		}
	}
	s.d.Hushed = [2]bool{}
}

// heedMode follows the mode that a side's stream is given: on hold the MGW's detection stands still, and it tells nothing when that begins anew.
func (s *State) heedMode(l Leg, d *iqv1.TerminationDescriptor) {
	for _, st := range d.GetStreams() {
		if st.GetStreamId() != offeranswer.StreamID {
			continue
		}
		switch st.GetLocalControl().GetMode() {
		case iqv1.LocalControl_MODE_INACTIVE, iqv1.LocalControl_MODE_SENDONLY:
			s.onSpeech(l)
		}
	}
}
