package callcore

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// user is the media side of an agent.
type user interface {
	Offer(names []string) (*sdp.Description, peertest.Expect)
	TakeOffer(raw []byte) (*sdp.Description, sdp.Direction, error)
	TakeAnswer(raw []byte, e peertest.Expect) (sdp.Direction, error)
	Keep()
	Restore()
	Forget()
}

// agent is one SIP user agent on a leg: a legal one, so it never has two offers open and answers glare with 491 (RFC 3261 §14).
type agent struct {
	leg   Leg
	r     *rand.Rand
	user  user
	web   *peertest.Browser // one of these is the user
	phone *peertest.Phone
	lines *peertest.Lines // further audio lines; nil: it has one

	callID, tag, ourTag string
	seq                 uint32 // of its last request

	open    string // server transaction of its INVITE or UPDATE with an offer that has no final response
	method  string // of that
	openSeq uint32
	expect  peertest.Expect
	answer  []byte // of the initial INVITE, which 18x and 2xx repeat
	given   []byte // its own answer to the initial INVITE
	dir     sdp.Direction
	acks    []uint32 // CSeq of 2xx that it has still to acknowledge
	waits   bool     // its own 2xx to INVITE waits for our ACK
	up      bool
	over    bool // BYE sent or received
	byes    int  // BYE received

	update   bool              // its Allow lists UPDATE
	info     bool              // its Allow lists INFO
	noDigits int               // how it refuses INFO with digits; 1: it takes them, 0: not known yet
	invite   uint32            // CSeq of its initial INVITE
	bare     bool              // its INVITE has no offer: ours comes in a response
	replies  map[uint32][]byte // answers that its ACKs bring, by CSeq
	mute     bool              // its first exchange has failed: it offers nothing any more
	wasDir   sdp.Direction     // dir before our offer to its INVITE
	mid      string            // server transaction of its UPDATE or PRACK with an offer before the call is answered
	midOffer peertest.Expect   // of that
	rel      reliability
	sess     session
	pre      reservation
}

func newAgent(r *rand.Rand, l Leg, callID, tag string, media offeranswer.Policy) *agent {
	a := &agent{leg: l, r: r, callID: callID, tag: tag, update: peertest.Chance(r, 70), info: peertest.Chance(r, 60)}
	if l == LegAccess {
		a.web = peertest.NewBrowser(r)
		a.user = a.web
	} else {
		a.phone = peertest.NewPhone(r, string(media.SRTP))
		a.user = a.phone
	}
	if media.Streams > 1 {
		a.lines = peertest.NewLines(r, a.web, a.phone, 2)
		a.user = a.lines
	}
	return a
}

func (a *agent) peer() *peertest.Peer {
	if a.web != nil {
		return &a.web.Peer
	}
	return &a.phone.Peer
}

func names(l Leg) []string {
	p := offeranswer.DefaultPolicy()
	if l == LegAccess {
		return p.Access
	}
	return p.Core
}

// overhear notes an offer that it refuses unread.
func (a *agent) overhear(body []byte) error {
	if a.lines != nil {
		return a.lines.Overhear(body)
	}
	return a.peer().Overhear(body)
}

func (a *agent) uri() string {
	if a.leg == LegAccess {
		return "sip:alice@df7.invalid;transport=ws"
	}
	return "sip:bob@10.9.0.7:5060"
}

// request makes its next request.
func (a *agent) request(method string, body []byte) headers.Msg {
	if method != "ACK" {
		a.seq++
	}
	m := headers.Msg{Method: method, RequestURI: "sip:x@isthmus.example", Body: body}
	to := "<sip:other@x.example>"
	if a.ourTag != "" {
		to += ";tag=" + a.ourTag
	}
	m.Add("From", "<sip:me@x.example>;tag="+a.tag)
	m.Add("To", to)
	m.Add("Call-ID", a.callID)
	m.Add("CSeq", headers.CSeq{Seq: a.seq, Method: method}.String())
	m.Add("Max-Forwards", fmt.Sprint(1+a.r.IntN(70)))
	m.Add("Contact", "<"+a.uri()+">")
	m.Add("Allow", a.allows())
	if len(body) > 0 {
		m.Add("Content-Type", "application/sdp")
	}
	return m
}

func (a *agent) allows() string {
	list := "INVITE, ACK, BYE"
	if a.update {
		list += ", UPDATE"
	}
	if a.info {
		list += ", INFO"
	}
	return list
}

// offers makes a request with its next offer.
func (a *agent) offers(method, tx string) headers.Msg {
	d, e := a.user.Offer(names(a.leg))
	a.expect, a.open, a.method = e, tx, method
	m := a.request(method, d.Marshal())
	a.openSeq = a.seq
	return m
}

// mayOffer reports whether RFC 3261 §14.1 lets it send an offer now.
func (a *agent) mayOffer() bool {
	return a.up && !a.over && !a.mute && a.open == "" && a.mid == "" && !a.waits && len(a.acks) == 0
}

// mayOfferEarly reports whether RFC 3311 §5.1 lets it send an offer in its early dialog: the first exchange is over and acknowledged.
func (a *agent) mayOfferEarly() bool {
	return !a.up && !a.over && !a.mute && a.mid == "" && a.rel.settled && !a.rel.failed
}

// response makes a response to one of our requests; an answer when sdp is given.
func (a *agent) response(req *headers.Msg, status int, body []byte) headers.Msg {
	m := headers.NewResponse(req, status, "")
	if headers.ToTag(&m) == "" {
		m.Set("To", m.Get("To")+";tag="+a.tag)
	}
	m.Add("Contact", "<"+a.uri()+">")
	if req.Method == "INVITE" {
		m.Add("Allow", a.allows())
	}
	if len(body) > 0 {
		m.Add("Content-Type", "application/sdp")
		m.Body = body
	}
	return m
}

// hears takes a response to its offer.
func (a *agent) hears(tx string, m *headers.Msg) error {
	switch {
	case tx == a.mid:
		return a.hearsMid(m)
	case tx != a.open:
		return nil
	}
	if len(m.Body) > 0 && m.Status < 300 {
		take := a.takeAnswer
		if a.bare {
			take = a.takeLateOffer
		}
		if err := take(m); err != nil {
			return err
		}
	}
	if m.Status < 200 {
		return nil
	}
	if m.Status < 300 && a.answer == nil && !(a.rel.settled && !a.up) {
		return fmt.Errorf("%d without description", m.Status)
	}
	a.open, a.answer = "", nil
	if m.Status >= 300 {
		if !a.bare {
			a.user.Forget()
			a.user.Restore()
		}
		a.bare, a.mute = false, !a.up
		return nil
	}
	a.bare = false
	if a.method == "INVITE" {
		a.acks = append(a.acks, a.openSeq)
	}
	if !a.up {
		a.up, a.ourTag = true, headers.ToTag(m)
	}
	return nil
}

// hearsMid takes the final response to its offer in an early dialog.
func (a *agent) hearsMid(m *headers.Msg) error {
	a.mid = ""
	if m.Status >= 300 {
		a.user.Forget()
		a.user.Restore()
		return nil
	}
	if a.midOffer.Fails != "" {
		return fmt.Errorf("%d to an offer with %s", m.Status, a.midOffer.Fails)
	}
	dir, err := a.user.TakeAnswer(m.Body, a.midOffer)
	if err != nil {
		return fmt.Errorf("%s does not take the answer in its early dialog: %w", a.leg, err)
	}
	a.dir = dir
	return nil
}

func (a *agent) takeAnswer(m *headers.Msg) error {
	if a.answer != nil {
		if string(a.answer) != string(m.Body) {
			return fmt.Errorf("%d repeats the answer with another text (RFC 3264, RFC 6337 §3.1.1)", m.Status)
		}
		return nil
	}
	if a.expect.Fails != "" {
		return fmt.Errorf("%d to an offer with %s", m.Status, a.expect.Fails)
	}
	dir, err := a.user.TakeAnswer(m.Body, a.expect)
	if err != nil {
		return fmt.Errorf("%s does not take the answer in %d: %w", a.leg, m.Status, err)
	}
	a.answer, a.dir = slices.Clone(m.Body), dir
	return nil
}

// takeLateOffer takes our offer to an INVITE that had none; the answer goes into the PRACK or the ACK.
func (a *agent) takeLateOffer(m *headers.Msg) error {
	if a.answer != nil {
		return fmt.Errorf("%d repeats our offer (RFC 6337 §3.1.1)", m.Status)
	}
	a.wasDir = a.dir
	body, err := a.takesOffer(m.Body)
	if err != nil {
		return err
	}
	if a.answer = m.Body; a.replies == nil {
		a.replies = map[uint32][]byte{}
	}
	a.replies[a.openSeq] = body
	return nil
}

// takesOffer answers an offer of ours; nil: it refuses.
func (a *agent) takesOffer(body []byte) ([]byte, error) {
	ans, dir, err := a.user.TakeOffer(body)
	if err != nil {
		return nil, fmt.Errorf("%s does not take our offer: %w", a.leg, err)
	}
	if ans == nil {
		a.user.Restore()
		return nil, nil
	}
	offered, err := sdp.Parse(body)
	if err != nil {
		return nil, err
	}
	a.dir = offered.DirectionOf(&offered.Media[a.peer().Audio]).And(dir.Reverse())
	return ans.Marshal(), nil
}
