package callcore

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
)

// TestIQ35_CancelledRevivalLeavesNothing: an offer that brings a line back and adds another is cancelled while the MGW makes the stream of the latter: nothing
// of it is in what either side is told later.
func TestIQ35_CancelledRevivalLeavesNothing(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "")
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv", "sendrecv")))
	b.step(CancelIn{Leg: LegAccess, Tx: "s2"})
	b.reply()
	b.saw("mgw> Modify Modify", "access> 487")
	if b.s.d.Media.Stale(offeranswer.Core) || b.s.d.Media.Stale(offeranswer.Access) {
		t.Error("something is left of the offer")
	}
	for _, l := range []offeranswer.Side{offeranswer.Access, offeranswer.Core} {
		_, body := b.s.d.Media.Repeat(l)
		for i, line := range strings.Split(string(body), "m=audio ")[1:] {
			if strings.HasPrefix(line, "0 ") != (i > 0) {
				t.Errorf("side %d, line %d:\n%s", l, i+1, line)
			}
		}
	}
}

// TestIQ35_OneLineWhereTwoCannotBeHad: a call whose two streams no MGW makes is tried with one; further lines are refused, never the call.
func TestIQ35_OneLineWhereTwoCannotBeHad(t *testing.T) {
	for name, refuse := range map[string]func(*bench){
		"by the media gateway": func(b *bench) { b.refused(uint32(gwerr.InsufficientResources)) },
		"none has it":          func(b *bench) { b.refused(0) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newSeveral(t)
			b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
			refuse(b)
			b.saw("mgw> Add Add", "mgw> Add Add")
			if needs := b.s.Needs(); slices.Contains(needs, FeatureStreams) {
				t.Errorf("needs %v", needs)
			}
			b.reply()
			b.says("core INVITE", "on")
			b.callee(200, phoneSDP("sendrecv", 1))
			b.says("access 200", "on 0")
			b.reply()
			b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
		})
	}
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.refused(uint32(gwerr.InsufficientResources))
	b.saw("mgw> Add Add", "access> 503", "ended media_gateway")
}
