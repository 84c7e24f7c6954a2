package callcore

import (
	"fmt"
	"strings"
	"testing"
)

// TestSuccessorOfAnOpenReinvite: the re-INVITE that died with its sender is refused to the one who asked, and the next one works.
func TestSuccessorOfAnOpenReinvite(t *testing.T) {
	b := newBench(t)
	b.establish()
	hold := strings.Replace(strings.Replace(browserOffer, "a=sendrecv", "a=sendonly", 1), "4611 2", "4611 3", 1)
	b.step(RequestIn{Leg: LegAccess, Tx: "s3", Msg: browser("INVITE", 3, hold)})
	orphans := b.s.Orphans()
	if len(orphans) != 1 || orphans[0].Tx != b.tx["core INVITE"] || orphans[0].Leg != LegCore {
		t.Fatalf("orphans %+v", orphans)
	}
	b.step(orphans[0])
	if len(b.s.Orphans()) != 0 {
		t.Error("still open")
	}
	b.step(RequestIn{Leg: LegAccess, Tx: "s4", Msg: browser("INVITE", 4, hold)})
	b.callee(200, fmt.Sprintf(coreAnswer, 2, "recvonly"))
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 4, "")})
	b.step(RequestIn{Leg: LegAccess, Tx: "s5", Msg: browser("BYE", 5, "")})
	b.done(append(append([]string{}, established...), "core> INVITE", "access> 503", "core> INVITE", "core> ACK", "access> 200", "mgw> Modify Modify",
		"access> 200", "core> BYE", "mgw> Subtract", "ended hangup_access")...)
}
