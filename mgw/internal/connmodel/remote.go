package connmodel

import "net/netip"

// accessRemote is the peer of an access termination as media sees it; nil: not known.
func accessRemote(t *Termination) *AccessRemote {
	if t.RemoteUfrag == "" {
		return nil
	}
	return &AccessRemote{
		Ufrag: t.RemoteUfrag, Pwd: t.RemotePwd, Candidates: t.RemoteCandidates, Controlling: t.Controlling, Mux: !t.Component2,
		Role: t.Role, Fingerprints: t.RemoteFingerprints, TLSID: t.RemoteTLSID,
	}
}

// coreRemote is the peer of a core stream as media sees it.
func coreRemote(s *Stream) CoreRemote {
	r := CoreRemote{Latch: s.Latch, Filter: s.Filter, Generation: s.Generation, Mux: s.RTCP.Mux}
	d := s.Remote
	if r.Secure = s.secure(); s.HasRemote && len(d.Cryptos) > 0 {
		r.Crypto = d.Cryptos[0]
	}
	if !s.HasRemote || d.Port == 0 || !d.Addr.IsValid() {
		return r
	}
	r.RTP = netip.AddrPortFrom(d.Addr, d.Port)
	switch {
	case s.RTCP.Mux:
		r.RTCP = r.RTP
	case d.RTCPPort != 0 && d.RTCPAddr.IsValid():
		r.RTCP = netip.AddrPortFrom(d.RTCPAddr, d.RTCPPort)
	case d.RTCPPort != 0:
		r.RTCP = netip.AddrPortFrom(d.Addr, d.RTCPPort)
	case d.Port < 65535:
		r.RTCP = netip.AddrPortFrom(d.Addr, d.Port+1)
	}
	return r
}
