package siptx

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx/siptxtest"
)

// --- client INVITE, RFC 3261 §17.1.1 ---

func TestRFC3261_17_1_1_2_TimerA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		at := r.lose()
		if _, err := r.l.Request(request("INVITE", ""), core, r.result); err != nil {
			t.Fatal(err)
		}
		after(31999 * time.Millisecond)
		r.want("intervals double from T1", fmt.Sprint(*at), "[0s 500ms 1.5s 3.5s 7.5s 15.5s 31.5s]")
		r.want("nothing yet", r.takeResults(), "")
		after(time.Millisecond) // timer B: 64*T1
		r.want("timer B", r.takeResults(), "timeout")
		if _, c := r.l.Len(); c != 0 {
			t.Errorf("%d client transactions left", c)
		}
	})
}

func TestRFC3261_17_1_1_2_ReliableDoesNotRetransmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.AddFlow(siptxtest.AccessFlow("f1"))
		if _, err := r.l.Request(request("INVITE", ""), siptransport.Target{FlowID: "f1"}, r.result); err != nil {
			t.Fatal(err)
		}
		after(31 * time.Second)
		r.want("wire", r.wire(), "INVITE")
		after(time.Second)
		r.want("timer B", r.takeResults(), "timeout")
	})
}

func TestRFC3261_17_1_1_2_ProvisionalStopsTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, sent := r.must("INVITE")
		r.answer(sent, 100, "")
		r.answer(sent, 180, "b1")
		after(3 * time.Minute)
		r.want("wire", r.wire(), "")
		r.want("results", r.takeResults(), "1xx 100, 1xx 180")
		r.answer(sent, 200, "b1")
		r.want("results", r.takeResults(), "final 200")
	})
}

func TestRFC3261_17_1_1_3_AckForNon2xx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		req := request("INVITE", "")
		req.Add("Route", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>")
		if _, err := r.l.Request(req, core, r.result); err != nil {
			t.Fatal(err)
		}
		inv := r.net.Take()[0]
		r.answer(inv, 486, "b9")
		out := r.net.Take()
		if len(out) != 1 || out[0].Msg.Method != "ACK" {
			t.Fatalf("wire %+v", out)
		}
		ack := out[0].Msg
		v1, _ := headers.TopVia(&inv.Msg)
		v2, _ := headers.TopVia(&ack)
		if v1.Branch() != v2.Branch() || ack.Get("To") != "<sip:bob@example.com>;tag=b9" || ack.Get("CSeq") != "7 ACK" ||
			ack.Get("Route") != req.Get("Route") || ack.Get("From") != req.Get("From") || ack.RequestURI != req.RequestURI {
			t.Errorf("ACK = %+v", ack)
		}
		r.answer(inv, 486, "b9") // the final again: the ACK again, no result (timer D)
		r.want("wire", r.wire(), "ACK")
		r.want("results", r.takeResults(), "final 486")
		after(32 * time.Second)
		r.answer(inv, 486, "b9")
		r.want("after timer D", r.wire(), "")
	})
}

func TestRFC6026_7_2_AcceptedPassesFurther2xx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, sent := r.must("INVITE")
		r.answer(sent, 200, "b1")
		r.answer(sent, 200, "b1")
		r.answer(sent, 200, "b2") // another fork
		r.answer(sent, 486, "b3") // too late
		r.want("results", r.takeResults(), "final 200, final 200 again, final 200 again")
		r.want("no ACK of ours", r.wire(), "")
		after(32 * time.Second) // timer M
		r.answer(sent, 200, "b1")
		r.want("after timer M", r.takeResults(), "")
		if _, c := r.l.Len(); c != 0 {
			t.Errorf("%d client transactions left", c)
		}
	})
}

func TestTimerCBoundsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, sent := r.must("INVITE")
		r.answer(sent, 180, "b1")
		after(9 * time.Minute)
		r.answer(sent, 180, "b1") // refreshed
		after(9 * time.Minute)
		r.want("still ringing", r.takeResults(), "1xx 180, 1xx 180")
		after(time.Minute)
		r.want("given up", r.takeResults(), "timeout")
	})
}

// --- client non-INVITE, RFC 3261 §17.1.2 ---

func TestRFC3261_17_1_2_2_TimersEAndF(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		at := r.lose()
		if _, err := r.l.Request(request("MESSAGE", ""), core, r.result); err != nil {
			t.Fatal(err)
		}
		after(32 * time.Second)
		r.want("E doubles up to T2", fmt.Sprint(*at), "[0s 500ms 1.5s 3.5s 7.5s 11.5s 15.5s 19.5s 23.5s 27.5s 31.5s]")
		r.want("F", r.takeResults(), "timeout")
	})
}

func TestRFC3261_17_1_2_2_ProceedingKeepsRetransmittingAtT2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, sent := r.must("OPTIONS")
		r.answer(sent, 100, "")
		after(3900 * time.Millisecond)
		r.want("not before T2", r.wire(), "")
		after(200 * time.Millisecond)
		r.want("at T2", r.wire(), "OPTIONS")
		r.answer(sent, 200, "b1")
		r.answer(sent, 200, "b1") // absorbed until timer K
		r.want("results", r.takeResults(), "1xx 100, final 200")
		after(5 * time.Second)
		if _, c := r.l.Len(); c != 0 {
			t.Errorf("%d client transactions left after timer K", c)
		}
	})
}

func TestReliableClientEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.AddFlow(siptxtest.AccessFlow("f1"))
		if _, err := r.l.Request(request("MESSAGE", ""), siptransport.Target{FlowID: "f1"}, r.result); err != nil {
			t.Fatal(err)
		}
		r.answer(r.net.Take()[0], 200, "b1")
		if _, c := r.l.Len(); c != 0 {
			t.Errorf("%d client transactions left: timer K is 0 here", c)
		}
		r.want("results", r.takeResults(), "final 200")
	})
}

// --- matching ---

func TestResponseFromElsewhereIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.AddFlow(siptxtest.AccessFlow("f1"))
		if _, err := r.l.Request(request("MESSAGE", ""), siptransport.Target{FlowID: "f1"}, r.result); err != nil {
			t.Fatal(err)
		}
		sent := r.net.Take()[0]
		resp := headers.NewResponse(&sent.Msg, 200, "")
		r.l.OnMessage(resp, siptxtest.AccessFlow("f2")) // another browser that knows the branch
		r.l.OnMessage(resp, udpPeer)                    // the core
		r.want("results", r.takeResults(), "")
		r.l.OnMessage(resp, siptxtest.AccessFlow("f1"))
		r.want("results", r.takeResults(), "final 200")
	})
}

func TestLostAndRepeatedResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var n int
		r.net.Lose(func(siptxtest.Sent) bool { n++; return n > 3 }) // the first three are lost
		if _, err := r.l.Request(request("BYE", ""), core, r.result); err != nil {
			t.Fatal(err)
		}
		after(4 * time.Second)
		sent := r.net.Take()
		if len(sent) != 1 {
			t.Fatalf("%d messages got through", len(sent))
		}
		r.answer(sent[0], 200, "b1")
		r.want("results", r.takeResults(), "final 200")
	})
}

// --- CANCEL, RFC 3261 §9 ---

func TestRFC3261_9_1_CancelWaitsForProvisional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		tx, sent := r.must("INVITE")
		if err := tx.Cancel([]headers.Field{{Name: "Reason", Value: "SIP;cause=487"}}); err != nil {
			t.Fatal(err)
		}
		r.want("not yet", r.wire(), "")
		r.answer(sent, 100, "")
		out := r.net.Take()
		if len(out) != 1 || out[0].Msg.Method != "CANCEL" {
			t.Fatalf("wire %+v", out)
		}
		c := out[0].Msg
		v1, _ := headers.TopVia(&sent.Msg)
		v2, _ := headers.TopVia(&c)
		if v1.String() != v2.String() || c.Get("CSeq") != "7 CANCEL" || c.Get("Reason") != "SIP;cause=487" || headers.ToTag(&c) != "" {
			t.Errorf("CANCEL = %+v", c)
		}
		r.answer(out[0], 200, "b1") // the CANCEL's own
		r.answer(sent, 487, "b1")
		r.want("results", r.takeResults(), "1xx 100, final 487")
		r.want("wire", r.wire(), "ACK")
		if err := tx.Cancel(nil); err != nil || r.wire() != "" {
			t.Error("a second CANCEL was not ignored")
		}
	})
}

func TestCancelRacesWith2xx(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		tx, sent := r.must("INVITE")
		r.answer(sent, 180, "b1")
		if err := tx.Cancel(nil); err != nil {
			t.Fatal(err)
		}
		r.want("wire", r.wire(), "CANCEL")
		r.answer(sent, 200, "b1") // was faster
		r.want("the 2xx is not swallowed", r.takeResults(), "1xx 180, final 200")
	})
}

func TestCancelRetransmitsAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		tx, sent := r.must("INVITE")
		r.answer(sent, 180, "b1")
		if err := tx.Cancel(nil); err != nil {
			t.Fatal(err)
		}
		after(4 * time.Second)
		r.want("CANCEL is reliable", r.wire(), "CANCEL CANCEL CANCEL CANCEL")
		r.answer(sent, 180, "b1") // ringing on does not buy time
		after(28 * time.Second)   // RFC 3261 §9.1: 64*T1 after the CANCEL
		r.want("results", r.takeResults(), "1xx 180, 1xx 180, timeout")
		if _, c := r.l.Len(); c != 0 {
			t.Errorf("%d client transactions left", c)
		}
	})
}
