package ua

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// Direction is the media direction from the describing side (RFC 3264 §5.1).
type Direction string

// The four directions.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

func (d Direction) sends() bool    { return d == SendRecv || d == SendOnly }
func (d Direction) receives() bool { return d == SendRecv || d == RecvOnly }

// directionOf is the direction with these abilities.
func directionOf(send, recv bool) Direction {
	switch {
	case send && recv:
		return SendRecv
	case send:
		return SendOnly
	case recv:
		return RecvOnly
	}
	return Inactive
}

// Format is one payload type of a media line.
type Format struct {
	PT    uint8
	Name  string // encoding name, upper case, "" when the payload type is dynamic and unmapped
	Clock int    // Hz
}

// Law is the companding law of a G.711 format.
func (f Format) Law() (tone.Law, bool) {
	switch {
	case f.Name == "PCMA" && f.Clock == 8000:
		return tone.ALaw, true
	case f.Name == "PCMU" && f.Clock == 8000:
		return tone.MuLaw, true
	}
	return 0, false
}

// IsEvent reports telephone-event at the clock rate of G.711.
func (f Format) IsEvent() bool { return f.Name == "TELEPHONE-EVENT" && f.Clock == 8000 }

// Media is one m= line with what applies to it.
type Media struct {
	Kind      string // "audio", "video", ...
	Port      int    // 0 when rejected
	Proto     string // "RTP/AVP"
	Formats   []Format
	fmts      []string // as written, for rejecting a line
	Addr      netip.Addr
	RTCP      netip.AddrPort // of a=rtcp (RFC 3605); invalid when absent
	Direction Direction
	Ptime     int // ms, 0 when absent
}

// Description is a parsed SDP (RFC 8866), as far as a G.711 telephone needs it.
type Description struct {
	OriginID, OriginVersion string
	OriginAddr              string
	Media                   []Media
}

// ErrSDP reports a description that is no valid SDP.
var ErrSDP = errors.New("ua: invalid SDP")

// Audio is the first audio line with a port, nil if there is none.
func (d *Description) Audio() *Media {
	for i := range d.Media {
		if d.Media[i].Kind == "audio" && d.Media[i].Port != 0 {
			return &d.Media[i]
		}
	}
	return nil
}

// ParseSDP reads body strictly: order of v, o, s; CRLF line ends; known shape of m, c and a=rtpmap.
func ParseSDP(body []byte) (*Description, error) {
	text := string(body)
	if !strings.HasSuffix(text, "\r\n") {
		return nil, fmt.Errorf("%w: last line does not end in CRLF", ErrSDP)
	}
	p := sdpParser{d: &Description{}, dir: SendRecv}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(line) < 2 || line[1] != '=' || strings.ContainsAny(line, "\r\n") {
			return nil, fmt.Errorf("%w: line %d is %q", ErrSDP, i+1, line)
		}
		if i < 3 && line[0] != "vos"[i] {
			return nil, fmt.Errorf("%w: line %d is %q, want %c=", ErrSDP, i+1, line, "vos"[i])
		}
		if err := p.line(line[0], line[2:]); err != nil {
			return nil, fmt.Errorf("%w: line %d: %v", ErrSDP, i+1, err)
		}
	}
	return p.finish()
}

type sdpParser struct {
	d    *Description
	addr netip.Addr // session level
	dir  Direction  // session level
	time bool
}

func (p *sdpParser) cur() *Media {
	if n := len(p.d.Media); n > 0 {
		return &p.d.Media[n-1]
	}
	return nil
}

func (p *sdpParser) line(kind byte, v string) error {
	switch kind {
	case 'v':
		if v != "0" {
			return fmt.Errorf("version %q", v)
		}
	case 'o':
		f := strings.Fields(v)
		if len(f) != 6 || f[3] != "IN" {
			return fmt.Errorf("origin %q", v)
		}
		p.d.OriginID, p.d.OriginVersion, p.d.OriginAddr = f[1], f[2], f[5]
	case 't':
		p.time = true
	case 'c':
		a, err := connection(v)
		if err != nil {
			return err
		}
		if m := p.cur(); m != nil {
			m.Addr = a
		} else {
			p.addr = a
		}
	case 'm':
		return p.media(v)
	case 'a':
		return p.attribute(v)
	}
	return nil
}

func connection(v string) (netip.Addr, error) {
	f := strings.Fields(v)
	if len(f) != 3 || f[0] != "IN" || (f[1] != "IP4" && f[1] != "IP6") {
		return netip.Addr{}, fmt.Errorf("connection %q", v)
	}
	a, err := netip.ParseAddr(f[2])
	if err != nil || a.Is4() != (f[1] == "IP4") {
		return netip.Addr{}, fmt.Errorf("connection address %q", v)
	}
	return a, nil
}

func (p *sdpParser) media(v string) error {
	f := strings.Fields(v)
	if len(f) < 4 {
		return fmt.Errorf("media %q", v)
	}
	port, err := strconv.Atoi(f[1])
	if err != nil || port < 0 || port > 65535 {
		return fmt.Errorf("media port %q", f[1])
	}
	m := Media{Kind: f[0], Port: port, Proto: f[2], fmts: f[3:]}
	for _, s := range f[3:] {
		pt, err := strconv.Atoi(s)
		if err != nil || pt < 0 || pt > 127 {
			if strings.HasPrefix(f[2], "RTP/") {
				return fmt.Errorf("payload type %q", s)
			}
			continue
		}
		m.Formats = append(m.Formats, static(uint8(pt)))
	}
	p.d.Media = append(p.d.Media, m)
	return nil
}

// static is the assignment of RFC 3551 table 4, as far as it matters here.
func static(pt uint8) Format {
	switch pt {
	case 0:
		return Format{0, "PCMU", 8000}
	case 8:
		return Format{8, "PCMA", 8000}
	case 9:
		return Format{9, "G722", 8000}
	case 13:
		return Format{13, "CN", 8000}
	}
	return Format{PT: pt}
}

func (p *sdpParser) attribute(v string) error {
	name, val, _ := strings.Cut(v, ":")
	m := p.cur()
	switch name {
	case "sendrecv", "sendonly", "recvonly", "inactive":
		if m != nil {
			m.Direction = Direction(name)
		} else {
			p.dir = Direction(name)
		}
	case "rtpmap":
		if m == nil {
			return errors.New("rtpmap before any media")
		}
		return m.rtpmap(val)
	case "ptime":
		if n, err := strconv.Atoi(val); err == nil && m != nil {
			m.Ptime = n
		}
	case "rtcp":
		return m.rtcp(val)
	}
	return nil
}

func (m *Media) rtpmap(val string) error {
	num, rest, ok := strings.Cut(val, " ")
	pt, err := strconv.Atoi(num)
	parts := strings.Split(rest, "/")
	if !ok || err != nil || len(parts) < 2 {
		return fmt.Errorf("rtpmap %q", val)
	}
	clock, err := strconv.Atoi(parts[1])
	if err != nil {
		return fmt.Errorf("rtpmap %q", val)
	}
	for i := range m.Formats {
		if int(m.Formats[i].PT) == pt {
			m.Formats[i].Name, m.Formats[i].Clock = strings.ToUpper(parts[0]), clock
			return nil
		}
	}
	return fmt.Errorf("rtpmap of payload type %d, which the m= line does not list", pt)
}

func (m *Media) rtcp(val string) error {
	f := strings.Fields(val)
	if m == nil || len(f) == 0 {
		return fmt.Errorf("rtcp %q", val)
	}
	port, err := strconv.ParseUint(f[0], 10, 16)
	if err != nil {
		return fmt.Errorf("rtcp %q", val)
	}
	var a netip.Addr
	if len(f) == 4 {
		if a, err = connection(strings.Join(f[1:], " ")); err != nil {
			return err
		}
	}
	m.RTCP = netip.AddrPortFrom(a, uint16(port)) // the address, if absent, comes with finish
	return nil
}

func (p *sdpParser) finish() (*Description, error) {
	if !p.time {
		return nil, fmt.Errorf("%w: no t= line", ErrSDP)
	}
	for i := range p.d.Media {
		m := &p.d.Media[i]
		if !m.Addr.IsValid() {
			m.Addr = p.addr
		}
		if !m.Addr.IsValid() && m.Port != 0 {
			return nil, fmt.Errorf("%w: no c= line for %s", ErrSDP, m.Kind)
		}
		if m.RTCP.Port() != 0 && !m.RTCP.Addr().IsValid() {
			m.RTCP = netip.AddrPortFrom(m.Addr, m.RTCP.Port())
		}
		if m.Direction == "" {
			m.Direction = p.dir
		}
	}
	return p.d, nil
}

// webrtcOnly are attributes that must not leave the WebRTC side (RFC 8829, TS 24.371): a name ending
// in * is a prefix.
var webrtcOnly = []string{
	"ice-*", "candidate", "end-of-candidates", "remote-candidates", "fingerprint", "setup", "tls-id", "identity",
	"mid", "msid", "msid-semantic", "ssrc", "ssrc-group", "extmap", "extmap-allow-mixed", "rtcp-mux", "rtcp-mux-only",
	"rtcp-rsize", "rtcp-fb", "group", "bundle-only", "rid", "simulcast", "sctp-port", "sctpmap", "max-message-size",
	"dcmap", "dcsa",
}

// WebRTCLines returns the lines of an SDP that belong to WebRTC only and must not be seen on the core
// side; empty is good.
func WebRTCLines(body []byte) []string {
	var bad []string
	for _, line := range strings.FieldsFunc(string(body), func(r rune) bool { return r == '\r' || r == '\n' }) {
		if isWebRTCLine(line) {
			bad = append(bad, line)
		}
	}
	return bad
}

func isWebRTCLine(line string) bool {
	if v, ok := strings.CutPrefix(line, "m="); ok {
		f := strings.Fields(v)
		return len(f) >= 3 && (strings.Contains(f[2], "AVPF") || strings.Contains(f[2], "TLS") || strings.Contains(f[2], "SAVP"))
	}
	if strings.HasPrefix(line, "c=") || strings.HasPrefix(line, "o=") {
		return strings.Contains(line, ".invalid") || strings.Contains(line, ".local")
	}
	v, ok := strings.CutPrefix(line, "a=")
	if !ok {
		return false
	}
	name, _, _ := strings.Cut(v, ":")
	for _, w := range webrtcOnly {
		if prefix, ok := strings.CutSuffix(w, "*"); name == w || ok && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
