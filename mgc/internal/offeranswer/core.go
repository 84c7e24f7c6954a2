package offeranswer

import (
	"net/netip"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// takeCore reads the transport of a core description.
func (m *Media) takeCore(l *Line, d *sdp.Description, a *sdp.Media, answer bool) (ch Change, err error) {
	if a.Proto != "RTP/AVP" && a.Proto != "RTP/AVPF" && !(secureProto(a.Proto) && m.Policy.SRTP.on()) {
		return ch, unacceptable(302, "transport protocol %s", printable(a.Proto))
	}
	if ch.NewKey, err = m.takeCrypto(l, a, answer); err != nil {
		return ch, err
	}
	l.takePotential(d, a, answer)
	addr := d.ConnectionOf(a)
	if !addr.IP.IsValid() {
		return ch, unacceptable(399, "no IP address in the c= line")
	}
	l.RS, l.RR = rtcpBandwidth(d, a, "RS"), rtcpBandwidth(d, a, "RR")
	l.RTCPOff = l.RS.said(0) && l.RR.said(0)
	if addr.IP.IsUnspecified() {
		return ch, nil // old hold: the address that holds for RTCP stays
	}
	if err := l.reachable(addr.IP); err != nil {
		return ch, err
	}
	remote := netip.AddrPortFrom(addr.IP, a.Port)
	rtcp := netip.AddrPortFrom(addr.IP, a.Port+1)
	if r := a.RTCP; r != nil && r.Port != 0 {
		rtcp = netip.AddrPortFrom(addr.IP, r.Port)
		if a := r.Addr.IP; a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && sameFamily(a, addr.IP) {
			rtcp = netip.AddrPortFrom(a, r.Port)
		}
	}
	// We do not offer it first: one that an offer of ours has is agreed already (RFC 5761 §5.1.3).
	if l.Mux = a.RTCPMux && (!answer || l.Mux); l.Mux {
		rtcp = remote
	}
	ch.Moved = remote != l.Remote || rtcp != l.RemoteRTCP
	l.Remote, l.RemoteRTCP = remote, rtcp
	return ch, nil
}

// reachable refuses an address that our media cannot be sent to. The text goes to either peer, so that it does not say the address. Before the media gateway has
// chosen an address of ours, it is the one to refuse.
func (l *Line) reachable(ip netip.Addr) error {
	switch ours := l.Local.Addr(); {
	case ip.IsMulticast():
		return unacceptable(301, "media to a group")
	case !ours.IsValid() || sameFamily(ours, ip):
		return nil
	case ip.Unmap().Is4():
		return unacceptable(301, "an IPv4 address for media over IPv6")
	}
	return unacceptable(301, "an IPv6 address for media over IPv4")
}

func sameFamily(a, b netip.Addr) bool { return a.Unmap().Is4() == b.Unmap().Is4() }
