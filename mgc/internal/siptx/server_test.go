package siptx

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx/siptxtest"
)

func respond(t *testing.T, tx *ServerTx, status int) {
	t.Helper()
	if err := tx.Respond(response(status)); err != nil {
		t.Fatal(err)
	}
}

func response(status int) headers.Msg {
	m := headers.Msg{Status: status, Reason: headers.ReasonPhrase(status)}
	if status > 100 {
		m.Add("To", "<sip:bob@example.com>;tag=b1")
	}
	return m
}

// --- server INVITE, RFC 3261 §17.2.1, RFC 6026 §7.1 ---

func TestRFC3261_17_2_1_TryingAfter200ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		after(199 * time.Millisecond)
		r.want("wire", r.wire(), "")
		after(time.Millisecond)
		r.want("wire", r.wire(), "100")
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer) // retransmission: the last provisional
		r.want("wire", r.wire(), "100")
		respond(t, r.tx(0), 180)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		r.want("wire", r.wire(), "180 180")
		r.want("handler", r.takeEvents(), "request INVITE")
	})
}

// A response above 100 never goes out without a To tag, and all of a transaction have the same.
func TestRFC3261_8_2_6_2_ToTagIsAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		untagged := func(status int) headers.Msg { return headers.NewResponse(&headers.Msg{Method: "INVITE"}, status, "") }
		for _, status := range []int{100, 180, 404} {
			if err := r.tx(0).Respond(untagged(status)); err != nil {
				t.Fatal(err)
			}
		}
		sent := r.net.Take()
		if got := headers.ToTag(&sent[0].Msg); got != "" {
			t.Errorf("100 has the To tag %q", got)
		}
		early, final := headers.ToTag(&sent[1].Msg), headers.ToTag(&sent[2].Msg)
		if early == "" || early != final {
			t.Errorf("To tags %q and %q, want the same", early, final)
		}
		r.l.OnMessage(inDialog(request("BYE", "z9hG4bK2")), udpPeer)
		if err := r.tx(1).Respond(untagged(481)); err != nil {
			t.Fatal(err)
		}
		want := inDialog(request("BYE", ""))
		if got := headers.ToTag(&r.net.Take()[0].Msg); got != headers.ToTag(&want) {
			t.Errorf("To tag %q of the dialog was changed", got)
		}
	})
}

func TestNo100WhenAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		respond(t, r.tx(0), 183)
		after(time.Second)
		r.want("wire", r.wire(), "183")
	})
}

func TestRFC3261_17_2_1_TimersGHAndAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		at := r.lose()
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		respond(t, r.tx(0), 486)
		after(32 * time.Second)
		r.want("G doubles up to T2", fmt.Sprint(*at), "[0s 500ms 1.5s 3.5s 7.5s 11.5s 15.5s 19.5s 23.5s 27.5s 31.5s]")
		select {
		case <-r.tx(0).Done():
		default:
			t.Error("timer H did not end it")
		}
		r.net.Lose(nil)
		r.net.Take()

		r.l.OnMessage(request("INVITE", "z9hG4bK2"), udpPeer)
		respond(t, r.tx(1), 486)
		r.l.OnMessage(inDialog(request("ACK", "z9hG4bK2")), udpPeer)
		after(4 * time.Second)
		r.want("ACK stops G", r.wire(), "486")
		r.l.OnMessage(inDialog(request("ACK", "z9hG4bK2")), udpPeer) // absorbed in Confirmed
		after(time.Second)                                           // timer I
		if s, _ := r.l.Len(); s != 0 {
			t.Errorf("%d server transactions left", s)
		}
		r.want("handler saw no ACK", r.takeEvents(), "request INVITE, request INVITE")
	})
}

func TestRFC6026_7_1_Accepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		tx := r.tx(0)
		respond(t, tx, 200)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer) // absorbed, not answered, not a new request
		after(10 * time.Second)
		r.want("the layer does not repeat a 2xx", r.wire(), "200")
		respond(t, tx, 200) // the owner does
		r.want("wire", r.wire(), "200")
		if err := tx.Respond(response(486)); !errors.Is(err, ErrFinalSent) {
			t.Errorf("486 after 200: %v", err)
		}
		if err := tx.Respond(response(180)); !errors.Is(err, ErrFinalSent) {
			t.Errorf("180 after 200: %v", err)
		}
		r.l.OnMessage(inDialog(request("ACK", "z9hG4bKother")), udpPeer)
		r.l.OnMessage(inDialog(request("ACK", "z9hG4bK1")), udpPeer) // as RFC 2543 clients do
		r.want("handler", r.takeEvents(), "request INVITE, ack 7 ACK, ack 7 ACK")
		after(22 * time.Second) // timer L
		if err := tx.Respond(response(200)); !errors.Is(err, ErrTerminated) {
			t.Errorf("200 after timer L: %v", err)
		}
	})
}

func TestReliableServerFinalIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		flow := siptxtest.AccessFlow("f1")
		r.net.AddFlow(flow)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), flow)
		respond(t, r.tx(0), 486)
		after(10 * time.Second)
		r.want("wire", r.wire(), "486")
		r.l.OnMessage(inDialog(request("ACK", "z9hG4bK1")), flow)
		after(0)
		if s, _ := r.l.Len(); s != 0 {
			t.Errorf("%d server transactions left: timer I is 0 here", s)
		}
	})
}

// --- server non-INVITE, RFC 3261 §17.2.2 ---

func TestRFC3261_17_2_2_CompletedAnswersRetransmissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("MESSAGE", "z9hG4bK1"), udpPeer)
		r.l.OnMessage(request("MESSAGE", "z9hG4bK1"), udpPeer) // Trying: discarded
		r.want("wire", r.wire(), "")
		respond(t, r.tx(0), 202)
		for range 3 {
			r.l.OnMessage(request("MESSAGE", "z9hG4bK1"), udpPeer)
		}
		r.want("wire", r.wire(), "202 202 202 202")
		if err := r.tx(0).Respond(response(200)); !errors.Is(err, ErrFinalSent) {
			t.Errorf("second final: %v", err)
		}
		after(32 * time.Second) // timer J
		r.l.OnMessage(request("MESSAGE", "z9hG4bK1"), udpPeer)
		r.want("handler", r.takeEvents(), "request MESSAGE, request MESSAGE")
	})
}

func TestForgottenRequestIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("INFO", "z9hG4bK1"), udpPeer)
		after(64 * time.Second)
		if s, _ := r.l.Len(); s != 0 {
			t.Errorf("%d server transactions kept for a handler that never answers", s)
		}
	})
}

func TestForgottenInviteIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		r.l.OnMessage(request("INVITE", "z9hG4bK2"), udpPeer) // never answered at all
		after(15 * time.Minute)
		respond(t, r.tx(0), 180) // still cared for
		after(15 * time.Minute)
		if s, _ := r.l.Len(); s != 1 {
			t.Errorf("%d server transactions, want the ringing one", s)
		}
		after(5 * time.Minute)
		if s, _ := r.l.Len(); s != 0 {
			t.Errorf("%d server transactions kept for a handler that never answers", s)
		}
	})
}

// --- CANCEL, RFC 3261 §9.2 ---

func TestRFC3261_9_2_CancelIsAnsweredInviteIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		respond(t, r.tx(0), 180)
		r.net.Take()
		r.l.OnMessage(request("CANCEL", "z9hG4bK1"), udpPeer)
		r.l.OnMessage(request("CANCEL", "z9hG4bK1"), udpPeer)
		out := r.net.Take()
		if len(out) != 2 || out[0].Msg.Status != 200 || out[0].Msg.Get("CSeq") != "7 CANCEL" || headers.ToTag(&out[0].Msg) != "b1" {
			t.Fatalf("answers to CANCEL: %+v", out)
		}
		r.want("handler", r.takeEvents(), "request INVITE, cancel")
		respond(t, r.tx(0), 487)
		r.want("the owner answers the INVITE", r.wire(), "487")
	})
}

func TestCancelAfter2xxIsNotPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), udpPeer)
		respond(t, r.tx(0), 200)
		r.l.OnMessage(request("CANCEL", "z9hG4bK1"), udpPeer)
		r.want("wire", r.wire(), "200 200")
		r.want("handler", r.takeEvents(), "request INVITE")
	})
}

func TestCancelOfNothingIs481(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("CANCEL", "z9hG4bKx"), udpPeer)
		r.want("wire", r.wire(), "481")
		r.want("handler", r.takeEvents(), "")
	})
}

func TestNobodyCancelsForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		alice, mallory := siptxtest.AccessFlow("alice"), siptxtest.AccessFlow("mallory")
		r.net.AddFlow(alice)
		r.net.AddFlow(mallory)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), alice)
		r.l.OnMessage(request("CANCEL", "z9hG4bK1"), mallory)
		r.l.OnMessage(request("CANCEL", "z9hG4bK1"), udpPeer)
		r.want("wire", r.wire(), "481 481")
		r.want("handler", r.takeEvents(), "request INVITE")
	})
}

// --- matching, RFC 3261 §17.2.3 ---

func TestRFC3261_17_2_3_OldBranches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := request("INVITE", "1") // no magic cookie: matched by its fields
		r.l.OnMessage(old, udpPeer)
		r.l.OnMessage(old, udpPeer)
		respond(t, r.tx(0), 404)
		ack := inDialog(request("ACK", "1"))
		r.l.OnMessage(ack, udpPeer)
		other := request("INVITE", "1")
		other.Set("CSeq", "8 INVITE")
		r.l.OnMessage(other, udpPeer)
		r.want("handler", r.takeEvents(), "request INVITE, request INVITE")
	})
}

func TestSameBranchFromAnotherHostIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.OnMessage(request("OPTIONS", "z9hG4bK1"), udpPeer)
		other := request("OPTIONS", "z9hG4bK1")
		other.Set("Via", "SIP/2.0/UDP 192.0.2.77:5060;branch=z9hG4bK1")
		r.l.OnMessage(other, udpPeer)
		r.want("handler", r.takeEvents(), "request OPTIONS, request OPTIONS")
	})
}

func TestRespondCompletesTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		req := request("OPTIONS", "z9hG4bK1")
		req.Fields = append([]headers.Field{req.Fields[0], {Name: "Via", Value: "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKbelow"}}, req.Fields[1:]...)
		r.l.OnMessage(req, udpPeer)
		resp := headers.Msg{Status: 200, Reason: "OK"}
		resp.Add("Allow", "INVITE")
		if err := r.tx(0).Respond(resp); err != nil {
			t.Fatal(err)
		}
		out := r.net.Take()[0].Msg
		var names []string
		for _, f := range out.Fields {
			names = append(names, f.Name)
		}
		r.want("fields", strings.Join(names, " "), "Via Via From To Call-ID CSeq Allow")
	})
}

func TestRespondOverDeadFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		flow := siptxtest.AccessFlow("f1")
		r.net.AddFlow(flow)
		r.l.OnMessage(request("INVITE", "z9hG4bK1"), flow)
		r.net.DropFlow("f1")
		if err := r.tx(0).Respond(response(180)); !errors.Is(err, siptransport.ErrFlowGone) {
			t.Errorf("180: %v", err)
		}
		if err := r.tx(0).Respond(response(200)); !errors.Is(err, siptransport.ErrFlowGone) {
			t.Errorf("200: %v", err)
		}
		select {
		case <-r.tx(0).Done():
		default:
			t.Error("a final that cannot be sent must end the transaction")
		}
	})
}

func TestOrderOfOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		flow := siptxtest.AccessFlow("f1")
		r.net.AddFlow(flow)
		r.l.OnMessage(inDialog(request("ACK", "z9hG4bK1")), flow)
		r.l.OnMessage(inDialog(request("INFO", "z9hG4bK2")), flow)
		r.l.OnMessage(inDialog(request("BYE", "z9hG4bK3")), flow)
		r.want("handler", r.takeEvents(), "ack 7 ACK, request INFO, request BYE")
	})
}
