package callcore

import (
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// The feature tags of a Contact say what its user agent is and can do (RFC 3840), an IMS communication service (TS 24.229 §7.2A.8) or
// being the focus of a conference (RFC 4579) for instance. Either peer sees our Contact in the place of the other's, with its tags.

// baseTags are the feature tags that have no leading "+" (RFC 3840 §9, RFC 4569).
var baseTags = []string{
	"actor", "application", "audio", "automata", "class", "control", "data", "description", "duplex", "events", "extensions", "isfocus",
	"language", "methods", "mobility", "priority", "schemes", "text", "type", "video",
}

// maxFeatures bounds what is kept of a Contact's tags, in bytes.
const maxFeatures = 2048

// featuresOf returns the feature tags of the message's Contact as parameters. The instance is the browser's own: where it may be known it
// has registered it (RFC 5627 §3).
func featuresOf(m *headers.Msg) string {
	a, err := headers.ParseAddresses(headers.List(m, "Contact"))
	if err != nil || len(a) == 0 {
		return ""
	}
	tags := slices.DeleteFunc(a[0].Params, func(p headers.Param) bool {
		name := strings.ToLower(p.Name)
		return !strings.HasPrefix(name, "+") && !slices.Contains(baseTags, name) || name == "+sip.instance"
	})
	if text := tags.String(); len(text) <= maxFeatures {
		return text
	}
	return ""
}

// ourContact is our Contact value on the leg.
func (s *State) ourContact(l Leg) string {
	return "<" + s.d.Legs[l].Contact + ">" + s.d.Legs[l.Other()].Features
}
