package callcore

import (
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Which way digits take, and what the media gateway has to do for that. They are of one stream of the call: the first that both sides have a line of.

// digitOrder is what the media gateway has been told of digits on a termination.
type digitOrder struct {
	Tell  bool `json:"tell,omitempty"`  // those of its peer are notified
	Tones bool `json:"tones,omitempty"` // they are looked for in its audio
	Drop  bool `json:"drop,omitempty"`  // others' do not reach its peer's media
	Ends  bool `json:"ends,omitempty"`  // of signals are notified

	Stream int `json:"stream,omitempty"` // of which Tell, Tones and Drop are, from 0
	Before int `json:"before,omitempty"` // of which they were before

	Named bool `json:"named,omitempty"` // Tell is, by the request toldApart; not in records of older controllers
}

func (s *State) digitForm(l Leg) DigitForm {
	if l == LegAccess {
		return s.d.Cfg.Policy.Digits.Access
	}
	return s.d.Cfg.Policy.Digits.Core
}

// byInfo reports whether digits go to the peer of the leg by INFO.
func (s *State) byInfo(l Leg) bool {
	g, line := &s.d.Legs[l], s.lead(l)
	switch {
	case g.NoInfo:
		return false
	case s.digitForm(l) == DigitsInfo:
		return true
	case s.digitForm(l) == DigitsTone:
		return false
	}
	return line.Event.Name == "" && (line.Chosen.IsAMR() || !s.plays(l)) && g.Info // a codec of speech does not carry tones
}

// lead is the peer's side with the stream alone that digits go to, and come from: the first one that both sides have a line of.
func (s *State) lead(l Leg) offeranswer.Line {
	return s.d.Media.Line(side(l)).Only(max(s.d.Media.Lead(side(l)), 0))
}

// plays reports whether digits can be put into the media of the peer of the leg.
func (s *State) plays(l Leg) bool {
	line := s.lead(l)
	return !line.Off && (line.Event.Name != "" || line.Chosen.IsZero() || s.d.Cfg.Policy.Media.Codes(line.Chosen))
}

// digitOrder is what the media gateway has to do on the termination of the leg.
func (s *State) digitOrder(l Leg) digitOrder {
	line := s.lead(l)
	d := digitOrder{Tell: s.byInfo(l.Other()), Drop: s.byInfo(l), Stream: max(s.d.Media.Lead(side(l)), 0)}
	if d.Before = s.d.Orders[l].Before; d.Stream != s.d.Orders[l].Stream {
		d.Before = s.d.Orders[l].Stream
	}
	d.Named = d.Tell
	d.Ends = l == LegAccess && s.d.Failed != nil
	d.Tones = s.digitForm(l) == DigitsTone && !line.Chosen.IsZero() && line.Event.Name == "" && s.plays(l)
	return d
}

// orderDigits adds to a Modify what has changed about digits.
func (s *State) orderDigits(l Leg, d *iqv1.TerminationDescriptor) {
	want, told := s.digitOrder(l), &s.d.Orders[l]
	if want == *told {
		return
	}
	moved := want.Stream != told.Stream
	if want.Tell != told.Tell || want.Named != told.Named || want.Tones != told.Tones || want.Ends != told.Ends || moved && (want.Tell || want.Tones) {
		if d.Events = s.events(l); want.Tell {
			d.Events.RequestId = toldApart
		}
		if want.Ends {
			d.Events.Specs = append(d.Events.Specs, &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED})
		}
		if want.Tell || want.Tones {
			dtmf := &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_DTMF, Tones: want.Tones}
			if len(d.GetStreams()) > 1 {
				dtmf.StreamId = offeranswer.StreamID + uint32(want.Stream)
			}
			d.Events.Specs = append(d.Events.Specs, dtmf)
		}
	}
	if told.Drop && (moved || !want.Drop) {
		digitsOf(d, told.Stream, iqv1.LocalControl_DIGITS_PLAY)
	}
	if want.Drop && (moved || !told.Drop) {
		digitsOf(d, want.Stream, iqv1.LocalControl_DIGITS_DROP)
	}
	*told = want
}

// digitsOf says in a Modify what becomes of digits in a stream, from 0.
func digitsOf(d *iqv1.TerminationDescriptor, stream int, what iqv1.LocalControl_Digits) {
	for _, st := range d.GetStreams() {
		if st.GetStreamId() == offeranswer.StreamID+uint32(stream) {
			st.GetLocalControl().Digits = what
		}
	}
}

// leads reports whether an event of the MGW is about the stream that digits come from, or came from, or about the termination.
func (s *State) leads(l Leg, e *iqv1.ObservedEvent) bool {
	o, at := &s.d.Orders[l], e.GetStreamId()
	return at == 0 || at == offeranswer.StreamID+uint32(o.Stream) || at == offeranswer.StreamID+uint32(o.Before)
}

// ordersLeft reports whether the media gateway has yet to be told something about digits.
func (s *State) ordersLeft() bool {
	return s.digitOrder(LegAccess) != s.d.Orders[LegAccess] || s.digitOrder(LegCore) != s.d.Orders[LegCore]
}
