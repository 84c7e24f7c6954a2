package callcore

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Media inactivity (TS 23.334 §5.10, H.248.40): the MGW tells which stream of a side has fallen silent and which speaks again. A side is silent when all its
// streams are that shall speak: one on hold, or given up, does not count. The call is ended when a side has been silent for Policy.InactivityGrace, and
// never when that is 0.

// inactivityEvents arms what the MGW is to tell of, on all streams, those to come included (H.248.1 §6.1.1).
func (s *State) inactivityEvents() []*iqv1.EventSpec {
	p := &s.d.Cfg.Policy
	inactive := &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE, Rtcp: p.InactivityRTCP}
	if p.InactivityAfter > 0 {
		inactive.Timer = durationpb.New(p.InactivityAfter)
	}
	return []*iqv1.EventSpec{inactive, {Type: iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE}}
}

// legOf is the leg of a termination; the browser's when it is of none.
func (s *State) legOf(termination string) Leg {
	if termination != "" && termination == s.d.Node.Terms[LegCore] {
		return LegCore
	}
	return LegAccess
}

// heard is what the MGW says of a side's streams, and was told of them: one bit each, 1<<id.
type heard struct {
	Quiet uint32 `json:"quiet,omitempty"` // MEDIA_INACTIVE was told, not MEDIA_ACTIVE since
	Speak uint32 `json:"speak,omitempty"` // their peer shall send, by the mode that the MGW was given last
	Told  bool   `json:"told,omitempty"`  // it was given one; before, the first stream counts
}

const firstBit = 1 << offeranswer.StreamID

func bitOf(stream uint32) uint32 {
	return 1 << min(max(stream, offeranswer.StreamID), offeranswer.MaxStreams)
}

// silent reports whether all streams that count are quiet.
func (h heard) silent() bool {
	counts := h.Speak
	if !h.Told {
		counts = firstBit
	}
	return counts != 0 && counts&^h.Quiet == 0
}

// onSilence takes that a stream of a side has fallen silent.
func (s *State) onSilence(l Leg, stream uint32) {
	if s.d.Cfg.Policy.InactivityGrace <= 0 || s.d.Phase == phaseEnding {
		return
	}
	s.d.Heard[l].Quiet |= bitOf(stream)
	s.weigh(l)
}

// onSpeech takes that a stream of a side is not silent any more.
func (s *State) onSpeech(l Leg, stream uint32) {
	s.d.Heard[l].Quiet &^= bitOf(stream)
	s.weigh(l)
}

// weigh follows what is known of a side's streams. The silence of a side begins when the last of them ends to count as speaking.
func (s *State) weigh(l Leg) {
	switch {
	case !s.d.Heard[l].silent():
		s.d.Silent[l] = time.Time{}
	case s.d.Silent[l].IsZero():
		s.d.Silent[l] = s.now
	}
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

// sinceWhen takes the silence of a record that does not say when it began: the time that runs tells. One that does not say of which streams is of the first.
func (s *State) sinceWhen() {
	at, runs := s.d.Timers[timerInactive]
	for l, silent := range s.d.Hushed {
		if silent && runs && s.d.Silent[l].IsZero() {
			s.d.Silent[l] = at.Add(-s.d.Cfg.Policy.InactivityGrace)
		}
	}
	s.d.Hushed = [2]bool{}
	for l := range s.d.Heard {
		if h := &s.d.Heard[l]; !s.d.Silent[l].IsZero() && !h.silent() {
			h.Quiet |= firstBit
		}
	}
}

// heedMode follows the modes that a side's streams are given: on hold the MGW's detection stands still, and it tells anew what it finds when that begins anew.
func (s *State) heedMode(l Leg, d *iqv1.TerminationDescriptor) {
	h := &s.d.Heard[l]
	speak := uint32(0)
	for _, st := range d.GetStreams() {
		switch st.GetLocalControl().GetMode() {
		case iqv1.LocalControl_MODE_RECVONLY, iqv1.LocalControl_MODE_SENDRECV:
			speak |= bitOf(st.GetStreamId())
		}
	}
	if h.Told {
		h.Quiet &= h.Speak
	}
	h.Speak, h.Told = speak, true
	s.weigh(l)
}
