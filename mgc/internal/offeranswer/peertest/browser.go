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

// Expect is what the planner has to make of an offer.
type Expect struct {
	Fails            string // not empty: it has to be refused, for this reason
	Restart, NewDTLS bool
	Moved            bool
	NewKey           bool // when it is taken
	MayNewKey        bool // it may be told: of a line that comes back
}

// Browser is a legal peer of RFC 9429 (JSEP), with the habits of Chrome or Firefox.
type Browser struct {
	Peer
	Web, was WebState
	firefox  bool // ICE and DTLS attributes at session level
	rsize    bool
	bundles  bool
	called   bool // ours was its first description
	FullICE  bool // what it expects of the gateway
	midCount int
	one      bool // it has one audio line
}

// WebState is its side of the transport, and the other end's.
type WebState struct {
	Ufrag, Pwd, Print, TLSID   string
	Role                       sdp.Setup // its own: active or passive; empty: not agreed
	HisUfrag, HisPwd, HisPrint string
	HisTLSID                   string
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
	return append(menu, codec.Codec{Name: codec.TelephoneEvent, PT: ev8, ClockRate: 8000, Channels: 1, Fmtp: "0-15"})
}

// NewBrowser returns a browser with random habits.
func NewBrowser(r *rand.Rand) *Browser {
	b := &Browser{Peer: Peer{r: r, browser: true, id: r.Uint64() >> 2, version: r.Uint64N(3), Sends: true, Receives: true}}
	b.firefox, b.rsize, b.bundles = Chance(r, 30), Chance(r, 60), Chance(r, 90)
	b.Can = Some(r, webMenu(b.firefox))
	b.Web.Print = randomPrint(r)
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

// Word returns n random characters that ICE allows.
func Word(r *rand.Rand, n int) string {
	const set = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	s := make([]byte, n)
	for i := range s {
		s[i] = set[r.IntN(len(set))]
	}
	return string(s)
}

func (b *Browser) freshICE() { b.Web.Ufrag, b.Web.Pwd = Word(b.r, 4), Word(b.r, 24) }

// Keep saves the browser before an offer, from either end.
func (b *Browser) Keep() {
	b.Peer.Keep()
	b.was = b.Web
}

// Restore undoes a failed offer.
func (b *Browser) Restore() {
	b.Peer.Restore()
	b.Web = b.was
}

// numbered gives what the browser can do the payload types of this dialog.
func (b *Browser) numbered() []codec.Codec {
	var out []codec.Codec
	for _, c := range b.Can {
		pt, ok := c.PT, true
		if i := slices.IndexFunc(b.bound[:], c.SamePayload); i >= 0 {
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

// Offer makes its next offer and says what has to come of it; names are the codecs of the policy.
func (b *Browser) Offer(names []string) (*sdp.Description, Expect) {
	var e Expect
	first := b.said == nil && b.heard == nil
	b.Keep()
	if first {
		b.firstLines()
		if b.Web.TLSID = ""; Chance(b.r, 20) {
			b.Web.TLSID = Word(b.r, 24)
		}
	} else {
		e = b.mutate()
	}
	setup := sdp.SetupActpass
	switch {
	case first && Chance(b.r, 20):
		setup = Pick(b.r, sdp.SetupActive, sdp.SetupPassive)
	case !first && Chance(b.r, 15) && b.Web.Role != "":
		setup = b.Web.Role
	case !first && !e.NewDTLS && Chance(b.r, 4) && b.Web.Role != "": // the other role, and so a new association
		setup = map[sdp.Setup]sdp.Setup{sdp.SetupActive: sdp.SetupPassive, sdp.SetupPassive: sdp.SetupActive}[b.Web.Role]
		b.Web.Role, e.NewDTLS = "", true
	}
	codecs := b.numbered()
	if !usableBy(codecs, names) {
		e.Fails = "no usable codec"
	}
	d := b.describe(setup, sdp.Dir(b.Sends, b.Receives), codecs)
	b.tag(d)
	if Chance(b.r, 6) {
		b.spoil(d, first, names, &e)
	}
	b.origin(d)
	if err := b.bind(d.Media[min(b.Audio, len(d.Media)-1)].Codecs); err != nil {
		panic(err) // the model itself is illegal
	}
	b.Codecs = codecs
	return d, e
}

// tag notes which line carries the transport.
func (b *Browser) tag(d *sdp.Description) {
	b.tagged = 0
	if g := d.Bundle(); len(g) > 0 && g[0] != b.Lines[b.Audio].MID {
		for i, l := range b.Lines {
			if l.MID == g[0] && l.Kind != "application" {
				b.tagged = i + 1
			}
		}
	}
}

func (b *Browser) firstLines() {
	b.Lines = []Line{b.newLine("audio")}
	for Chance(b.r, 25) && len(b.Lines) < 4 {
		b.Lines = append(b.Lines, b.newLine(Pick(b.r, "video", "application")))
	}
	b.Audio = 0
	if Chance(b.r, 30) { // audio not first
		b.Audio = b.r.IntN(len(b.Lines))
		b.Lines[0], b.Lines[b.Audio] = b.Lines[b.Audio], b.Lines[0]
	}
}

func (b *Browser) newLine(kind string) Line {
	formats := map[string][]string{"video": {"96", "97"}, "application": {"webrtc-datachannel"}}[kind]
	b.midCount++
	mid := fmt.Sprint(b.midCount - 1)
	if b.firefox && b.r.IntN(2) == 0 {
		mid = "sdparta_" + mid
	}
	return Line{Kind: kind, MID: mid, Formats: formats}
}

// mutate changes what a browser may change from one offer to the next.
func (b *Browser) mutate() (e Expect) {
	if Chance(b.r, 45) {
		b.changeWish()
	}
	if Chance(b.r, 20) {
		b.freshICE()
		e.Restart = true
	}
	if Chance(b.r, 6) { // another RTCPeerConnection goes on with the dialog
		b.freshICE()
		b.Web.Print, b.Web.Role = randomPrint(b.r), ""
		if b.Web.TLSID != "" {
			b.Web.TLSID = Word(b.r, 24)
		}
		e.Restart, e.NewDTLS = true, true
	}
	if Chance(b.r, 20) {
		b.Can = Some(b.r, webMenu(b.firefox))
	}
	if Chance(b.r, 20) {
		b.changeLines()
	}
	return e
}

// changeLines adds, stops or uses again m= lines other than the audio one (RFC 9429 §5.2.2).
func (b *Browser) changeLines() {
	switch i := b.r.IntN(len(b.Lines)); {
	case len(b.Lines) < 5 && Chance(b.r, 50):
		b.Lines = append(b.Lines, b.newLine(Pick(b.r, "video", "application", "audio")))
		if l := &b.Lines[len(b.Lines)-1]; l.Kind == "audio" && b.one {
			l.Kind, l.Formats = "video", []string{"96", "97"}
		} else if l.Kind == "audio" {
			l.Formats = []string{"0"}
		}
	case i == b.Audio:
	case b.Lines[i].Dead:
		b.Lines[i] = b.newLine(Pick(b.r, "video", "application"))
	default:
		b.Lines[i].Dead = true
	}
}

// spoil makes an offer that has to be refused.
func (b *Browser) spoil(d *sdp.Description, first bool, names []string, e *Expect) {
	a := &d.Media[b.Audio]
	switch b.r.IntN(8) {
	case 0:
		a.Port, a.Other, e.Fails = 0, nil, "no audio line"
	case 1:
		a.RTCPMux, e.Fails = false, "no rtcp-mux"
	case 2:
		d.Fingerprints, a.Fingerprints = []sdp.Fingerprint{{Hash: "sha-1", Value: b.Web.Print[:59]}}, nil
		e.Fails = "weak fingerprint"
	case 3:
		a.Proto, e.Fails = "RTP/AVP", "no DTLS"
	case 4:
		for i := range d.Media {
			d.Media[i].ICEUfrag, d.Media[i].ICEPwd = "", ""
		}
		d.ICEUfrag, d.ICEPwd, e.Fails = "", "", "no ICE"
	case 5:
		for i := range d.Media {
			d.Media[i].Setup = sdp.SetupHoldconn
		}
		d.Setup, e.Fails = "", "a=setup:holdconn (RFC 8842 §5.2)"
	case 6:
		if n := len(d.Media) - 1; !first && n > b.Audio && n < len(b.backup.Lines) {
			d.Media, e.Fails = d.Media[:n], "a line is missing"
		}
	case 7:
		a.Codecs = slices.DeleteFunc(slices.Clone(a.Codecs), func(c codec.Codec) bool { return usableBy([]codec.Codec{c}, names) })
		if len(a.Codecs) == 0 {
			a.Codecs = []codec.Codec{{Name: "CN", PT: 13, ClockRate: 8000, Channels: 1}}
		}
		e.Fails = "no usable codec"
	}
}

// describe writes its description with the m= lines that it has.
func (b *Browser) describe(setup sdp.Setup, dir sdp.Direction, codecs []codec.Codec) *sdp.Description {
	d := &sdp.Description{Name: "-", Media: make([]sdp.Media, len(b.Lines))}
	var tagged []string
	for i, l := range b.Lines {
		m := &d.Media[i]
		*m = sdp.Media{Type: l.Kind, Port: 9, Proto: "UDP/TLS/RTP/SAVPF", Formats: l.Formats, MID: l.MID}
		if l.Kind == "application" {
			m.Proto = "UDP/DTLS/SCTP"
		}
		if l.Dead {
			m.Port, m.Direction = 0, sdp.Inactive
			continue
		}
		tagged = append(tagged, l.MID)
		if l.Kind == "video" {
			m.Codecs = []codec.Codec{{Name: "VP8", PT: 96, ClockRate: 90000, Channels: 1}, {Name: "rtx", PT: 97, ClockRate: 90000, Channels: 1, Fmtp: "apt=96"}}
		}
		if i > 0 && b.bundles && b.said == nil && b.r.IntN(3) == 0 {
			m.Port, m.Other = 0, []sdp.Attribute{{Name: "bundle-only"}}
		}
		b.transport(&m.Attributes, setup)
		m.RTCPMux = l.Kind != "application"
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
	a := &d.Media[b.Audio]
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

func (b *Browser) transport(a *sdp.Attributes, setup sdp.Setup) {
	a.ICEUfrag, a.ICEPwd, a.ICEOptions = b.Web.Ufrag, b.Web.Pwd, []string{"trickle"}
	a.Fingerprints = []sdp.Fingerprint{{Hash: "sha-256", Value: b.Web.Print}}
	a.Setup, a.TLSID = setup, b.Web.TLSID
}

// TakeAnswer checks the answer to its offer and takes it.
func (b *Browser) TakeAnswer(raw []byte, e Expect) (sdp.Direction, error) {
	first := b.Web.HisUfrag == ""
	d, err := b.hear(raw)
	if err != nil {
		return 0, err
	}
	offered := &b.said.Media[b.Audio]
	a := &d.Media[b.Audio]
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
	case b.Web.Role != "" && role != b.Web.Role:
		return 0, errors.New("the DTLS role changes within an association (RFC 8842 §5.5)")
	case len(fs) == 0:
		return 0, errors.New("no fingerprint")
	case (a.TLSID != "") != (b.Web.TLSID != ""):
		return 0, fmt.Errorf("tls-id %q answers %q (RFC 8842 §5.3)", a.TLSID, b.Web.TLSID)
	case !first && (a.TLSID != b.Web.HisTLSID) != (e.NewDTLS && a.TLSID != ""):
		return 0, fmt.Errorf("tls-id %q after %q, new association %v", a.TLSID, b.Web.HisTLSID, e.NewDTLS)
	case !first && fs[0].Value != b.Web.HisPrint && !e.NewDTLS:
		return 0, errors.New("the fingerprint changes without a new association")
	case !first && (a.ICEUfrag != b.Web.HisUfrag || a.ICEPwd != b.Web.HisPwd) != e.Restart:
		return 0, fmt.Errorf("credentials %q after %q, restart %v (RFC 8445 §9)", a.ICEUfrag, b.Web.HisUfrag, e.Restart)
	case e.Restart && (a.ICEUfrag == b.Web.HisUfrag || a.ICEPwd == b.Web.HisPwd):
		return 0, errors.New("only half of the credentials is new")
	case a.RTCPRsize && !offered.RTCPRsize, d.Bundle() != nil && b.said.Bundle() == nil:
		return 0, errors.New("more than was offered: rtcp-rsize or BUNDLE")
	}
	b.Web.Role, b.Took = role, a
	return dir, b.takeTransport(d, a)
}

// takeTransport checks and takes what offers and answers have in common.
func (b *Browser) takeTransport(d *sdp.Description, a *sdp.Media) error {
	fs := d.FingerprintsOf(a)
	switch {
	case d.ICELite == b.FullICE, len(a.Candidates) == 0, !a.EndOfCandidates, len(a.ICEUfrag) < 4, len(a.ICEPwd) < 22:
		return errors.New("incomplete ICE")
	case len(fs) != 1 || fs[0].Hash != "sha-256":
		return fmt.Errorf("fingerprints %v", fs)
	case !a.RTCPMux:
		return errors.New("no rtcp-mux")
	case d.Bundle() != nil && !slices.Equal(d.Bundle(), b.living()):
		return fmt.Errorf("BUNDLE %v; what lives is %v", d.Bundle(), b.living())
	case len(a.Extmaps) > 0 || len(d.Extmaps) > 0:
		return errors.New("header extensions that the gateway does not have")
	case len(a.Bandwidth) > 0 || strings.Contains(string(b.heardRaw), "10.9."):
		return errors.New("the core's description shows through")
	}
	b.Web.HisUfrag, b.Web.HisPwd, b.Web.HisPrint, b.Web.HisTLSID = a.ICEUfrag, a.ICEPwd, fs[0].Value, a.TLSID
	return nil
}

// living are the mids that an answer may have in the BUNDLE group.
func (b *Browser) living() []string {
	audio := b.Lines[b.Audio].MID
	if b.tagged > 0 {
		return []string{b.Lines[b.tagged-1].MID, audio}
	}
	return []string{audio}
}

// TakeOffer checks an offer and answers it; nil: it refuses, as it may.
func (b *Browser) TakeOffer(raw []byte) (*sdp.Description, sdp.Direction, error) {
	b.Keep()
	first := b.said == nil
	d, err := b.hear(raw)
	if err != nil {
		return nil, 0, err
	}
	if first {
		b.called = true
		b.Lines, b.Audio = []Line{{Kind: "audio", MID: d.Media[0].MID}}, 0
		b.midCount, b.bundles = 1, len(d.Bundle()) > 0
	}
	if err := b.sameLines(d); err != nil {
		return nil, 0, err
	}
	a := &d.Media[b.Audio]
	was := b.Web
	if err := b.takeTransport(d, a); err != nil {
		return nil, 0, err
	}
	switch {
	case a.Setup != sdp.SetupActpass:
		return nil, 0, fmt.Errorf("setup:%s in an offer (RFC 8842 §5.2)", a.Setup)
	case !first && was.HisUfrag != "" && (b.Web.HisUfrag != was.HisUfrag || b.Web.HisPrint != was.HisPrint || b.Web.HisTLSID != was.HisTLSID):
		return nil, 0, errors.New("our offer restarts a transport that goes on")
	case first && len(d.Bundle()) != 1:
		return nil, 0, errors.New("a first offer without BUNDLE")
	}
	var codecs []codec.Codec
	for _, c := range a.Codecs {
		if slices.ContainsFunc(b.Can, c.SamePayload) {
			c.Fmtp = ""
			codecs = append(codecs, c)
		}
	}
	if First(codecs, false).IsZero() || Chance(b.r, 5) {
		return nil, 0, nil
	}
	if b.Web.Role == "" {
		b.Web.Role = Pick(b.r, sdp.SetupActive, sdp.SetupActive, sdp.SetupPassive)
	}
	dir := b.answerDirection(d.DirectionOf(a))
	ans := b.describe(b.Web.Role, dir, codecs)
	ans.Media[b.Audio].RTCPRsize = ans.Media[b.Audio].RTCPRsize && a.RTCPRsize
	b.origin(ans)
	b.Codecs, b.Took = codecs, a
	return ans, dir, nil
}
