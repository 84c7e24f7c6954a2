package connmodel

import (
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// resolvedOfAdd is what an Add left to the MGW, resolved (TS 29.334 §5.8).
func resolvedOfAdd(asked *iqv1.TerminationDescriptor, t *Termination) *iqv1.TerminationDescriptor {
	d := &iqv1.TerminationDescriptor{}
	local := t.localMessage()
	if len(asked.GetStreams()[0].GetLocal().GetCodecs()) == 0 {
		local.Codecs = codecMessages(t.Stream.Local.Codecs)
	}
	local.Cryptos = cryptoMessages(t.Stream.Local.Cryptos, t.Local.Keys)
	d.Streams = []*iqv1.Stream{{StreamId: uint32(t.Stream.ID), Local: local}}
	if t.Kind == KindAccess {
		d.Transport = t.transport()
		d.Transport.LocalDtls = t.localDTLS()
	}
	return d
}

// resolvedOfModify is what changed of our side by a Modify: new ICE credentials after a restart, keys for other crypto-suites. Nil: nothing.
func resolvedOfModify(before, after *Termination) *iqv1.TerminationDescriptor {
	if cs := after.Stream.Local.Cryptos; !slices.Equal(cs, before.Stream.Local.Cryptos) {
		local := &iqv1.MediaDescription{Cryptos: cryptoMessages(cs, after.Local.Keys)}
		return &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: uint32(after.Stream.ID), Local: local}}}
	}
	if before.Local.Ufrag == after.Local.Ufrag {
		return nil
	}
	return &iqv1.TerminationDescriptor{Transport: after.transport()}
}

// localMessage is what the media plane chose for the stream.
func (t *Termination) localMessage() *iqv1.MediaDescription {
	m := &iqv1.MediaDescription{Ssrc: t.Local.SSRC, Cname: t.Local.CName}
	if t.Local.RTP.IsValid() {
		m.Address, m.Port, m.RtcpPort = t.Local.RTP.Addr().String(), uint32(t.Local.RTP.Port()), uint32(t.Local.RTCP.Port())
	}
	return m
}

// transport is our ICE agent on Iq.
func (t *Termination) transport() *iqv1.TransportGroup {
	m := &iqv1.TransportGroup{LocalIce: t.localICE(), IceLite: !t.FullICE}
	if t.FullICE {
		m.IceMode, m.IceRole = iqv1.TransportGroup_ICE_MODE_FULL, iqv1.TransportGroup_ICE_ROLE_CONTROLLED
		if t.Controlling {
			m.IceRole = iqv1.TransportGroup_ICE_ROLE_CONTROLLING
		}
	}
	return m
}

func (t *Termination) localICE() *iqv1.IceParameters {
	ice := &iqv1.IceParameters{Ufrag: t.Local.Ufrag, Pwd: t.Local.Pwd, EndOfCandidates: true}
	ice.Candidates = candidateMessages(t.Local.Candidates)
	return ice
}

func (t *Termination) localDTLS() *iqv1.DtlsParameters {
	return &iqv1.DtlsParameters{Role: t.Role.message(), Fingerprints: fingerprintMessages(t.Local.Fingerprints)}
}

// message is the role on Iq.
func (r Role) message() iqv1.DtlsParameters_Role {
	switch r {
	case RoleClient:
		return iqv1.DtlsParameters_ROLE_CLIENT
	case RoleServer:
		return iqv1.DtlsParameters_ROLE_SERVER
	}
	return iqv1.DtlsParameters_ROLE_UNSPECIFIED
}

// opposite is the peer's role.
func (r Role) opposite() Role {
	switch r {
	case RoleClient:
		return RoleServer
	case RoleServer:
		return RoleClient
	}
	return RoleUnset
}

// Descriptor is the whole description as an audit shows it, without secrets (H.248.1 §7.2.5).
func (t *Termination) Descriptor() *iqv1.TerminationDescriptor {
	s := t.Stream
	local := t.localMessage()
	local.Media, local.Proto, local.Codecs = "audio", s.Local.Proto, codecMessages(s.Local.Codecs)
	local.PtimeMs, local.MaxptimeMs, local.Cryptos = s.Local.PtimeMs, s.Local.MaxMs, cryptoMessages(s.Local.Cryptos, nil)
	stream := &iqv1.Stream{StreamId: uint32(s.ID), Mid: s.Mid, LocalControl: s.control(), Local: local}
	if s.HasRemote {
		stream.Remote = s.Remote.message()
	}
	d := &iqv1.TerminationDescriptor{Kind: t.Kind.message(), Realm: t.Realm, Streams: []*iqv1.Stream{stream}}
	if len(t.Events.Specs) > 0 || t.Events.RequestID != 0 {
		d.Events = t.Events.message()
	}
	if len(t.Signals.List) > 0 {
		d.Signals = t.Signals.message()
	}
	if t.Kind != KindAccess {
		return d
	}
	d.Transport = t.transport()
	d.Transport.LocalDtls = t.localDTLS()
	d.Transport.LocalIce.Pwd = ""
	if t.RemoteUfrag != "" {
		d.Transport.RemoteIce = &iqv1.IceParameters{
			Ufrag: t.RemoteUfrag, Candidates: candidateMessages(t.RemoteCandidates), EndOfCandidates: t.RemoteEnd,
		}
		d.Transport.RemoteDtls = &iqv1.DtlsParameters{
			Role: t.Role.opposite().message(), Fingerprints: fingerprintMessages(t.RemoteFingerprints), TlsId: t.RemoteTLSID,
		}
	}
	return d
}

// control is LocalControl on Iq.
func (s Stream) control() *iqv1.LocalControl {
	m := &iqv1.LocalControl{
		Mode: [...]iqv1.LocalControl_Mode{
			iqv1.LocalControl_MODE_INACTIVE, iqv1.LocalControl_MODE_SENDONLY,
			iqv1.LocalControl_MODE_RECVONLY, iqv1.LocalControl_MODE_SENDRECV,
		}[s.Mode&ModeSendRecv],
		Dscp:  uint32(s.DSCP),
		Latch: iqv1.LocalControl_LATCH_OFF,
		Rtcp:  &iqv1.RtcpPolicy{Mux: s.RTCP.Mux, ReducedSize: s.RTCP.ReducedSize, Off: s.RTCP.Off, XrVoipMetrics: s.RTCP.XRMetrics, XrRcvrRtt: s.RTCP.XRReference, SendersBps: s.RTCP.Senders, ReceiversBps: s.RTCP.Receivers},
		Dtx:   s.DTX,
	}
	if s.DropDigits {
		m.Digits = iqv1.LocalControl_DIGITS_DROP
	}
	if s.Latch == LatchOn {
		m.Latch = iqv1.LocalControl_LATCH_ON
	}
	if s.Policing != (Policing{}) {
		m.Policing = &iqv1.Policing{SustainableDataRate: s.Policing.BytesPerSecond, MaximumBurstSize: s.Policing.BurstBytes}
	}
	if !s.Filter.IsZero() {
		m.SourceFilter = &iqv1.SourceFilter{PortMin: uint32(s.Filter.Ports[0]), PortMax: uint32(s.Filter.Ports[1])}
		for _, p := range s.Filter.Prefixes {
			m.SourceFilter.Prefixes = append(m.SourceFilter.Prefixes, p.String())
		}
	}
	return m
}

// message is a Remote descriptor on Iq.
func (d Description) message() *iqv1.MediaDescription {
	m := &iqv1.MediaDescription{
		Media: "audio", Proto: d.Proto, Port: uint32(d.Port), RtcpPort: uint32(d.RTCPPort), Codecs: codecMessages(d.Codecs),
		PtimeMs: d.PtimeMs, MaxptimeMs: d.MaxMs, MaxBitrate: d.MaxBps, Ssrc: d.SSRC, Cname: d.CName, Cryptos: cryptoMessages(d.Cryptos, nil),
	}
	if d.Addr.IsValid() {
		m.Address = d.Addr.String()
	}
	if d.RTCPAddr.IsValid() {
		m.RtcpAddress = d.RTCPAddr.String()
	}
	return m
}

func (e Events) message() *iqv1.EventsDescriptor {
	m := &iqv1.EventsDescriptor{RequestId: e.RequestID}
	for _, s := range e.Specs {
		spec := &iqv1.EventSpec{Type: iqv1.EventType(s.Type), StreamId: uint32(s.Stream), Tones: s.Tones, Direction: s.direction(), Rtcp: s.RTCP, MosCenti: s.MOS}
		if s.Timer > 0 {
			spec.Timer = durationpb.New(s.Timer)
		}
		m.Specs = append(m.Specs, spec)
	}
	return m
}

// AttributesMessage is the attributes on Iq.
func (c *Context) AttributesMessage() *iqv1.ContextAttributes {
	a := c.Attr
	m := &iqv1.ContextAttributes{
		Priority: a.Priority, Emergency: a.Emergency, CorrelationId: a.CorrelationID, OwnerHint: a.OwnerHint,
	}
	if a.OrphanTTL > 0 {
		m.OrphanTtl = durationpb.New(a.OrphanTTL)
	}
	for _, tr := range a.Topology {
		m.Topology = append(m.Topology, &iqv1.TopologyTriple{
			From: string(tr.From), To: string(tr.To), StreamId: uint32(tr.Stream),
			Direction: [...]iqv1.TopologyTriple_Direction{
				iqv1.TopologyTriple_DIRECTION_BOTHWAY, iqv1.TopologyTriple_DIRECTION_ONEWAY, iqv1.TopologyTriple_DIRECTION_ISOLATE,
			}[tr.Direction],
		})
	}
	return m
}

func codecMessages(list []codec.Codec) []*iqv1.Codec {
	var out []*iqv1.Codec
	for _, c := range list {
		out = append(out, &iqv1.Codec{
			PayloadType: uint32(c.PT), Name: c.Name, ClockRate: c.ClockRate, Channels: uint32(c.ChannelCount()), Fmtp: c.Fmtp,
		})
	}
	return out
}

func candidateMessages(list []Candidate) []*iqv1.Candidate {
	var out []*iqv1.Candidate
	for _, c := range list {
		out = append(out, &iqv1.Candidate{
			Foundation: c.Foundation, Component: uint32(c.Component), Transport: c.Transport, Priority: c.Priority,
			Address: c.Addr.Addr().String(), Port: uint32(c.Addr.Port()), Type: c.Type, TcpType: c.TCPType,
		})
	}
	return out
}

func fingerprintMessages(list []Fingerprint) []*iqv1.Fingerprint {
	var out []*iqv1.Fingerprint
	for _, f := range list {
		out = append(out, &iqv1.Fingerprint{Hash: f.Hash, Value: f.Value})
	}
	return out
}
