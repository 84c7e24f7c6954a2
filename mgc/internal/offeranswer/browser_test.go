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

// expect is what the planner has to make of an offer.
type expect struct {
	fails            string // not empty: it has to be refused, for this reason
	restart, newDTLS bool
	moved            bool
}

// browser is a legal peer of RFC 9429 (JSEP), with the habits of Chrome or Firefox.
type browser struct {
	peer
	web, was webState
	firefox  bool // ICE and DTLS attributes at session level
	rsize    bool
	bundles  bool
	midCount int
}

// webState is its side of the transport, and the other end's.
type webState struct {
	ufrag, pwd, print, tlsID   string
	role                       sdp.Setup // its own: active or passive; empty: not agreed
	hisUfrag, hisPwd, hisPrint string
	hisTLSID                   string
	hisMux                     bool
}

func webMenu(firefox bool) []codec.Codec {
	opus, red, ev48, ev8 := uint8(111), uint8(63), uint8(110), uint8(126)
	if firefox {
		opus, ev48, ev8 = 109, 101, 101
	}
	menu := []codec.Codec{
		{Name: "opus", PT: opus, ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"},
		{Name: "red", PT: red, ClockRate: 48000, Channels: 2, Fmtp: fmt.Sprintf("%d/%d", opus, opus)},
		{Name: "G722", PT: 9, ClockRate: 8000, Channels: 1},
		{Name: "PCMU", PT: 0, ClockRate: 8000, Channels: 1},
		{Name: "PCMA", PT: 8, ClockRate: 8000, Channels: 1},
		{Name: "CN", PT: 13, ClockRate: 8000, Channels: 1},
		{Name: "ISAC", PT: 103, ClockRate: 16000, Channels: 1},
		{Name: "opus", PT: 112, ClockRate: 48000, Channels: 1}, // not the opus of RFC 7587
	}
	if !firefox {
		menu = append(menu, codec.Codec{Name: codec.TelephoneEvent, PT: ev48, ClockRate: 48000, Channels: 1})
	}
	return append(menu, codec.Codec{Name: codec.TelephoneEvent, PT: ev8, ClockRate: 8000, Channels: 1, Fmtp: fmtpEvent})
}

func newBrowser(r *rand.Rand) *browser {
	b := &browser{peer: peer{r: r, side: Access, id: r.Uint64() >> 2, version: r.Uint64N(3), sends: true, receives: true}}
	b.firefox, b.rsize, b.bundles = chance(r, 30), chance(r, 60), chance(r, 90)
	b.can = shuffled(r, webMenu(b.firefox))
	b.web.print = randomPrint(r)
	b.freshICE()
	return b
}

func randomPrint(r *rand.Rand) string {
	const hex = "0123456789ABCDEF"
	s := make([]byte, 32*3-1)
	for i := range s {
		if s[i] = hex[r.IntN(16)]; i%3 == 2 {
			s[i] = ':'
		}
	}
	return string(s)
}

func word(r *rand.Rand, n int) string {
	const set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	s := make([]byte, n)
	for i := range s {
		s[i] = set[r.IntN(len(set))]
	}
	return string(s)
}

func (b *browser) freshICE() { b.web.ufrag, b.web.pwd = word(b.r, 4), word(b.r, 24) }

func (b *browser) keep() {
	b.peer.keep()
	b.was = b.web
}

func (b *browser) restore() {
	b.peer.restore()
	b.web = b.was
}

// numbered gives what the browser can do the payload types of this dialog.
func (b *browser) numbered() []codec.Codec {
	var out []codec.Codec
	for _, c := range b.can {
		pt, ok := c.PT, true
		if i := slices.IndexFunc(b.bound[:], c.SameFormat); i >= 0 {
			pt = uint8(i)
		} else if pt, ok = b.freePT(c, c.PT); !ok {
			continue
		}
		if slices.ContainsFunc(out, func(o codec.Codec) bool { return o.PT == pt }) {
			continue
		}
		c.PT = pt
		out = append(out, c)
	}
	return out
}

// offer makes its next offer and says what has to come of it.
func (b *browser) offer(names []string) (*sdp.Description, expect) {
	var e expect
	first := b.said == nil && b.heard == nil
	b.keep()
	if first {
		b.firstLines()
		if b.web.tlsID = ""; chance(b.r, 20) {
			b.web.tlsID = word(b.r, 24)
		}
	} else {
		e = b.mutate()
	}
	setup := sdp.SetupActpass
	switch {
	case first && chance(b.r, 20):
		setup = pick(b.r, sdp.SetupActive, sdp.SetupPassive)
	case !first && chance(b.r, 15) && b.web.role != "":
		setup = b.web.role
	}
	codecs := b.numbered()
	if !usableBy(codecs, names) {
		e.fails = "no usable codec"
	}
	d := b.describe(setup, sdp.Dir(b.sends, b.receives), codecs)
	if chance(b.r, 6) {
		b.spoil(d, first, &e)
	}
	b.origin(d)
	if err := b.bind(d.Media[min(b.audio, len(d.Media)-1)].Codecs); err != nil {
		panic(err) // the model itself is illegal
	}
	b.codecsNow = codecs
	return d, e
}

func (b *browser) firstLines() {
	b.lines = []line{b.newLine("audio")}
	for chance(b.r, 25) && len(b.lines) < 4 {
		b.lines = append(b.lines, b.newLine(pick(b.r, "video", "application")))
	}
	b.audio = 0
	if chance(b.r, 30) { // audio not first
		b.audio = b.r.IntN(len(b.lines))
		b.lines[0], b.lines[b.audio] = b.lines[b.audio], b.lines[0]
	}
}

func (b *browser) newLine(kind string) line {
	formats := map[string][]string{"video": {"96", "97"}, "application": {"webrtc-datachannel"}}[kind]
	b.midCount++
	mid := fmt.Sprint(b.midCount - 1)
	if b.firefox && b.r.IntN(2) == 0 {
		mid = "sdparta_" + mid
	}
	return line{kind: kind, mid: mid, formats: formats}
}

// mutate changes what a browser may change from one offer to the next.
func (b *browser) mutate() (e expect) {
	if chance(b.r, 45) {
		b.changeWish()
	}
	if chance(b.r, 20) {
		b.freshICE()
		e.restart = true
	}
	if chance(b.r, 6) { // another RTCPeerConnection goes on with the dialog
		b.freshICE()
		b.web.print, b.web.role = randomPrint(b.r), ""
		if b.web.tlsID != "" {
			b.web.tlsID = word(b.r, 24)
		}
		e.restart, e.newDTLS = true, true
	}
	if chance(b.r, 20) {
		b.can = shuffled(b.r, webMenu(b.firefox))
	}
	if chance(b.r, 20) {
		b.changeLines()
	}
	return e
}

// changeLines adds, stops or uses again m= lines other than the audio one (RFC 9429 §5.2.2).
func (b *browser) changeLines() {
	switch i := b.r.IntN(len(b.lines)); {
	case len(b.lines) < 5 && chance(b.r, 50):
		b.lines = append(b.lines, b.newLine(pick(b.r, "video", "application", "audio")))
		if l := &b.lines[len(b.lines)-1]; l.kind == "audio" {
			l.formats = []string{"0"}
		}
	case i == b.audio:
	case b.lines[i].dead:
		b.lines[i] = b.newLine(pick(b.r, "video", "application"))
	default:
		b.lines[i].dead = true
	}
}

// spoil makes an offer that has to be refused.
func (b *browser) spoil(d *sdp.Description, first bool, e *expect) {
	a := &d.Media[b.audio]
	switch b.r.IntN(8) {
	case 0:
		a.Port, a.Other, e.fails = 0, nil, "no audio line"
	case 1:
		a.RTCPMux, e.fails = false, "no rtcp-mux"
	case 2:
		d.Fingerprints, a.Fingerprints = []sdp.Fingerprint{{Hash: "sha-1", Value: b.web.print[:59]}}, nil
		e.fails = "weak fingerprint"
	case 3:
		a.Proto, e.fails = "RTP/AVP", "no DTLS"
	case 4:
		for i := range d.Media {
			d.Media[i].ICEUfrag, d.Media[i].ICEPwd = "", ""
		}
		d.ICEUfrag, d.ICEPwd, e.fails = "", "", "no ICE"
	case 5:
		if !first && !e.newDTLS && b.web.role != "" {
			flip := map[sdp.Setup]sdp.Setup{sdp.SetupActive: sdp.SetupPassive, sdp.SetupPassive: sdp.SetupActive}[b.web.role]
			d.Setup, a.Setup, e.fails = "", flip, "another DTLS role without a new association"
		}
	case 6:
		if n := len(d.Media) - 1; !first && n > b.audio && n < len(b.backup.lines) {
			d.Media, e.fails = d.Media[:n], "a line is missing"
		}
	case 7:
		a.Codecs = slices.DeleteFunc(slices.Clone(a.Codecs), func(c codec.Codec) bool { return usableBy([]codec.Codec{c}, DefaultPolicy().Access) })
		if len(a.Codecs) == 0 {
			a.Codecs = []codec.Codec{{Name: "CN", PT: 13, ClockRate: 8000, Channels: 1}}
		}
		e.fails = "no usable codec"
	}
}

// describe writes its description with the m= lines that it has.
func (b *browser) describe(setup sdp.Setup, dir sdp.Direction, codecs []codec.Codec) *sdp.Description {
	d := &sdp.Description{Name: "-", Media: make([]sdp.Media, len(b.lines))}
	var tagged []string
	for i, l := range b.lines {
		m := &d.Media[i]
		*m = sdp.Media{Type: l.kind, Port: 9, Proto: "UDP/TLS/RTP/SAVPF", Formats: l.formats, MID: l.mid}
		if l.kind == "application" {
			m.Proto = "UDP/DTLS/SCTP"
		}
		if l.dead {
			m.Port, m.Direction = 0, sdp.Inactive
			continue
		}
		tagged = append(tagged, l.mid)
		if i > 0 && b.bundles && b.said == nil && b.r.IntN(3) == 0 {
			m.Port, m.Other = 0, []sdp.Attribute{{Name: "bundle-only"}}
		}
		b.transport(&m.Attributes, setup)
		m.RTCPMux = l.kind != "application"
	}
	if b.bundles {
		d.Groups = []sdp.Group{{Semantics: "BUNDLE", MIDs: tagged}}
	}
	if b.firefox {
		b.transport(&d.Attributes, "")
		d.Attributes.Setup = ""
		for i := range d.Media {
			m := &d.Media[i]
			m.ICEUfrag, m.ICEPwd, m.Fingerprints = "", "", nil
		}
	}
	a := &d.Media[b.audio]
	a.Direction, a.Codecs, a.RTCPRsize = dir, codecs, b.rsize
	a.Extmaps = []sdp.Extmap{{ID: 1, URI: "urn:ietf:params:rtp-hdrext:ssrc-audio-level"}, {ID: 4, URI: "urn:ietf:params:rtp-hdrext:sdes:mid"}}
	a.Msids = []sdp.Msid{{Stream: "webstream", Track: "webtrack"}}
	a.SSRCs = []sdp.SSRC{{ID: 2607947206, Name: "cname", Value: "webcname"}}
	a.Other = append(a.Other, sdp.Attribute{Name: "rtcp-fb", Value: "111 transport-cc"})
	a.Candidates = []sdp.Candidate{
		{Foundation: "1", Component: 1, Transport: "udp", Priority: 2122260223, Host: "7c1f3a52.local", Port: 52341, Type: "host"},
		{Foundation: "2", Component: 1, Transport: "udp", Priority: 1686052607, Host: "203.0.113.50", Port: 52341, Type: "srflx", RelHost: "0.0.0.0"},
		{Foundation: "3", Component: 1, Transport: "tcp", Priority: 1518280447, Host: "203.0.113.50", Port: 9, Type: "host", TCPType: "active"},
	}
	a.Connection = &sdp.Connection{Addr: sdp.AddressOf(netip.IPv4Unspecified())} // says nothing: candidates rule
	return d
}

func (b *browser) transport(a *sdp.Attributes, setup sdp.Setup) {
	a.ICEUfrag, a.ICEPwd, a.ICEOptions = b.web.ufrag, b.web.pwd, []string{"trickle"}
	a.Fingerprints = []sdp.Fingerprint{{Hash: "sha-256", Value: b.web.print}}
	a.Setup, a.TLSID = setup, b.web.tlsID
}

// takeAnswer checks the answer to its offer and takes it.
func (b *browser) takeAnswer(raw []byte, e expect) (sdp.Direction, error) {
	first := b.web.hisUfrag == ""
	d, err := b.hear(raw)
	if err != nil {
		return 0, err
	}
	offered := &b.said.Media[b.audio]
	a := &d.Media[b.audio]
	dir := d.DirectionOf(a)
	fs := d.FingerprintsOf(a)
	role := map[sdp.Setup]sdp.Setup{sdp.SetupActive: sdp.SetupPassive, sdp.SetupPassive: sdp.SetupActive}[a.Setup]
	switch {
	case b.sameLines(d) != nil:
		return 0, b.sameLines(d)
	case b.subset(a, offered) != nil:
		return 0, b.subset(a, offered)
	case offered.Direction.Reverse().And(dir) != dir:
		return 0, fmt.Errorf("%s is no answer to %s", dir, offered.Direction)
	case role == "":
		return 0, fmt.Errorf("setup:%s in an answer", a.Setup)
	case offered.Setup != sdp.SetupActpass && role != offered.Setup:
		return 0, fmt.Errorf("setup:%s answers setup:%s", a.Setup, offered.Setup)
	case b.web.role != "" && role != b.web.role:
		return 0, errors.New("the DTLS role changes within an association (RFC 8842 §5.5)")
	case len(fs) == 0:
		return 0, errors.New("no fingerprint")
	case (a.TLSID != "") != (b.web.tlsID != ""):
		return 0, fmt.Errorf("tls-id %q answers %q (RFC 8842 §5.3)", a.TLSID, b.web.tlsID)
	case !first && (a.TLSID != b.web.hisTLSID) != (e.newDTLS && a.TLSID != ""):
		return 0, fmt.Errorf("tls-id %q after %q, new association %v", a.TLSID, b.web.hisTLSID, e.newDTLS)
	case !first && fs[0].Value != b.web.hisPrint && !e.newDTLS:
		return 0, errors.New("the fingerprint changes without a new association")
	case !first && (a.ICEUfrag != b.web.hisUfrag || a.ICEPwd != b.web.hisPwd) != e.restart:
		return 0, fmt.Errorf("credentials %q after %q, restart %v (RFC 8445 §9)", a.ICEUfrag, b.web.hisUfrag, e.restart)
	case e.restart && (a.ICEUfrag == b.web.hisUfrag || a.ICEPwd == b.web.hisPwd):
		return 0, errors.New("only half of the credentials is new")
	case a.RTCPRsize && !offered.RTCPRsize, d.Bundle() != nil && b.said.Bundle() == nil:
		return 0, errors.New("more than was offered: rtcp-rsize or BUNDLE")
	}
	b.web.role, b.took = role, a
	return dir, b.takeTransport(d, a)
}

// takeTransport checks and takes what offers and answers have in common.
func (b *browser) takeTransport(d *sdp.Description, a *sdp.Media) error {
	fs := d.FingerprintsOf(a)
	switch {
	case !d.ICELite, len(a.Candidates) == 0, !a.EndOfCandidates, len(a.ICEUfrag) < 4, len(a.ICEPwd) < 22:
		return errors.New("incomplete ICE")
	case len(fs) != 1 || fs[0].Hash != "sha-256":
		return fmt.Errorf("fingerprints %v", fs)
	case !a.RTCPMux:
		return errors.New("no rtcp-mux")
	case len(d.Bundle()) > 1 || len(d.Bundle()) == 1 && d.Bundle()[0] != a.MID:
		return fmt.Errorf("BUNDLE %v; only audio %q lives", d.Bundle(), a.MID)
	case len(a.Extmaps) > 0 || len(d.Extmaps) > 0:
		return errors.New("header extensions that the gateway does not have")
	case len(a.Bandwidth) > 0 || strings.Contains(string(b.heardRaw), "10.9."):
		return errors.New("the core's description shows through")
	}
	b.web.hisUfrag, b.web.hisPwd, b.web.hisPrint, b.web.hisTLSID = a.ICEUfrag, a.ICEPwd, fs[0].Value, a.TLSID
	return nil
}

// takeOffer checks an offer and answers it; nil: it refuses, as it may.
func (b *browser) takeOffer(raw []byte) (*sdp.Description, sdp.Direction, error) {
	b.keep()
	first := b.said == nil
	d, err := b.hear(raw)
	if err != nil {
		return nil, 0, err
	}
	if first {
		b.lines, b.audio = []line{{kind: "audio", mid: d.Media[0].MID}}, 0
		b.midCount, b.bundles = 1, len(d.Bundle()) > 0
	}
	if err := b.sameLines(d); err != nil {
		return nil, 0, err
	}
	a := &d.Media[b.audio]
	was := b.web
	if err := b.takeTransport(d, a); err != nil {
		return nil, 0, err
	}
	switch {
	case a.Setup != sdp.SetupActpass:
		return nil, 0, fmt.Errorf("setup:%s in an offer (RFC 8842 §5.2)", a.Setup)
	case !first && was.hisUfrag != "" && (b.web.hisUfrag != was.hisUfrag || b.web.hisPrint != was.hisPrint || b.web.hisTLSID != was.hisTLSID):
		return nil, 0, errors.New("our offer restarts a transport that goes on")
	case first && len(d.Bundle()) != 1:
		return nil, 0, errors.New("a first offer without BUNDLE")
	}
	var codecs []codec.Codec
	for _, c := range a.Codecs {
		if slices.ContainsFunc(b.can, c.SameFormat) {
			c.Fmtp = ""
			codecs = append(codecs, c)
		}
	}
	if firstOf(codecs, false).IsZero() || chance(b.r, 5) {
		return nil, 0, nil
	}
	if b.web.role == "" {
		b.web.role = pick(b.r, sdp.SetupActive, sdp.SetupActive, sdp.SetupPassive)
	}
	dir := b.answerDirection(d.DirectionOf(a))
	ans := b.describe(b.web.role, dir, codecs)
	ans.Media[b.audio].RTCPRsize = ans.Media[b.audio].RTCPRsize && a.RTCPRsize
	b.origin(ans)
	b.codecsNow, b.took = codecs, a
	return ans, dir, nil
}
