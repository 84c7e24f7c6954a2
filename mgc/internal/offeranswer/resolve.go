package offeranswer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Resolve takes what the MGW chose for side's termination, from the reply to an Add or Modify. Fields that the reply leaves out keep their
// value. The error wraps ErrReply when something is still missing that our descriptions need.
func (m Media) Resolve(side Side, r *iqv1.TerminationDescriptor) (Media, error) {
	l := m.Line(side)
	for _, s := range r.GetStreams() {
		if s.GetLocal() == nil {
			continue
		}
		if s.GetStreamId() > StreamID {
			m.resolveMore(side, s)
			continue
		}
		if s.GetStreamId() != StreamID {
			continue
		}
		if err := l.resolveLocal(s.GetLocal()); err != nil {
			return m, err
		}
		if side == Core && m.Policy.SRTP.on() {
			if err := l.Crypto.resolveKeys(s.GetLocal().GetCryptos()); err != nil {
				return m, err
			}
		}
	}
	if side == Access {
		l.resolveWeb(r.GetTransport())
		if l.Web.LocalUfrag == "" || l.Web.LocalPwd == "" || len(l.Web.LocalPrints) == 0 || len(l.Web.LocalCands) == 0 {
			return m, fmt.Errorf("access termination: %w", ErrReply)
		}
		if l.Web.Component2 && !slices.ContainsFunc(l.Web.LocalCands, second) {
			return m, fmt.Errorf("no second component: %w", ErrReply)
		}
		if c := l.Web.LocalCands[0]; !l.Local.IsValid() || l.Local.Port() == 0 {
			l.Local = netip.AddrPortFrom(c.IP(), c.Port)
		}
	}
	if !l.Local.IsValid() || l.Local.Port() == 0 {
		return m, fmt.Errorf("no local address: %w", ErrReply)
	}
	if side == Core && !m.complete(&l.Crypto) {
		return m, fmt.Errorf("no SRTP keys: %w", ErrReply)
	}
	return m, nil
}

func (l *Line) resolveLocal(d *iqv1.MediaDescription) error {
	if d.GetAddress() != "" || d.GetPort() != 0 {
		addr, port := l.Local.Addr(), l.Local.Port()
		if d.GetAddress() != "" {
			var err error
			if addr, err = netip.ParseAddr(d.GetAddress()); err != nil {
				return fmt.Errorf("local address %q: %w", d.GetAddress(), ErrReply)
			}
		}
		if d.GetPort() > 65535 || d.GetRtcpPort() > 65535 {
			return fmt.Errorf("local port %d: %w", d.GetPort(), ErrReply)
		}
		if d.GetPort() != 0 {
			port = uint16(d.GetPort())
		}
		if addr.IsValid() {
			l.Local = netip.AddrPortFrom(addr, port)
		}
		l.LocalRTCP = uint16(d.GetRtcpPort())
	}
	if d.GetSsrc() != 0 {
		l.SSRC = d.GetSsrc()
	}
	if d.GetCname() != "" {
		l.CName = d.GetCname()
	}
	return nil
}

func (l *Line) resolveWeb(g *iqv1.TransportGroup) {
	w := l.Web
	switch g.GetIceMode() {
	case iqv1.TransportGroup_ICE_MODE_FULL:
		w.Full = true
	case iqv1.TransportGroup_ICE_MODE_LITE:
		w.Full = false
	}
	if i := g.GetLocalIce(); i.GetUfrag() != "" {
		w.LocalUfrag, w.LocalPwd, w.LocalCands = i.GetUfrag(), i.GetPwd(), nil
		for _, c := range i.GetCandidates() {
			s := sdp.Candidate{
				Foundation: c.GetFoundation(), Component: uint16(c.GetComponent()), Transport: c.GetTransport(), Priority: c.GetPriority(),
				Host: c.GetAddress(), Port: uint16(c.GetPort()), Type: c.GetType(), TCPType: c.GetTcpType(),
			}
			if s.IP().IsValid() && s.Port != 0 && (s.Transport == "udp" || s.Transport == "tcp" && s.TCPType != "") {
				w.LocalCands = append(w.LocalCands, s)
			}
		}
	}
	if fs := g.GetLocalDtls().GetFingerprints(); len(fs) > 0 {
		w.LocalPrints = nil
		for _, f := range fs {
			w.LocalPrints = append(w.LocalPrints, sdp.Fingerprint{Hash: f.GetHash(), Value: f.GetValue()})
		}
	}
	l.Web = w
}

// New reports whether the call has streams that the media gateway has not been asked for yet.
func (m *Media) New() bool {
	for i := range m.Streams() {
		if v := m.at(i); !v.made() {
			return true
		}
	}
	return false
}

// NewDescriptor is a Modify that makes those streams on side's termination, without media.
func (m *Media) NewDescriptor(side Side) *iqv1.TerminationDescriptor {
	d := &iqv1.TerminationDescriptor{}
	for i := range m.Streams() {
		if v := m.at(i); !v.made() {
			d.Streams = append(d.Streams, v.streamDescriptor(side, Closed))
		}
	}
	return d
}

// Made takes what the media gateway chose for streams of NewDescriptor. A stream of which something is missing has not been made.
func (m Media) Made(side Side, r *iqv1.TerminationDescriptor) Media {
	for _, s := range r.GetStreams() {
		if s.GetStreamId() > StreamID && s.GetLocal() != nil {
			m.resolveMore(side, s)
		}
	}
	return m
}

func (m *Media) resolveMore(side Side, s *iqv1.Stream) {
	i := int(s.GetStreamId()) - StreamID
	if i >= m.Streams() {
		return
	}
	v := m.at(i)
	l := v.Line(side)
	if l.resolveLocal(s.GetLocal()) != nil {
		return
	}
	if side == Core && m.Policy.SRTP.on() && (l.Crypto.resolveKeys(s.GetLocal().GetCryptos()) != nil || !m.complete(&l.Crypto)) {
		return
	}
	if side == Core && l.Local.Port() == 0 {
		return
	}
	m.put(v)
}
