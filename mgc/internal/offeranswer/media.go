// Package offeranswer plans both sides' session descriptions of a call and what the media gateway has to do for them: pure
// values and functions on RFC 3264 offers and answers. Floor 1 of mgc; no goroutine, no clock.
//
// A Media value is the offer/answer state of both sides. Every step returns a new value and leaves the old one valid, so a
// negotiation that fails is undone by keeping the old value:
//
//	browser calls:    Offer(Access) · Add both · Resolve · MakeOffer(Core) · Answer(Core) · MakeAnswer(Access) · Modify both
//	SIP user calls:   Offer(Core) · Add both · Resolve · MakeOffer(Access) · Answer(Access) · MakeAnswer(Core) · Modify both
//	without an offer: Add both · Resolve · MakeOffer(Access) · Answer(Access) · MakeOffer(Core) · Answer(Core) from the ACK
//	in the call:      Offer(x); when New: Modify both (NewDescriptor), Made; when Change.Tell: MakeOffer(y), Answer(y); on ICERestart or NewDTLS: Modify(x), Resolve; MakeAnswer(x)
//	when that fails:  Undo, or Revert(x) when y has agreed to its part; a side that is Stale then gets an offer of ours
//
// Nothing of the browser's description crosses to the core or back: each side's description is built from typed values by
// an allow-list (TS 23.228 §U.1.1).
package offeranswer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/precond"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Side is one of the two sides of a call.
type Side uint8

// The sides.
const (
	Access Side = iota // the browser
	Core               // the SIP user
)

// Other returns the opposite side.
func (s Side) Other() Side { return 1 - s }

// Media is the state of the audio streams of a call on both sides. Its slices are never changed in place: copies are independent.
type Media struct {
	Policy Policy  `json:"policy"`
	Lines  [2]Line `json:"lines"` // by Side

	stream int // of a value that at gave: which stream it is about
}

// Line is one side: our description and the peer's, as far as they matter. What the embedded Stream holds is of the first audio stream.
type Line struct {
	ID      uint64 `json:"id"`             // sess-id of what we say
	Version uint64 `json:"v"`              // sess-version of what we said last
	Said    []byte `json:"said,omitempty"` // the description that we sent last
	Slots   []Slot `json:"slots,omitempty"`

	Stream
	More []Stream `json:"more,omitempty"` // further audio streams; that of the same place on the other side is connected to it

	Web Web `json:"web,omitzero"` // access only: all streams have one transport
}

// Stream is one audio stream of a side: an m= line of its dialog.
type Stream struct {
	Audio int  `json:"audio"`           // index in Slots; of a further stream -1: this side has no line for it
	Begun bool `json:"begun,omitempty"` // of a further one: the peer has offered the line, not we
	Off   bool `json:"off,omitempty"`   // of a further one: the line is refused, or was given up: port 0

	Since uint64 `json:"since,omitempty"` // of a further one: sess-version of the peer's description that had the line last; 0: none

	Bound  []codec.Codec `json:"bound,omitempty"`  // what payload types stand for in this dialog, in either direction; never another format later
	Theirs []codec.Codec `json:"theirs,omitempty"` // what the peer can receive and the policy allows, in its order, its payload types
	Ours   []codec.Codec `json:"ours,omitempty"`   // what we said
	Chosen codec.Codec   `json:"chosen,omitzero"`  // audio codec in use; payload type of the peer's description
	Event  codec.Codec   `json:"event,omitzero"`   // telephone-event in use; zero: none
	Noise  codec.Codec   `json:"noise,omitzero"`   // comfort noise that the peer has; in use when Ours has it too

	Want  sdp.Direction `json:"want"`  // what the peer wants, from its own point of view
	Told  sdp.Direction `json:"told"`  // what we said last, from our point of view
	Dir   sdp.Direction `json:"dir"`   // what is agreed, from our point of view
	Asked sdp.Direction `json:"asked"` // direction of the peer's offer that is to be answered, from its point of view

	Remote     netip.AddrPort `json:"remote,omitzero"`      // core: where the peer receives
	RemoteRTCP netip.AddrPort `json:"remote_rtcp,omitzero"` // core
	Local      netip.AddrPort `json:"local,omitzero"`       // of the browser's side only that of the first stream: the transport's
	LocalRTCP  uint16         `json:"local_rtcp,omitempty"` // core
	SSRC       uint32         `json:"ssrc,omitempty"`
	CName      string         `json:"cname,omitempty"`
	Ptime      uint32         `json:"ptime,omitempty"` // ms, what the peer asks for; 0: nothing
	MaxPtime   uint32         `json:"maxptime,omitempty"`
	Longest    uint32         `json:"longest,omitempty"` // ms, what we say of packets to us, as the other peer takes no longer ones; 0: nothing
	Allowed    Allowed        `json:"allowed,omitzero"`
	RTCPOff    bool           `json:"rtcp_off,omitempty"` // b=RS:0 and b=RR:0
	RS         bps            `json:"rs,omitempty"`       // core: bandwidth of reports, RFC 3556
	RR         bps            `json:"rr,omitempty"`
	Pre        precond.Table  `json:"pre,omitzero"`         // core: quality-of-service preconditions, of the first stream
	Crypto     Crypto         `json:"crypto,omitzero"`      // core: SRTP
	Mux        bool           `json:"mux,omitempty"`        // core: the peer has offered RTP and RTCP on one port (RFC 5761 §5.1.1)
	XR         XR             `json:"xr,omitzero"`          // extended reports
	Actual     string         `json:"acfg,omitempty"`       // core: the potential configuration of the peer's offer that we answer with (RFC 5939 §3.5.2)
	PeerSSRC   uint32         `json:"peer_ssrc,omitempty"`  // access: a=ssrc of the peer's line; 0: it says none
	PeerMID    uint8          `json:"peer_mid_x,omitempty"` // access: id of the header extension with the MID in the peer's line (RFC 9143 §15); 0: it has none
}

// Slot is one m= line of a side's dialog. Once used, a slot stays at its place (RFC 3264 §8).
type Slot struct {
	Type    string   `json:"type"`
	Proto   string   `json:"proto"`
	Formats []string `json:"formats"` // to repeat in a rejected line
	MID     string   `json:"mid,omitempty"`

	Bound []codec.Codec `json:"bound,omitempty"` // of a line whose place another has taken: what payload types stand for in it (RFC 3264 §8.3.2)

	Held codec.Codec `json:"held,omitzero"` // not zero: the line is kept, inactive, with this format: it carries the BUNDLE transport
}

// Web is the WebRTC transport of the access side.
type Web struct {
	Bundle       bool              `json:"bundle,omitempty"` // the audio line is in a BUNDLE group of the peer
	Rsize        bool              `json:"rsize,omitempty"`
	Ufrag        string            `json:"ufrag,omitempty"` // the peer's
	Pwd          string            `json:"pwd,omitempty"`
	Candidates   []sdp.Candidate   `json:"cands,omitempty"`
	EndOfCands   bool              `json:"eoc,omitempty"`
	PeerLite     bool              `json:"plite,omitempty"`   // the peer is an ICE-lite agent
	Component2   bool              `json:"apart,omitempty"`   // the peer does not multiplex: RTCP has a component of its own; named as in records of older controllers
	Offerer      bool              `json:"offerer,omitempty"` // ours was the first offer
	Full         bool              `json:"full,omitempty"`    // our agent checks by itself; the MGW decides (TS 23.334 §6.2.17)
	Fingerprints []sdp.Fingerprint `json:"fps,omitempty"`
	TLSID        string            `json:"tls_id,omitempty"`
	Role         sdp.Setup         `json:"role,omitempty"` // ours: passive or active; empty: not agreed

	LocalUfrag  string            `json:"lufrag,omitempty"` // empty: to be chosen by the MGW
	LocalPwd    string            `json:"lpwd,omitempty"`
	LocalCands  []sdp.Candidate   `json:"lcands,omitempty"`
	LocalPrints []sdp.Fingerprint `json:"lfps,omitempty"`
	LocalTLSID  string            `json:"ltls_id,omitempty"`
}

// Change says what a peer's offer changes.
type Change struct {
	ICERestart bool // new ICE credentials: the MGW has to give new ones before the answer (RFC 8445 §9)
	NewDTLS    bool // new fingerprint, tls-id or role: a new DTLS association (RFC 8842 §3.1)
	Moved      bool // the core peer receives elsewhere
	NewKey     bool // the core peer sends with another SRTP key, or with none any more: the MGW has to know before it is answered
	Tell       bool // the direction changes for the other side: it has to get an offer
}

// Unacceptable says why a description cannot be used; Code is a warn-code (RFC 3261 §20.43) for the Warning of a 488.
type Unacceptable struct {
	Code int    // 301 network address, 302 transport protocol, 304 media type, 305 media format, 399 other
	Text string // for people; no quotes, no control characters
}

// Error implements error.
func (e *Unacceptable) Error() string { return fmt.Sprintf("offeranswer: %d %s", e.Code, e.Text) }

func unacceptable(code int, format string, args ...any) error {
	return &Unacceptable{Code: code, Text: fmt.Sprintf(format, args...)}
}

// New returns the state of a call whose descriptions will have the given sess-ids and, when a browser asks for one, the given tls-id.
func New(p Policy, accessID, coreID uint64, tlsID string) Media {
	m := Media{Policy: p}
	m.Lines[Access] = Line{ID: accessID, Web: Web{LocalTLSID: tlsID}}
	m.Lines[Core] = Line{ID: coreID}
	return m
}

// Line returns the line of side.
func (m *Media) Line(side Side) *Line { return &m.Lines[side] }

// Offer takes the peer's offer on side, the first or a later one. The error is an *Unacceptable.
func (m Media) Offer(side Side, d *sdp.Description) (Media, Change, error) {
	l := m.Line(side)
	first := len(l.Slots) == 0
	if err := m.takeSlots(side, d); err != nil {
		return m, Change{}, err
	}
	change, err := m.takeFirst(side, d)
	if err != nil {
		return m, Change{}, err
	}
	m.takeMore(side, d, &change)
	if l.Off && !l.several() {
		return m, Change{}, unacceptable(305, "the first audio line is given up, and no other can be joined")
	}
	if first {
		change = Change{}
	}
	change.Tell = m.Stale(side.Other())
	return m, change, nil
}

// takeFirst takes the line of the first stream from an offer; a phone may give it up while another lives.
func (m *Media) takeFirst(side Side, d *sdp.Description) (Change, error) {
	l := m.Line(side)
	a := &d.Media[l.Audio]
	if !liveLine(side, a) {
		l.refuse()
		return Change{}, nil
	}
	if l.Off { // it comes back
		l.Off, l.Dir = false, sdp.DirUnset
	}
	change, err := m.takePeer(side, d, a, false)
	if err != nil {
		return change, err
	}
	if !m.bridgeable(side) {
		return change, unacceptable(305, "%s", m.unjoinable(side))
	}
	l.Asked = directionOf(side, d, a)
	l.Want = wantAfterOffer(l.Want, l.Dir, l.Asked)
	return change, nil
}

// carrier is the first stream's line, or where a phone gives that up the first other one that goes on; nil: there is none. A browser's first line carries the
// transport of all: RFC 9143 §7.5.3 lets another take that over, but Chromium closes the DTLS association with the line.
func (m *Media) carrier(side Side, d *sdp.Description) *sdp.Media {
	l := m.Line(side)
	if liveLine(side, &d.Media[l.Audio]) {
		return &d.Media[l.Audio]
	}
	for i := range l.More {
		s := &l.More[i]
		if side == Core && !s.IsOff() && liveLine(side, &d.Media[s.Audio]) {
			return &d.Media[s.Audio]
		}
	}
	return nil
}

// Stale reports whether side has to get an offer: what both peers want now gives another direction than what is agreed with it, or the other peer has a
// stream that it has not.
func (m *Media) Stale(side Side) bool {
	for i := range m.Streams() {
		if v := m.at(i); v.stale(side) {
			return true
		}
	}
	return false
}

// Wanted returns the direction of the first stream on side that follows from what both peers want now, from our point of view.
func (m *Media) Wanted(side Side) sdp.Direction { return m.tell(side) }

// Undo returns before, the state that a failed negotiation falls back to (RFC 3264 §8), with the memory of what was said since:
// a version that was seen is never given to another description (RFC 3264 §5), a payload type never to another format (§8.3.2).
func (m Media) Undo(before Media) Media {
	return m.Revert(Access, before).Revert(Core, before)
}

// Revert undoes one side only, as the other one has agreed to something new meanwhile.
func (m Media) Revert(side Side, before Media) Media {
	is := m.Line(side)
	was := before.Lines[side]
	was.Version, was.Said, was.Bound, was.Crypto.Keys = is.Version, is.Said, is.Bound, is.Crypto.Keys
	was.revertMore(is)
	m.Lines[side] = was
	m.prune()
	return m
}

// Answer takes the peer's answer on side to what MakeOffer said. The error is an *Unacceptable.
func (m Media) Answer(side Side, d *sdp.Description) (Media, error) {
	l := m.Line(side)
	if len(d.Media) != len(l.Slots) {
		return m, unacceptable(399, "answer has %d media lines, the offer had %d", len(d.Media), len(l.Slots))
	}
	for i := range d.Media {
		if d.Media[i].Type != l.Slots[i].Type {
			return m, unacceptable(304, "media line %d of the answer is %s", i+1, printable(d.Media[i].Type))
		}
	}
	a := &d.Media[l.Audio]
	switch goesOn := m.carrier(side, d) != nil; {
	case goesOn && (l.Off || side == Core && a.Port == 0): // without the first line
		l.refuse()
	case a.Port == 0:
		return m, unacceptable(305, "audio was declined")
	case a.Proto != l.Slots[l.Audio].Proto:
		return m, unacceptable(302, "transport protocol of the answer is %s", printable(a.Proto))
	default:
		if err := m.takeAnswer(side, d, a); err != nil {
			return m, err
		}
	}
	m.takeMoreAnswers(side, d)
	if l.Off && !l.several() {
		return m, unacceptable(305, "audio was declined")
	}
	return m, nil
}

// takeAnswer takes the answer's line for the first stream.
func (m *Media) takeAnswer(side Side, d *sdp.Description, a *sdp.Media) error {
	l := m.Line(side)
	if _, err := m.takePeer(side, d, a, true); err != nil {
		return err
	}
	// An answer may only hold what was offered (RFC 3264 §6.1).
	l.Theirs = slices.DeleteFunc(slices.Clone(l.Theirs), func(c codec.Codec) bool {
		return !slices.ContainsFunc(l.Ours, c.SamePayload)
	})
	i := slices.IndexFunc(l.Theirs, isAudio)
	if i < 0 {
		return unacceptable(305, "no offered audio codec in the answer")
	}
	if o := m.Line(side.Other()); !o.Chosen.IsZero() && !m.bridges(l.Theirs[i], o.Chosen) {
		return unacceptable(305, "codec of the answer cannot be joined")
	}
	l.Chosen = l.Theirs[i]
	l.Event = eventFor(l.Theirs, l.Chosen.ClockRate)
	dir := directionOf(side, d, a)
	l.Want = wantAfterAnswer(l.Want, l.Told, dir)
	l.Dir = l.Told.And(dir.Reverse())
	return nil
}

// takePeer reads what holds for offers and answers alike.
func (m *Media) takePeer(side Side, d *sdp.Description, a *sdp.Media, answer bool) (Change, error) {
	l := m.Line(side)
	var ch Change
	var err error
	switch {
	case side == Core:
		ch, err = m.takeCore(l, d, a, answer)
	case m.stream == 0: // further ones share it
		ch, err = l.Web.take(d, a, answer, m.Policy.Mux)
	}
	if err != nil {
		return ch, err
	}
	if side == Core && m.stream == 0 {
		m.takePreconditions(l, precond.Read(a.Other), answer)
	}
	l.bind(a.Codecs)
	l.takeNoise(a.Codecs, answer)
	l.Theirs = usable(a.Codecs, m.names(side))
	if !slices.ContainsFunc(l.Theirs, isAudio) {
		return ch, unacceptable(305, "no usable audio codec")
	}
	if side == Access {
		l.PeerSSRC, l.PeerMID = ssrcOf(a), midOf(d, a)
	}
	l.Ptime, l.MaxPtime, l.Allowed = min(a.Ptime, maxPtime), min(a.MaxPtime, maxPtime), allowed(d, a) // no media gateway makes longer packets
	said := l.XR.Said
	l.XR = readXR(d, a)
	l.XR.Said = said
	return ch, nil
}

// takeSlots checks that the m= lines only grow and picks the audio line (RFC 3264 §8).
func (m *Media) takeSlots(side Side, d *sdp.Description) error {
	l := m.Line(side)
	if len(d.Media) < len(l.Slots) {
		return unacceptable(399, "%d media lines, there were %d", len(d.Media), len(l.Slots))
	}
	if len(d.Media) > MaxLines {
		return unacceptable(399, "%d media lines, at most %d, rejected ones included", len(d.Media), MaxLines)
	}
	audio := -1
	slots := make([]Slot, len(d.Media))
	for i := range d.Media {
		md := &d.Media[i]
		if i == l.Audio && len(l.Slots) > 0 && md.Type != l.Slots[i].Type {
			return unacceptable(399, "media line %d was %s", i+1, l.Slots[i].Type)
		}
		slots[i] = Slot{Type: md.Type, Proto: md.Proto, Formats: md.Formats, MID: md.MID}
		if i < len(l.Slots) {
			slots[i].Bound = l.Slots[i].Bound
		}
		// The first line that can be used; a phone may offer SRTP in a line before (RFC 8643 §3.1). Without one, the first for its refusal.
		if liveLine(side, md) && (audio < 0 || m.usableLine(side, md) && !m.usableLine(side, &d.Media[audio])) {
			audio = i
		}
	}
	if len(l.Slots) > 0 {
		if audio = l.Audio; d.Media[audio].Port == 0 && m.carrier(side, d) == nil {
			audio = -1
		}
	}
	if audio < 0 {
		return unacceptable(304, "no audio offered")
	}
	l.Slots, l.Audio = slots, audio
	if side == Access {
		l.holdTagged(d)
	}
	return nil
}

// holdTagged marks the line that carries the transport of the BUNDLE group when that is not the audio line: an answer must not reject
// it as long as another line of the group lives (RFC 9143 §7.3.3). Chromium fails on one that does.
func (l *Line) holdTagged(d *sdp.Description) {
	if i := tagged(d, &d.Media[l.Audio]); i >= 0 && i != l.Audio {
		c, _ := holdable(&d.Media[i])
		l.Slots[i].Held = c
	}
}

// tagged is the line that carries the transport of a's BUNDLE group: the one that the group names first, when that can be kept, else a (RFC 9143
// §7.3.1); -1: a is in none.
func tagged(d *sdp.Description, a *sdp.Media) int {
	group := d.Bundle()
	if a.MID == "" || !slices.Contains(group, a.MID) {
		return -1
	}
	for i := range d.Media {
		if _, ok := holdable(&d.Media[i]); ok && d.Media[i].MID == group[0] {
			return i
		}
	}
	return slices.IndexFunc(d.Media, func(m sdp.Media) bool { return m.MID == a.MID })
}

// holdable returns a format with which a line can be kept that is not for audio; false: it has to be rejected.
func holdable(m *sdp.Media) (codec.Codec, bool) {
	i := slices.IndexFunc(m.Codecs, func(c codec.Codec) bool { return c.Name != "" })
	if i < 0 || !m.IsRTP() || m.Port == 0 {
		return codec.Codec{}, false
	}
	return m.Codecs[i], true
}

func bundleOnly(m *sdp.Media) bool {
	return slices.Contains(m.Other, sdp.Attribute{Name: "bundle-only"})
}

// printable makes a piece of the peer's description fit for a Warning.
func printable(s string) string {
	out := make([]byte, 0, 40)
	for i := 0; i < len(s) && len(out) < 40; i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '"' && c != '\\' {
			out = append(out, c)
		}
	}
	return string(out)
}
