package connmodel

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Events is the armed EventsDescriptor of a termination (H.248.1 §7.1.9).
type Events struct {
	RequestID uint64
	Specs     []EventSpec
}

// EventSpec arms one event. Type is an iqv1.EventType, Stream 0 means all, Timer 0 the default.
type EventSpec struct {
	Type   int32
	Stream gwid.StreamID
	Timer  time.Duration
	Tones  bool // DTMF: in the audio too
	// In, Out and RTCP are of MEDIA_INACTIVE: the directions watched, and whether RTCP counts.
	In, Out, RTCP bool
	MOS           uint32 // hundredths; QUALITY only
}

// OfTransport reports whether an event is of the transport of an access termination: not of a stream.
func OfTransport(typ iqv1.EventType) bool { return slices.Contains(ofTransport, typ) }

// Armed reports whether the event type is armed for a stream; one of the transport is whatever stream it was armed with.
func (e Events) Armed(typ iqv1.EventType, stream gwid.StreamID) bool {
	return slices.ContainsFunc(e.Specs, func(s EventSpec) bool {
		return s.Type == int32(typ) && (s.Stream == 0 || s.Stream == stream || OfTransport(typ))
	})
}

// of are the specs that a stream watches for; those of the transport are the first one's.
func (e Events) of(stream, first gwid.StreamID) []EventSpec {
	var out []EventSpec
	for _, s := range e.Specs {
		watches := s.Stream == 0 || s.Stream == stream
		if OfTransport(iqv1.EventType(s.Type)) {
			watches = stream == first
		}
		if watches {
			out = append(out, s)
		}
	}
	return out
}

const (
	eventMediaInactive = int32(iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE)
	eventConsentLost   = int32(iqv1.EventType_EVENT_TYPE_CONSENT_LOST)
)

// ofTransport are the events of the transport of an access termination; a core termination has none of them.
var ofTransport = []iqv1.EventType{
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
		case t.Kind == KindCore && slices.Contains(ofTransport, typ):
			return ev, Errorf(codeUnknownEvent, "event %s on a %s termination", typ, t.Kind)
		case t.Kind == KindAccess && typ == iqv1.EventType_EVENT_TYPE_LATCHED:
			return ev, Errorf(codeUnknownEvent, "event %s on a %s termination", typ, t.Kind)
		case s.GetStreamId() != 0 && t.Stream(gwid.StreamID(s.GetStreamId())) == nil:
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
