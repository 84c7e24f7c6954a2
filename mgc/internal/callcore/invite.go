package callcore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// onInvite begins the call with its initial INVITE.
func (s *State) onInvite(e RequestIn) {
	d := &s.d
	d.Caller, d.Invite, d.Server = e.Leg, e.Msg.Clone(), e.Tx
	d.Rec.Start, d.Rec.FromAccess = s.now, e.Leg == LegAccess
	d.Rec.Caller, d.Rec.Callee = uriOf(e.Msg.Get("From")), uriOf(e.Msg.Get("To"))
	s.openUAS(e.Leg, &e.Msg)
	d.Rec.CallIDs[e.Leg] = d.Legs[e.Leg].CallID
	if n, ok := headers.MaxForwards(&e.Msg); ok && n == 0 {
		s.refuse(483, nil)
		return
	}
	if !headers.BreadthLeft(&e.Msg) {
		s.refuse(440, nil)
		return
	}
	if tags := s.unknownTags(e.Leg, &e.Msg); len(tags) > 0 {
		s.refuse(420, unsupported(tags))
		return
	}
	if t := headers.MediaType(&e.Msg); len(e.Msg.Body) > 0 && t != sdpType {
		s.refuse(415, []headers.Field{{Name: "Accept", Value: sdpType}}) // RFC 3261 §8.2.3
		return
	}
	if f := s.tooShort(&e.Msg); f != nil {
		s.refuse(422, f)
		return
	}
	if err := s.firstOffer(&e.Msg); err != nil {
		s.refuseMedia(err)
		return
	}
	d.Phase = phaseAdd
	s.add()
}

// sdpType is the one kind of body that is understood.
const sdpType = "application/sdp"

// unsupported names the extensions of a Require that are not understood: all of them (RFC 3261 §8.2.2.3).
func unsupported(tags []string) []headers.Field {
	return []headers.Field{{Name: "Unsupported", Value: strings.Join(tags, ", ")}}
}

func uriOf(value string) string {
	a, err := headers.ParseAddress(value)
	if err != nil {
		return ""
	}
	return a.URI
}

func (s *State) firstOffer(m *headers.Msg) error {
	ids := s.id()
	s.d.Media = offeranswer.New(s.mediaPolicy(), sessID(ids[:12]), sessID(ids[12:24]), s.id())
	if len(m.Body) == 0 {
		if s.d.Late = s.d.Caller == LegCore; s.d.Late {
			return nil
		}
		return &offeranswer.Unacceptable{Code: 399, Text: "an INVITE without offer is not supported"}
	}
	desc, err := describe(m)
	if err != nil {
		return err
	}
	s.d.Media, _, err = s.d.Media.Offer(side(s.d.Caller), desc)
	return err
}

func sessID(hex string) uint64 {
	var n uint64
	for _, c := range []byte(hex) {
		n = n<<4 | uint64(strings.IndexByte("0123456789abcdef", c))
	}
	return n
}

// describe parses the body of a message as SDP.
func describe(m *headers.Msg) (*sdp.Description, error) {
	if t := headers.MediaType(m); t != sdpType {
		return nil, &offeranswer.Unacceptable{Code: 304, Text: "application/sdp expected"}
	}
	d, err := sdp.Parse(m.Body)
	if err != nil {
		u := &offeranswer.Unacceptable{Code: 399, Text: "session description not understood"}
		if e := (*sdp.ParseError)(nil); errors.As(err, &e) && e.Line > 0 { // no more of it: the text goes to either peer
			u.Text += fmt.Sprintf(", line %d", e.Line)
		}
		return nil, u
	}
	return d, nil
}

// refuse ends the call before anybody was called.
func (s *State) refuse(status int, extra []headers.Field) {
	s.answerCaller(status, "", nil, extra)
	s.end(CauseRefused, status, "", nil)
}

// refuseMedia refuses the caller's offer, and tells what would be acceptable (standards MO-09).
func (s *State) refuseMedia(err error) {
	s.answerCaller(488, "", s.acceptable(s.d.Caller, &s.d.Invite), warning(err))
	s.end(CauseMedia, 488, err.Error(), nil)
}

// acceptable describes the media that the peer of the leg may offer; nil when the message is no offer.
func (s *State) acceptable(l Leg, m *headers.Msg) []byte {
	if len(m.Body) == 0 {
		return nil
	}
	return s.d.Cfg.Policy.Media.Acceptable(side(l))
}

// refuseOffer refuses an offer inside the dialog likewise; the session goes on as it was (RFC 3261 §14.2).
func (s *State) refuseOffer(e RequestIn, err error) {
	s.respond(e.Leg, e.Tx, e.Msg.Method, 488, "", s.acceptable(e.Leg, &e.Msg), warning(err))
}

// warning says in a Warning field (RFC 3261 §20.43) why media was not acceptable.
func warning(err error) []headers.Field {
	u := &offeranswer.Unacceptable{Code: 399, Text: "media not acceptable"}
	_ = errors.As(err, &u)
	return []headers.Field{{Name: "Warning", Value: fmt.Sprintf("%d isthmus %s", u.Code, headers.Quote(u.Text))}}
}

// refuseForGateway answers the caller for an Iq failure by the table of H.248 codes.
func (s *State) refuseForGateway(e *IqError) {
	status := 503
	if e.Code != 0 {
		status = gwerr.Code(e.Code).SIP()
	}
	var extra []headers.Field
	if status == 503 {
		extra = append(extra, headers.Field{Name: "Retry-After", Value: fmt.Sprint(max(1, s.d.Cfg.Policy.RetryAfter))})
	}
	s.answerCaller(status, "", nil, extra)
	s.end(CauseMediaGateway, status, sipReason(status, "Media gateway: "+gwerr.Code(e.Code).String()), nil)
}

// answerCaller gives the initial INVITE a response; a final one closes it.
func (s *State) answerCaller(status int, reason string, body []byte, extra []headers.Field) {
	if s.d.Server == "" {
		return
	}
	if body != nil && status < 300 && (s.d.Prov.Done || status < 200 && s.unacknowledged()) {
		body = nil // it is in a reliable response already (standards MT-07)
	}
	switch {
	case status >= 300:
		s.dropProvisional()
	case status >= 200 && s.unacknowledged():
		s.d.Prov.Held = &held{Body: body, Extra: extra} // RFC 3262 §3
		return
	case status >= 200:
		s.dropProvisional()
		s.d.Legs[s.d.Caller].Up = true
		extra = append(slices.Clone(extra), s.answerTimer(s.d.Caller, s.grantTimer(s.d.Caller, &s.d.Invite))...)
	}
	if s.d.Caller == LegCore && status > 100 && status < 300 {
		extra = append(slices.Clone(extra), s.d.Cfg.Outbound.Answer...)
	}
	s.respond(s.d.Caller, s.d.Server, "INVITE", status, reason, body, extra)
	if status >= 200 {
		s.d.Server = ""
		s.d.Rec.Status = status
	}
}

// inviteCallee sends the INVITE on the other leg with our offer.
func (s *State) inviteCallee() {
	l := s.d.Caller.Other()
	m, body, err := s.d.Media.MakeOffer(side(l), sdp.DirUnset)
	if err != nil {
		s.refuseMedia(err)
		return
	}
	s.d.Media = m
	s.d.Phase = phaseCall
	s.openUAC(l)
	s.d.Rec.CallIDs[l] = s.d.Legs[l].CallID
	s.sendInvite(l, body)
	s.start(timerNoAnswer, s.policy(s.d.Cfg.Policy.NoAnswer, 3*time.Minute))
}

// sendInvite sends the initial INVITE with our offer; again after a 422.
func (s *State) sendInvite(l Leg, body []byte) {
	req := s.inDialog(l, "INVITE")
	if n, ok := headers.MaxForwards(&s.d.Invite); ok {
		req.Set("Max-Forwards", fmt.Sprint(n-1))
	}
	req.Fields = append(req.Fields, s.pass(s.d.Caller, &s.d.Invite)...)
	req.Fields = append(req.Fields, s.d.Cfg.Outbound.Fields...)
	req.Set("Allow", allowOn(l))
	s.askCore(l, &req)
	s.askTimer(l, &req)
	takesTrickle(l, &req)
	req.Set("Content-Type", "application/sdp")
	req.Body = body
	s.send(l, req, client{Method: "INVITE", Kind: "initial"})
	blank := s.d.Legs[l]
	blank.Digits = nil
	s.d.Forks = forks{Blank: &blank}
}

// askCore adds to the initial INVITE towards the core what we can do there.
func (s *State) askCore(l Leg, m *headers.Msg) {
	if l != LegCore {
		return
	}
	p := &s.d.Cfg.Policy
	if p.Reliable {
		headers.AddToken(m, "Supported", "100rel")
	}
	if p.Reliable && s.d.Media.Line(offeranswer.Core).Pre.InUse() {
		headers.AddToken(m, "Supported", "precondition")
	}
	if p.EarlyMedia == EarlyMediaAuthorised {
		m.Set("P-Early-Media", "supported")
	}
}

// tryAgain sends the initial INVITE anew with the longer session interval that a 422 asks for (RFC 4028 §7.3); false: it does not.
func (s *State) tryAgain(l Leg, m *headers.Msg) bool {
	least, ok := headers.MinSE(m)
	if g := &s.d.Legs[l]; !ok || s.d.Phase != phaseCall || least <= max(g.Timer.Min, s.d.Cfg.Policy.lowest()) {
		return false
	}
	blank := s.d.Forks.Blank
	blank.Timer.Min = least
	s.hear(l, "")
	waiting := s.d.Legs[l].Digits
	s.d.Legs[l] = *blank
	s.d.Legs[l].Digits = waiting
	s.sendInvite(l, s.d.Media.Line(side(l)).Said)
	return true
}

// onInitial takes a response of the callee to the initial INVITE.
func (s *State) onInitial(e ResponseIn, c client) {
	l, m := e.Leg, &e.Msg
	switch {
	case m.Status <= 100:
	case m.Status < 200:
		if s.d.Phase == phaseCall && s.turn(l, m) && s.acknowledge(l, m, c.Seq) {
			s.progress(l, m)
		}
	case m.Status < 300:
		s.answered(l, m, c.Seq)
	case m.Status == 422 && s.tryAgain(l, m):
	case s.d.Phase == phaseCall:
		extra := s.pass(l, m)
		if m.Status < 400 {
			for _, c := range m.Values("Contact") {
				extra = append(extra, headers.Field{Name: "Contact", Value: c})
			}
		}
		if s.failAloud(m, extra) {
			return
		}
		s.answerCaller(m.Status, m.Reason, nil, extra)
		s.end(CauseRejected, m.Status, m.Get("Reason"), nil)
	}
}

// progress forwards a provisional response; the caller's description is made once and stays (standards MO-14).
func (s *State) progress(l Leg, m *headers.Msg) {
	if l == LegCore {
		s.earlyMedia(l, m)
		s.ringback(l, m)
	}
	body := s.d.Early
	if s.d.Late && headers.HasToken(&s.d.Invite, "Require", "100rel") && s.d.Prov.Last == 0 { // RFC 3262 §5: the first one carries the offer
		if offer, err := s.lateOffer(); err == nil {
			s.d.Early, body = offer, offer
		}
	}
	s.answerCaller(m.Status, m.Reason, body, s.pass(l, m))
}

// earlyMedia takes the description of a provisional response, and lets its media through as far as the policy and P-Early-Media
// allow: the latest authorised fork is heard (standards MO-10, MO-14).
func (s *State) earlyMedia(l Leg, m *headers.Msg) {
	g, tag, heard := &s.d.Legs[l], headers.ToTag(m), s.d.Forks.Heard
	told := headers.ReadEarlyMedia(m)
	if told.Present {
		g.Early = told
	}
	described := len(m.Body) > 0 && !g.Answered
	if !described && !told.Present {
		return
	}
	s.hear(l, tag)
	if described {
		if s.early(l, m) != nil {
			s.hear(l, heard)
			return
		}
		g.Answered = headers.RSeq(m) != 0
	}
	gate := s.earlyGate(g)
	if !s.d.Media.Line(side(l)).Agreed() || gate == offeranswer.Closed && heard != "" && heard != tag {
		s.hear(l, heard) // no media there, or not authorised: who was heard before still is
		return
	}
	s.modify("modify", gate, LegAccess, LegCore)
}

// earlyGate says what the fork's early media may do. What P-Early-Media said holds until it says otherwise (RFC 5009 §8).
func (s *State) earlyGate(g *leg) offeranswer.Gate {
	allowed := g.Early
	switch {
	case s.d.Cfg.Policy.EarlyMedia == EarlyMediaNever:
		return offeranswer.Closed
	case s.d.Cfg.Policy.EarlyMedia == EarlyMediaAlways && !allowed.Present:
		allowed.Receives = true
	}
	switch {
	case allowed.Receives && allowed.Sends:
		return offeranswer.Open
	case allowed.Receives:
		return offeranswer.EarlyAccess
	}
	return offeranswer.Closed
}

// early takes an answer of the callee and makes the caller's, or keeps the one it has.
func (s *State) early(l Leg, m *headers.Msg) error {
	desc, err := describe(m)
	if err != nil {
		return err
	}
	media, err := s.d.Media.Answer(side(l), desc)
	if err != nil {
		return err
	}
	if s.d.Early == nil && !s.d.Late {
		var body []byte
		if media, body, err = media.MakeAnswer(side(s.d.Caller)); err != nil {
			return err
		}
		s.d.Early = body
	}
	s.d.Media = media
	return nil
}

// answered takes a 2xx of the callee.
func (s *State) answered(l Leg, m *headers.Msg, inviteSeq uint32) {
	g := &s.d.Legs[l]
	if g.Up || s.d.Phase != phaseCall { // a repetition, a further fork, or too late
		s.late2xx(l, m)
		return
	}
	s.turn(l, m)
	s.hear(l, headers.ToTag(m))
	s.confirm(l, m)
	s.forgetForks()
	s.ack(l, inviteSeq)
	s.stop(timerNoAnswer)
	if err := s.answeredMedia(l, m); err != nil {
		s.answerCaller(488, "", nil, warning(err))
		s.end(CauseMedia, 488, sipReason(488, "Answer not usable"), nil)
		return
	}
	s.d.Phase = phaseUp
	s.d.Rec.Answer = s.now
	s.takeTimer(l, m)
	s.answerCaller(200, "", s.d.Early, s.pass(l, m))
	s.modify("modify", offeranswer.Open, LegAccess, LegCore)
	s.d.Rec.AccessCodec, s.d.Rec.CoreCodec = codecText(s.d.Media, offeranswer.Access), codecText(s.d.Media, offeranswer.Core)
	s.d.Rec.MediaPath, s.d.Rec.MediaPathReason = s.d.Media.Path()
	if !s.d.Legs[LegAccess].Secure {
		s.start(timerSetUp, s.policy(s.d.Cfg.Policy.SetUp, 15*time.Second))
	}
	s.watchSilence()
	s.releaseDigits(LegAccess)
	s.releaseDigits(LegCore)
}

// answeredMedia takes the answer of a 2xx, when the dialog has none yet, and makes the caller's description; an error: no media.
func (s *State) answeredMedia(l Leg, m *headers.Msg) error {
	if len(m.Body) > 0 && !s.d.Legs[l].Answered {
		if err := s.early(l, m); err != nil {
			return err
		}
	}
	if !s.d.Media.Line(side(l)).Agreed() {
		return errNoAnswer
	}
	if s.d.Late && s.d.Early == nil {
		body, err := s.lateOffer()
		if err != nil {
			return err
		}
		s.d.Early = body
	}
	if s.d.Early == nil {
		return errNoAnswer
	}
	return nil
}

var errNoAnswer = &offeranswer.Unacceptable{Code: 399, Text: "no description in the answer"}

func codecText(m offeranswer.Media, sd offeranswer.Side) string {
	one := m.Line(sd).Only(max(m.Lead(sd), 0))
	c := one.Chosen
	if c.IsZero() {
		return ""
	}
	t := fmt.Sprintf("%s/%d", c.Name, c.ClockRate)
	if c.ChannelCount() > 1 {
		t += fmt.Sprintf("/%d", c.ChannelCount())
	}
	return t
}

// ack acknowledges a 2xx (RFC 3261 §13.2.2.4).
func (s *State) ack(l Leg, seq uint32) {
	s.emit(SendRequest{Leg: l, Msg: s.request(l, "ACK", seq)})
}

// late2xx acknowledges a 2xx that is repeated, and ends the dialog of one that is not wanted (RFC 3261 §13.2.2.4).
func (s *State) late2xx(l Leg, m *headers.Msg) {
	g := &s.d.Legs[l]
	tag := headers.ToTag(m)
	cs, err := headers.ParseCSeq(m.Get("CSeq"))
	if err != nil {
		return
	}
	if g.Up && tag == tagOf(g.Remote) {
		s.ack(l, cs.Seq)
		return
	}
	known := slices.Contains(g.Forks, tag)
	saved := *g
	*g = s.fork(l, tag, cs.Seq)
	s.confirm(l, m)
	s.ack(l, cs.Seq)
	if !known {
		g.Gone, g.Ack = false, ""
		s.bye(l, sipReason(487, "Call is over"))
		saved.Forks = append(slices.Clip(saved.Forks), tag)
	}
	*g = saved // the dialog in use, if any, stays
}

func tagOf(value string) string {
	a, err := headers.ParseAddress(value)
	if err != nil {
		return ""
	}
	return a.Params.Value("tag")
}
