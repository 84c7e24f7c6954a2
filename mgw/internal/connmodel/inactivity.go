package connmodel

import (
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Media inactivity (H.248.40): the directions that an EventSpec watches, and whether RTCP counts.

// applyInactivity takes what concerns MEDIA_INACTIVE and MEDIA_ACTIVE, and refuses it in others.
func (e *EventSpec) applyInactivity(m *iqv1.EventSpec) *Error {
	typ := m.GetType()
	if typ != iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE && typ != iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE {
		if m.GetDirection() != iqv1.EventSpec_DIRECTION_UNSPECIFIED || m.GetRtcp() {
			return Errorf(gwerr.UnsupportedParameter, "event %s: direction, rtcp", typ)
		}
		return nil
	}
	e.RTCP = m.GetRtcp()
	switch m.GetDirection() {
	case iqv1.EventSpec_DIRECTION_UNSPECIFIED, iqv1.EventSpec_DIRECTION_IN:
		e.In = true
	case iqv1.EventSpec_DIRECTION_OUT:
		e.Out = true
	case iqv1.EventSpec_DIRECTION_BOTH:
		e.In, e.Out = true, true
	default:
		return Errorf(gwerr.UnsupportedValue, "event %s: direction %d", typ, m.GetDirection())
	}
	return nil
}

// direction is the directions on Iq.
func (e *EventSpec) direction() iqv1.EventSpec_Direction {
	switch {
	case e.In && e.Out:
		return iqv1.EventSpec_DIRECTION_BOTH
	case e.Out:
		return iqv1.EventSpec_DIRECTION_OUT
	}
	return iqv1.EventSpec_DIRECTION_UNSPECIFIED // IN
}

// watch puts what the armed events look for into settings.
func (s *Settings) watch(specs []EventSpec) {
	for _, spec := range specs {
		if spec.Type != eventMediaInactive {
			continue
		}
		s.WatchIn, s.WatchOut = s.WatchIn || spec.In, s.WatchOut || spec.Out
		s.RTCPIsMedia = s.RTCPIsMedia || spec.RTCP
	}
}
