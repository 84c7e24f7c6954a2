package callcore

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// A browser may offer before it has all its candidates, and send the rest by INFO (RFC 8840). A media gateway with a lite agent answers
// checks and needs no candidate of the peer's (RFC 8445 §7.3): whatever an offer lists is enough, and what comes later ends here. One with a full agent
// is told. All of its own are in our description.

const (
	trickleICE  = "trickle-ice" // info package and option tag
	trickleBody = "application/trickle-ice-sdpfrag"
)

// takesTrickle says in a message to the browser that it may trickle (RFC 8840 §4.1, RFC 6086 §5.2).
func takesTrickle(l Leg, m *headers.Msg) {
	if l == LegAccess {
		headers.AddToken(m, "Recv-Info", trickleICE)
		headers.AddToken(m, "Supported", trickleICE)
	}
}

// isTrickle reports whether the request tells candidates.
func isTrickle(m *headers.Msg) bool {
	name, _, _ := strings.Cut(m.Get("Info-Package"), ";")
	return m.Method == "INFO" && strings.EqualFold(strings.TrimSpace(name), trickleICE)
}

// onTrickle takes candidates of the browser, in an early dialog too. The core has been told of no such package (RFC 6086 §4.2.2).
func (s *State) onTrickle(e RequestIn) {
	switch {
	case e.Leg != LegAccess:
		s.respond(e.Leg, e.Tx, "INFO", 469, "", nil, nil)
	case headers.MediaType(&e.Msg) != trickleBody:
		s.respond(e.Leg, e.Tx, "INFO", 415, "", nil, []headers.Field{{Name: "Accept", Value: trickleBody}})
	default:
		s.respond(e.Leg, e.Tx, "INFO", 200, "", nil, nil)
		s.trickled(e.Msg.Body)
	}
}

// trickled tells the media gateway of further candidates as long as there is a context. A refusal changes nothing: the peer's own checks are still
// answered.
func (s *State) trickled(body []byte) {
	m, tell := s.d.Media.Trickle(body)
	s.d.Media = m
	if !tell || s.d.Node.Context == "" || s.d.Node.Dead {
		return
	}
	s.queue("trickle", &iqv1.Action{
		Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: s.d.Node.Context}},
		Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: s.d.Node.Terms[LegAccess]}},
			Descriptor_: m.TransportDescriptor(),
		}}}},
	})
}
