package offeranswer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// phone is a legal SIP user agent on the core side: RTP/AVP, no ICE.
type phone struct {
	peer
	proto               string
	addr, was           netip.AddrPort
	rtcp                uint16 // 0: the next port
	wasRTCP             uint16
	nowhere, wasNowhere bool // its description gives no address to send to
	oldHold             bool // it holds by c=0.0.0.0 (RFC 3264 §8.4)
	event               uint8
}

func phoneMenu(event, other uint8) []codec.Codec {
	return []codec.Codec{
		{Name: "PCMA", PT: 8, ClockRate: 8000, Channels: 1},
		{Name: "PCMU", PT: 0, ClockRate: 8000, Channels: 1},
		{Name: "G722", PT: 9, ClockRate: 8000, Channels: 1},
		{Name: "G729", PT: 18, ClockRate: 8000, Channels: 1, Fmtp: "annexb=no"},
		{Name: "iLBC", PT: other, ClockRate: 8000, Channels: 1, Fmtp: "mode=20"},
		{Name: "CN", PT: 13, ClockRate: 8000, Channels: 1},
		{Name: codec.TelephoneEvent, PT: event, ClockRate: 8000, Channels: 1, Fmtp: "0-16"},
	}
}

func newPhone(r *rand.Rand) *phone {
	p := &phone{peer: peer{r: r, side: Core, id: r.Uint64() >> 2, version: r.Uint64N(3), sends: true, receives: true}, proto: "RTP/AVP"}
	p.oldHold = chance(r, 25)
	if chance(r, 20) {
		p.proto = "RTP/AVPF"
	}
	p.event = pick[uint8](r, 101, 96, 100)
	p.can = shuffled(r, phoneMenu(p.event, pick[uint8](r, 97, 101, 102)))
	p.can = slices.DeleteFunc(p.can, func(c codec.Codec) bool { return c.Is("iLBC") && c.PT == p.event })
	p.moves()
	return p
}

func (p *phone) moves() {
	p.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(1 + p.r.IntN(200))}), uint16(4000+2*p.r.IntN(1000)))
	p.rtcp = 0
	if chance(p.r, 10) {
		p.rtcp = p.addr.Port() + 7
	}
}

func (p *phone) keep() {
	p.peer.keep()
	p.was, p.wasRTCP, p.wasNowhere = p.addr, p.rtcp, p.nowhere
}

func (p *phone) restore() {
	p.peer.restore()
	p.addr, p.rtcp, p.nowhere = p.was, p.wasRTCP, p.wasNowhere
}

func (p *phone) numbered() []codec.Codec {
	var out []codec.Codec
	for _, c := range p.can {
		pt, ok := p.freePT(c, c.PT)
		if !ok || slices.ContainsFunc(out, func(o codec.Codec) bool { return o.PT == pt }) {
			continue
		}
		c.PT = pt
		out = append(out, c)
	}
	return out
}

func (p *phone) offer(names []string) (*sdp.Description, expect) {
	var e expect
	first := p.said == nil && p.heard == nil
	p.keep()
	nowhere := p.nowhere
	if first {
		p.lines = []line{{kind: "audio"}}
		if chance(p.r, 25) {
			p.lines = append(p.lines, line{kind: "video", formats: []string{"34"}})
		}
		if chance(p.r, 10) {
			p.lines = append([]line{{kind: "video", formats: []string{"34"}}}, p.lines...)
			p.audio = 1
		}
	} else {
		if chance(p.r, 45) {
			p.changeWish()
		}
		if chance(p.r, 20) {
			p.moves()
		}
		if chance(p.r, 20) {
			p.can = slices.DeleteFunc(shuffled(p.r, phoneMenu(p.event, 97)), func(c codec.Codec) bool { return c.Is("iLBC") && p.event == 97 })
		}
		if chance(p.r, 12) && len(p.lines) < 4 {
			p.lines = append(p.lines, line{kind: "video", formats: []string{"34"}})
		}
		if chance(p.r, 8) { // a line that is not used any more
			if i := p.r.IntN(len(p.lines)); i != p.audio {
				p.lines[i].dead = true
			}
		}
	}
	e.moved = nowhere || p.addr != p.was || p.rtcp != p.wasRTCP
	codecs := p.numbered()
	if !usableBy(codecs, names) {
		e.fails = "no usable codec"
	}
	d := p.describe(sdp.Dir(p.sends, p.receives), sdp.SendRecv, codecs)
	if chance(p.r, 5) {
		p.spoil(d, first, &e)
	}
	p.origin(d)
	if err := p.bind(codecs); err != nil {
		panic(err) // the model itself is illegal
	}
	p.codecsNow = codecs
	return d, e
}

func (p *phone) spoil(d *sdp.Description, first bool, e *expect) {
	a := &d.Media[p.audio]
	switch p.r.IntN(4) {
	case 0:
		a.Port, e.fails = 0, "no audio line"
	case 1:
		a.Proto, e.fails = "RTP/SAVP", "SDES"
	case 2:
		a.Connection = &sdp.Connection{Addr: sdp.Address{Host: "phone.example"}}
		e.fails = "a host name for an address"
	case 3:
		if n := len(d.Media) - 1; !first && n > p.audio && n < len(p.backup.lines) {
			d.Media, e.fails = d.Media[:n], "a line is missing"
		}
	}
}

// describe writes its description; offered is the direction that it answers, sendrecv in an offer.
func (p *phone) describe(dir, offered sdp.Direction, codecs []codec.Codec) *sdp.Description {
	d := &sdp.Description{Name: "call", Media: make([]sdp.Media, len(p.lines))}
	c := &sdp.Connection{Addr: sdp.AddressOf(p.addr.Addr())}
	p.nowhere = false
	for i, l := range p.lines {
		d.Media[i] = sdp.Media{Type: l.kind, Port: 5000, Proto: p.proto, Formats: l.formats}
		if l.dead {
			d.Media[i].Port = 0
		}
	}
	a := &d.Media[p.audio]
	a.Port, a.Codecs, a.Ptime = p.addr.Port(), codecs, pick[uint32](p.r, 0, 20, 20, 30)
	if p.rtcp != 0 {
		a.RTCP = &sdp.RTCP{Port: p.rtcp}
	}
	if p.oldHold && !dir.Receives() && offered.Sends() { // says that it receives, or nothing, and cannot be reached
		c, p.nowhere = &sdp.Connection{Addr: sdp.AddressOf(netip.IPv4Unspecified())}, true
		if dir = sdp.Dir(dir.Sends(), p.r.IntN(2) == 0); dir == sdp.SendRecv && chance(p.r, 50) {
			dir = sdp.DirUnset
		}
	}
	if chance(p.r, 20) {
		d.Direction = dir
	} else {
		a.Direction = dir
	}
	if chance(p.r, 20) {
		a.Connection = c
	} else {
		d.Connection = c
	}
	return d
}

func (p *phone) takeAnswer(raw []byte, _ expect) (sdp.Direction, error) {
	d, err := p.hear(raw)
	if err != nil {
		return 0, err
	}
	a, offered := &d.Media[p.audio], &p.said.Media[p.audio]
	said := sdp.Dir(p.sends, p.receives)
	dir := d.DirectionOf(a)
	switch {
	case p.sameLines(d) != nil:
		return 0, p.sameLines(d)
	case p.subset(a, offered) != nil:
		return 0, p.subset(a, offered)
	case said.Reverse().And(dir) != dir:
		return 0, fmt.Errorf("%s is no answer to %s", dir, said)
	}
	p.took = a
	return dir, p.plain(raw, d, a)
}

// coreLines are all that the core may ever see (standards ARC-03, ARC-04).
var coreLines = []string{
	"v=0", "o=- ", "s=-", "c=IN IP4 10.20.", "t=0 0", "m=audio ", "m=video 0 ", "b=AS:", "a=rtpmap:", "a=fmtp:", "a=ptime:20", "a=rtcp:",
	"a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive",
}

// plain checks that nothing of WebRTC or of the browser is in a description.
func (p *phone) plain(raw []byte, d *sdp.Description, a *sdp.Media) error {
	for l := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\r\n"), "\r\n") {
		if !slices.ContainsFunc(coreLines, func(ok string) bool { return strings.HasPrefix(l, ok) }) {
			return fmt.Errorf("%q crosses to the core", l)
		}
		if strings.HasPrefix(l, "m=") && !strings.Contains(l, " "+p.proto+" ") && !strings.Contains(l, " RTP/AVP ") {
			return fmt.Errorf("%q is said to the core", l)
		}
	}
	switch {
	case d.ConnectionOf(a).IP.IsUnspecified():
		return errors.New("we hold by 0.0.0.0")
	case a.Port%2 != 0 || a.Ptime != 20:
		return fmt.Errorf("port %d, ptime %d", a.Port, a.Ptime)
	case len(d.Groups) > 0 || a.RTCPMux:
		return errors.New("BUNDLE or rtcp-mux towards the core")
	}
	return nil
}

func (p *phone) takeOffer(raw []byte) (*sdp.Description, sdp.Direction, error) {
	p.keep()
	d, err := p.hear(raw)
	if err != nil {
		return nil, 0, err
	}
	if p.said == nil && len(p.lines) == 0 {
		p.lines, p.proto = []line{{kind: "audio"}}, d.Media[0].Proto
	}
	a := &d.Media[p.audio]
	if err := errors.Join(p.sameLines(d), p.plain(raw, d, a)); err != nil {
		return nil, 0, err
	}
	codecs := p.common(a.Codecs)
	if firstOf(codecs, false).IsZero() || chance(p.r, 8) {
		return nil, 0, nil
	}
	if err := p.bind(codecs); err != nil {
		panic(err) // the model itself is illegal
	}
	if chance(p.r, 5) {
		p.moves()
	}
	dir := p.answerDirection(d.DirectionOf(a))
	ans := p.describe(dir, d.DirectionOf(a), codecs)
	p.origin(ans)
	p.codecsNow, p.took = codecs, a
	return ans, dir, nil
}

// common is what it has of an offer, mostly under the same payload types (RFC 3264 §6.1 does not ask for it).
func (p *phone) common(offered []codec.Codec) []codec.Codec {
	var out []codec.Codec
	for _, c := range offered {
		if !slices.ContainsFunc(p.can, c.SameFormat) {
			continue
		}
		if c.Is(codec.TelephoneEvent) {
			if c.Fmtp = "0-15"; chance(p.r, 5) {
				if pt, ok := p.freePT(c, p.event); ok {
					c.PT = pt
				}
			}
		}
		out = append(out, c)
	}
	if len(out) > 1 && chance(p.r, 40) { // answers with one codec, as most do
		first := firstOf(out, false)
		out = slices.DeleteFunc(out, func(c codec.Codec) bool { return c != first && !c.Is(codec.TelephoneEvent) })
	}
	return out
}
