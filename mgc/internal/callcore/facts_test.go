package callcore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func codecNames(cs []codec.Codec) string {
	var out []string
	for _, c := range cs {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

// icePair lets the MGW tell the selected pair.
func (b *bench) icePair(remote string, port uint32, typ string) {
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{
		Type: iqv1.EventType_EVENT_TYPE_ICE_RESULT, Params: map[string]string{"result": "connected"},
		Local:  &iqv1.Candidate{Transport: "udp", Address: "10.0.0.1", Port: 7430, Type: "host"},
		Remote: &iqv1.Candidate{Transport: "udp", Address: remote, Port: port, Type: typ}}}}})
}

func TestPCC02_FactsOfACall(t *testing.T) {
	b := newBench(t)
	if f := b.s.Facts(); f.Answered || f.Over || f.Settled || len(f.Sides[LegAccess].Lines) != 0 {
		t.Errorf("before the INVITE: %+v", f)
	}
	offer := browserOffer + "a=candidate:1 1 udp 41885439 203.0.113.9 50000 typ relay raddr 198.51.100.7 rport 41000\r\n" + "m=video 0 UDP/TLS/RTP/SAVPF 96\r\n"
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, offer)})
	b.reply()
	f := b.s.Facts()
	a := f.Sides[LegAccess]
	if f.Caller != LegAccess || f.Invite.RequestURI != "sip:bob@x.example" || f.Answered || a.Local.String() != "10.0.0.1:7430" || a.Want != sdp.SendRecv || a.Dir != sdp.DirUnset {
		t.Errorf("with the offer: %+v", f)
	}
	if len(a.Lines) != 2 || a.Audio != 0 || !a.Lines[0].Used || a.Lines[1] != (Line{Type: "video", Proto: "UDP/TLS/RTP/SAVPF"}) || codecNames(a.Theirs) != "opus PCMA telephone-event telephone-event" {
		t.Errorf("lines %+v, codecs %s", a.Lines, codecNames(a.Theirs))
	}
	if c := f.Sides[LegCore]; c.Local.String() != "10.0.0.1:20000" || c.LocalRTCP != 20001 || len(c.Ours) == 0 || c.Remote.IsValid() {
		t.Errorf("core side %+v", c)
	}
	b.callee(200, fmt.Sprintf(coreAnswer, 1, "sendonly"))
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	f = b.s.Facts()
	if a, c := f.Sides[LegAccess], f.Sides[LegCore]; !f.Answered || !f.Settled || f.Over || a.Chosen.Name != "PCMA" || c.Chosen.Name != "PCMA" || a.Dir != sdp.SendOnly || c.Dir != sdp.RecvOnly || c.Remote.String() != "10.0.0.7:4000" {
		t.Errorf("with the answer: %+v", f)
	}
	if f.Pair != (Pair{}) {
		t.Errorf("pair %+v before it was told", f.Pair)
	}
	b.icePair("203.0.113.9", 50000, "prflx")
	if p := b.s.Facts().Pair; p.Type != "relay" || p.Remote.String() != "203.0.113.9:50000" || p.Related.String() != "198.51.100.7:41000" || p.Local.String() != "10.0.0.1:7430" || p.Transport != "udp" {
		t.Errorf("pair %+v", p)
	}
	b.icePair("198.51.100.8", 41001, "prflx")
	if p := b.s.Facts().Pair; p.Type != "prflx" || p.Remote.String() != "198.51.100.8:41001" || p.Related.IsValid() {
		t.Errorf("new pair %+v", p)
	}
	b.step(RequestIn{Leg: LegAccess, Tx: "s2", Msg: browser("INVITE", 3, strings.ReplaceAll(strings.ReplaceAll(offer, "a=sendrecv", "a=inactive"), "4611 2", "4611 3"))})
	if b.s.Facts().Settled {
		t.Error("settled while an offer is being answered")
	}
	b.step(RequestIn{Leg: LegAccess, Tx: "s3", Msg: browser("BYE", 4, "")})
	if f := b.s.Facts(); !f.Over || f.Answered || f.Settled {
		t.Errorf("after the BYE: %+v", f)
	}
}

// What is told of media is what is agreed, not what is on its way: here the gateway restarts ICE and no peer has been asked.
func TestPCC02_NotSettledDuringAnICERestart(t *testing.T) {
	b := newBench(t)
	b.establish()
	if !b.s.Facts().Settled {
		t.Fatal("an established call is not settled")
	}
	b.step(RequestIn{Leg: LegAccess, Tx: "s2", Msg: browser("INVITE", 3, strings.NewReplacer("4611 2", "4611 3", "EsAw", "EsAx", "P2uYro0UCOQ4zxjKXaWCBui1", "P2uYro0UCOQ4zxjKXaWCBui2").Replace(browserOffer))})
	if b.s.Facts().Settled {
		t.Error("settled while the offer is being answered")
	}
}

func TestPCC07_FactsOfForks(t *testing.T) {
	b := newBench(t)
	b.invited()
	b.response("core INVITE", 183, "r1", coreSDP(1, "10.0.0.11", "a=sendonly"), "Require: 100rel", "RSeq: 1")
	b.reply()
	b.response("core PRACK", 200, "r1", "")
	if f := b.s.Facts(); len(f.Forks) != 0 || f.Sides[LegCore].Remote.String() != "10.0.0.11:4000" {
		t.Errorf("one early dialog: %+v", f)
	}
	b.response("core INVITE", 183, "r2", coreSDP(1, "10.0.0.12"), "Require: 100rel", "RSeq: 100")
	f := b.s.Facts()
	if len(f.Forks) != 1 || f.Forks[0].Remote.String() != "10.0.0.11:4000" || f.Forks[0].Dir != sdp.RecvOnly || f.Sides[LegCore].Remote.String() != "10.0.0.12:4000" {
		t.Errorf("two early dialogs: %+v", f)
	}
}

// A release from outside can say more in the response that it gives the caller.
func TestPCC06_ReleaseWithFieldsAndBody(t *testing.T) {
	b := newBench(t)
	b.invited()
	b.step(Release{Status: 488, Reason: "Media not authorised", Fields: []headers.Field{{Name: "Retry-After", Value: "7"}}, Body: []byte("v=0\r\n")})
	m := b.last["access 488"]
	if b.final["s1"] != 1 || m.Get("Retry-After") != "7" || string(m.Body) != "v=0\r\n" || m.Get("Content-Type") != "application/sdp" {
		t.Errorf("%d finals, %+v", b.final["s1"], m)
	}
	b.step(Release{Status: 503, Fields: []headers.Field{{Name: "Retry-After", Value: "7"}}})
	if b.final["s1"] != 1 {
		t.Error("answered twice")
	}
}
