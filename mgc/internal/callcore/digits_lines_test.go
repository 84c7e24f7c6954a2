package callcore

import (
	"fmt"
	"strings"
	"testing"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// active is a browser's answer.
func active(version int, dirs ...string) string {
	return strings.ReplaceAll(twoWeb(version, dirs...), "actpass", "active")
}

// TestR2976_DigitsGoToTheLineThatLives: while the first line is given up, digits by INFO are played in the first line that lives; when it is back, there again.
func TestR2976_DigitsGoToTheLineThatLives(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "sendrecv")
	n := 0
	press := func(want uint32) {
		t.Helper()
		n++
		b.request(LegAccess, fmt.Sprint("d", n), b.browser("INFO", 10+n, "5", typed("application/dtmf")))
		d := b.iq.GetActions()[0].GetCommands()[0].GetModify().GetDescriptor_()
		if s := d.GetSignals().GetSignals(); len(s) != 1 || s[0].GetName() != "dg/d5" || s[0].GetStreamId() != want {
			t.Errorf("digit %d is played as %v, want stream %d", n, s, want)
		}
		b.reply()
		if b.final[fmt.Sprint("d", n)] != 1 || b.last["access 200"].Status != 200 {
			t.Errorf("digit %d is not answered", n)
		}
	}
	press(0)
	give := func(seq int, first string) {
		t.Helper()
		b.request(LegCore, fmt.Sprint("s", seq), b.phone("INVITE", seq, twoPhone(seq, first, "sendrecv")))
		want := first
		if want == "" {
			want = "inactive"
		}
		b.answers(LegAccess, "INVITE", 200, active(seq+1, want, "sendrecv"))
		b.reply()
		b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", seq, "")})
	}
	give(2, "")
	press(2)
	give(3, "sendrecv")
	press(0)
}

// TestR2976_DigitsAreToldOfTheLineThatLives: a phone that wants INFO gets the digits that are pressed in the browser's line that is connected to one of its own, and they are kept out of that
// line's media and no other's. One that was on its way when the lines changed still counts.
func TestR2976_DigitsAreToldOfTheLineThatLives(t *testing.T) {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.Digits.Core = DigitsInfo
	b.establishTwo("sendrecv", "sendrecv")
	orders := func() string {
		var out []string
		for _, c := range b.iq.GetActions()[0].GetCommands() {
			d := c.GetModify().GetDescriptor_()
			for _, e := range d.GetEvents().GetSpecs() {
				if e.GetType() == iqv1.EventType_EVENT_TYPE_DTMF {
					out = append(out, fmt.Sprint("told of ", e.GetStreamId()))
				}
			}
			for _, s := range d.GetStreams() {
				if g := s.GetLocalControl().GetDigits(); g != 0 {
					out = append(out, fmt.Sprint(g, " ", s.GetStreamId()))
				}
			}
		}
		return strings.Join(out, ", ")
	}
	press := func(stream uint32, want ...string) {
		t.Helper()
		b.log = nil
		b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: "ip/0", RequestId: toldApart, Events: []*iqv1.ObservedEvent{{
			Type: iqv1.EventType_EVENT_TYPE_DTMF, StreamId: stream, Params: map[string]string{"digit": "5", "duration_ms": "100"}}}}})
		b.saw(want...)
		if len(want) > 0 {
			b.answers(LegCore, "INFO", 200, "")
		}
	}
	press(2)
	press(1, "core> INFO")
	b.request(LegCore, "s2", b.phone("INVITE", 2, twoPhone(2, "", "sendrecv")))
	b.answers(LegAccess, "INVITE", 200, active(3, "inactive", "sendrecv"))
	if got, want := orders(), "told of 2, DIGITS_PLAY 1, DIGITS_DROP 2"; got != want {
		t.Errorf("ordered %q, want %q", got, want)
	}
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 2, "")})
	press(1, "core> INFO")
	press(2, "core> INFO")
	press(3)
}
