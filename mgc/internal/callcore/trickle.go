package callcore

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// A browser may offer before it has all its candidates, and send the rest by INFO (RFC 8840). The media gateway is a lite agent: it answers
// checks and needs no candidate of the peer's (RFC 8445 §7.3), and all of its own are in our description. So whatever an offer lists
// is enough, and what comes later ends here.

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
	}
}
