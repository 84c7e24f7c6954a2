package callcore

import (
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
	g := s.d.Cfg.Policy.InactivityGrace
	if g <= 0 || s.d.Phase != phaseUp {
		return
	}
	s.d.Silent[l] = true
	if _, runs := s.d.Timers[timerInactive]; !runs {
		s.start(timerInactive, g)
	}
}

// onSpeech takes that a side is not silent any more, or shall be.
func (s *State) onSpeech(l Leg) {
	s.d.Silent[l] = false
	if s.d.Silent == [2]bool{} {
		s.stop(timerInactive)
	}
}

// heedMode follows the mode that a side's stream is given: on hold the MGW's detection stands still, and it tells nothing when that begins anew.
func (s *State) heedMode(l Leg, d *iqv1.TerminationDescriptor) {
	for _, st := range d.GetStreams() {
		switch st.GetLocalControl().GetMode() {
		case iqv1.LocalControl_MODE_INACTIVE, iqv1.LocalControl_MODE_SENDONLY:
			s.onSpeech(l)
		}
	}
}
