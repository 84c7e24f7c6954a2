package mgwpool

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// ErrNoGateway is returned by Pick when no MGW fits; the text says why. The SIP answer is 503.
var ErrNoGateway = errors.New("mgwpool: no media gateway fits")

// Request says what a new context needs.
type Request struct {
	AccessRealm string   // realm of the browser side; "": any
	CoreRealm   string   // realm of the SIP side; "": any
	Codecs      []string // encoding names that may have to be transcoded
	Features    []string // capabilities that are needed, e.g. "move"
	Priority    uint32   // from 8 on a context may use a node's reserve beyond its limit (TS 23.334 §5.14)
	Emergency   bool     // exempt from admission control and drain (TS 23.334 §5.14)
	Exclude     []string // MGWs not to choose, e.g. the one that just failed
}

// candidate is a node as this instance sees it.
type candidate struct {
	Node
	state   State  // Suspect included
	pending uint32 // picks since the node's last report
}

// choose places a context: power of two choices on load among the nodes that fit, best service state first. rnd(n)
// returns a number from 0 to n-1. cands must be in a fixed order for the choice to be a function of rnd.
func choose(cands []candidate, req Request, rnd func(int) int) (Node, error) {
	var tiers [3][]candidate
	why := map[string]int{}
	for _, c := range cands {
		tier, reason := c.fits(req)
		if reason != "" {
			why[reason]++
			continue
		}
		tiers[tier] = append(tiers[tier], c)
	}
	for _, t := range tiers {
		if len(t) > 0 {
			return twoChoices(t, rnd).Node, nil
		}
	}
	return Node{}, fmt.Errorf("%w: %s", ErrNoGateway, explain(why))
}

// fits returns the tier that the node belongs to for the request, or why it does not fit. Tier 0 is in service;
// tier 1 suspect, taken when nothing better is there; tier 2 draining or beyond its limit, for emergency calls, the latter within a reserve for priority calls too: what
// is left there the node itself knows best.
func (c *candidate) fits(req Request) (tier int, reason string) {
	access, accessUp := c.hasRealm(req.AccessRealm, iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS)
	core, coreUp := c.hasRealm(req.CoreRealm, iqv1.TerminationDescriptor_KIND_RTP_CORE)
	switch {
	case slices.Contains(req.Exclude, c.ID):
		return 0, "excluded"
	case !access:
		return 0, "access realm not served"
	case !core:
		return 0, "core realm not served"
	case !accessUp:
		return 0, "access realm not available"
	case !coreUp:
		return 0, "core realm not available"
	case !containsAll(c.Codecs, req.Codecs):
		return 0, "codec not served"
	case !containsAll(c.Features, req.Features):
		return 0, "feature " + firstMissing(c.Features, req.Features) + " not served"
	case c.state == Draining && !req.Emergency:
		return 0, "draining"
	case !req.Emergency && c.room(c.pending, false) <= 0 && (req.Priority < highPriority || c.reserve(c.pending) <= 0):
		return 0, "full"
	}
	switch {
	case c.state == Draining, c.room(c.pending, req.Emergency || req.Priority >= highPriority) <= 0:
		return 2, ""
	case c.state == Suspect:
		return 1, ""
	}
	return 0, ""
}

func firstMissing(have, want []string) string {
	for _, w := range want {
		if !containsAll(have, []string{w}) {
			return w
		}
	}
	return ""
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h string) bool { return strings.EqualFold(h, w) }) {
			return false
		}
	}
	return true
}

// twoChoices draws two different nodes and returns the less loaded one.
func twoChoices(cs []candidate, rnd func(int) int) candidate {
	i := rnd(len(cs))
	if len(cs) == 1 {
		return cs[0]
	}
	j := rnd(len(cs) - 1)
	if j >= i {
		j++
	}
	if cs[j].score(cs[j].pending) < cs[i].score(cs[i].pending) {
		return cs[j]
	}
	return cs[i]
}

func explain(why map[string]int) string {
	if len(why) == 0 {
		return "none is registered"
	}
	var parts []string
	for reason, n := range why {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
