package callcore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// further adds to a reply what the MGW chose for streams beyond the first.
func further(g *peertest.Gateway, c *iqv1.Command, i int, r *iqv1.CommandReply) {
	d, core := c.GetAdd().GetDescriptor_(), i == 1
	if m := c.GetModify(); m != nil {
		d, core = m.GetDescriptor_(), strings.HasSuffix(m.GetTermination().GetId(), "1")
	}
	if more := g.Streams(core, d).GetStreams(); len(more) > 0 {
		if r.Resolved == nil {
			r.Resolved = &iqv1.TerminationDescriptor{}
		}
		r.Resolved.Streams = append(r.Resolved.Streams, more...)
	}
}

// newSeveral is a call that may have several streams.
func newSeveral(t *testing.T) *bench {
	b := newBench(t)
	b.s.d.Cfg.Policy.Media.Streams = 4
	return b
}

// twoWeb is a browser's description with two lines, twoPhone a phone's; dirs are theirs, "" is a line that is refused.
func twoWeb(version int, dirs ...string) string {
	head, line, _ := strings.Cut(webSDP("sendrecv", version, ""), "m=audio")
	var mids []string
	text := ""
	for i, dir := range dirs {
		l := strings.Replace(strings.Replace(line, "a=mid:0", fmt.Sprint("a=mid:", i), 1), "a=sendrecv", "a="+dir, 1)
		if dir == "" {
			l = strings.Replace(strings.Replace(l, " 9 ", " 0 ", 1), "a=\r\n", "a=inactive\r\n", 1)
		} else {
			mids = append(mids, fmt.Sprint(i))
		}
		text += "m=audio" + l
	}
	return strings.Replace(head, "BUNDLE 0", "BUNDLE "+strings.Join(mids, " "), 1) + text
}

func twoPhone(version int, dirs ...string) string {
	head, line, _ := strings.Cut(phoneSDP("sendrecv", version), "m=audio")
	for i, dir := range dirs {
		l := strings.Replace(strings.Replace(line, "a=sendrecv", "a="+dir, 1), "4000", fmt.Sprint(4000+10*i), 1)
		if dir == "" {
			l = strings.Replace(strings.Replace(l, fmt.Sprint(4000+10*i), "0", 1), "a=\r\n", "a=inactive\r\n", 1)
		}
		head += "m=audio" + l
	}
	return head
}

// modes are those of both terminations' streams in the last transaction, "access,access core,core".
func (b *bench) modes() string {
	b.t.Helper()
	return b.modesOf(b.iq)
}

func (b *bench) modesOf(req *iqv1.TransactionRequest) string {
	b.t.Helper()
	var out []string
	for _, c := range req.GetActions()[0].GetCommands() {
		var one []string
		for _, s := range c.GetModify().GetDescriptor_().GetStreams() {
			one = append(one, fmt.Sprintf("%d:%s", s.GetStreamId(), strings.ToLower(strings.TrimPrefix(s.GetLocalControl().GetMode().String(), "MODE_"))))
		}
		out = append(out, strings.Join(one, ","))
	}
	return strings.Join(out, " ")
}

func (b *bench) says(message, want string) {
	b.t.Helper()
	m := b.last[message]
	var got []string
	for l := range strings.SplitSeq(string(m.Body), "\r\n") {
		if strings.HasPrefix(l, "m=") {
			port := strings.Fields(l)[1]
			if port != "0" {
				port = "on"
			}
			got = append(got, port)
		}
	}
	if strings.Join(got, " ") != want {
		b.t.Errorf("%s has lines %v, want %s:\n%s", message, got, want, m.Body)
	}
}

// establishTwo sets a call with two lines up; the phone answers with the directions.
func (b *bench) establishTwo(answer ...string) {
	b.t.Helper()
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
	b.reply()
	b.says("core INVITE", "on on")
	b.callee(200, twoPhone(1, answer...))
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "connected"}}}}})
	b.log = nil
}

func TestIQ35_TwoLinesOfABrowser(t *testing.T) {
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
	for i, c := range b.iq.GetActions()[0].GetCommands() {
		if s := c.GetAdd().GetDescriptor_().GetStreams(); len(s) != 2 || s[0].GetStreamId() != 1 || s[1].GetStreamId() != 2 {
			t.Errorf("Add %d: %v", i, s)
		}
	}
	if needs := b.s.Needs(); !slices.Equal(needs, []string{FeatureStreams}) {
		t.Errorf("needs %v", needs)
	}
	b.reply()
	b.says("core INVITE", "on on")
	b.callee(200, twoPhone(1, "sendrecv", "sendonly"))
	b.says("access 200", "on on")
	if got := b.modes(); got != "1:sendrecv,2:sendonly 1:sendrecv,2:recvonly" {
		t.Error(got)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	f := b.s.Facts()
	for l, local := range []string{"10.0.0.1:7430", "10.20.0.11:30020"} {
		x := f.Sides[l].At(1)
		if x == nil || x == &f.Sides[l] || x.Local.String() != local || x.Dir == f.Sides[l].Dir || !f.Sides[l].Lines[1].Used {
			t.Errorf("%s: %+v", Leg(l), x)
		}
	}
	if needs := newSeveral(t).s.Needs(); needs != nil {
		t.Errorf("a call with one line needs %v", needs)
	}
}

func TestIQ35_TwoLinesOfThePhone(t *testing.T) {
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegCore, Tx: "s1", Msg: browser("INVITE", 1, twoPhone(1, "sendrecv", "sendrecv"))})
	b.reply()
	if body := b.last["access INVITE"]; !strings.Contains(string(body.Body), "a=group:BUNDLE 0 1\r\n") {
		t.Errorf("offer\n%s", body.Body)
	}
	b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(2, "sendrecv", ""), "actpass", "active"))
	b.says("core 200", "on 0")
	if got := b.modes(); got != "1:sendrecv,2:inactive 1:sendrecv,2:inactive" {
		t.Error(got)
	}
}

// TestIQ35_LineIsAddedInTheCall: the MGW makes the stream on both terminations, without media, before the other side is offered its port; then both are told.
func TestIQ35_LineIsAddedInTheCall(t *testing.T) {
	for _, who := range []Leg{LegAccess, LegCore} {
		b := newSeveral(t)
		b.establish()
		b.log = nil
		if who == LegAccess {
			b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv")))
		} else {
			b.request(LegCore, "s2", b.phone("INVITE", 2, twoPhone(2, "sendrecv", "sendrecv")))
		}
		b.saw("mgw> Modify Modify")
		if got := b.modes(); got != "2:inactive 2:inactive" {
			t.Error(got)
		}
		for _, c := range b.iq.GetActions()[0].GetCommands() {
			if c.GetModify().GetDescriptor_().GetTransport() != nil {
				t.Error("the transport is touched")
			}
		}
		b.reply()
		if who == LegAccess {
			b.saw("core> INVITE")
			b.says("core INVITE", "on on")
			b.answers(LegCore, "INVITE", 200, twoPhone(2, "sendrecv", "sendrecv"))
			b.saw("core> ACK", "access> 200", "mgw> Modify Modify")
			b.says("access 200", "on on")
		} else {
			b.saw("access> INVITE")
			b.says("access INVITE", "on 0") // bundle-only
			b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(3, "sendrecv", "sendrecv"), "actpass", "active"))
			b.saw("access> ACK", "core> 200", "mgw> Modify Modify")
			b.says("core 200", "on on")
		}
		if got := b.modes(); got != "1:sendrecv,2:sendrecv 1:sendrecv,2:sendrecv" {
			t.Error(got)
		}
	}
}

// TestIQ35_RefusedStreamIsARefusedLine: where the MGW does not make the stream the line is refused, and all else of the offer is answered.
func TestIQ35_RefusedStreamIsARefusedLine(t *testing.T) {
	b := newSeveral(t)
	b.establish()
	b.log = nil
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendonly", "sendrecv")))
	b.refused(510)
	b.saw("mgw> Modify Modify", "core> INVITE")
	b.says("core INVITE", "on")
	b.answers(LegCore, "INVITE", 200, phoneSDP("recvonly", 2))
	b.saw("core> ACK", "access> 200", "mgw> Modify Modify")
	b.says("access 200", "on 0")
	if got := b.modes(); got != "1:recvonly 1:sendonly" {
		t.Error(got)
	}
}

// TestIQ35_OfferWithALineIsRefused: the other side refuses the offer with the new line: all is as before, and the next line gets the stream that was made.
func TestIQ35_OfferWithALineIsRefused(t *testing.T) {
	b := newSeveral(t)
	b.establish()
	b.log = nil
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv")))
	b.reply()
	b.answers(LegCore, "INVITE", 488, "")
	b.saw("mgw> Modify Modify", "core> INVITE", "access> 488")
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.request(LegAccess, "s3", b.browser("INVITE", 3, twoWeb(4, "sendrecv", "sendrecv")))
	b.saw("core> INVITE") // nothing is to be made
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "sendrecv", "sendrecv"))
	b.saw("core> ACK", "access> 200", "mgw> Modify Modify")
	if got := b.modes(); got != "1:sendrecv,2:sendrecv 1:sendrecv,2:sendrecv" {
		t.Error(got)
	}
}

// TestIQ35_OfferWithALineIsCancelled: while the MGW makes the stream, and after it.
func TestIQ35_OfferWithALineIsCancelled(t *testing.T) {
	b := newSeveral(t)
	b.establish()
	b.log = nil
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendrecv")))
	b.step(CancelIn{Leg: LegAccess, Tx: "s2"})
	b.reply()
	b.saw("mgw> Modify Modify", "access> 487")
	if b.s.d.Reoffer != nil || b.s.d.Media.Stale(offeranswer.Core) || b.s.d.Media.Stale(offeranswer.Access) {
		t.Error("something is left of the offer")
	}
	b.request(LegAccess, "s3", b.browser("INVITE", 3, twoWeb(4, "sendrecv", "sendrecv")))
	b.step(CancelIn{Leg: LegAccess, Tx: "s3"})
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "sendrecv", "sendrecv"))
	b.saw("core> INVITE", "access> 487", "core> CANCEL", "core> ACK", "mgw> Modify Modify", "core> INVITE") // the core has a line that nobody is behind
	if got := b.modes(); !strings.HasPrefix(got, "1:sendrecv,2:inactive ") {
		t.Error(got)
	}
	b.direction("core INVITE", "inactive")
}

// TestMO18_HoldOfOneLine: one line is held, the other is not; an end of hold finds both.
func TestMO18_HoldOfOneLine(t *testing.T) {
	b := newSeveral(t)
	b.establishTwo("sendrecv", "sendrecv")
	b.request(LegAccess, "s2", b.browser("INVITE", 2, twoWeb(3, "sendrecv", "sendonly")))
	b.saw("core> INVITE")
	b.answers(LegCore, "INVITE", 200, twoPhone(2, "sendrecv", "recvonly"))
	if got := b.modes(); got != "1:sendrecv,2:recvonly 1:sendrecv,2:sendonly" {
		t.Error(got)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: b.browser("ACK", 2, "")})
	b.request(LegCore, "s3", b.phone("INVITE", 3, twoPhone(3, "inactive", "recvonly")))
	b.answers(LegAccess, "INVITE", 200, strings.ReplaceAll(twoWeb(4, "inactive", "sendonly"), "actpass", "active"))
	if got := b.modes(); got != "1:inactive,2:recvonly 1:inactive,2:sendonly" {
		t.Error(got)
	}
}

// TestIQ35_DigitsAreOfTheFirstStream: a digit that is told of a further line's stream is none of the call.
func TestIQ35_DigitsAreOfTheFirstStream(t *testing.T) {
	b := newSeveral(t)
	b.s.d.Cfg.Policy.Digits.Core = DigitsInfo
	b.establishTwo("sendrecv", "sendrecv")
	press := func(stream uint32) {
		b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: "ip/0", RequestId: toldApart, Events: []*iqv1.ObservedEvent{{
			Type: iqv1.EventType_EVENT_TYPE_DTMF, StreamId: stream, Params: map[string]string{"digit": "5", "duration_ms": "100"}}}}})
	}
	press(2)
	b.saw()
	press(1)
	b.saw("core> INFO")
	for _, r := range b.sent {
		for _, c := range r.GetActions()[0].GetCommands() {
			for _, s := range c.GetModify().GetDescriptor_().GetEvents().GetSpecs() {
				if s.GetType() == iqv1.EventType_EVENT_TYPE_DTMF && s.GetStreamId() != offeranswer.StreamID {
					t.Errorf("armed %v", s)
				}
			}
		}
	}
}

// TestIQ35_ForkDecidesLater: the browser is answered after the first branch; another one with fewer lines makes its line inactive.
func TestIQ35_ForkDecidesLater(t *testing.T) {
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, twoWeb(2, "sendrecv", "sendrecv"))})
	b.reply()
	b.response("core INVITE", 183, "r1", twoPhone(1, "sendrecv", "sendrecv"))
	b.says("access 183", "on on")
	b.reply()
	b.response("core INVITE", 200, "r2", twoPhone(1, "sendrecv", ""))
	b.reply()
	b.log = nil
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.saw("access> INVITE")
	b.says("access INVITE", "on on")
	b.direction("access INVITE", "inactive")
}

// TestIQ35_EarlyOfferHasOneLine: an UPDATE before the answer does not reach the browser: a line that it adds is refused.
func TestIQ35_EarlyOfferHasOneLine(t *testing.T) {
	b := newSeveral(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.response("core INVITE", 183, "r1", phoneSDP("sendrecv", 1))
	b.reply()
	b.request(LegCore, "u1", b.phone("UPDATE", 1, twoPhone(2, "sendrecv", "sendrecv")))
	b.says("core 200", "on 0")
	if n := b.s.d.Media.Streams(); n != 1 {
		t.Errorf("%d streams", n)
	}
}

// TestIQ35_OlderGatewayHasOneStream: while one of the pool lacks the capability further lines are refused.
func TestIQ35_OlderGatewayHasOneStream(t *testing.T) {
	p := DefaultPolicy()
	p.Media.Streams = 4
	for _, has := range []bool{true, false} {
		got := p.Within(func(names []string) []string {
			if !has && slices.Contains(names, FeatureStreams) {
				return nil
			}
			return names
		})
		if want := map[bool]int{true: 4, false: 1}[has]; got.Media.Streams != want {
			t.Errorf("has %v: %d streams", has, got.Media.Streams)
		}
	}
}
