package connmodel

import (
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Direction is how far two terminations hear each other (H.248.1 §7.1.18).
type Direction uint8

// The directions.
const (
	Bothway Direction = iota
	Oneway            // From hears nothing of To; To hears From
	Isolate
)

// chooseTermination stands in a Triple for the terminations that the same action adds (CHOOSE of H.248.1 §7.1.18).
const chooseTermination gwid.TerminationID = "$"

// Triple is one association of the Topology descriptor (H.248.1 §7.1.18). Stream 0: all streams.
type Triple struct {
	From, To  gwid.TerminationID
	Direction Direction
	Stream    gwid.StreamID
}

// parseAttributes checks a ContextAttributes message. Triples with "$" go to r.choose.
func (r *run) parseAttributes(m *iqv1.ContextAttributes) (Attributes, *Error) {
	a := Attributes{
		Priority: m.GetPriority(), Emergency: m.GetEmergency(), CorrelationID: m.GetCorrelationId(),
		OwnerHint: m.GetOwnerHint(), OrphanTTL: m.GetOrphanTtl().AsDuration(),
	}
	switch {
	case a.Priority > 15:
		return a, Errorf(gwerr.UnsupportedValue, "priority %d, at most 15", a.Priority)
	case len(a.CorrelationID) > maxCorrelationID:
		return a, Errorf(gwerr.UnsupportedValue, "correlation_id of %d bytes, at most %d", len(a.CorrelationID), maxCorrelationID)
	case len(a.OwnerHint) > maxCorrelationID:
		return a, Errorf(gwerr.UnsupportedValue, "owner_hint of %d bytes, at most %d", len(a.OwnerHint), maxCorrelationID)
	case m.GetOrphanTtl() != nil && !m.GetOrphanTtl().IsValid(), a.OrphanTTL < 0, a.OrphanTTL > 24*time.Hour:
		return a, Errorf(gwerr.UnsupportedValue, "orphan_ttl %v, allowed 0s to 24h", a.OrphanTTL)
	case len(m.GetTopology()) > maxTopologyTriples:
		return a, Errorf(gwerr.UnsupportedValue, "%d topology triples, at most %d", len(m.GetTopology()), maxTopologyTriples)
	}
	for i, tm := range m.GetTopology() {
		tr, err := r.parseTriple(tm)
		if err != nil {
			return a, err.at("topology triple %d", i+1)
		}
		if tr.From == chooseTermination || tr.To == chooseTermination {
			r.choose = append(r.choose, tr)
			continue
		}
		a.Topology = append(a.Topology, tr)
	}
	return a, nil
}

func (r *run) parseTriple(m *iqv1.TopologyTriple) (Triple, *Error) {
	tr := Triple{From: gwid.TerminationID(m.GetFrom()), To: gwid.TerminationID(m.GetTo()), Stream: gwid.StreamID(m.GetStreamId())}
	if tr.From == tr.To {
		return tr, Errorf(gwerr.SyntaxErrorInActionID, "termination %q twice", Clip(m.GetFrom()))
	}
	for _, id := range []gwid.TerminationID{tr.From, tr.To} {
		if id != chooseTermination && find(r.terms, id) == nil {
			return tr, Errorf(gwerr.UnknownTermination, "unknown termination %q", Clip(string(id)))
		}
	}
	switch m.GetDirection() {
	case iqv1.TopologyTriple_DIRECTION_BOTHWAY:
		tr.Direction = Bothway
	case iqv1.TopologyTriple_DIRECTION_ONEWAY:
		tr.Direction = Oneway
	case iqv1.TopologyTriple_DIRECTION_ISOLATE:
		tr.Direction = Isolate
	default:
		return tr, Errorf(gwerr.UnsupportedValue, "direction %d", m.GetDirection())
	}
	return tr, nil
}

// instantiateTopology applies the triples that name CHOOSE to a termination just added.
func (r *run) instantiateTopology(id gwid.TerminationID) {
	if len(r.choose) == 0 {
		return
	}
	topology := slices.Clone(r.Attr.Topology)
	for _, tr := range r.choose {
		if tr.From == chooseTermination {
			tr.From = id
		}
		if tr.To == chooseTermination {
			tr.To = id
		}
		if tr.From != tr.To {
			topology = append(topology, tr)
		}
	}
	r.Attr.Topology = topology
}

// forgetTopology drops the triples of terminations that are gone.
func (r *run) forgetTopology(gone []*Termination) {
	r.Attr.Topology = slices.DeleteFunc(slices.Clone(r.Attr.Topology), func(tr Triple) bool {
		return find(gone, tr.From) != nil || find(gone, tr.To) != nil
	})
}

// hears tells how far a and b hear each other on the stream: whether b hears a, and a hears b. The last triple that
// matches rules; without one it is both.
func hears(topology []Triple, a, b gwid.TerminationID, stream gwid.StreamID) (ab, ba bool) {
	ab, ba = true, true
	for _, tr := range topology {
		if tr.Stream != 0 && tr.Stream != stream {
			continue
		}
		forward := tr.From == a && tr.To == b
		if !forward && (tr.From != b || tr.To != a) {
			continue
		}
		switch tr.Direction {
		case Bothway:
			ab, ba = true, true
		case Isolate:
			ab, ba = false, false
		case Oneway:
			ab, ba = forward, !forward
		}
	}
	return ab, ba
}
