package callcore

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// reoffer is an offer inside the dialogs that is being answered; at most one at a time. Its stages, of which most need only the last:
//
//	streams   the MGW makes the streams that further lines ask for: the other side's offer needs their ports
//	tell      the other side gets an offer when the direction changes for it, and answers
//	restart   the MGW chooses new ICE credentials, or learns the new fingerprint, or the new SRTP key of the core peer, which
//	          may use it as soon as it has its answer
//	answer    the peer that offered gets its answer, the MGW the agreed state
//
// Without a Server nobody waits for an answer: the offer is ours, to a side that was told something that no longer holds.
type reoffer struct {
	Leg     Leg               `json:"leg"` // that offered
	Server  string            `json:"server,omitempty"`
	Method  string            `json:"method,omitempty"`
	Before  offeranswer.Media `json:"before"`            // to fall back to (RFC 3264 §8)
	Told    bool              `json:"told,omitempty"`    // the other side has agreed to its part
	Restart bool              `json:"restart,omitempty"` // a stage restart is to come, or under way
	Iq      bool              `json:"iq,omitempty"`      // it is under way
	Streams bool              `json:"streams,omitempty"` // a stage streams is under way
	Late    bool              `json:"late,omitempty"`    // the offer is ours, in a 2xx; its answer comes in the ACK
	Timer   grant             `json:"timer,omitzero"`    // that the 2xx gives (RFC 4028)
	Order   digitOrder        `json:"order,omitzero"`    // of Leg, which holds again when the MGW refuses the stage restart
}

// onReoffer takes an offer inside the dialog (RFC 3261 §14, RFC 3311).
func (s *State) onReoffer(e RequestIn) {
	refuse := func(status int, extra []headers.Field) { s.respond(e.Leg, e.Tx, e.Msg.Method, status, "", nil, extra) }
	if r := s.d.Reoffer; s.d.Phase != phaseUp || r != nil || s.reoffering() || s.d.Late || s.d.Server != "" {
		if s.d.Phase != phaseUp && e.Leg == s.d.Caller || r != nil && r.Server != "" && r.Leg == e.Leg {
			refuse(500, []headers.Field{{Name: "Retry-After", Value: "2"}}) // RFC 3261 §14.2: its own offer is not answered yet
			return
		}
		refuse(491, nil)
		return
	}
	if len(e.Msg.Body) == 0 {
		s.onBareReinvite(e)
		return
	}
	desc, err := describe(&e.Msg)
	if err != nil {
		s.refuseOffer(e, err)
		return
	}
	media, change, err := s.d.Media.Offer(side(e.Leg), desc)
	if err != nil {
		s.refuseOffer(e, err)
		return
	}
	if change.Tell && s.busy(e.Leg.Other()) {
		refuse(491, nil)
		return
	}
	if e.Msg.Method == "INVITE" {
		s.d.Legs[e.Leg].InviteSeq = s.d.Legs[e.Leg].RemoteSeq
	}
	s.d.Reoffer = &reoffer{
		Leg: e.Leg, Server: e.Tx, Method: e.Msg.Method, Before: s.d.Media, Restart: change.ICERestart || change.NewDTLS || change.NewKey,
		Timer: s.grantTimer(e.Leg, &e.Msg),
	}
	s.d.Media = media
	if media.New() {
		s.makeStreams()
		return
	}
	s.tellOrAnswer(change.Tell)
}

// tellOrAnswer is the next stage once the MGW has all streams.
func (s *State) tellOrAnswer(tell bool) {
	if tell {
		s.tellOther()
		return
	}
	s.restartOrAnswer()
}

// busy reports whether an INVITE of either direction is open on the leg: no other may be sent then (RFC 3261 §14.1).
func (s *State) busy(l Leg) bool {
	for _, c := range s.clientsInOrder() {
		if c.Leg == l && c.Method == "INVITE" {
			return true
		}
	}
	return s.d.Legs[l].Ack != ""
}

// reoffering reports whether an offer of ours is out.
func (s *State) reoffering() bool {
	for _, c := range s.clientsInOrder() {
		if c.Kind == "reoffer" || c.Kind == "refresh" && c.Method == "INVITE" {
			return true
		}
	}
	return false
}

// tellOther offers the changed direction to the other side.
func (s *State) tellOther() {
	o := s.d.Reoffer.Leg.Other()
	media, body, err := s.d.Media.MakeOffer(side(o), sdp.DirUnset)
	if err != nil {
		s.failReoffer(488, warning(err))
		return
	}
	s.d.Media = media
	s.offer(o, body)
}

// offer sends our offer in a re-INVITE.
func (s *State) offer(l Leg, body []byte) {
	m := s.inDialog(l, "INVITE")
	m.Set("Allow", allowOn(l))
	s.askTimer(l, &m)
	m.Set("Content-Type", "application/sdp")
	m.Body = body
	s.send(l, m, client{Method: "INVITE", Kind: "reoffer", MinSE: s.least(l)})
}

// onReofferAnswer takes the other side's final response to our offer.
func (s *State) onReofferAnswer(e ResponseIn, c client) {
	if e.Msg.Status < 300 {
		if t := contactOf(&e.Msg); t != "" {
			s.d.Legs[e.Leg].Target = t
		}
		s.ack(e.Leg, c.Seq)
		s.takeTimer(e.Leg, &e.Msg)
	}
	r := s.d.Reoffer
	if r == nil {
		return
	}
	if s.longer(e.Leg, &e.Msg, c) {
		s.offer(e.Leg, s.d.Media.Line(side(e.Leg)).Said)
		return
	}
	if e.Msg.Status >= 300 {
		if r.Server == "" && e.Msg.Status == 491 {
			s.start(timerSettle, s.glareWait(e.Leg))
		}
		s.failReoffer(e.Msg.Status, s.pass(e.Leg, &e.Msg))
		return
	}
	desc, err := describe(&e.Msg)
	if err == nil {
		var media offeranswer.Media
		if media, err = s.d.Media.Answer(side(e.Leg), desc); err == nil {
			s.d.Media = media
		}
	}
	if err != nil { // it has agreed to something that we do not understand (RFC 3261 §13.2.2.4)
		s.refuseReoffer(488, warning(err))
		s.end(CauseMedia, 488, sipReason(488, "Answer not usable"), nil)
		return
	}
	r.Told = true
	s.restartOrAnswer()
}

// glareWait is how long to wait after a 491 (RFC 3261 §14.1); the middle of the range, as both sides have another range.
func (s *State) glareWait(l Leg) time.Duration {
	if l == s.d.Caller { // the caller made the Call-ID
		return time.Second
	}
	return 3 * time.Second
}

// restartOrAnswer is the next stage once the other side knows.
func (s *State) restartOrAnswer() {
	r := s.d.Reoffer
	switch {
	case r.Server == "":
		s.d.Media, s.d.Reoffer = s.d.Media.Revert(side(r.Leg), r.Before), nil
		s.agreed()
	case r.Restart:
		r.Iq = true
		r.Order = s.d.Orders[r.Leg]
		s.modify("restart", offeranswer.Open, r.Leg)
	default:
		s.answerReoffer()
	}
}

// restarted takes the MGW's answer to the stage restart.
func (s *State) restarted(e IqReply, fail *IqError) {
	r := s.d.Reoffer
	if r == nil || !r.Iq {
		return
	}
	if fail == nil {
		media, err := s.takeRestart(r.Leg, e)
		if err == nil {
			s.d.Media = media
			s.answerReoffer()
			return
		}
		fail = &IqError{Text: "incomplete reply"}
	}
	if fail.Code != 0 {
		r.Iq = false // nothing was done
		s.d.Orders[r.Leg] = r.Order
		s.failReoffer(gwerr.Code(fail.Code).SIP(), nil)
		return
	}
	s.refuseReoffer(503, nil) // what the MGW has done is not known: nothing can be said to the browser any more
	s.end(CauseMediaGateway, 503, sipReason(503, "Media gateway: no answer to an ICE restart or a new key"), nil)
}

func (s *State) takeRestart(l Leg, e IqReply) (offeranswer.Media, error) {
	cmds := e.Reply.GetActions()[0].GetCommands()
	if len(cmds) == 0 {
		return s.d.Media, offeranswer.ErrReply
	}
	return s.d.Media.Resolve(side(l), cmds[0].GetResolved())
}

// answerReoffer answers the offer and tells the MGW.
func (s *State) answerReoffer() {
	r := s.d.Reoffer
	media, body, err := s.d.Media.MakeAnswer(side(r.Leg))
	if err != nil {
		s.failReoffer(488, warning(err))
		return
	}
	if _, lost := s.d.Timers[timerConsent]; lost && r.Restart { // the new pair has its time, too (standards REL-05)
		s.start(timerConsent, s.policy(s.d.Cfg.Policy.ConsentGrace, defaultConsentGrace))
	}
	s.d.Media, s.d.Reoffer = media, nil
	s.respond(r.Leg, r.Server, r.Method, 200, "", body, s.answerTimer(r.Leg, r.Timer))
	s.agreed()
}

// agreed tells the MGW what has been agreed in the call.
func (s *State) agreed() {
	s.d.Legs[LegAccess].Refused, s.d.Legs[LegCore].Refused = sdp.DirUnset, sdp.DirUnset
	s.modify("modify", offeranswer.Open, LegAccess, LegCore)
	s.d.Rec.AccessCodec, s.d.Rec.CoreCodec = codecText(s.d.Media, offeranswer.Access), codecText(s.d.Media, offeranswer.Core)
	s.d.Rec.MediaPath, s.d.Rec.MediaPathReason = s.d.Media.Path()
}

// failReoffer refuses the offer and tells the MGW what holds then.
func (s *State) failReoffer(status int, extra []headers.Field) {
	if r := s.d.Reoffer; s.refuseReoffer(status, extra) && (r.Told || r.Iq || s.ordersLeft()) {
		s.modify("modify", offeranswer.Open, LegAccess, LegCore)
	}
}

// refuseReoffer refuses the offer; everything stays as it was (RFC 3264 §8), but for what the other side has agreed to meanwhile. False: there
// was none.
func (s *State) refuseReoffer(status int, extra []headers.Field) bool {
	r := s.d.Reoffer
	if r == nil {
		return false
	}
	s.d.Reoffer = nil
	if s.d.Media = s.d.Media.Revert(side(r.Leg), r.Before); !r.Told {
		s.d.Media = s.d.Media.Revert(side(r.Leg.Other()), r.Before)
	}
	s.respond(r.Leg, r.Server, r.Method, status, "", nil, extra)
	return true
}

// cancelReoffer takes the CANCEL of a re-INVITE (RFC 3261 §9.2). Once the MGW restarts ICE the answer is about to come, and comes.
func (s *State) cancelReoffer(tx string) {
	r := s.d.Reoffer
	if r == nil || r.Server != tx || r.Iq {
		return
	}
	s.respond(r.Leg, r.Server, r.Method, 487, "", nil, nil)
	r.Server = "" // what the other side makes of our offer still matters
	for id, c := range s.clientsInOrder() {
		if c.Kind == "reoffer" {
			s.emit(SendCancel{Leg: c.Leg, Tx: id})
		}
	}
}

// settle offers to a side what holds now, when that is not what was agreed with it: a fork that answered with another direction, an
// offer that was cancelled or failed after the other side had agreed to it. A side that refuses is left alone until something changes.
func (s *State) settle() {
	if s.d.Phase != phaseUp || s.d.Reoffer != nil || s.reoffering() || s.d.Late || s.d.Server != "" {
		return
	}
	if _, waits := s.d.Timers[timerSettle]; waits {
		return
	}
	for _, l := range []Leg{LegAccess, LegCore} {
		want := s.d.Media.Wanted(side(l))
		if !s.d.Media.Stale(side(l)) || s.busy(l) || s.d.Legs[l].Refused == want {
			continue
		}
		s.d.Legs[l].Refused = want // unless it agrees
		s.d.Reoffer = &reoffer{Leg: l.Other(), Before: s.d.Media}
		s.tellOther()
		return
	}
}
