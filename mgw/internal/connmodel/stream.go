package connmodel

import (
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// apply puts the present parts of m into s, a stream of a termination of that kind.
func (s *Stream) apply(m *iqv1.Stream, kind Kind) *Error {
	if m.GetMid() != "" {
		s.Mid = Clip(m.GetMid())
	}
	if m.GetLocalControl() != nil {
		if err := s.applyControl(m.GetLocalControl(), kind); err != nil {
			return err.at("local_control")
		}
	}
	if m.GetLocal() != nil {
		if err := s.applyLocal(m.GetLocal(), kind); err != nil {
			return err.at("local")
		}
	}
	if m.GetRemote() != nil {
		desc, err := parseDescription(m.GetRemote(), kind)
		if err == nil {
			err = parseRemoteAddress(m.GetRemote(), kind, &desc)
		}
		if err == nil {
			desc.Cryptos, err = remoteCryptos(m.GetRemote().GetCryptos(), kind)
		}
		if err != nil {
			return err.at("remote")
		}
		s.Remote, s.HasRemote = desc, true
	}
	if len(s.Local.Codecs) == 0 {
		if len(s.Remote.Codecs) == 0 {
			return Errorf(gwerr.MissingRemoteOrLocal, "no codec in local nor in remote")
		}
		s.Local.Codecs = s.Remote.Codecs
	}
	if err := s.checkCryptos(); err != nil {
		return err
	}
	return s.checkMID(kind)
}

// applyControl sets LocalControl, which a present message replaces whole but for what it leaves unspecified.
func (s *Stream) applyControl(m *iqv1.LocalControl, kind Kind) *Error {
	switch m.GetMode() {
	case iqv1.LocalControl_MODE_UNSPECIFIED:
	case iqv1.LocalControl_MODE_INACTIVE:
		s.Mode = ModeInactive
	case iqv1.LocalControl_MODE_SENDONLY:
		s.Mode = ModeSendOnly
	case iqv1.LocalControl_MODE_RECVONLY:
		s.Mode = ModeRecvOnly
	case iqv1.LocalControl_MODE_SENDRECV:
		s.Mode = ModeSendRecv
	default:
		return Errorf(gwerr.InvalidMode, "mode %d", m.GetMode())
	}
	switch m.GetDigits() {
	case iqv1.LocalControl_DIGITS_UNSPECIFIED:
	case iqv1.LocalControl_DIGITS_PLAY:
		s.DropDigits = false
	case iqv1.LocalControl_DIGITS_DROP:
		s.DropDigits = true
	default:
		return Errorf(gwerr.UnsupportedValue, "digits %d", m.GetDigits())
	}
	if m.GetDscp() > 63 {
		return Errorf(gwerr.UnsupportedValue, "dscp %d, at most 63", m.GetDscp())
	}
	s.DSCP, s.DTX = uint8(m.GetDscp()), m.GetDtx()
	s.Policing = Policing{BytesPerSecond: m.GetPolicing().GetSustainableDataRate(), BurstBytes: m.GetPolicing().GetMaximumBurstSize()}
	if m.GetPolicing() != nil && (s.Policing.BytesPerSecond == 0 || s.Policing.BurstBytes == 0) {
		return Errorf(gwerr.UnsupportedValue, "policing with rate %d and burst %d; neither may be 0", s.Policing.BytesPerSecond, s.Policing.BurstBytes)
	}
	if err := s.applyFilter(m.GetSourceFilter(), kind); err != nil {
		return err
	}
	if r := m.GetRtcp(); r != nil {
		s.RTCP = RTCPPolicy{Mux: r.GetMux(), ReducedSize: r.GetReducedSize(), Off: r.GetOff(),
			XRMetrics: r.GetXrVoipMetrics(), XRReference: r.GetXrRcvrRtt(), Senders: r.GetSendersBps(), Receivers: r.GetReceiversBps()}
	}
	return s.applyLatch(m.GetLatch(), kind)
}

func (s *Stream) applyFilter(m *iqv1.SourceFilter, kind Kind) *Error {
	s.Filter = Filter{}
	if m == nil {
		return nil
	}
	if kind == KindAccess {
		return Errorf(gwerr.UnsupportedProperty, "source_filter on an access termination: the selected pair is the only source")
	}
	prefixes, err := parsePrefixes(m.GetPrefixes())
	if err != nil {
		return err.at("source_filter")
	}
	lo, hi := m.GetPortMin(), max(m.GetPortMax(), m.GetPortMin())
	if hi > 65535 || lo == 0 && hi != 0 || m.GetPortMax() != 0 && m.GetPortMax() < lo {
		return Errorf(gwerr.UnsupportedValue, "source_filter: ports %d to %d", lo, m.GetPortMax())
	}
	s.Filter = Filter{Prefixes: prefixes, Ports: [2]uint16{uint16(lo), uint16(hi)}}
	return nil
}

func (s *Stream) applyLatch(m iqv1.LocalControl_Latch, kind Kind) *Error {
	if m == iqv1.LocalControl_LATCH_UNSPECIFIED {
		return nil
	}
	if kind == KindAccess && m != iqv1.LocalControl_LATCH_OFF {
		return Errorf(gwerr.UnsupportedValue, "latch %s on an access termination: the selected pair is the address (H.248.37)", m)
	}
	switch m {
	case iqv1.LocalControl_LATCH_OFF:
		s.Latch = LatchOff
	case iqv1.LocalControl_LATCH_ON:
		s.Latch = LatchOn
	case iqv1.LocalControl_LATCH_RELATCH:
		s.Latch = LatchOn
		s.Generation++
	default:
		return Errorf(gwerr.UnsupportedValue, "latch %d", m)
	}
	return nil
}

// applyLocal sets what we receive. Address, ports, SSRC and CNAME are CHOOSE: set, they must be what was chosen.
func (s *Stream) applyLocal(m *iqv1.MediaDescription, kind Kind) *Error {
	desc, err := parseDescription(m, kind)
	if err != nil {
		return err
	}
	chosen := s.Chosen
	if kind == KindCore {
		if a := m.GetAddress(); a != "" && a != chosen.RTP.Addr().String() {
			return Errorf(gwerr.UnsupportedValue, "address %q: the gateway chooses it", Clip(a))
		}
		if p := m.GetPort(); p != 0 && p != uint32(chosen.RTP.Port()) {
			return Errorf(gwerr.UnsupportedValue, "port %d: the gateway chooses it", p)
		}
	}
	if m.GetSsrc() != 0 && m.GetSsrc() != chosen.SSRC {
		return Errorf(gwerr.UnsupportedValue, "ssrc %d: the gateway chooses it", m.GetSsrc())
	}
	if m.GetCname() != "" && m.GetCname() != chosen.CName {
		return Errorf(gwerr.UnsupportedValue, "cname %q: the gateway chooses it", Clip(m.GetCname()))
	}
	if len(desc.Codecs) == 0 {
		desc.Codecs = s.Local.Codecs
	}
	if desc.Cryptos, err = s.localCryptos(m.GetCryptos(), kind); err != nil {
		return err
	}
	desc.SSRC, desc.CName = 0, ""
	s.Local = desc
	return nil
}
