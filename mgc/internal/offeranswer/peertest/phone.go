package peertest

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

// Phone is a legal SIP user agent on the core side: RTP/AVP, no ICE.
type Phone struct {
	Peer
	proto               string
	Addr, was           netip.AddrPort
	RTCPPort            uint16 // 0: the next port
	wasRTCP             uint16
	Nowhere, wasNowhere bool // its description gives no address to send to
	oldHold             bool // it holds by c=0.0.0.0 (RFC 3264 §8.4)
	event               uint8
	Crypto              Crypto
	wasCrypto           Crypto

	One      bool            // it is about one line only
	later    bool            // which was added to a call
	Reserves bool            // it may be told of quality-of-service preconditions
	Quality  []sdp.Attribute // its own precondition lines
}

// PhoneMenu lists what phones have, with the payload types of telephone-event and iLBC.
func PhoneMenu(event, other uint8) []codec.Codec {
	return []codec.Codec{
		{Name: "PCMA", PT: 8, ClockRate: 8000, Channels: 1},
		{Name: "PCMU", PT: 0, ClockRate: 8000, Channels: 1},
		{Name: "G722", PT: 9, ClockRate: 8000, Channels: 1},
		{Name: "G729", PT: 18, ClockRate: 8000, Channels: 1, Fmtp: "annexb=no"},
		{Name: "iLBC", PT: other, ClockRate: 8000, Channels: 1, Fmtp: "mode=20"},
		{Name: "CN", PT: 13, ClockRate: 8000, Channels: 1},
		{Name: "AMR-WB", PT: 103, ClockRate: 16000, Channels: 1, Fmtp: "mode-set=0,1,2; mode-change-capability=2"},
		{Name: "AMR-WB", PT: 104, ClockRate: 16000, Channels: 1, Fmtp: "octet-align=1"},
		{Name: "AMR", PT: 105, ClockRate: 8000, Channels: 1, Fmtp: "max-red=220"},
		{Name: "AMR", PT: 106, ClockRate: 8000, Channels: 1, Fmtp: "mode-set=0,2,4,7; octet-align=1; mode-change-period=2"},
		{Name: codec.TelephoneEvent, PT: event, ClockRate: 8000, Channels: 1, Fmtp: "0-16"},
		{Name: codec.TelephoneEvent, PT: 107, ClockRate: 16000, Channels: 1, Fmtp: "0-15"},
	}
}

// NewPhone returns a phone with random habits, for a gateway whose SRTP policy is srtp.
func NewPhone(r *rand.Rand, srtp string) *Phone {
	p := &Phone{Peer: Peer{r: r, id: r.Uint64() >> 2, version: r.Uint64N(3), Sends: true, Receives: true}, proto: "RTP/AVP"}
	p.oldHold = Chance(r, 25)
	if Chance(r, 20) {
		p.proto = "RTP/AVPF"
	}
	if p.Crypto = newCrypto(r, srtp); p.Crypto.Habit == "needs" {
		p.proto = strings.Replace(p.proto, "AVP", "SAVP", 1)
	}
	p.event = Pick[uint8](r, 101, 96, 100)
	p.Can = Some(r, PhoneMenu(p.event, Pick[uint8](r, 97, 101, 102)))
	p.Can = slices.DeleteFunc(p.Can, func(c codec.Codec) bool { return c.Is("iLBC") && c.PT == p.event })
	p.moves()
	return p
}

func (p *Phone) moves() {
	p.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, 0, byte(1 + p.r.IntN(200))}), uint16(4000+2*p.r.IntN(1000)))
	p.RTCPPort = 0
	if Chance(p.r, 10) {
		p.RTCPPort = p.Addr.Port() + 7
	}
}

// Keep saves the phone before an offer, from either end.
func (p *Phone) Keep() {
	p.Peer.Keep()
	p.was, p.wasRTCP, p.wasNowhere, p.wasCrypto = p.Addr, p.RTCPPort, p.Nowhere, p.Crypto
}

// Restore undoes a failed offer.
func (p *Phone) Restore() {
	p.Peer.Restore()
	p.Addr, p.RTCPPort, p.Nowhere, p.Crypto = p.was, p.wasRTCP, p.wasNowhere, p.wasCrypto
}

func (p *Phone) numbered() []codec.Codec {
	var out []codec.Codec
	for _, c := range p.Can {
		pt, ok := p.freePT(c, c.PT)
		if !ok || slices.ContainsFunc(out, func(o codec.Codec) bool { return o.PT == pt }) {
			continue
		}
		c.PT = pt
		out = append(out, c)
	}
	return out
}

// Offer makes its next offer and says what has to come of it; names are the codecs of the policy.
func (p *Phone) Offer(names []string) (*sdp.Description, Expect) {
	var e Expect
	first := p.said == nil && p.heard == nil
	p.Keep()
	nowhere := p.Nowhere
	if first {
		p.Lines = []Line{{Kind: "audio"}}
		if p.One {
			// nothing else
		} else if Chance(p.r, 25) {
			p.Lines = append(p.Lines, Line{Kind: "video", Formats: []string{"34"}})
		}
		if !p.One && Chance(p.r, 10) {
			p.Lines = append([]Line{{Kind: "video", Formats: []string{"34"}}}, p.Lines...)
			p.Audio = 1
		}
	} else {
		if Chance(p.r, 45) {
			p.changeWish()
		}
		if Chance(p.r, 20) {
			p.moves()
		}
		if Chance(p.r, 20) {
			p.Can = slices.DeleteFunc(Some(p.r, PhoneMenu(p.event, 97)), func(c codec.Codec) bool { return c.Is("iLBC") && p.event == 97 })
		}
		if !p.One && Chance(p.r, 12) && len(p.Lines) < 4 {
			p.Lines = append(p.Lines, Line{Kind: "video", Formats: []string{"34"}})
		}
		if Chance(p.r, 8) { // a line that is not used any more
			if i := p.r.IntN(len(p.Lines)); i != p.Audio {
				p.Lines[i].Dead = true
			}
		}
	}
	e.Moved = nowhere || p.Addr != p.was || p.RTCPPort != p.wasRTCP
	codecs := p.numbered()
	if !usableBy(codecs, names) {
		e.Fails = "no usable codec"
	}
	d := p.describe(sdp.Dir(p.Sends, p.Receives), sdp.SendRecv, codecs)
	was := p.Crypto.Used
	usable := p.Crypto.offer(p.r, &d.Media[p.Audio])
	if why := p.Crypto.fails(p.proto, usable); why != "" {
		e.Fails = why
	}
	e.NewKey = p.Crypto.Policy != "off" && was != map[bool]string{true: p.Crypto.using()}[usable]
	if Chance(p.r, 5) {
		p.spoil(d, first, &e)
	}
	p.origin(d)
	if err := p.bind(codecs); err != nil {
		panic(err) // the model itself is illegal
	}
	p.Codecs = codecs
	return d, e
}

func (p *Phone) spoil(d *sdp.Description, first bool, e *Expect) {
	a := &d.Media[p.Audio]
	switch p.r.IntN(4) {
	case 0:
		a.Port, e.Fails = 0, "no audio line"
	case 1:
		a.Proto, a.Cryptos, e.Fails = "RTP/SAVP", nil, "SDES without a key"
	case 2:
		a.Connection = &sdp.Connection{Addr: sdp.Address{Host: "phone.example"}}
		e.Fails = "a host name for an address"
	case 3:
		if n := len(d.Media) - 1; !first && n > p.Audio && n < len(p.backup.Lines) {
			d.Media, e.Fails = d.Media[:n], "a line is missing"
		}
	}
}

// describe writes its description; offered is the direction that it answers, sendrecv in an offer.
func (p *Phone) describe(dir, offered sdp.Direction, codecs []codec.Codec) *sdp.Description {
	d := &sdp.Description{Name: "call", Media: make([]sdp.Media, len(p.Lines))}
	c := &sdp.Connection{Addr: sdp.AddressOf(p.Addr.Addr())}
	p.Nowhere = false
	for i, l := range p.Lines {
		d.Media[i] = sdp.Media{Type: l.Kind, Port: 5000, Proto: p.proto, Formats: l.Formats}
		if l.Dead {
			d.Media[i].Port = 0
		}
	}
	a := &d.Media[p.Audio]
	a.Port, a.Codecs, a.Ptime, a.Other = p.Addr.Port(), codecs, Pick[uint32](p.r, 0, 20, 20, 30), p.Quality
	if p.RTCPPort != 0 {
		a.RTCP = &sdp.RTCP{Port: p.RTCPPort}
	}
	if p.oldHold && !dir.Receives() && offered.Sends() { // says that it receives, or nothing, and cannot be reached
		c, p.Nowhere = &sdp.Connection{Addr: sdp.AddressOf(netip.IPv4Unspecified())}, true
		if dir = sdp.Dir(dir.Sends(), p.r.IntN(2) == 0); dir == sdp.SendRecv && Chance(p.r, 50) {
			dir = sdp.DirUnset
		}
	}
	if Chance(p.r, 20) {
		d.Direction = dir
	} else {
		a.Direction = dir
	}
	if Chance(p.r, 20) {
		a.Connection = c
	} else {
		d.Connection = c
	}
	return d
}

// TakeAnswer checks the answer to its offer and takes it; the direction is that of the answer.
func (p *Phone) TakeAnswer(raw []byte, _ Expect) (sdp.Direction, error) {
	d, err := p.hear(raw)
	if err != nil {
		return 0, err
	}
	a, offered := &d.Media[p.Audio], &p.said.Media[p.Audio]
	said := sdp.Dir(p.Sends, p.Receives)
	dir := d.DirectionOf(a)
	switch {
	case p.sameLines(d) != nil:
		return 0, p.sameLines(d)
	case p.subset(a, offered) != nil:
		return 0, p.subset(a, offered)
	case said.Reverse().And(dir) != dir:
		return 0, fmt.Errorf("%s is no answer to %s", dir, said)
	}
	p.Took = a
	return dir, errors.Join(p.plain(raw, d, a), p.Crypto.takeAnswer(a))
}

// coreLines are all that the core may ever see (standards ARC-03, ARC-04).
var coreLines = []string{
	"v=0", "o=- ", "s=-", "c=IN IP4 10.20.", "t=0 0", "m=audio ", "m=video 0 ", "b=AS:", "b=RS:0", "b=RR:2000", "a=maxptime:240", "a=rtpmap:", "a=fmtp:", "a=ptime:20", "a=rtcp:",
	"a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive",
}

// qualityLines are what it may see besides when it uses preconditions.
var qualityLines = []string{"a=curr:qos ", "a=des:qos ", "a=conf:qos "}

// plain checks that nothing of WebRTC or of the browser is in a description.
func (p *Phone) plain(raw []byte, d *sdp.Description, a *sdp.Media) error {
	for l := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\r\n"), "\r\n") {
		quality := p.Reserves && slices.ContainsFunc(qualityLines, func(ok string) bool { return strings.HasPrefix(l, ok) })
		secure := p.Crypto.Policy != "off" && strings.HasPrefix(l, "a=crypto:")
		if !quality && !secure && !slices.ContainsFunc(coreLines, func(ok string) bool { return strings.HasPrefix(l, ok) }) {
			return fmt.Errorf("%q crosses to the core", l)
		}
		if strings.HasPrefix(l, "m=") && !strings.Contains(l, " "+p.proto+" ") && !strings.Contains(l, " RTP/AVP ") && !(p.Crypto.Policy == "required" && strings.Contains(l, " RTP/SAVP ")) {
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

// TakeOffer checks an offer and answers it; nil: it refuses, as it may.
func (p *Phone) TakeOffer(raw []byte) (*sdp.Description, sdp.Direction, error) {
	p.Keep()
	d, err := p.hear(raw)
	if err != nil {
		return nil, 0, err
	}
	if p.said == nil && len(p.Lines) == 0 {
		p.Lines, p.proto = []Line{{Kind: "audio"}}, d.Media[0].Proto
	}
	a := &d.Media[p.Audio]
	if err := errors.Join(p.sameLines(d), p.plain(raw, d, a)); err != nil {
		return nil, 0, err
	}
	keys, err := p.Crypto.takeOffer(p.r, a, p.said == nil && !p.later)
	if err != nil {
		return nil, 0, err
	}
	codecs := p.common(a.Codecs)
	if keys == nil {
		return nil, 0, nil
	}
	if First(codecs, false).IsZero() || Chance(p.r, 8) {
		return nil, 0, nil
	}
	if err := p.bind(codecs); err != nil {
		panic(err) // the model itself is illegal
	}
	if Chance(p.r, 5) {
		p.moves()
	}
	dir := p.answerDirection(d.DirectionOf(a))
	ans := p.describe(dir, d.DirectionOf(a), codecs)
	ans.Media[p.Audio].Proto = a.Proto
	keys(&ans.Media[p.Audio])
	p.origin(ans)
	p.Codecs, p.Took = codecs, a
	return ans, dir, nil
}

// common is what it has of an offer, mostly under the same payload types (RFC 3264 §6.1 does not ask for it).
func (p *Phone) common(offered []codec.Codec) []codec.Codec {
	var out []codec.Codec
	for _, c := range offered {
		if !slices.ContainsFunc(p.Can, c.SamePayload) {
			continue
		}
		if c.Is(codec.TelephoneEvent) {
			if c.Fmtp = "0-15"; Chance(p.r, 5) {
				pt, ok := p.freePT(c, p.event)
				taken := func(o codec.Codec) bool { return o.PT == pt && !o.SamePayload(c) }
				if ok && !slices.ContainsFunc(offered, taken) && !slices.ContainsFunc(out, taken) {
					c.PT = pt
				}
			}
		}
		out = append(out, c)
	}
	if len(out) > 1 && Chance(p.r, 40) { // answers with one codec, as most do
		first := First(out, false)
		out = slices.DeleteFunc(out, func(c codec.Codec) bool { return c != first && !c.Is(codec.TelephoneEvent) })
	}
	return out
}
