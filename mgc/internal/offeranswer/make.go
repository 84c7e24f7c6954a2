package offeranswer

import (
	"bytes"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/precond"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// MakeOffer returns our offer on side. dir DirUnset: what both peers want; else that direction (an INVITE without offer asks for all
// that we have, RFC 6337 §5.2). The local addresses must have been resolved. The error is an *Unacceptable: no codec is left to offer.
func (m Media) MakeOffer(side Side, dir sdp.Direction) (Media, []byte, error) {
	l := m.Line(side)
	if side == Core && l.Said == nil && m.Policy.Preconditions == PreconditionsFull && m.Line(Access).Theirs != nil {
		l.Pre = precond.Offered()
	}
	if !l.Off {
		if l.Ours = m.offerCodecs(side); len(l.Ours) == 0 || !isAudio(l.Ours[0]) {
			return m, nil, unacceptable(305, "no codec to offer")
		}
		l.bind(l.Ours)
	}
	dirOfMore := dir
	if dir == sdp.DirUnset || l.Off {
		dir = m.tell(side)
	}
	l.Told, l.Actual = dir, ""
	m.sayXR(side, false)
	if len(l.Slots) == 0 {
		s := Slot{Type: "audio", Proto: m.Policy.coreProto(), Formats: payloadTypes(l.Ours)}
		if side == Access {
			s.Proto, s.MID = "UDP/TLS/RTP/SAVPF", "0"
			l.Web.Bundle = true
		}
		l.Slots, l.Audio = []Slot{s}, 0
	}
	setup := sdp.Setup("")
	if side == Access {
		setup = sdp.SetupActpass // RFC 8842 §5.2: in every offer
	} else {
		m.offerKeys(l)
	}
	for i := 1; i < m.Streams(); i++ {
		m.offerMore(side, i, dirOfMore)
	}
	m.tellLongest(side)
	return m, m.say(side, setup), nil
}

// MakeAnswer returns our answer on side to the peer's last offer. The error is an *Unacceptable: nothing of the offer can be joined
// with the other side.
func (m Media) MakeAnswer(side Side) (Media, []byte, error) {
	l := m.Line(side)
	if side == Access && l.Web.PeerLite && !l.Web.Full {
		return m, nil, errBothLite
	}
	if !l.Off && !m.answerStream(side) {
		return m, nil, unacceptable(305, "no codec of the offer can be joined")
	}
	for i := 1; i < m.Streams(); i++ {
		m.answerMore(side, i)
	}
	m.prune()
	m.tellLongest(side)
	setup := sdp.Setup("")
	if side == Access {
		setup = l.Web.Role
	}
	return m, m.say(side, setup), nil
}

// answerStream decides what our answer on side says of the first stream; false: nothing can be joined.
func (m *Media) answerStream(side Side) bool {
	l := m.Line(side)
	c, ok := m.choose(side)
	if !ok {
		return false
	}
	l.Chosen = c
	l.Event = codec.Codec{}
	l.Ours = []codec.Codec{m.answerOf(side, c)}
	if m.keys(side) {
		e := eventFor(l.Theirs, c.ClockRate)
		if e.Name != "" && (e.ClockRate == c.ClockRate || hasEvent(m.Line(side.Other()).Theirs)) { // tones are played at the audio's clock
			l.Event, l.Ours = e, append(l.Ours, answered(e))
		}
	}
	m.answerNoise(side)
	l.Told = l.Asked.Reverse().And(want(m.Line(side.Other())))
	l.Dir = l.Told
	m.sayXR(side, true)
	if side == Core {
		l.answerKeys()
	}
	return true
}

// Repeat returns our description on side as it is agreed, as an offer that changes nothing: what refreshes a session (RFC 4028 §7.4). What was said
// last may be an offer that was refused.
func (m Media) Repeat(side Side) (Media, []byte) {
	setup := sdp.Setup("")
	if side == Access {
		setup = sdp.SetupActpass
	}
	l := m.Line(side)
	for i := range m.Streams() {
		s := l.streamAt(i)
		s.Actual = ""
		if i <= len(l.More) {
			l.setStream(i, s)
		}
	}
	return m, m.say(side, setup)
}

// answered is a codec of the peer's offer as our answer describes it.
func answered(c codec.Codec) codec.Codec {
	switch {
	case c.Is(codec.Opus):
		c.Fmtp = fmtpOpus
	case c.Is(codec.TelephoneEvent):
		c.Fmtp = fmtpEvent
	case c.IsAMR():
		c.Fmtp = answeredAMR(c)
	default:
		c.Fmtp = ""
	}
	return c
}

// say writes our description; its version grows by one when anything differs from what was said last (RFC 3264 §8).
func (m *Media) say(side Side, setup sdp.Setup) []byte {
	l := m.Line(side)
	build := func() *sdp.Description { return l.coreDescription(m.Policy.MTSI) }
	if side == Access {
		build = func() *sdp.Description { return l.webDescription(setup, m.Policy.Mux) }
	}
	if l.Version == 0 {
		l.Version = 1
	}
	b := build().Marshal()
	if l.Said != nil && !bytes.Equal(b, l.Said) {
		l.Version++
		b = build().Marshal()
	}
	l.Said = b
	return b
}

// coreDescription is all that the core ever sees of a call's media (TS 23.228 §U.1.1).
func (l *Line) coreDescription(mtsi bool) *sdp.Description {
	d := l.frame()
	d.Connection = &sdp.Connection{Addr: sdp.AddressOf(l.Local.Addr())}
	for i, s := range l.live() {
		s.coreLine(&d.Media[i], mtsi)
		if ip := s.Local.Addr(); ip != l.Local.Addr() {
			d.Media[i].Connection = &sdp.Connection{Addr: sdp.AddressOf(ip)}
		}
	}
	return d
}

// coreLine writes the stream's line.
func (l *Stream) coreLine(a *sdp.Media, mtsi bool) {
	a.Port = l.Local.Port()
	a.Codecs = l.Ours
	a.Bandwidth = []sdp.Bandwidth{{Type: "AS", Value: bandwidth(l.Ours, l.Local.Addr())}}
	if a.RTCPMux = l.Mux; !l.Mux && l.LocalRTCP != 0 && l.LocalRTCP != l.Local.Port()+1 {
		a.RTCP = &sdp.RTCP{Port: l.LocalRTCP}
	}
	a.Cryptos = l.Crypto.attributes()
	a.Ptime, a.MaxPtime = l.packets()
	if mtsi {
		a.Bandwidth = append(a.Bandwidth, sdp.Bandwidth{Type: "RS", Value: 0}, sdp.Bandwidth{Type: "RR", Value: 2000}) // bit/s (RFC 3556 §2)
		if a.MaxPtime == 0 {
			a.MaxPtime = maxPtime
		}
	}
	a.Direction = l.Told
	a.Other = l.Pre.Attributes()
	if l.Actual != "" {
		a.Other = append(a.Other, sdp.Attribute{Name: "acfg", Value: l.Actual})
	}
	a.Other = append(a.Other, l.XR.attributes()...)
}

// webDescription is what a browser gets: complete candidates, one DTLS association, RTCP multiplexed (RFC 9429 §5)
// unless the client cannot.
func (l *Line) webDescription(setup sdp.Setup, mux RTCPMux) *sdp.Description {
	w := &l.Web
	d := l.frame()
	d.ICELite = !w.Full
	d.ICEOptions = []string{"ice2"} // no aggressive nomination is expected of the peer (RFC 8445 §10)
	d.Other = []sdp.Attribute{{Name: "msid-semantic", Value: " WMS isthmus"}}
	var group []string
	live := l.live()
	for i := range d.Media {
		m, slot := &d.Media[i], &l.Slots[i]
		m.MID = slot.MID
		s := live[i]
		switch {
		case s != nil:
			l.webTransport(m, setup, mux)
			l.webLine(m, s, setup == sdp.SetupActpass)
			if group = append(group, slot.MID); !slot.Held.IsZero() {
				group = slices.Insert(group[:len(group)-1], 0, slot.MID)
			}
		case !slot.Held.IsZero():
			l.webTransport(m, setup, mux)
			m.Codecs, m.Direction = []codec.Codec{slot.Held}, sdp.Inactive
			group = slices.Insert(group, 0, slot.MID) // first: it is the tagged one
		default:
			m.Connection, m.Direction = &sdp.Connection{}, sdp.Inactive
		}
	}
	if w.Bundle && l.Slots[l.Audio].MID != "" {
		d.Groups = []sdp.Group{{Semantics: "BUNDLE", MIDs: group}}
	}
	return d
}

// webLine writes what a browser's line says of the stream itself.
func (l *Line) webLine(a *sdp.Media, s *Stream, offer bool) {
	a.Direction = s.Told
	track := "audio"
	if s.Audio != l.Audio {
		track += l.Slots[s.Audio].MID
	}
	a.Msids = []sdp.Msid{{Stream: "isthmus", Track: track}}
	a.Codecs = s.Ours
	a.Ptime, a.MaxPtime = s.packets()
	a.Other = append(a.Other, s.XR.attributes()...)
	if s.SSRC != 0 {
		a.SSRCs = []sdp.SSRC{{ID: s.SSRC, Name: "cname", Value: s.CName}}
	}
	if id := l.midID(s, offer); id != 0 && l.several() {
		a.Extmaps = []sdp.Extmap{{ID: uint16(id), URI: midURI}}
	}
	if offer && s.Audio != l.Audio && s.Dir == sdp.DirUnset { // only with the first one's transport (RFC 9143 §6)
		a.Port, a.Other = 0, append(a.Other, sdp.Attribute{Name: "bundle-only"})
	}
}

// midID is the id of the header extension with the MID in the stream's line; 0: the peer has not offered it.
func (l *Line) midID(s *Stream, offer bool) uint8 {
	switch {
	case s.PeerMID != 0 || !offer:
		return s.PeerMID
	case l.PeerMID != 0: // the same in all lines
		return l.PeerMID
	case l.Theirs != nil: // it has spoken, and has not said it
		return 0
	}
	return ownMID
}

// webTransport writes the ICE and DTLS transport into a line.
func (l *Line) webTransport(m *sdp.Media, setup sdp.Setup, mux RTCPMux) {
	w := &l.Web
	addr := sdp.AddressOf(l.Local.Addr())
	m.Port, m.Connection = l.Local.Port(), &sdp.Connection{Addr: addr}
	m.RTCP = &sdp.RTCP{Port: l.Local.Port(), Addr: addr}
	m.ICEUfrag, m.ICEPwd = w.LocalUfrag, w.LocalPwd
	m.Candidates, m.EndOfCandidates = w.LocalCands, true
	m.Fingerprints, m.Setup = w.LocalPrints, setup
	if w.TLSID != "" {
		m.TLSID = w.LocalTLSID // only towards a peer that uses it (RFC 8842 §5.3)
	}
	m.RTCPMux, m.RTCPRsize = !w.Component2, w.Rsize
	m.RTCPMuxOnly = mux == MuxOnly && setup == sdp.SetupActpass // RFC 8858 §4: in offers
	i := slices.IndexFunc(w.LocalCands, second)
	switch {
	case i < 0:
	case w.Component2 || w.Ufrag == "": // in an offer the peer may choose (RFC 5761 §5.1.3)
		m.RTCP.Port = w.LocalCands[i].Port
	default: // it multiplexes
		m.Candidates = slices.DeleteFunc(slices.Clone(m.Candidates), second)
	}
}

// frame returns the description with all slots, each rejected (RFC 3264 §6: port 0, protocol and formats kept).
func (l *Line) frame() *sdp.Description {
	d := &sdp.Description{
		Origin: sdp.Origin{ID: l.ID, Version: l.Version, Addr: sdp.AddressOf(l.Local.Addr())},
		Media:  make([]sdp.Media, len(l.Slots)),
	}
	for i, s := range l.Slots {
		if i == l.Audio && len(s.Formats) == 0 { // of our own offer, in records of older controllers
			s.Formats = payloadTypes(l.Ours)
		}
		d.Media[i] = sdp.Media{Type: s.Type, Proto: s.Proto, Formats: s.Formats}
	}
	return d
}
