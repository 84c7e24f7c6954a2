package connmodel

import (
	"cmp"
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Streams of a termination (TS 29.334 §5.7.2): as many as Add and later Modifies describe. None goes before its termination, as no m= line does (RFC 3264
// §8).

// Stream finds one by number; nil when there is none. It is not to be mutated.
func (t *Termination) Stream(id gwid.StreamID) *Stream {
	if i, ok := t.place(id); ok {
		return &t.Streams[i]
	}
	return nil
}

// place is where the stream is among the others, or belongs.
func (t *Termination) place(id gwid.StreamID) (int, bool) {
	return slices.BinarySearchFunc(t.Streams, id, func(s Stream, id gwid.StreamID) int { return cmp.Compare(s.ID, id) })
}

// named finds the stream that an event or a signal names; 0: the first one.
func (t *Termination) named(id uint32) (*Stream, *Error) {
	if id == 0 {
		id = uint32(t.First)
	}
	s := t.Stream(gwid.StreamID(id))
	if s == nil {
		return nil, Errorf(gwerr.UnsupportedValue, "no stream %d", id)
	}
	return s, nil
}

// streamID is the number of a stream; one that is not given is 1 (TS 29.334 §5.7.2).
func streamID(m *iqv1.Stream) gwid.StreamID { return gwid.StreamID(max(m.GetStreamId(), 1)) }

// applyStreams sets the streams that are listed, and makes those that there were not.
func (t *Termination) applyStreams(list []*iqv1.Stream) *Error {
	if len(list) > maxStreams {
		return Errorf(gwerr.UnsupportedValue, "%d streams, at most %d", len(list), maxStreams)
	}
	for i, m := range list {
		id := streamID(m)
		if slices.ContainsFunc(list[:i], func(before *iqv1.Stream) bool { return streamID(before) == id }) {
			return Errorf(codeTwice, "stream %d twice", id)
		}
	}
	for _, m := range list {
		id := streamID(m)
		i, there := t.place(id)
		if !there {
			if len(t.Streams) == maxStreams {
				return Errorf(gwerr.UnsupportedValue, "stream %d: the termination has %d streams, as many as it may", id, maxStreams)
			}
			t.Streams = slices.Insert(t.Streams, i, Stream{ID: id, RTCP: RTCPPolicy{Mux: t.Kind == KindAccess}})
		}
		if err := t.Streams[i].apply(m, t.Kind); err != nil {
			return err.at("stream %d", id)
		}
	}
	return t.checkStreams()
}

// checkStreams holds the streams of an access termination against each other and against their transport.
func (t *Termination) checkStreams() *Error {
	if t.Kind != KindAccess {
		return nil
	}
	apart := false
	for i, s := range t.Streams {
		apart = apart || !s.RTCP.Mux
		switch {
		case !s.RTCP.Mux && len(t.Streams) > 1:
			return Errorf(gwerr.UnsupportedValue, "stream %d: local_control: rtcp: mux must be true where several streams share a transport (RFC 9143 §9.3)", s.ID)
		case !s.RTCP.Mux && !t.Component2:
			return Errorf(gwerr.UnsupportedValue, "stream %d: local_control: rtcp: mux must be true on an access termination (RFC 8834 §4.5)", s.ID)
		}
		for _, o := range t.Streams[:i] {
			if s.Mid != "" && s.Mid == o.Mid {
				return Errorf(gwerr.UnsupportedValue, "stream %d: mid %q is that of stream %d", s.ID, s.Mid, o.ID)
			}
		}
	}
	t.Component2 = apart // once given up it does not come back
	return nil
}

// of names the stream that an error is about where a termination has several.
func (e *Error) of(id gwid.StreamID, terms ...*Termination) *Error {
	if slices.ContainsFunc(terms, func(t *Termination) bool { return len(t.Streams) > 1 }) {
		return e.at("stream %d", id)
	}
	return e
}
