package callcore

import (
	"fmt"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// TestRFC3515_2_4_6_NotificationsNameTheREFER: a REFER has another CSeq on each leg; its notifications name the one that their receiver knows.
func TestRFC3515_2_4_6_NotificationsNameTheREFER(t *testing.T) {
	b := up(t)
	event := func(v string) headers.Field { return headers.Field{Name: "Event", Value: v} }
	notified := func(l Leg, n int, sent, want string) {
		t.Helper()
		m := b.phone("NOTIFY", 10+n, "", event(sent))
		if l == LegAccess {
			m = b.browser("NOTIFY", 20+n, "", event(sent))
		}
		b.request(l, fmt.Sprint("n", l, n), m)
		if got := b.field(l.Other().String()+" NOTIFY", "Event"); got != want {
			t.Errorf("Event %q became %q, want %q", sent, got, want)
		}
		b.answers(l.Other(), "NOTIFY", 200, "")
	}
	var core []uint32
	for _, seq := range []int{5, 9} {
		b.request(LegAccess, fmt.Sprint("r", seq), b.browser("REFER", seq, ""))
		cs, err := headers.ParseCSeq(b.field("core REFER", "CSeq"))
		if err != nil || cs.Seq == uint32(seq) {
			t.Fatalf("CSeq %v, %v: not another one", cs, err)
		}
		core = append(core, cs.Seq)
		b.answers(LegCore, "REFER", 202, "")
	}
	notified(LegCore, 1, fmt.Sprintf("refer;id=%d", core[0]), "refer;id=5")
	notified(LegCore, 2, fmt.Sprintf("Refer ; x=1; ID = %d", core[1]), "Refer ; x=1;id=9")
	notified(LegCore, 3, "refer", "refer")
	notified(LegCore, 4, "refer;id=77", "refer;id=77")                                           // none that we know
	notified(LegCore, 5, fmt.Sprintf("talk;id=%d", core[0]), fmt.Sprintf("talk;id=%d", core[0])) // no transfer's
	b.request(LegCore, "r7", b.phone("REFER", 30, ""))
	cs, err := headers.ParseCSeq(b.field("access REFER", "CSeq"))
	if err != nil {
		t.Fatal(err)
	}
	b.answers(LegAccess, "REFER", 202, "")
	notified(LegAccess, 1, fmt.Sprintf("refer;id=%d", cs.Seq), "refer;id=30")
}
