package connmodel

import (
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// newTermination makes the value that an Add describes, without id and Local.
func newTermination(d *iqv1.TerminationDescriptor, env Env) (*Termination, *Error) {
	t := Termination{Realm: d.GetRealm()}
	switch d.GetKind() {
	case iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS:
		t.Kind = KindAccess
	case iqv1.TerminationDescriptor_KIND_RTP_CORE:
		t.Kind = KindCore
	case iqv1.TerminationDescriptor_KIND_UNSPECIFIED:
		return nil, Errorf(gwerr.SyntaxErrorInActionID, "kind is not given")
	default:
		return nil, Errorf(gwerr.UnsupportedValue, "kind %d", d.GetKind())
	}
	realm, ok := env.Realms[t.Realm]
	switch {
	case !ok:
		return nil, Errorf(gwerr.UnsupportedValue, "unknown realm %q", Clip(t.Realm))
	case realm.Kind != t.Kind:
		return nil, Errorf(gwerr.UnsupportedValue, "realm %q is for %s, not for %s", t.Realm, realm.Kind, t.Kind)
	case len(d.GetStreams()) == 0:
		return nil, Errorf(gwerr.MissingRemoteOrLocal, "no stream given")
	}
	if t.Kind == KindAccess {
		full, err := iceMode(d.GetTransport(), realm)
		if err != nil {
			return nil, err.at("transport")
		}
		t.FullICE, t.Component2 = full, realm.Component2
	}
	t.Stream.RTCP.Mux = t.Kind == KindAccess
	t.Stream.ID = streamID(d.GetStreams()[0])
	if err := t.apply(d, env); err != nil {
		return nil, err
	}
	t.Component2 = t.Component2 && !t.Stream.RTCP.Mux
	if len(t.Stream.Local.Codecs) == 0 {
		if len(t.Stream.Remote.Codecs) == 0 {
			return nil, Errorf(gwerr.MissingRemoteOrLocal, "stream %d: no codec in local nor in remote", t.Stream.ID)
		}
		t.Stream.Local.Codecs = t.Stream.Remote.Codecs
	}
	return &t, nil
}

// modified is t with the parts that d has.
func modified(t Termination, d *iqv1.TerminationDescriptor, env Env) (*Termination, *Error) {
	if d == nil {
		return nil, Errorf(gwerr.SyntaxErrorInActionID, "no descriptor")
	}
	if k := d.GetKind(); k != iqv1.TerminationDescriptor_KIND_UNSPECIFIED && k != t.Kind.message() {
		return nil, Errorf(gwerr.UnsupportedValue, "kind is fixed at Add")
	}
	if d.GetRealm() != "" && d.GetRealm() != t.Realm {
		return nil, Errorf(gwerr.UnsupportedValue, "realm is fixed at Add: %q, not %q", t.Realm, Clip(d.GetRealm()))
	}
	if m := d.GetTransport().GetIceMode(); m == iqv1.TransportGroup_ICE_MODE_FULL && !t.FullICE || m == iqv1.TransportGroup_ICE_MODE_LITE && t.FullICE {
		return nil, Errorf(gwerr.UnsupportedValue, "ice_mode is fixed at Add")
	}
	if ice := d.GetTransport().GetLocalIce(); ice != nil && ice.GetUfrag() == "" && t.Kind == KindAccess {
		t.Restarts++
	}
	if err := t.apply(d, env); err != nil {
		return nil, err
	}
	t.Component2 = t.Component2 && !t.Stream.RTCP.Mux // once given up it does not come back
	return &t, nil
}

// apply puts the present parts of d into t (field-mask semantics by presence).
func (t *Termination) apply(d *iqv1.TerminationDescriptor, env Env) *Error {
	if err := oneStream(d.GetStreams()); err != nil {
		return err
	}
	for _, s := range d.GetStreams() {
		err := t.applyStream(s)
		if err == nil {
			err = t.Stream.checkCryptos()
		}
		if err != nil {
			return err.at("stream %d", streamID(s))
		}
	}
	if d.GetTransport() != nil {
		if t.Kind != KindAccess {
			return Errorf(gwerr.UnsupportedProperty, "transport on a %s termination", t.Kind)
		}
		if err := t.applyTransport(d.GetTransport()); err != nil {
			return err.at("transport")
		}
	}
	if d.GetEvents() != nil {
		ev, err := parseEvents(d.GetEvents(), t)
		if err != nil {
			return err.at("events")
		}
		t.Events = ev
	}
	if d.GetSignals() != nil {
		sig, err := parseSignals(d.GetSignals(), t, env)
		if err != nil {
			return err.at("signals")
		}
		sig.Generation = t.Signals.Generation + 1
		t.Signals = sig
	}
	return nil
}

// streamID is the number of a stream; one that is not given is 1 (TS 29.334 §5.7.2).
func streamID(m *iqv1.Stream) gwid.StreamID { return gwid.StreamID(max(m.GetStreamId(), 1)) }

// oneStream refuses a stream that is described twice, and a second one: media has one per termination.
func oneStream(list []*iqv1.Stream) *Error {
	for i, s := range list {
		for _, before := range list[:i] {
			if streamID(before) == streamID(s) {
				return Errorf(codeTwice, "stream %d twice", streamID(s))
			}
		}
	}
	if len(list) > 1 {
		return Errorf(gwerr.NotImplemented, "%d streams; one audio stream per termination is implemented", len(list))
	}
	return nil
}

func (t *Termination) applyStream(m *iqv1.Stream) *Error {
	if id := streamID(m); id != t.Stream.ID {
		return Errorf(gwerr.NotImplemented, "the termination has stream %d; one stream per termination is implemented", t.Stream.ID)
	}
	if m.GetMid() != "" {
		t.Stream.Mid = Clip(m.GetMid())
	}
	if m.GetLocalControl() != nil {
		if err := t.applyControl(m.GetLocalControl()); err != nil {
			return err.at("local_control")
		}
	}
	if m.GetLocal() != nil {
		if err := t.applyLocal(m.GetLocal()); err != nil {
			return err.at("local")
		}
	}
	if m.GetRemote() != nil {
		desc, err := parseDescription(m.GetRemote(), t.Kind)
		if err == nil {
			err = parseRemoteAddress(m.GetRemote(), t.Kind, &desc)
		}
		if err == nil {
			desc.Cryptos, err = remoteCryptos(m.GetRemote().GetCryptos(), t.Kind)
		}
		if err != nil {
			return err.at("remote")
		}
		t.Stream.Remote, t.Stream.HasRemote = desc, true
	}
	return nil
}

// applyControl sets LocalControl, which a present message replaces whole but for what it leaves unspecified.
func (t *Termination) applyControl(m *iqv1.LocalControl) *Error {
	s := &t.Stream
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
	if err := t.applyFilter(m.GetSourceFilter()); err != nil {
		return err
	}
	if err := t.applyLatch(m.GetLatch()); err != nil {
		return err
	}
	return t.applyRTCP(m.GetRtcp())
}

func (t *Termination) applyFilter(m *iqv1.SourceFilter) *Error {
	t.Stream.Filter = Filter{}
	if m == nil {
		return nil
	}
	if t.Kind == KindAccess {
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
	t.Stream.Filter = Filter{Prefixes: prefixes, Ports: [2]uint16{uint16(lo), uint16(hi)}}
	return nil
}

func (t *Termination) applyLatch(m iqv1.LocalControl_Latch) *Error {
	if m == iqv1.LocalControl_LATCH_UNSPECIFIED {
		return nil
	}
	if t.Kind == KindAccess && m != iqv1.LocalControl_LATCH_OFF {
		return Errorf(gwerr.UnsupportedValue, "latch %s on an access termination: the selected pair is the address (H.248.37)", m)
	}
	switch m {
	case iqv1.LocalControl_LATCH_OFF:
		t.Stream.Latch = LatchOff
	case iqv1.LocalControl_LATCH_ON:
		t.Stream.Latch = LatchOn
	case iqv1.LocalControl_LATCH_RELATCH:
		t.Stream.Latch = LatchOn
		t.Stream.Generation++
	default:
		return Errorf(gwerr.UnsupportedValue, "latch %d", m)
	}
	return nil
}

func (t *Termination) applyRTCP(m *iqv1.RtcpPolicy) *Error {
	if m == nil {
		return nil
	}
	if t.Kind == KindAccess && !m.GetMux() && !t.Component2 {
		return Errorf(gwerr.UnsupportedValue, "rtcp: mux must be true on an access termination (RFC 8834 §4.5)")
	}
	t.Stream.RTCP = RTCPPolicy{Mux: m.GetMux(), ReducedSize: m.GetReducedSize(), Off: m.GetOff(),
		XRMetrics: m.GetXrVoipMetrics(), XRReference: m.GetXrRcvrRtt(), Senders: m.GetSendersBps(), Receivers: m.GetReceiversBps()}
	return nil
}

// applyLocal sets what we receive. Address, ports, SSRC and CNAME are CHOOSE: set, they must be what was chosen.
func (t *Termination) applyLocal(m *iqv1.MediaDescription) *Error {
	desc, err := parseDescription(m, t.Kind)
	if err != nil {
		return err
	}
	chosen := t.Local
	if t.Kind == KindCore {
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
		desc.Codecs = t.Stream.Local.Codecs
	}
	if desc.Cryptos, err = t.localCryptos(m.GetCryptos()); err != nil {
		return err
	}
	desc.SSRC, desc.CName = 0, ""
	t.Stream.Local = desc
	return nil
}

const (
	eventMediaInactive = int32(iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE)
	eventConsentLost   = int32(iqv1.EventType_EVENT_TYPE_CONSENT_LOST)
)

// accessOnly are the events of transports that a core termination has not.
var accessOnly = []iqv1.EventType{
	iqv1.EventType_EVENT_TYPE_ICE_RESULT, iqv1.EventType_EVENT_TYPE_CONSENT_LOST, iqv1.EventType_EVENT_TYPE_DTLS_STATE,
	iqv1.EventType_EVENT_TYPE_ICE_PEER_REFLEXIVE,
}

// parseEvents checks an EventsDescriptor (H.248.1 §7.1.9).
func parseEvents(m *iqv1.EventsDescriptor, t *Termination) (Events, *Error) {
	ev := Events{RequestID: m.GetRequestId()}
	if n := len(m.GetSpecs()); n > maxEventSpecs {
		return ev, Errorf(gwerr.UnsupportedValue, "%d events, at most %d", n, maxEventSpecs)
	}
	for _, s := range m.GetSpecs() {
		typ := s.GetType()
		_, known := iqv1.EventType_name[int32(typ)]
		switch {
		case !known || typ == iqv1.EventType_EVENT_TYPE_UNSPECIFIED:
			return ev, Errorf(codeUnknownEvent, "event %d", typ)
		case t.Kind == KindCore && slices.Contains(accessOnly, typ):
			return ev, Errorf(codeUnknownEvent, "event %s on a %s termination", typ, t.Kind)
		case t.Kind == KindAccess && typ == iqv1.EventType_EVENT_TYPE_LATCHED:
			return ev, Errorf(codeUnknownEvent, "event %s on a %s termination", typ, t.Kind)
		case s.GetStreamId() != 0 && gwid.StreamID(s.GetStreamId()) != t.Stream.ID:
			return ev, Errorf(gwerr.UnsupportedValue, "event %s: no stream %d", typ, s.GetStreamId())
		case s.GetTimer() != nil && !s.GetTimer().IsValid(), s.GetTimer().AsDuration() < 0:
			return ev, Errorf(gwerr.UnsupportedValue, "event %s: timer %v", typ, s.GetTimer().AsDuration())
		case typ == iqv1.EventType_EVENT_TYPE_QUALITY && (s.GetMosCenti() < 100 || s.GetMosCenti() > 450):
			return ev, Errorf(gwerr.UnsupportedValue, "event %s: mos_centi %d; 100 to 450", typ, s.GetMosCenti())
		case typ == iqv1.EventType_EVENT_TYPE_QUALITY && s.GetTimer().AsDuration() != 0 && s.GetTimer().AsDuration() < time.Second:
			return ev, Errorf(gwerr.UnsupportedValue, "event %s: timer %v, at least 1s", typ, s.GetTimer().AsDuration())
		case typ != iqv1.EventType_EVENT_TYPE_QUALITY && s.GetMosCenti() != 0:
			return ev, Errorf(gwerr.UnsupportedParameter, "event %s: mos_centi", typ)
		case s.GetTones() && typ != iqv1.EventType_EVENT_TYPE_DTMF:
			return ev, Errorf(gwerr.UnsupportedParameter, "event %s: tones", typ)
		}
		spec := EventSpec{Type: int32(typ), Stream: gwid.StreamID(s.GetStreamId()), Timer: s.GetTimer().AsDuration(), Tones: s.GetTones(), MOS: s.GetMosCenti()}
		if err := spec.applyInactivity(s); err != nil {
			return ev, err
		}
		ev.Specs = append(ev.Specs, spec)
	}
	return ev, nil
}

// message is the kind on Iq.
func (k Kind) message() iqv1.TerminationDescriptor_Kind {
	if k == KindAccess {
		return iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS
	}
	return iqv1.TerminationDescriptor_KIND_RTP_CORE
}
