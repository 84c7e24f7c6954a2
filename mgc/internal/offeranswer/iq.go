package offeranswer

import (
	"errors"
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Gate says how far media may flow.
type Gate uint8

// The gates.
const (
	Closed      Gate = iota // before the answer
	EarlyAccess             // early media towards the browser only
	EarlyCore               // early media towards the core only
	Open                    // as agreed
)

// ErrReply is returned by Resolve for a reply that lacks what a description needs.
var ErrReply = errors.New("incomplete reply of the media gateway")

// StreamID is the H.248 stream of the call's first audio stream; further ones have the next numbers, equal on both terminations.
const StreamID = 1

// AddDescriptor returns the descriptor of an Add for side in the realm; what we have no value for is left to the MGW (CHOOSE).
func (m *Media) AddDescriptor(side Side, realm string, g Gate) *iqv1.TerminationDescriptor {
	d := m.ModifyDescriptor(side, g)
	d.Realm = realm
	d.Kind = iqv1.TerminationDescriptor_KIND_RTP_CORE
	if side == Access {
		d.Kind = iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS
		d.Transport.IceMode = iqv1.TransportGroup_ICE_MODE_CHOOSE // an MGW that does not know it is lite
		d.Transport.IceRole = m.Line(Access).Web.iceRole()
	}
	return d
}

// ModifyDescriptor returns the whole wanted state of side's termination.
func (m *Media) ModifyDescriptor(side Side, g Gate) *iqv1.TerminationDescriptor {
	d := &iqv1.TerminationDescriptor{}
	for i := range m.Streams() {
		v := m.at(i)
		d.Streams = append(d.Streams, v.streamDescriptor(side, g))
	}
	if side == Access {
		d.Transport = m.Line(side).Web.group()
	}
	return d
}

// streamDescriptor is the wanted state of one stream.
func (m *Media) streamDescriptor(side Side, g Gate) *iqv1.Stream {
	l := m.Line(side)
	s := &iqv1.Stream{
		StreamId: StreamID + uint32(m.stream),
		LocalControl: &iqv1.LocalControl{
			Mode: mode(side, l, g),
			Dscp: m.Policy.DSCP, Policing: m.policing(side),
			Rtcp: m.rtcpPolicy(side),
			Dtx:  m.Policy.DTX.towards(side),
		},
		Local:  m.localDescription(side),
		Remote: m.remoteDescription(side),
	}
	if side == Access {
		if l.described() {
			s.Mid = l.Slots[l.Audio].MID
		}
		return s
	}
	s.LocalControl.Latch = iqv1.LocalControl_LATCH_OFF
	if m.Policy.Latch {
		s.LocalControl.Latch = iqv1.LocalControl_LATCH_ON
	}
	return s
}

// described reports whether the stream has a line.
func (l *Line) described() bool { return l.Slots != nil && l.Audio >= 0 }

// mode maps the agreed direction and the gate to the mode of the stream.
func mode(side Side, l *Line, g Gate) iqv1.LocalControl_Mode {
	allowed := sdp.Inactive
	switch {
	case l.Off:
	case g == Open:
		allowed = sdp.SendRecv
	case g == EarlyAccess && side == Access, g == EarlyCore && side == Core:
		allowed = sdp.SendOnly
	case g == EarlyAccess || g == EarlyCore:
		allowed = sdp.RecvOnly
	}
	switch l.Dir.And(allowed) {
	case sdp.SendRecv:
		return iqv1.LocalControl_MODE_SENDRECV
	case sdp.SendOnly:
		return iqv1.LocalControl_MODE_SENDONLY
	case sdp.RecvOnly:
		return iqv1.LocalControl_MODE_RECVONLY
	}
	return iqv1.LocalControl_MODE_INACTIVE
}

func (m *Media) proto(side Side) string {
	if l := m.Line(side); l.described() {
		return l.Slots[l.Audio].Proto
	}
	if side == Access {
		return "UDP/TLS/RTP/SAVPF"
	}
	return m.Policy.coreProto()
}

// localDescription is what the MGW has to receive. Before the answer it lists what we will offer or could answer, the likeliest first.
func (m *Media) localDescription(side Side) *iqv1.MediaDescription {
	l, cs := m.Line(side), m.receivable(side)
	d := &iqv1.MediaDescription{
		Media: "audio", Proto: m.proto(side), Codecs: codecs(cs), PtimeMs: 20, Ssrc: l.SSRC, Cname: l.CName,
	}
	if l.Local.IsValid() {
		d.Address, d.Port, d.RtcpPort = l.Local.Addr().String(), uint32(l.Local.Port()), uint32(l.LocalRTCP)
	}
	if side == Core {
		d.Cryptos = cryptoMessages(m.Policy.listKeys()...) // CHOOSE, and ever after what was chosen
	}
	return d
}

// receivable is what side's peer may send, the likeliest first.
func (m *Media) receivable(side Side) []codec.Codec {
	l := m.Line(side)
	cs := l.Ours
	if !l.Chosen.IsZero() {
		cs = toFront(slices.Clone(cs), l.Chosen)
	}
	if cs == nil && l.Theirs != nil {
		if c, ok := m.choose(side); ok {
			cs = []codec.Codec{c}
			if e := eventFor(l.Theirs, c.ClockRate); e.Name != "" {
				cs = append(cs, e)
			}
		}
	}
	if cs == nil {
		cs = m.offerCodecs(side)
	}
	return cs
}

// remoteDescription is what the MGW has to send, and where; nil as long as that is not known.
func (m *Media) remoteDescription(side Side) *iqv1.MediaDescription {
	l := m.Line(side)
	c := l.Chosen
	if c.IsZero() && side == Core && l.Remote.IsValid() {
		c, _ = m.choose(side)
	}
	if c.IsZero() || side == Core && !l.Remote.IsValid() {
		return nil
	}
	cs := []codec.Codec{c}
	if l.Event.Name != "" {
		cs = append(cs, l.Event)
	}
	if l.noiseAgreed() && waveform(c) {
		cs = append(cs, l.Noise)
	}
	d := &iqv1.MediaDescription{Media: "audio", Proto: m.proto(side), Codecs: codecs(cs), PtimeMs: l.Ptime, MaxptimeMs: l.MaxPtime, MaxBitrate: m.maxBitrate(side, c)}
	if side == Core {
		d.Address, d.Port, d.RtcpPort = l.Remote.Addr().String(), uint32(l.Remote.Port()), uint32(l.RemoteRTCP.Port())
		if a := l.RemoteRTCP.Addr(); a.IsValid() && a != l.Remote.Addr() {
			d.RtcpAddress = a.String()
		}
		d.Cryptos = cryptoMessages(l.Crypto.Peer)
		if l.Off {
			d.Port, d.RtcpPort = 0, 0
		}
		return d
	}
	if l.several() {
		d.Ssrc = l.PeerSSRC
		if l.PeerMID != 0 && !l.Off {
			d.HeaderExtensions = []*iqv1.HeaderExtension{{Id: uint32(l.PeerMID), Uri: midURI}}
		}
	}
	return d
}

func codecs(cs []codec.Codec) []*iqv1.Codec {
	out := make([]*iqv1.Codec, len(cs))
	for i, c := range cs {
		out[i] = &iqv1.Codec{
			PayloadType: uint32(c.PT), Name: c.Name, ClockRate: c.ClockRate, Channels: uint32(c.ChannelCount()), Fmtp: c.Fmtp,
		}
	}
	return out
}

// group is the ICE and DTLS transport; local parameters that are not known yet are left to the MGW.
func (w *Web) group() *iqv1.TransportGroup {
	g := &iqv1.TransportGroup{IceLite: !w.Full, LocalDtls: &iqv1.DtlsParameters{Role: iqv1.DtlsParameters_ROLE_SERVER}}
	if w.Role == sdp.SetupActive {
		g.LocalDtls.Role = iqv1.DtlsParameters_ROLE_CLIENT
	}
	if w.Full {
		g.IceMode, g.IceRole = iqv1.TransportGroup_ICE_MODE_FULL, w.iceRole()
	}
	g.LocalDtls.Fingerprints = prints(w.LocalPrints)
	if w.LocalUfrag != "" {
		g.LocalIce = &iqv1.IceParameters{Ufrag: w.LocalUfrag, Pwd: w.LocalPwd, Candidates: cands(w.LocalCands), EndOfCandidates: true}
	}
	if w.Ufrag != "" {
		g.RemoteIce = &iqv1.IceParameters{Ufrag: w.Ufrag, Pwd: w.Pwd, Candidates: cands(w.Candidates), EndOfCandidates: w.EndOfCands}
	}
	if len(w.Fingerprints) > 0 {
		g.RemoteDtls = &iqv1.DtlsParameters{Fingerprints: prints(w.Fingerprints), TlsId: w.TLSID, Role: iqv1.DtlsParameters_ROLE_CLIENT}
		if w.Role == sdp.SetupActive {
			g.RemoteDtls.Role = iqv1.DtlsParameters_ROLE_SERVER
		}
		if w.TLSID != "" {
			g.LocalDtls.TlsId = w.LocalTLSID
		}
	}
	return g
}

func (w *Web) iceRole() iqv1.TransportGroup_IceRole {
	if w.controlling() {
		return iqv1.TransportGroup_ICE_ROLE_CONTROLLING
	}
	return iqv1.TransportGroup_ICE_ROLE_CONTROLLED
}

func prints(fs []sdp.Fingerprint) []*iqv1.Fingerprint {
	var out []*iqv1.Fingerprint
	for _, f := range fs {
		out = append(out, &iqv1.Fingerprint{Hash: f.Hash, Value: f.Value})
	}
	return out
}

func cands(cs []sdp.Candidate) []*iqv1.Candidate {
	var out []*iqv1.Candidate
	for _, c := range cs {
		out = append(out, &iqv1.Candidate{
			Foundation: c.Foundation, Component: uint32(c.Component), Transport: c.Transport, Priority: c.Priority,
			Address: c.Host, Port: uint32(c.Port), Type: c.Type, TcpType: c.TCPType,
		})
	}
	return out
}
