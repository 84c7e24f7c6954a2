package connmodel

import (
	"slices"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// resolvedOfAdd is what an Add left to the MGW, resolved (TS 29.334 §5.8).
func resolvedOfAdd(asked *iqv1.TerminationDescriptor, t *Termination) *iqv1.TerminationDescriptor {
	d := &iqv1.TerminationDescriptor{Streams: resolvedStreams(asked, nil, t)}
	if t.Kind == KindAccess {
		d.Transport = t.transport()
		d.Transport.LocalDtls = t.localDTLS()
	}
	return d
}

// resolvedOfModify is what changed of our side by a Modify: streams that are new, new ICE credentials after a restart, keys for other crypto-suites.
// Nil: nothing.
func resolvedOfModify(asked *iqv1.TerminationDescriptor, before, after *Termination) *iqv1.TerminationDescriptor {
	d := &iqv1.TerminationDescriptor{Streams: resolvedStreams(asked, before, after)}
	if before.Local.Ufrag != after.Local.Ufrag {
		d.Transport = after.transport()
	}
	if d.Streams == nil && d.Transport == nil {
		return nil
	}
	return d
}

// resolvedStreams is what was chosen for the streams that were described, in order of number; before is nil or what was known already.
func resolvedStreams(asked *iqv1.TerminationDescriptor, before, after *Termination) []*iqv1.Stream {
	var out []*iqv1.Stream
	for i := range after.Streams {
		s := &after.Streams[i]
		n := slices.IndexFunc(asked.GetStreams(), func(m *iqv1.Stream) bool { return streamID(m) == s.ID })
		if n < 0 {
			continue
		}
		var was *Stream
		if before != nil {
			was = before.Stream(s.ID)
		}
		local := &iqv1.MediaDescription{}
		switch {
		case was == nil:
			local = s.localMessage()
			if len(asked.GetStreams()[n].GetLocal().GetCodecs()) == 0 {
				local.Codecs = codecMessages(s.Local.Codecs)
			}
		case slices.Equal(was.Local.Cryptos, s.Local.Cryptos):
			continue
		}
		local.Cryptos = cryptoMessages(s.Local.Cryptos, s.Chosen.Keys)
		out = append(out, &iqv1.Stream{StreamId: uint32(s.ID), Local: local})
	}
	return out
}

// localMessage is what the media plane chose for the stream.
func (s *Stream) localMessage() *iqv1.MediaDescription {
	m := &iqv1.MediaDescription{Ssrc: s.Chosen.SSRC, Cname: s.Chosen.CName}
	if rtp := s.Chosen.RTP; rtp.IsValid() {
		m.Address, m.Port, m.RtcpPort = rtp.Addr().String(), uint32(rtp.Port()), uint32(s.Chosen.RTCP.Port())
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
	d := &iqv1.TerminationDescriptor{Kind: t.Kind.message(), Realm: t.Realm, Signals: t.signalsMessage()}
	for i := range t.Streams {
		d.Streams = append(d.Streams, t.Streams[i].message())
	}
	if len(t.Events.Specs) > 0 || t.Events.RequestID != 0 {
		d.Events = t.Events.message()
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

// message is the stream on Iq, without keys.
func (s *Stream) message() *iqv1.Stream {
	local := s.localMessage()
	local.Media, local.Proto, local.Codecs = "audio", s.Local.Proto, codecMessages(s.Local.Codecs)
	local.PtimeMs, local.MaxptimeMs, local.Cryptos = s.Local.PtimeMs, s.Local.MaxMs, cryptoMessages(s.Local.Cryptos, nil)
	local.HeaderExtensions = extensionMessages(s.Local.Extensions)
	m := &iqv1.Stream{StreamId: uint32(s.ID), Mid: s.Mid, LocalControl: s.control(), Local: local}
	if s.HasRemote {
		m.Remote = s.Remote.message()
	}
	return m
}

// control is LocalControl on Iq.
func (s *Stream) control() *iqv1.LocalControl {
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
		HeaderExtensions: extensionMessages(d.Extensions),
	}
	if d.Addr.IsValid() {
		m.Address = d.Addr.String()
	}
	if d.RTCPAddr.IsValid() {
		m.RtcpAddress = d.RTCPAddr.String()
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
