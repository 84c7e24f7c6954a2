package callcore

import (
	"fmt"
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

const defaultConsentGrace = 15 * time.Second

// leg is one dialog (RFC 3261 §12).
type leg struct {
	CallID    string             `json:"call_id,omitempty"`
	Local     string             `json:"local,omitempty"`    // our From or To value, with our tag
	Remote    string             `json:"remote,omitempty"`   // the peer's, with its tag once known
	Tag       string             `json:"tag"`                // ours
	Contact   string             `json:"contact"`            // our URI
	Target    string             `json:"target,omitempty"`   // the peer's Contact URI
	Retarget  uint8              `json:"retarget,omitempty"` // how often the peer may yet be told that Contact has changed; 0: it knows, or does not want to
	Routes    []string           `json:"routes,omitempty"`
	LocalSeq  uint32             `json:"lseq,omitempty"`
	RemoteSeq uint32             `json:"rseq,omitempty"`
	InviteSeq uint32             `json:"iseq,omitempty"`     // CSeq of the peer's INVITE that was taken last
	Up        bool               `json:"up,omitempty"`       // confirmed
	Gone      bool               `json:"gone,omitempty"`     // BYE sent or received
	Secure    bool               `json:"secure,omitempty"`   // DTLS is connected
	Ack       string             `json:"ack,omitempty"`      // server INVITE transaction whose 2xx waits for its ACK
	AckSeq    uint32             `json:"ack_seq,omitempty"`  // its CSeq
	Final     *headers.Msg       `json:"final,omitempty"`    // that 2xx, to repeat
	Every     time.Duration      `json:"every,omitempty"`    // interval of its repetition
	Due       *string            `json:"due,omitempty"`      // Reason of a BYE that waits for that ACK (RFC 3261 §15)
	RSeq      uint32             `json:"rsq,omitempty"`      // last reliable provisional response taken (RFC 3262)
	Update    bool               `json:"update,omitempty"`   // the peer takes UPDATE
	Answered  bool               `json:"answered,omitempty"` // the callee's answer came reliably: what comes after it is ignored (RFC 3261 §13.2.1)
	Early     headers.EarlyMedia `json:"early,omitzero"`     // what P-Early-Media said last (RFC 5009)
	Features  string             `json:"feat,omitempty"`     // feature tags of the peer's Contact (RFC 3840)
	Timer     refresh            `json:"timer,omitzero"`
	Forks     []string           `json:"forks,omitempty"`   // tags of dialogs of other forks that were acknowledged and ended
	Refused   sdp.Direction      `json:"refused,omitempty"` // direction that the peer was offered by settle and has not agreed to
	Info      bool               `json:"info,omitempty"`    // the peer takes INFO
	NoInfo    bool               `json:"noinfo,omitempty"`  // it takes none with digits, as it has turned out
	Digits    []digit            `json:"digits,omitempty"`  // that wait for it, the first is out
}

// allow lists the methods taken inside a call.
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE, NOTIFY, REFER"

// allowOn lists the methods taken on a leg: the browser's has no reliable provisional responses.
func allowOn(l Leg) string {
	if l == LegCore {
		return allow + ", PRACK"
	}
	return allow
}

func withTag(value, tag string) string {
	a, err := headers.ParseAddress(value)
	if err != nil {
		return value
	}
	a.Params.Del("tag")
	if tag != "" {
		a.Params.Set("tag", tag)
	}
	return a.String()
}

// openUAS fills the caller's leg from the initial INVITE.
func (s *State) openUAS(l Leg, req *headers.Msg) {
	g := &s.d.Legs[l]
	g.CallID, g.Remote, g.Local = req.Get("Call-ID"), req.Get("From"), withTag(req.Get("To"), g.Tag)
	g.Routes = headers.List(req, "Record-Route")
	g.Target = contactOf(req)
	if c, err := headers.ParseCSeq(req.Get("CSeq")); err == nil {
		g.RemoteSeq, g.InviteSeq = c.Seq, c.Seq
	}
	s.notePeer(l, req)
}

// openUAC fills the callee's leg before its INVITE.
func (s *State) openUAC(l Leg) {
	g := &s.d.Legs[l]
	g.CallID = s.id()
	g.Local, g.Remote = withTag(s.d.Invite.Get("From"), g.Tag), withTag(s.d.Invite.Get("To"), "")
	g.Target = s.d.Cfg.Outbound.RequestURI
	if g.Target == "" {
		g.Target = s.d.Invite.RequestURI
	}
	g.Routes = slices.Clone(s.d.Cfg.Outbound.Routes)
}

// confirm makes the dialog of the 2xx the leg's (RFC 3261 §12.1.2).
func (s *State) confirm(l Leg, resp *headers.Msg) {
	g := &s.d.Legs[l]
	g.Remote, g.Up = resp.Get("To"), true
	if t := contactOf(resp); t != "" {
		g.Target = t
	}
	routes := headers.List(resp, "Record-Route")
	slices.Reverse(routes)
	g.Routes = routes
	s.notePeer(l, resp)
}

func contactOf(m *headers.Msg) string {
	a, err := headers.ParseAddresses(headers.List(m, "Contact"))
	if err != nil || len(a) == 0 {
		return ""
	}
	return a[0].URI
}

// inDialog makes a request of the leg's dialog.
func (s *State) inDialog(l Leg, method string) headers.Msg {
	g := &s.d.Legs[l]
	if method != "ACK" {
		g.LocalSeq++
	}
	return s.request(l, method, g.LocalSeq)
}

func (s *State) request(l Leg, method string, seq uint32) headers.Msg {
	g := &s.d.Legs[l]
	m := headers.Msg{Method: method, RequestURI: g.Target}
	for _, r := range g.Routes {
		m.Add("Route", r)
	}
	m.Add("Max-Forwards", "70")
	m.Add("From", g.Local)
	m.Add("To", g.Remote)
	m.Add("Call-ID", g.CallID)
	m.Add("CSeq", headers.CSeq{Seq: seq, Method: method}.String())
	switch method {
	case "INVITE", "UPDATE", "REFER", "NOTIFY", "PRACK":
		m.Add("Contact", s.ourContact(l))
	}
	if ua := s.d.Cfg.UserAgent; ua != "" {
		m.Add("User-Agent", ua)
	}
	if l == LegCore && method != "ACK" {
		m.Fields = append(m.Fields, s.d.Cfg.Outbound.Dialog...)
	}
	return m
}

// send sends a request with a transaction and remembers what it is for.
func (s *State) send(l Leg, m headers.Msg, c client) string {
	tx := fmt.Sprintf("c%d", len(s.d.Clients))
	for _, taken := s.d.Clients[tx]; taken; _, taken = s.d.Clients[tx] {
		tx += "x"
	}
	tx += "-" + s.id()[:8]
	cs, _ := headers.ParseCSeq(m.Get("CSeq")) // made by request
	c.Leg, c.Seq = l, cs.Seq
	s.d.Clients[tx] = c
	s.emit(SendRequest{Leg: l, Tx: tx, Msg: m})
	return tx
}

// clientsInOrder iterates over our open requests in a fixed order.
func (s *State) clientsInOrder() func(func(string, client) bool) {
	keys := make([]string, 0, len(s.d.Clients))
	for k := range s.d.Clients {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return func(yield func(string, client) bool) {
		for _, k := range keys {
			if !yield(k, s.d.Clients[k]) {
				return
			}
		}
	}
}

// respond answers a server transaction of the leg; body is a session description when not nil.
func (s *State) respond(l Leg, tx, method string, status int, reason string, body []byte, extra []headers.Field) {
	if tx == "" {
		return
	}
	if reason == "" {
		reason = headers.ReasonPhrase(status)
	}
	m := headers.Msg{Method: method, Status: status, Reason: reason, Fields: slices.Clone(extra)}
	g := &s.d.Legs[l]
	if status > 100 && g.Local != "" && l == s.d.Caller && tx == s.d.Server {
		m.Set("To", g.Local)
	}
	if method == "INVITE" && status > 100 && status < 300 || method == "UPDATE" && status < 300 {
		m.Add("Contact", s.ourContact(l))
		m.Add("Allow", allowOn(l))
	}
	if method == "INVITE" && status > 100 && status < 300 {
		takesTrickle(l, &m)
	}
	if status == 405 {
		m.Set("Allow", allowOn(l))
	}
	if ua := s.d.Cfg.UserAgent; ua != "" {
		m.Add("Server", ua)
	}
	if body != nil {
		m.Set("Content-Type", "application/sdp")
		m.Body = body
	}
	if method == "INVITE" && l == s.d.Caller && tx == s.d.Server && status > 100 && status < 200 && s.reliably(body) {
		s.progressReliably(m)
		return
	}
	s.emit(SendResponse{Leg: l, Tx: tx, Msg: m})
	if method == "INVITE" && status >= 200 && status < 300 {
		g.Ack, g.AckSeq, g.Final, g.Every = tx, g.InviteSeq, &m, s.policy(s.d.Cfg.Policy.T1, 500*time.Millisecond)
		s.start(timerAck, g.Every)
		s.start(timerAckEnd, 64*s.policy(s.d.Cfg.Policy.T1, 500*time.Millisecond))
	}
}

// repeat2xx sends unacknowledged 2xx again at doubling intervals (RFC 3261 §13.3.1.4).
func (s *State) repeat2xx() {
	next := time.Duration(0)
	for l := range s.d.Legs {
		g := &s.d.Legs[l]
		if g.Ack == "" || g.Final == nil {
			continue
		}
		s.emit(SendResponse{Leg: Leg(l), Tx: g.Ack, Msg: g.Final.Clone(), Retransmission: true})
		g.Every = min(2*g.Every, s.policy(s.d.Cfg.Policy.T2, 4*time.Second))
		next = max(next, g.Every)
	}
	if next > 0 {
		s.start(timerAck, next)
	}
}

// onAck takes the ACK for a 2xx; one for an earlier 2xx says nothing about the last.
func (s *State) onAck(e AckIn) {
	g := &s.d.Legs[e.Leg]
	cs, err := headers.ParseCSeq(e.Msg.Get("CSeq"))
	if err != nil || g.Ack == "" || cs.Seq != g.AckSeq {
		return
	}
	g.Ack, g.Final = "", nil
	s.stopAck()
	switch r := s.d.Reoffer; {
	case s.d.Phase != phaseUp:
	case s.d.Late && e.Leg == s.d.Caller:
		s.lateAnswer(e.Leg, "", "ACK", &e.Msg)
	case r != nil && r.Late && r.Leg == e.Leg:
		s.bareAnswer(e.Leg, &e.Msg)
	}
	s.byeIfDue(e.Leg)
}

// stopAck stops the repetition of 2xx when none is left to be acknowledged.
func (s *State) stopAck() {
	if s.d.Legs[LegAccess].Ack == "" && s.d.Legs[LegCore].Ack == "" {
		s.stop(timerAck)
		s.stop(timerAckEnd)
	}
}

// pass copies what crosses from a message received on leg from (package trust).
func (s *State) pass(from Leg, in *headers.Msg) []headers.Field {
	if from == LegAccess {
		return s.d.Cfg.Trust.ToCore(in)
	}
	return s.d.Cfg.Trust.ToBrowser(in)
}
