package peertest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Gateway is the MGW: it chooses addresses and credentials, and what it is told is checked against what both peers were told.
type Gateway struct {
	Full     bool // full ICE
	restarts int
	local    [2]*iqv1.MediaDescription
	ICE      *iqv1.IceParameters
}

// Add answers an Add.
func (g *Gateway) Add(core bool) *iqv1.TerminationDescriptor {
	at := index(core)
	port := uint32(30000 + 2*at)
	g.local[at] = &iqv1.MediaDescription{Address: "10.20.0.11", Port: port, RtcpPort: port + 1, Ssrc: 77 + uint32(at), Cname: "mgw"}
	if !core {
		g.local[at].Address = "198.51.100.10"
	}
	if core {
		for _, s := range suites {
			key := make([]byte, lengths[s])
			for i := range key {
				key[i] = byte(i) + s[len(s)-1]
			}
			g.local[at].Cryptos = append(g.local[at].Cryptos, &iqv1.SrtpCrypto{Suite: s, Key: key})
		}
	}
	d := &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 1, Local: g.local[at]}}}
	if !core {
		d.Transport = g.Restart()
		d.Transport.LocalDtls = &iqv1.DtlsParameters{Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: strings.Repeat("AB:", 31) + "AB"}}}
	}
	return d
}

// Streams makes the streams of a descriptor beyond the first, and tells what it chose.
func (g *Gateway) Streams(core bool, d *iqv1.TerminationDescriptor) *iqv1.TerminationDescriptor {
	out := &iqv1.TerminationDescriptor{}
	for _, s := range d.GetStreams() {
		id := s.GetStreamId()
		if id <= 1 {
			continue
		}
		l := &iqv1.MediaDescription{Ssrc: 77 + 10*id + uint32(index(core)), Cname: "mgw"}
		if core {
			l.Address, l.Port, l.RtcpPort = "10.20.0.11", 30000+10*id, 30001+10*id
			for _, c := range s.GetLocal().GetCryptos() {
				key := make([]byte, lengths[c.GetSuite()])
				for i := range key {
					key[i] = byte(i) + byte(10*id)
				}
				l.Cryptos = append(l.Cryptos, &iqv1.SrtpCrypto{Suite: c.GetSuite(), Key: key})
			}
		}
		out.Streams = append(out.Streams, &iqv1.Stream{StreamId: id, Local: l})
	}
	return out
}

func index(core bool) int {
	if core {
		return 1
	}
	return 0
}

// Restart chooses new ICE credentials.
func (g *Gateway) Restart() *iqv1.TransportGroup {
	g.restarts++
	g.ICE = &iqv1.IceParameters{Ufrag: fmt.Sprintf("mGw%d", g.restarts), Pwd: fmt.Sprintf("k3v0Qe9m2Jx7Zt5Wb8Rr%04d", g.restarts),
		Candidates: []*iqv1.Candidate{{Foundation: "1", Component: 1, Transport: "udp", Priority: 2130706431, Address: "198.51.100.10", Port: 40000, Type: "host"}}}
	t := &iqv1.TransportGroup{LocalIce: g.ICE}
	if g.Full {
		t.IceMode = iqv1.TransportGroup_ICE_MODE_FULL
	}
	return t
}

// Told are the facts that both peers know of one side after a negotiation.
type Told struct {
	Said    *sdp.Media    // our last description's audio
	Theirs  []codec.Codec // what the peer receives
	Dir     sdp.Direction // agreed, from our point of view
	Browser *Browser
	Phone   *Phone
}

// Check compares a Modify with the facts.
func (g *Gateway) Check(core bool, d *iqv1.TerminationDescriptor, f Told) error {
	at := index(core)
	s := d.GetStreams()[0]
	want := map[sdp.Direction]iqv1.LocalControl_Mode{
		sdp.SendRecv: iqv1.LocalControl_MODE_SENDRECV, sdp.SendOnly: iqv1.LocalControl_MODE_SENDONLY,
		sdp.RecvOnly: iqv1.LocalControl_MODE_RECVONLY, sdp.Inactive: iqv1.LocalControl_MODE_INACTIVE,
	}[f.Dir]
	if m := s.GetLocalControl().GetMode(); m != want {
		return fmt.Errorf("mode %s, agreed %s", m, f.Dir)
	}
	l, r := s.GetLocal(), s.GetRemote()
	if l.GetPort() != g.local[at].Port || l.GetAddress() != g.local[at].Address || l.GetProto() != f.Said.Proto {
		return fmt.Errorf("local %v", l)
	}
	if len(l.GetCodecs()) != len(f.Said.Codecs) {
		return fmt.Errorf("local codecs %v, said %v", l.GetCodecs(), f.Said.Codecs)
	}
	for _, c := range l.GetCodecs() {
		if !holds(f.Said.Codecs, c) {
			return fmt.Errorf("local %v was not said: %v", c, f.Said.Codecs)
		}
	}
	if err := g.checkSending(r, f); err != nil {
		return err
	}
	if core {
		return errors.Join(checkAddress(r, f.Phone), f.Phone.Crypto.check(s))
	}
	return g.checkTransport(s.GetMid(), d.GetTransport(), f.Browser)
}

func holds(cs []codec.Codec, c *iqv1.Codec) bool { return slices.ContainsFunc(cs, is(c)) }

func is(c *iqv1.Codec) func(codec.Codec) bool {
	return func(d codec.Codec) bool { return uint32(d.PT) == c.GetPayloadType() && d.SamePayload(CodecOf(c)) }
}

// CodecOf is a codec of Iq as a value.
func CodecOf(c *iqv1.Codec) codec.Codec {
	return codec.Codec{Name: c.GetName(), ClockRate: c.GetClockRate(), Channels: uint8(c.GetChannels()), Fmtp: c.GetFmtp()}
}

// checkSending: one audio codec, at most one event format and then at most one of comfort noise, which the peer takes under these payload types, and
// which were said to it: the noise is agreed when both have it, and then the gateway knows.
func (g *Gateway) checkSending(r *iqv1.MediaDescription, f Told) error {
	if r == nil && f.Phone != nil {
		return nil // checkAddress decides
	}
	list := r.GetCodecs()
	noise := func(c codec.Codec) bool { return c.Is(codec.ComfortNoise) && c.ClockRate == 8000 }
	beside := len(list) > 0 && list[0].GetClockRate() == 8000 && !CodecOf(list[0]).IsAMR() // what knows no pauses itself (RFC 3389 §1)
	agreed := beside && slices.ContainsFunc(f.Said.Codecs, noise) && slices.ContainsFunc(f.Theirs, noise)
	if n := len(list) - 1; n > 0 && noise(CodecOf(list[n])) {
		if !agreed || !holds(f.Theirs, list[n]) {
			return fmt.Errorf("remote %v; peer has %v, said %v", list[n], f.Theirs, f.Said.Codecs)
		}
		list, agreed = list[:n], false
	}
	if n := len(list); agreed || n < 1 || n > 2 {
		return fmt.Errorf("remote codecs %v", r.GetCodecs())
	}
	for i, c := range list {
		same := func(d codec.Codec) bool { return d.SamePayload(CodecOf(c)) }
		if !holds(f.Theirs, c) || i == 0 && !slices.ContainsFunc(f.Said.Codecs, same) {
			return fmt.Errorf("remote %v; peer has %v, said %v", c, f.Theirs, f.Said.Codecs)
		}
		if CodecOf(c).Is(codec.TelephoneEvent) != (i == 1) {
			return fmt.Errorf("remote codecs %v", r.GetCodecs())
		}
	}
	return nil
}

func checkAddress(r *iqv1.MediaDescription, p *Phone) error {
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

func (g *Gateway) checkTransport(mid string, t *iqv1.TransportGroup, b *Browser) error {
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
	case (t.GetIceMode() == iqv1.TransportGroup_ICE_MODE_FULL) != g.Full, t.GetIceLite() == g.Full:
		return fmt.Errorf("ICE mode %s, lite %v", t.GetIceMode(), t.GetIceLite())
	case g.Full && (t.GetIceRole() == iqv1.TransportGroup_ICE_ROLE_CONTROLLING) != b.called:
		return fmt.Errorf("%s; the browser was called: %v (RFC 8445 §6.1.1)", t.GetIceRole(), b.called)
	case mid != b.Lines[b.Audio].MID:
		return fmt.Errorf("mid %q, the line is %q", mid, b.Lines[b.Audio].MID)
	case t.GetLocalDtls().GetRole() != role, t.GetRemoteDtls().GetRole() != other:
		return fmt.Errorf("roles %s %s, the browser is %s", t.GetLocalDtls().GetRole(), t.GetRemoteDtls().GetRole(), b.Web.Role)
	case t.GetLocalIce().GetUfrag() != b.Web.HisUfrag, t.GetLocalIce().GetPwd() != b.Web.HisPwd, t.GetLocalIce().GetUfrag() != g.ICE.Ufrag:
		return fmt.Errorf("local ICE %s, the browser was told %s, chosen %s", t.GetLocalIce().GetUfrag(), b.Web.HisUfrag, g.ICE.Ufrag)
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
