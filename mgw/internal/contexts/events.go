package contexts

import (
	"strconv"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// kindsOf are the observations of the packet path that belong to an event of Iq.
var kindsOf = map[iqv1.EventType][]flow.EventKind{
	iqv1.EventType_EVENT_TYPE_ICE_RESULT:     {flow.ICEConnected, flow.ICEFailed},
	iqv1.EventType_EVENT_TYPE_CONSENT_LOST:   {flow.ConsentLost},
	iqv1.EventType_EVENT_TYPE_DTLS_STATE:     {flow.DTLSConnected, flow.DTLSFailed, flow.DTLSClosed},
	iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE: {flow.MediaInactive},
	iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE:   {flow.MediaActive},
	iqv1.EventType_EVENT_TYPE_LATCHED:        {flow.Latched},
	iqv1.EventType_EVENT_TYPE_DTMF:           {flow.DTMF},
	iqv1.EventType_EVENT_TYPE_MEDIA_STARTED:  {flow.MediaStarted},
	iqv1.EventType_EVENT_TYPE_QUALITY:        {flow.Quality},

	iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED:   {flow.SignalDone},
	iqv1.EventType_EVENT_TYPE_ICE_PEER_REFLEXIVE: {flow.PeerReflexive},
}

// armed translates the events that the MGC armed for the packet path.
func armed(m connmodel.EventMask) flow.EventMask {
	var out flow.EventMask
	for typ, kinds := range kindsOf {
		if m&(1<<typ) == 0 {
			continue
		}
		for _, k := range kinds {
			out |= k.Bit()
		}
	}
	return out
}

// eventType is the event of Iq that an observation belongs to.
func eventType(k flow.EventKind) (iqv1.EventType, bool) {
	for typ, kinds := range kindsOf {
		for _, kind := range kinds {
			if kind == k {
				return typ, true
			}
		}
	}
	return 0, false
}

// observed is an observation as it travels on Iq; the parameters are those listed at EventType in the protocol.
func observed(ev flow.Event, typ iqv1.EventType, stream gwid.StreamID) *iqv1.ObservedEvent {
	o := &iqv1.ObservedEvent{Type: typ, StreamId: uint32(stream), At: timestamppb.New(ev.At), Params: map[string]string{}}
	switch ev.Kind {
	case flow.ICEConnected:
		o.Params["result"] = "connected"
		o.Local, o.Remote = candidate(ev.Pair.Local), candidate(ev.Pair.Remote)
	case flow.PeerReflexive:
		o.Local, o.Remote = candidate(ev.Pair.Local), candidate(ev.Pair.Remote)
	case flow.ICEFailed:
		o.Params["result"], o.Params["reason"] = "failed", ev.Reason
	case flow.DTLSConnected:
		o.Params["state"], o.Params["profile"] = "connected", ev.Profile
	case flow.DTLSFailed:
		o.Params["state"], o.Params["reason"] = "failed", ev.Reason
	case flow.DTLSClosed:
		o.Params["state"] = "closed"
	case flow.Latched:
		o.Params["address"] = ev.Addr.String()
	case flow.DTMF:
		o.Params["digit"], o.Params["duration_ms"] = string(rune(ev.Digit)), strconv.FormatInt(ev.Duration.Milliseconds(), 10)
	case flow.Quality:
		qualityParams(o.Params, ev.Quality)
	case flow.SignalDone:
		o.Params["signal"], o.Params["method"] = ev.Signal.Name, methods[ev.Signal.How]
		o.Params["signal_request_id"] = strconv.FormatUint(ev.Signal.Request, 10)
	case flow.MediaInactive, flow.MediaActive:
		o.Params["direction"] = "in"
		if ev.Out {
			o.Params["direction"] = "out"
		}
	case flow.ConsentLost, flow.MediaStarted:
	}
	return o
}

// methods are the ways in which signals end, as Iq names them (H.248.1 §E.1.2).
var methods = map[audio.Ending]string{audio.ByItself: "TO", audio.ByEvent: "EV", audio.ByCommand: "SD", audio.Failed: "NC"}

func candidate(c flow.Candidate) *iqv1.Candidate {
	return &iqv1.Candidate{
		Foundation: c.Foundation, Component: c.Component, Transport: c.Transport, Priority: c.Priority,
		Address: c.Address, Port: uint32(c.Port), Type: c.Type, TcpType: c.TCPType,
	}
}

// statistics are the counters of a stream as they travel on Iq.
func statistics(id gwid.TerminationID, stream gwid.StreamID, s flow.Stats) *iqv1.Statistics {
	return &iqv1.Statistics{
		TerminationId: string(id), StreamId: uint32(stream),
		OctetsSent: s.OctetsSent, OctetsReceived: s.OctetsReceived,
		PacketsSent: s.PacketsSent, PacketsReceived: s.PacketsReceived, PacketsLost: s.PacketsLost,
		JitterUs: uint32(s.Jitter.Microseconds()), RttUs: uint32(s.RTT.Microseconds()),
		Dropped: s.Dropped, Duration: durationpb.New(s.Duration), RemoteLossPermille: s.RemoteLossPermille,
		CodecReceived: s.CodecReceived, CodecSent: s.CodecSent, Transcoding: s.Transcoding,
		FramesConcealed: s.FramesConcealed, FramesRecovered: s.FramesRecovered, PacketsLate: s.PacketsLate,
		SelectedPair: s.SelectedPair, MosCenti: uint32(100*s.MOS + 0.5), RemoteMosCenti: uint32(100*s.RemoteMOS + 0.5),
		Path: pathMessage(s.Path), VoipMetrics: metricsMessage(s.Metrics), RemoteVoipMetrics: metricsMessage(s.RemoteMetrics),
	}
}
