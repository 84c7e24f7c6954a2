package sdp

import (
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Marshal writes d with CRLF line ends. Control characters in strings are left out, so that a value can never add a line.
func (d *Description) Marshal() []byte {
	w := writer{buf: make([]byte, 0, 1024)}
	w.line("v=", "0")
	o := d.Origin
	w.line("o=", orDash(o.Username), " ", u(o.ID), " ", u(o.Version), " ", address(o.Addr))
	w.line("s=", orDash(d.Name))
	if d.Connection != nil {
		w.line("c=", address(d.Connection.Addr))
	}
	w.bandwidth(d.Bandwidth)
	w.line("t=", u(d.Start), " ", u(d.Stop))
	if d.ICELite {
		w.attr("ice-lite", "")
	}
	for _, g := range d.Groups {
		w.attr("group", strings.Join(append([]string{g.Semantics}, g.MIDs...), " "))
	}
	w.transport(&d.Attributes)
	w.tail(&d.Attributes)
	for i := range d.Media {
		w.media(&d.Media[i])
	}
	return w.buf
}

type writer struct{ buf []byte }

func (w *writer) line(parts ...string) {
	for _, p := range parts {
		for i := range len(p) {
			if c := p[i]; c != '\r' && c != '\n' && c != 0 {
				w.buf = append(w.buf, c)
			}
		}
	}
	w.buf = append(w.buf, '\r', '\n')
}

func (w *writer) attr(name, val string) {
	if val == "" {
		w.line("a=", name)
		return
	}
	w.line("a=", name, ":", val)
}

func (w *writer) attrIf(name, val string) {
	if val != "" {
		w.attr(name, val)
	}
}

func (w *writer) flag(name string, on bool) {
	if on {
		w.attr(name, "")
	}
}

func (w *writer) bandwidth(bs []Bandwidth) {
	for _, b := range bs {
		w.line("b=", b.Type, ":", u(b.Value))
	}
}

func (w *writer) media(m *Media) {
	port := u(uint64(m.Port))
	if m.PortCount > 0 {
		port += "/" + u(uint64(m.PortCount))
	}
	w.line("m=", m.Type, " ", port, " ", m.Proto, " ", strings.Join(formats(m), " "))
	if m.Connection != nil {
		w.line("c=", address(m.Connection.Addr))
	}
	w.bandwidth(m.Bandwidth)
	if r := m.RTCP; r != nil {
		v := u(uint64(r.Port))
		if r.Addr.Host != "" {
			v += " " + address(r.Addr)
		}
		w.attr("rtcp", v)
	}
	w.transport(&m.Attributes)
	for _, c := range m.Candidates {
		w.attr("candidate", c.String())
	}
	w.flag("end-of-candidates", m.EndOfCandidates)
	w.attrIf("mid", m.MID)
	for _, s := range m.Msids {
		w.attr("msid", strings.TrimSpace(s.Stream+" "+s.Track))
	}
	w.flag("rtcp-mux", m.RTCPMux)
	w.flag("rtcp-mux-only", m.RTCPMuxOnly)
	w.flag("rtcp-rsize", m.RTCPRsize)
	for _, c := range m.Codecs {
		w.codec(c)
	}
	if m.Ptime > 0 {
		w.attr("ptime", u(uint64(m.Ptime)))
	}
	if m.MaxPtime > 0 {
		w.attr("maxptime", u(uint64(m.MaxPtime)))
	}
	for _, s := range m.SSRCs {
		v := u(uint64(s.ID)) + " " + s.Name
		if s.Value != "" {
			v += ":" + s.Value
		}
		w.attr("ssrc", v)
	}
	for _, c := range m.Cryptos {
		w.attr("crypto", strings.TrimSpace(u(uint64(c.Tag))+" "+c.Suite+" "+c.KeyParams+" "+c.Params))
	}
	w.tail(&m.Attributes)
}

// formats returns what the m= line lists: the payload types of Codecs for RTP.
func formats(m *Media) []string {
	if !m.IsRTP() || len(m.Codecs) == 0 {
		return m.Formats
	}
	out := make([]string, len(m.Codecs))
	for i, c := range m.Codecs {
		out[i] = u(uint64(c.PT))
	}
	return out
}

func (w *writer) codec(c codec.Codec) {
	if c.Name != "" {
		v := u(uint64(c.PT)) + " " + c.Name + "/" + u(uint64(c.ClockRate))
		if c.Channels > 1 {
			v += "/" + u(uint64(c.Channels))
		}
		w.attr("rtpmap", v)
	}
	if c.Fmtp != "" {
		w.attr("fmtp", u(uint64(c.PT))+" "+c.Fmtp)
	}
}

func (w *writer) transport(a *Attributes) {
	w.attrIf("ice-ufrag", a.ICEUfrag)
	w.attrIf("ice-pwd", a.ICEPwd)
	w.attrIf("ice-options", strings.Join(a.ICEOptions, " "))
	for _, f := range a.Fingerprints {
		w.attr("fingerprint", f.Hash+" "+f.Value)
	}
	w.attrIf("setup", string(a.Setup))
	w.attrIf("tls-id", a.TLSID)
}

func (w *writer) tail(a *Attributes) {
	for _, e := range a.Extmaps {
		id := u(uint64(e.ID))
		if e.Direction != DirUnset {
			id += "/" + e.Direction.String()
		}
		w.attr("extmap", strings.TrimSpace(id+" "+e.URI+" "+e.Params))
	}
	if a.Direction != DirUnset {
		w.attr(a.Direction.String(), "")
	}
	for _, o := range a.Other {
		w.attr(o.Name, o.Value)
	}
}

// String returns the value of the candidate attribute.
func (c Candidate) String() string {
	s := c.Foundation + " " + u(uint64(c.Component)) + " " + c.Transport + " " + u(uint64(c.Priority)) + " " +
		c.Host + " " + u(uint64(c.Port)) + " typ " + c.Type
	if c.RelHost != "" {
		s += " raddr " + c.RelHost + " rport " + u(uint64(c.RelPort))
	}
	if c.TCPType != "" {
		s += " tcptype " + c.TCPType
	}
	return s
}

// address writes "IN IP4 host"; an empty address is 0.0.0.0.
func address(a Address) string {
	switch {
	case a.IP.Is6():
		return "IN IP6 " + a.IP.String()
	case a.IP.IsValid():
		return "IN IP4 " + a.IP.String()
	case a.Host == "":
		return "IN IP4 0.0.0.0"
	}
	return "IN IP4 " + a.Host
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func u(n uint64) string { return strconv.FormatUint(n, 10) }
