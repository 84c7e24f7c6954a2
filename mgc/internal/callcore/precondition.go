package callcore

import (
	"slices"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Preconditions (RFC 3312, RFC 4032): the MGC meets them on behalf of the browser, whose access network reserves nothing. The browser
// is alerted only when the caller has its resources (standards PRE-04, MT-04) and never sees a line of them (PRE-09).

// unknownTags returns the option tags that a request requires and we do not have on the leg (RFC 3261 §8.2.2.3).
func (s *State) unknownTags(l Leg, m *headers.Msg) []string {
	known := s.optionTags(l)
	return slices.DeleteFunc(headers.List(m, "Require"), func(t string) bool {
		return slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, t) })
	})
}

// optionTags returns what a request's Require may hold.
func (s *State) optionTags(l Leg) []string {
	tags := []string{"timer"}
	if l == LegCore {
		tags = append(tags, "100rel", "replaces")
		if s.d.Cfg.Policy.Media.Preconditions.Answers() {
			tags = append(tags, "precondition")
		}
	} else {
		tags = append(tags, trickleICE)
	}
	return tags
}

// mediaPolicy is the policy of this call: preconditions cannot do without reliable provisional responses (RFC 3312 §11), nor are they
// begun in an offer to a caller that made none.
func (s *State) mediaPolicy() offeranswer.Policy {
	p := s.d.Cfg.Policy.Media
	inv := &s.d.Invite
	reliable := s.d.Cfg.Policy.Reliable
	if s.d.Caller == LegCore {
		reliable = headers.HasToken(inv, "Require", "100rel") || reliable && headers.HasToken(inv, "Supported", "100rel")
		reliable = reliable && len(inv.Body) > 0
	}
	if !reliable {
		p.Preconditions = offeranswer.PreconditionsOff
	}
	return p
}

// awaitReservation answers the core's offer and waits when the caller has not reserved yet; false: nothing to wait for.
func (s *State) awaitReservation() bool {
	pre := &s.d.Media.Line(offeranswer.Core).Pre
	if s.d.Caller != LegCore || !pre.InUse() || pre.Met() {
		return false
	}
	if pre.Failed() {
		s.failReservation()
		return true
	}
	media, body, err := s.d.Media.MakeAnswer(offeranswer.Core)
	if err != nil {
		s.refuseMedia(err)
		return true
	}
	s.d.Media, s.d.Early, s.d.Phase = media, body, phaseReserve
	s.answerCaller(183, "", body, []headers.Field{{Name: "Require", Value: "precondition"}})
	s.start(timerReserve, s.policy(s.d.Cfg.Policy.Reserve, 30*time.Second))
	return true
}

// reserved calls the browser once the caller's resources are there.
func (s *State) reserved() {
	pre := &s.d.Media.Line(offeranswer.Core).Pre
	switch {
	case s.d.Phase != phaseReserve:
	case pre.Failed():
		s.failReservation()
	case pre.Met() && !s.unacknowledged():
		s.stop(timerReserve)
		s.inviteCallee()
	}
}

// failReservation refuses the call for a precondition that is not met (RFC 3312 §8).
func (s *State) failReservation() {
	line := s.d.Media.Line(offeranswer.Core)
	d := &sdp.Description{Origin: sdp.Origin{ID: line.ID, Version: line.Version + 1, Addr: sdp.AddressOf(line.Local.Addr())}}
	m := sdp.Media{Type: "audio", Proto: "RTP/AVP", Formats: []string{"0"}}
	m.Other = line.Pre.Refusal()
	d.Media = []sdp.Media{m}
	s.answerCaller(580, "", d.Marshal(), nil)
	s.end(CauseRefused, 580, sipReason(580, "Precondition failure"), nil)
}
