package offeranswer

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// gateway is the MGW: it chooses addresses and credentials, and what it is told is checked against what both peers were told.
type gateway struct {
	restarts int
	local    [2]*iqv1.MediaDescription
	ice      *iqv1.IceParameters
}

// add answers an Add.
func (g *gateway) add(side Side) *iqv1.TerminationDescriptor {
	port := uint32(30000 + 2*int(side))
	g.local[side] = &iqv1.MediaDescription{Address: "10.20.0.11", Port: port, RtcpPort: port + 1, Ssrc: 77 + uint32(side), Cname: "mgw"}
	if side == Access {
		g.local[side].Address = "198.51.100.10"
	}
	d := &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: StreamID, Local: g.local[side]}}}
	if side == Access {
		d.Transport = g.restart()
		d.Transport.LocalDtls = &iqv1.DtlsParameters{Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: print32}}}
	}
	return d
}

// restart chooses new ICE credentials.
func (g *gateway) restart() *iqv1.TransportGroup {
	g.restarts++
	g.ice = &iqv1.IceParameters{Ufrag: fmt.Sprintf("mGw%d", g.restarts), Pwd: fmt.Sprintf("k3v0Qe9m2Jx7Zt5Wb8Rr%04d", g.restarts),
		Candidates: []*iqv1.Candidate{{Foundation: "1", Component: 1, Transport: "udp", Priority: 2130706431, Address: "198.51.100.10", Port: 40000, Type: "host"}}}
	return &iqv1.TransportGroup{LocalIce: g.ice}
}

// told are the facts that both peers know of one side after a negotiation.
type told struct {
	said    *sdp.Media    // our last description's audio
	theirs  []codec.Codec // what the peer receives
	dir     sdp.Direction // agreed, from our point of view
	browser *peertest.Browser
	phone   *peertest.Phone
}

// check compares a Modify with the facts.
func (g *gateway) check(side Side, d *iqv1.TerminationDescriptor, f told) error {
	s := d.GetStreams()[0]
	want := map[sdp.Direction]iqv1.LocalControl_Mode{
		sdp.SendRecv: iqv1.LocalControl_MODE_SENDRECV, sdp.SendOnly: iqv1.LocalControl_MODE_SENDONLY,
		sdp.RecvOnly: iqv1.LocalControl_MODE_RECVONLY, sdp.Inactive: iqv1.LocalControl_MODE_INACTIVE,
	}[f.dir]
	if m := s.GetLocalControl().GetMode(); m != want {
		return fmt.Errorf("mode %s, agreed %s", m, f.dir)
	}
	l, r := s.GetLocal(), s.GetRemote()
	if l.GetPort() != g.local[side].Port || l.GetAddress() != g.local[side].Address || l.GetProto() != f.said.Proto {
		return fmt.Errorf("local %v", l)
	}
	if len(l.GetCodecs()) != len(f.said.Codecs) {
		return fmt.Errorf("local codecs %v, said %v", l.GetCodecs(), f.said.Codecs)
	}
	for _, c := range l.GetCodecs() {
		if !holds(f.said.Codecs, c) {
			return fmt.Errorf("local %v was not said: %v", c, f.said.Codecs)
		}
	}
	if err := g.checkSending(r, f); err != nil {
		return err
	}
	if side == Core {
		return checkAddress(r, f.phone)
	}
	return g.checkTransport(s.GetMid(), d.GetTransport(), f.browser)
}

func holds(cs []codec.Codec, c *iqv1.Codec) bool { return slices.ContainsFunc(cs, is(c)) }

func is(c *iqv1.Codec) func(codec.Codec) bool {
	return func(d codec.Codec) bool { return uint32(d.PT) == c.GetPayloadType() && d.SameFormat(codecOf(c)) }
}

func codecOf(c *iqv1.Codec) codec.Codec {
	return codec.Codec{Name: c.GetName(), ClockRate: c.GetClockRate(), Channels: uint8(c.GetChannels())}
}

// checkSending: one audio codec and at most one event format, which the peer takes under these payload types, and which was said to it.
func (g *gateway) checkSending(r *iqv1.MediaDescription, f told) error {
	if r == nil && f.phone != nil {
		return nil // checkAddress decides
	}
	if n := len(r.GetCodecs()); n < 1 || n > 2 {
		return fmt.Errorf("remote codecs %v", r.GetCodecs())
	}
	for i, c := range r.GetCodecs() {
		same := func(d codec.Codec) bool { return d.SameFormat(codecOf(c)) }
		if !holds(f.theirs, c) || i == 0 && !slices.ContainsFunc(f.said.Codecs, same) {
			return fmt.Errorf("remote %v; peer has %v, said %v", c, f.theirs, f.said.Codecs)
		}
		if codecOf(c).Is(codec.TelephoneEvent) != (i == 1) {
			return fmt.Errorf("remote codecs %v", r.GetCodecs())
		}
	}
	return nil
}

func checkAddress(r *iqv1.MediaDescription, p *peertest.Phone) error {
	if p.Nowhere {
		if r != nil && r.GetAddress() == "0.0.0.0" {
			return fmt.Errorf("media to 0.0.0.0")
		}
		return nil
	}
	rtcp := p.RTCPPort
	if rtcp == 0 {
		rtcp = p.Addr.Port() + 1
	}
	if r.GetAddress() != p.Addr.Addr().String() || r.GetPort() != uint32(p.Addr.Port()) || r.GetRtcpPort() != uint32(rtcp) {
		return fmt.Errorf("remote %s:%d/%d, the phone receives at %s/%d", r.GetAddress(), r.GetPort(), r.GetRtcpPort(), p.Addr, rtcp)
	}
	return nil
}

func (g *gateway) checkTransport(mid string, t *iqv1.TransportGroup, b *peertest.Browser) error {
	role, other := iqv1.DtlsParameters_ROLE_SERVER, iqv1.DtlsParameters_ROLE_CLIENT
	if b.Web.Role == sdp.SetupPassive {
		role, other = other, role
	}
	cands := t.GetRemoteIce().GetCandidates()
	bad := slices.ContainsFunc(cands, func(c *iqv1.Candidate) bool {
		_, err := netip.ParseAddr(c.GetAddress())
		return err != nil || c.GetTransport() != "udp"
	})
	switch {
	case mid != b.Lines[b.Audio].MID:
		return fmt.Errorf("mid %q, the line is %q", mid, b.Lines[b.Audio].MID)
	case t.GetLocalDtls().GetRole() != role, t.GetRemoteDtls().GetRole() != other:
		return fmt.Errorf("roles %s %s, the browser is %s", t.GetLocalDtls().GetRole(), t.GetRemoteDtls().GetRole(), b.Web.Role)
	case t.GetLocalIce().GetUfrag() != b.Web.HisUfrag, t.GetLocalIce().GetPwd() != b.Web.HisPwd, t.GetLocalIce().GetUfrag() != g.ice.Ufrag:
		return fmt.Errorf("local ICE %s, the browser was told %s, chosen %s", t.GetLocalIce().GetUfrag(), b.Web.HisUfrag, g.ice.Ufrag)
	case t.GetRemoteIce().GetUfrag() != b.Web.Ufrag, t.GetRemoteIce().GetPwd() != b.Web.Pwd:
		return fmt.Errorf("remote ICE %s, the browser has %s", t.GetRemoteIce().GetUfrag(), b.Web.Ufrag)
	case len(t.GetRemoteDtls().GetFingerprints()) != 1, t.GetRemoteDtls().GetFingerprints()[0].GetValue() != b.Web.Print:
		return fmt.Errorf("remote fingerprint is not the browser's")
	case t.GetRemoteDtls().GetTlsId() != b.Web.TLSID, t.GetLocalDtls().GetTlsId() != b.Web.HisTLSID:
		return fmt.Errorf("tls-ids %q %q, browser %q %q", t.GetRemoteDtls().GetTlsId(), t.GetLocalDtls().GetTlsId(), b.Web.TLSID, b.Web.HisTLSID)
	case len(cands) != 1, bad:
		return fmt.Errorf("candidates %v", cands)
	}
	return nil
}
