package sdp

import (
	"strconv"
	"strings"
)

// parseAttribute reads one a= line. Lines that Isthmus does not use, or whose damage is harmless (a candidate, an SSRC), go to Other.
func (p *parser) parseAttribute(v string) error {
	name, val, _ := strings.Cut(v, ":")
	if name == "" || strings.ContainsAny(name, " \t") {
		return p.errorf("bad attribute %q", clip(v))
	}
	a := &p.d.Attributes
	if p.m != nil {
		a = &p.m.Attributes
	}
	done, err := p.commonAttribute(a, name, val)
	if done || err != nil {
		return err
	}
	if p.m == nil {
		done = p.sessionAttribute(name, val)
	} else {
		done, err = p.mediaAttribute(name, val)
	}
	if !done && err == nil {
		a.Other = append(a.Other, Attribute{Name: name, Value: val})
	}
	return err
}

// commonAttribute handles those of either level; done is false for one that it does not know.
func (p *parser) commonAttribute(a *Attributes, name, val string) (done bool, err error) {
	if d, ok := parseDirection(name); ok {
		a.Direction = d
		return true, nil
	}
	switch name {
	case "ice-ufrag":
		if !iceChars(val, 4, 256) {
			return false, p.errorf("bad ice-ufrag")
		}
		a.ICEUfrag = val
	case "ice-pwd":
		if !iceChars(val, 22, 256) {
			return false, p.errorf("bad ice-pwd")
		}
		a.ICEPwd = val
	case "ice-options":
		a.ICEOptions = append(a.ICEOptions, strings.Fields(val)...)
	case "fingerprint":
		f, ok := parseFingerprint(val)
		if !ok {
			return false, p.errorf("bad fingerprint %q", clip(val))
		}
		a.Fingerprints = append(a.Fingerprints, f)
	case "setup":
		s := Setup(strings.ToLower(strings.TrimSpace(val)))
		switch s {
		case SetupActive, SetupPassive, SetupActpass, SetupHoldconn:
			a.Setup = s
		default:
			return false, p.errorf("bad setup %q", clip(val))
		}
	case "tls-id":
		if !tlsID(val) {
			return false, p.errorf("bad tls-id %q", clip(val))
		}
		a.TLSID = val
	case "extmap":
		e, ok := parseExtmap(val)
		if !ok {
			return false, nil
		}
		a.Extmaps = append(a.Extmaps, e)
	default:
		return false, nil
	}
	return true, nil
}

func (p *parser) sessionAttribute(name, val string) (done bool) {
	switch name {
	case "group":
		f := strings.Fields(val)
		if len(f) == 0 {
			return false
		}
		p.d.Groups = append(p.d.Groups, Group{Semantics: f[0], MIDs: f[1:len(f):len(f)]})
	case "ice-lite":
		p.d.ICELite = true
	default:
		return false
	}
	return true
}

func (p *parser) mediaAttribute(name, val string) (done bool, err error) {
	m := p.m
	switch name {
	case "rtpmap", "fmtp":
		return p.formatAttribute(name, val)
	case "ptime", "maxptime":
		n, ok := parseMillis(val)
		if !ok {
			return false, p.errorf("bad %s %q", name, clip(val))
		}
		if name == "ptime" {
			m.Ptime = n
		} else {
			m.MaxPtime = n
		}
	case "mid":
		if !token(val) {
			return false, p.errorf("bad mid %q", clip(val))
		}
		m.MID = val
	case "rtcp":
		return p.rtcpAttribute(val)
	case "rtcp-mux":
		m.RTCPMux = true
	case "rtcp-mux-only":
		m.RTCPMuxOnly = true
	case "rtcp-rsize":
		m.RTCPRsize = true
	case "candidate":
		c, ok := ParseCandidate(val)
		if !ok {
			return false, nil
		}
		m.Candidates = append(m.Candidates, c)
	case "end-of-candidates":
		m.EndOfCandidates = true
	default:
		return p.sourceAttribute(name, val), nil
	}
	return true, nil
}

// sourceAttribute handles msid, ssrc and crypto; damaged ones stay in Other.
func (p *parser) sourceAttribute(name, val string) (done bool) {
	m := p.m
	switch name {
	case "msid":
		f := strings.Fields(val)
		if len(f) == 0 || len(f) > 2 {
			return false
		}
		m.Msids = append(m.Msids, Msid{Stream: f[0], Track: strings.Join(f[1:], "")})
	case "ssrc":
		id, rest, _ := strings.Cut(val, " ")
		n, err := strconv.ParseUint(id, 10, 32)
		k, v, _ := strings.Cut(rest, ":")
		if err != nil || k == "" || k != strings.TrimSpace(k) {
			return false
		}
		m.SSRCs = append(m.SSRCs, SSRC{ID: uint32(n), Name: k, Value: v})
	case "crypto":
		f := strings.Fields(val)
		if len(f) < 3 {
			return false
		}
		tag, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return false
		}
		m.Cryptos = append(m.Cryptos, Crypto{Tag: uint32(tag), Suite: f[1], KeyParams: f[2], Params: strings.Join(f[3:], " ")})
	default:
		return false
	}
	return true
}

// formatAttribute keeps rtpmap and fmtp of payload types; those of formats that the m= line does not list are dropped.
func (p *parser) formatAttribute(name, val string) (done bool, err error) {
	if !p.m.IsRTP() {
		return false, nil
	}
	pt, rest, ok := strings.Cut(strings.TrimSpace(val), " ")
	rest = strings.TrimSpace(rest)
	n, perr := strconv.ParseUint(pt, 10, 8)
	if name == "fmtp" && (perr != nil || rest == "") {
		return true, nil // parameters of nothing (e.g. of a wildcard)
	}
	if !ok || perr != nil || n > 127 {
		return false, p.errorf("bad %s %q", name, clip(val))
	}
	table := p.maps
	if name == "fmtp" {
		table = p.fmtps
		if old, dup := table[uint8(n)]; dup {
			rest = old + ";" + rest
		}
	} else if _, dup := table[uint8(n)]; dup {
		return true, nil
	}
	table[uint8(n)] = rest
	return true, nil
}

func (p *parser) rtcpAttribute(val string) (done bool, err error) {
	f := strings.Fields(val)
	if len(f) != 1 && len(f) != 4 {
		return false, p.errorf("bad rtcp %q", clip(val))
	}
	n, perr := strconv.ParseUint(f[0], 10, 16)
	if perr != nil {
		return false, p.errorf("bad rtcp port %q", clip(f[0]))
	}
	r := &RTCP{Port: uint16(n)}
	if len(f) == 4 {
		if r.Addr, err = p.parseAddress(f[1:]); err != nil {
			return false, err
		}
	}
	p.m.RTCP = r
	return true, nil
}

// ParseCandidate reads the value of a candidate attribute (RFC 8839 §5.1); ok is false when it is damaged.
func ParseCandidate(val string) (c Candidate, ok bool) {
	f := strings.Fields(val)
	if len(f) < 8 || f[6] != "typ" || !iceChars(f[0], 1, 32) {
		return c, false
	}
	comp, err1 := strconv.ParseUint(f[1], 10, 16)
	prio, err2 := strconv.ParseUint(f[3], 10, 32)
	port, err3 := strconv.ParseUint(f[5], 10, 16)
	if err1 != nil || err2 != nil || err3 != nil || comp == 0 || comp > 256 {
		return c, false
	}
	c = Candidate{
		Foundation: f[0], Component: uint16(comp), Transport: strings.ToLower(f[2]), Priority: uint32(prio),
		Host: f[4], Port: uint16(port), Type: f[7],
	}
	for ext := f[8:]; len(ext) >= 2; ext = ext[2:] {
		switch ext[0] {
		case "raddr":
			c.RelHost = ext[1]
		case "rport":
			n, err := strconv.ParseUint(ext[1], 10, 16)
			if err != nil {
				return c, false
			}
			c.RelPort = uint16(n)
		case "tcptype":
			c.TCPType = ext[1]
		}
	}
	if c.RelHost == "" {
		c.RelPort = 0
	}
	return c, true
}

// parseFingerprint reads "sha-256 AB:CD..." (RFC 8122 §5).
func parseFingerprint(val string) (Fingerprint, bool) {
	f := strings.Fields(val)
	if len(f) != 2 || !token(f[0]) {
		return Fingerprint{}, false
	}
	v := strings.ToUpper(f[1])
	if len(v)%3 != 2 || len(v) > 3*64 {
		return Fingerprint{}, false
	}
	for i := range len(v) {
		if i%3 == 2 {
			if v[i] != ':' {
				return Fingerprint{}, false
			}
		} else if !(v[i] >= '0' && v[i] <= '9' || v[i] >= 'A' && v[i] <= 'F') {
			return Fingerprint{}, false
		}
	}
	return Fingerprint{Hash: strings.ToLower(f[0]), Value: v}, true
}

// tlsID checks the alphabet of RFC 8842 §4 (a token has no "/"); shorter ones than its 20 characters are taken.
func tlsID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c == '+' || c == '/' || c == '-' || c == '_') {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 255
}

func parseExtmap(val string) (e Extmap, ok bool) {
	f := strings.Fields(val)
	if len(f) < 2 {
		return e, false
	}
	id, dir, has := strings.Cut(f[0], "/")
	n, err := strconv.ParseUint(id, 10, 16)
	if err != nil {
		return e, false
	}
	e = Extmap{ID: uint16(n), URI: f[1], Params: strings.Join(f[2:], " ")}
	if has {
		e.Direction, ok = parseDirection(dir)
		return e, ok
	}
	return e, true
}

// parseMillis reads a packet time; phones are known to write fractions, which are cut.
func parseMillis(val string) (uint32, bool) {
	whole, _, _ := strings.Cut(strings.TrimSpace(val), ".")
	n, err := strconv.ParseUint(whole, 10, 32)
	return uint32(n), err == nil && n > 0 && n <= 10000
}

// iceChars checks for lo to hi ice-chars (RFC 8839 §5.1).
func iceChars(s string, lo, hi int) bool {
	if len(s) < lo || len(s) > hi {
		return false
	}
	for i := range len(s) {
		c := s[i]
		// "-" and "_" are no ice-chars, but deployed agents send base64url.
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("+/-_=", c) >= 0) {
			return false
		}
	}
	return true
}

// token checks the token production (RFC 8866 §9).
func token(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]`, c) >= 0 {
			return false
		}
	}
	return true
}
