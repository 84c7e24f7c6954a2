package sdp

import (
	"bytes"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// ParseError says what is wrong with a description and where.
type ParseError struct {
	Line int    // from 1; 0: the description as a whole
	Text string // for people; quotes input with %q
}

// Error implements error.
func (e *ParseError) Error() string {
	if e.Line == 0 {
		return "sdp: " + e.Text
	}
	return "sdp: line " + strconv.Itoa(e.Line) + ": " + e.Text
}

type parser struct {
	d     *Description
	m     *Media // nil: session level
	line  int
	first int // line of the current m=
	seen  struct{ v, o, s, t bool }
	maps  map[uint8]string // rtpmap of the current media
	fmtps map[uint8]string
}

// Parse reads a description. It keeps no reference to b. The error is a *ParseError.
func Parse(b []byte) (*Description, error) {
	p := &parser{d: &Description{}}
	if len(b) > MaxSize {
		return nil, &ParseError{0, fmt.Sprintf("%d octets, the limit is %d", len(b), MaxSize)}
	}
	for len(b) > 0 {
		var raw []byte
		raw, b, _ = bytes.Cut(b, []byte{'\n'})
		raw = bytes.TrimSuffix(raw, []byte{'\r'})
		p.line++
		if p.line > MaxLines {
			return nil, p.errorf("more than %d lines", MaxLines)
		}
		if len(raw) == 0 {
			if len(bytes.TrimSpace(b)) == 0 {
				break // trailing empty lines
			}
			return nil, p.errorf("empty line")
		}
		if err := p.parseLine(raw); err != nil {
			return nil, err
		}
	}
	if err := p.endMedia(); err != nil {
		return nil, err
	}
	if !p.seen.v || !p.seen.o || !p.seen.s {
		return nil, &ParseError{0, "v=, o= or s= is missing"}
	}
	return p.d, nil
}

func (p *parser) errorf(format string, args ...any) error {
	return &ParseError{p.line, fmt.Sprintf(format, args...)}
}

func (p *parser) parseLine(raw []byte) error {
	if len(raw) < 2 || raw[1] != '=' {
		return p.errorf("no type=value: %q", clip(string(raw)))
	}
	for _, c := range raw {
		if c == 0 || c == '\r' {
			return p.errorf("control character")
		}
	}
	typ, v := raw[0], string(raw[2:])
	if err := p.checkOrder(typ); err != nil {
		return err
	}
	switch typ {
	case 'v':
		if v != "0" {
			return p.errorf("version %q", clip(v))
		}
		return nil
	case 'o':
		return p.parseOrigin(v)
	case 's':
		if p.d.Name = strings.TrimSpace(v); p.d.Name == "" {
			p.d.Name = "-"
		}
		return nil
	case 'c':
		return p.parseConnection(v)
	case 'b':
		return p.parseBandwidth(v)
	case 't':
		return p.parseTiming(v)
	case 'm':
		return p.parseMedia(v)
	case 'a':
		return p.parseAttribute(v)
	case 'i', 'u', 'e', 'p', 'k', 'r', 'z':
		return nil
	}
	return p.errorf("unknown line type %q", typ)
}

// checkOrder enforces v, o, s first and once, and what may stand in a media section (RFC 8866 §5).
func (p *parser) checkOrder(typ byte) error {
	s := &p.seen
	switch {
	case typ == 'v' && p.line != 1, typ == 'o' && (!s.v || s.o), typ == 's' && (!s.o || s.s):
		return p.errorf("%c= out of place", typ)
	case strings.IndexByte("vos", typ) < 0 && !s.s:
		return p.errorf("%c= before v=, o= and s=", typ)
	case p.m != nil && strings.IndexByte("micbka", typ) < 0:
		return p.errorf("%c= in a media section", typ)
	}
	switch typ {
	case 'v':
		s.v = true
	case 'o':
		s.o = true
	case 's':
		s.s = true
	}
	return nil
}

func (p *parser) parseOrigin(v string) error {
	f := strings.Fields(v)
	if len(f) != 6 {
		return p.errorf("o= has %d fields, not 6", len(f))
	}
	id, err1 := strconv.ParseUint(f[1], 10, 64)
	ver, err2 := strconv.ParseUint(f[2], 10, 64)
	if err1 != nil || err2 != nil {
		return p.errorf("o= id or version is no number: %q %q", clip(f[1]), clip(f[2]))
	}
	addr, err := p.parseAddress(f[3:])
	p.d.Origin = Origin{Username: f[0], ID: id, Version: ver, Addr: addr}
	return err
}

// parseAddress reads "IN IP4 host" from three fields.
func (p *parser) parseAddress(f []string) (Address, error) {
	if len(f) != 3 || f[0] != "IN" || (f[1] != "IP4" && f[1] != "IP6") {
		return Address{}, p.errorf("bad address %q", clip(strings.Join(f, " ")))
	}
	host, _, _ := strings.Cut(f[2], "/") // TTL of a multicast address
	if host == "" {
		return Address{}, p.errorf("empty address")
	}
	ip, err := netip.ParseAddr(host)
	if err == nil && ip.Zone() == "" {
		return Address{IP: ip, Host: ip.String()}, nil
	}
	if strings.ContainsAny(host, ":%") {
		return Address{}, p.errorf("bad address %q", clip(host))
	}
	return Address{Host: host}, nil
}

func (p *parser) parseConnection(v string) error {
	addr, err := p.parseAddress(strings.Fields(v))
	if err != nil {
		return err
	}
	c := &Connection{Addr: addr}
	if p.m == nil {
		p.d.Connection = c
	} else if p.m.Connection == nil {
		p.m.Connection = c
	}
	return nil
}

func (p *parser) parseBandwidth(v string) error {
	typ, val, ok := strings.Cut(v, ":")
	n, err := strconv.ParseUint(strings.TrimSpace(val), 10, 64)
	if !ok || typ == "" || err != nil || strings.ContainsAny(typ, " \t") {
		return p.errorf("bad b= %q", clip(v))
	}
	b := Bandwidth{Type: typ, Value: n}
	if p.m == nil {
		p.d.Bandwidth = append(p.d.Bandwidth, b)
	} else {
		p.m.Bandwidth = append(p.m.Bandwidth, b)
	}
	return nil
}

func (p *parser) parseTiming(v string) error {
	f := strings.Fields(v)
	if len(f) != 2 {
		return p.errorf("bad t= %q", clip(v))
	}
	a, err1 := strconv.ParseUint(f[0], 10, 64)
	b, err2 := strconv.ParseUint(f[1], 10, 64)
	if err1 != nil || err2 != nil {
		return p.errorf("bad t= %q", clip(v))
	}
	if !p.seen.t {
		p.d.Start, p.d.Stop, p.seen.t = a, b, true
	}
	return nil
}

func (p *parser) parseMedia(v string) error {
	if err := p.endMedia(); err != nil {
		return err
	}
	if len(p.d.Media) == MaxMedia {
		return p.errorf("more than %d media descriptions", MaxMedia)
	}
	f := strings.Fields(v)
	if len(f) < 4 {
		return p.errorf("m= has %d fields, at least 4 are needed", len(f))
	}
	if len(f)-3 > MaxFormats {
		return p.errorf("more than %d formats", MaxFormats)
	}
	port, count, hasCount := strings.Cut(f[1], "/")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return p.errorf("bad port %q", clip(f[1]))
	}
	m := Media{Type: f[0], Port: uint16(n), Proto: f[2], Formats: f[3:]}
	if hasCount {
		c, err := strconv.ParseUint(count, 10, 16)
		if err != nil || c == 0 {
			return p.errorf("bad number of ports %q", clip(f[1]))
		}
		m.PortCount = uint16(c)
	}
	if m.IsRTP() {
		for _, pt := range m.Formats {
			if n, err := strconv.ParseUint(pt, 10, 8); err != nil || n > 127 {
				return p.errorf("bad payload type %q", clip(pt))
			}
		}
	}
	p.d.Media = append(p.d.Media, m)
	p.m, p.first = &p.d.Media[len(p.d.Media)-1], p.line
	p.maps, p.fmtps = map[uint8]string{}, map[uint8]string{}
	return nil
}

// endMedia joins formats, rtpmap and fmtp of the media section that ends into codecs.
func (p *parser) endMedia() error {
	if p.m == nil || !p.m.IsRTP() {
		return nil
	}
	seen := map[uint8]bool{}
	var formats []string
	for _, f := range p.m.Formats {
		n, _ := strconv.ParseUint(f, 10, 8) // checked by parseMedia
		pt := uint8(n)
		if seen[pt] {
			continue // listed twice: the first counts
		}
		seen[pt] = true
		c, _ := codec.Static(pt)
		c.PT = pt
		if v, ok := p.maps[pt]; ok {
			var err error
			if c, err = p.parseRtpmap(pt, v); err != nil {
				return err
			}
		}
		c.Fmtp = p.fmtps[pt]
		formats = append(formats, strconv.Itoa(int(pt)))
		p.m.Codecs = append(p.m.Codecs, c)
	}
	p.m.Formats = formats
	return nil
}

func (p *parser) parseRtpmap(pt uint8, v string) (codec.Codec, error) {
	f := strings.Split(v, "/")
	rate := uint64(0)
	var err error
	if len(f) >= 2 {
		rate, err = strconv.ParseUint(f[1], 10, 32)
	}
	ch := uint64(1)
	if len(f) == 3 && err == nil {
		ch, err = strconv.ParseUint(f[2], 10, 8)
	}
	if len(f) < 2 || len(f) > 3 || !token(f[0]) || rate == 0 || ch == 0 || err != nil {
		return codec.Codec{}, &ParseError{p.first, fmt.Sprintf("bad rtpmap of payload type %d: %q", pt, clip(v))}
	}
	return codec.Codec{Name: f[0], PT: pt, ClockRate: uint32(rate), Channels: uint8(ch)}, nil
}

// clip bounds what of the input gets into an error.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
