package siptx

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx/siptxtest"
)

// --- failover, RFC 3263 §4.3 ---

func hop(transport, addr string) siptransport.Hop {
	return siptransport.Hop{Transport: transport, Addr: netip.MustParseAddrPort(addr)}
}

func TestRFC3263_4_3_FailoverOnSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.Name("sip:core", hop("UDP", "192.0.2.9:5060"), hop("UDP", "192.0.2.10:5060"))
		if _, err := r.l.Request(request("INVITE", ""), siptransport.Target{URI: "sip:core"}, r.result); err != nil {
			t.Fatal(err)
		}
		after(3900 * time.Millisecond)
		first := r.net.Take()
		after(200 * time.Millisecond)
		second := r.net.Take()
		if len(second) != 1 || second[0].Flow.Remote.String() != "192.0.2.10:5060" {
			t.Fatalf("after Failover: %+v", second)
		}
		v1, _ := headers.TopVia(&first[0].Msg)
		v2, _ := headers.TopVia(&second[0].Msg)
		if v1.Branch() == v2.Branch() {
			t.Error("the second attempt has the branch of the first")
		}
		r.answer(first[0], 200, "late") // from the first: not ours any more
		r.answer(second[0], 200, "b1")
		r.want("results", r.takeResults(), "final 200")
		if f := r.net.FailedHops(); len(f) != 1 || f[0] != hop("UDP", "192.0.2.9:5060") {
			t.Errorf("failed hops = %v", f)
		}
	})
}

func TestRFC3263_4_3_FailoverOn503AndErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.Name("sip:core", hop("UDP", "192.0.2.8:5060"), hop("UDP", "192.0.2.9:5060"), hop("UDP", "192.0.2.10:5060"))
		r.net.Break("UDP 192.0.2.8:5060", errors.New("no route"))
		if _, err := r.l.Request(request("INVITE", ""), siptransport.Target{URI: "sip:core"}, r.result); err != nil {
			t.Fatal(err)
		}
		after(0)
		sent := r.net.Take()
		if len(sent) != 1 || sent[0].Flow.Remote.String() != "192.0.2.9:5060" {
			t.Fatalf("wire %+v", sent)
		}
		r.answerWith(sent[0], 503, "b1", "Retry-After", "120 (busy);duration=9")
		if got := r.net.RetryAfter(); got != 2*time.Minute {
			t.Errorf("Retry-After reached the network as %s", got)
		}
		out := r.net.Take()
		if len(out) != 2 || out[0].Msg.Method != "ACK" || out[1].Flow.Remote.String() != "192.0.2.10:5060" {
			t.Fatalf("after 503: %+v", out)
		}
		r.answer(out[1], 503, "b2") // the last one's answer counts
		r.want("results", r.takeResults(), "final 503")
		if h := r.net.ReachedHops(); len(h) != 0 {
			t.Errorf("an overloaded hop counts as good: %v", h)
		}
	})
}

// TestAnswerTellsTheNetwork: the first answer of a hop brings it back into favour, once.
func TestAnswerTellsTheNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.Name("sip:core", hop("UDP", "192.0.2.9:5060"))
		if _, err := r.l.Request(request("INVITE", ""), siptransport.Target{URI: "sip:core"}, r.result); err != nil {
			t.Fatal(err)
		}
		after(0)
		sent := r.net.Take()
		r.answer(sent[0], 180, "b1")
		r.answer(sent[0], 200, "b1")
		if h := r.net.ReachedHops(); len(h) != 1 || h[0] != hop("UDP", "192.0.2.9:5060") {
			t.Errorf("reached %v", h)
		}
	})
}

func TestAllHopsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.Break("UDP 192.0.2.9:5060", errors.New("no route"))
		if _, err := r.l.Request(request("BYE", ""), core, r.result); err != nil {
			t.Fatal(err)
		}
		after(0)
		r.want("results", r.takeResults(), "transport")
		if _, err := r.l.Request(request("BYE", ""), siptransport.Target{URI: "sip:nowhere"}, r.result); err != nil {
			t.Fatal(err)
		}
		after(0)
		r.want("results", r.takeResults(), "transport")
	})
}

func TestRFC3261_18_1_1_BackToUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.SwitchToTCP()
		big := request("INVITE", "")
		big.Add("Content-Type", "application/sdp")
		big.Body = []byte(strings.Repeat("a=x\r\n", 300))
		if _, err := r.l.Request(big, core, r.result); err != nil {
			t.Fatal(err)
		}
		sent := r.net.Take()
		if len(sent) != 1 || sent[0].Flow.Transport != "TCP" || !strings.HasPrefix(sent[0].Msg.Get("Via"), "SIP/2.0/TCP ") {
			t.Fatalf("wire %+v", sent)
		}
		r.l.OnClosed(sent[0].Flow, errors.New("connection refused"))
		sent = r.net.Take()
		if len(sent) != 1 || sent[0].Flow.Transport != "UDP" || !strings.HasPrefix(sent[0].Msg.Get("Via"), "SIP/2.0/UDP ") {
			t.Fatalf("after refusal: %+v", sent)
		}
		r.answer(sent[0], 200, "b1")
		r.want("results", r.takeResults(), "final 200")
	})
}

func TestSilenceOverTCPIsNotAskedAgainOverUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.net.SwitchToTCP()
		big := request("INVITE", "")
		big.Add("Subject", strings.Repeat("x", 1300))
		if _, err := r.l.Request(big, core, r.result); err != nil {
			t.Fatal(err)
		}
		r.want("wire", r.wire(), "INVITE")
		after(32 * time.Second) // the peer took it: the other transport of the same place is no other hop
		r.want("wire", r.wire(), "")
		r.want("results", r.takeResults(), "timeout")
	})
}

func TestOneBrowserCannotUseUpTheLayer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.cfg.MaxPerFlow = 3
		greedy, other := siptxtest.AccessFlow("greedy"), siptxtest.AccessFlow("other")
		r.net.AddFlow(greedy)
		r.net.AddFlow(other)
		for i := range 5 {
			r.l.OnMessage(request("OPTIONS", fmt.Sprintf("z9hG4bK%d", i)), greedy)
		}
		r.want("wire", r.wire(), "503 503")
		r.l.OnMessage(request("OPTIONS", "z9hG4bK1"), other)
		r.want("the other one", r.wire(), "")
		for i := range 4 {
			respond(t, r.tx(i), 200)
		}
		after(0)
		if len(r.l.perFlow) != 0 {
			t.Errorf("still counted: %v", r.l.perFlow)
		}
	})
}

func TestDeadFlowIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		flow := siptxtest.AccessFlow("f1")
		r.net.AddFlow(flow)
		var got ClientResult
		if _, err := r.l.Request(request("INVITE", ""), siptransport.Target{FlowID: "gone"}, func(c ClientResult) { got = c }); err != nil {
			t.Fatal(err)
		}
		after(0)
		if got.Kind != TransportError || !errors.Is(got.Err, siptransport.ErrFlowGone) {
			t.Errorf("unknown flow: %+v", got)
		}
		if _, err := r.l.Request(request("INVITE", ""), siptransport.Target{FlowID: "f1"}, r.result); err != nil {
			t.Fatal(err)
		}
		r.answer(r.net.Take()[0], 180, "b1")
		r.l.OnClosed(flow, nil)
		r.want("results", r.takeResults(), "1xx 180, transport")
	})
}

func TestAckForA2xxHasItsOwnBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, seq := range []string{"7 ACK", "8 ACK"} {
			ack := inDialog(request("ACK", ""))
			ack.Set("CSeq", seq)
			if err := r.l.Send(ack, core); err != nil {
				t.Fatal(err)
			}
		}
		out := r.net.Take()
		if len(out) != 2 {
			t.Fatalf("wire %+v", out)
		}
		v1, _ := headers.TopVia(&out[0].Msg)
		v2, _ := headers.TopVia(&out[1].Msg)
		if !strings.HasPrefix(v1.Branch(), headers.BranchCookie) || v1.Branch() == v2.Branch() {
			t.Errorf("branches %s and %s", v1.Branch(), v2.Branch())
		}
		if _, c := r.l.Len(); c != 0 {
			t.Error("ACK made a transaction")
		}
		if err := r.l.Send(request("ACK", ""), siptransport.Target{FlowID: "gone"}); !errors.Is(err, siptransport.ErrFlowGone) {
			t.Errorf("ACK over a dead flow: %v", err)
		}
	})
}

func TestLayerCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, _ = r.must("INVITE")
		r.l.OnMessage(request("INVITE", "z9hG4bKs1"), udpPeer)
		tx := r.tx(0)
		if err := r.l.Close(); err != nil {
			t.Fatal(err)
		}
		r.want("results", r.takeResults(), "transport")
		select {
		case <-tx.Done():
		default:
			t.Error("server transaction not done")
		}
		if err := tx.Respond(headers.Msg{Status: 200}); !errors.Is(err, ErrTerminated) {
			t.Errorf("Respond after Close: %v", err)
		}
		if _, err := r.l.Request(request("BYE", ""), core, r.result); !errors.Is(err, ErrClosed) {
			t.Errorf("Request after Close: %v", err)
		}
		r.l.OnMessage(request("OPTIONS", "z9hG4bKs2"), udpPeer)
		if s, c := r.l.Len(); s+c != 0 {
			t.Errorf("%d+%d transactions left", s, c)
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.setOnReq(func(tx *ServerTx, _ headers.Msg) {
			if err := tx.Respond(headers.Msg{Status: 200, Reason: "OK"}); err != nil {
				t.Error(err)
			}
		})
		r.l.OnMessage(request("OPTIONS", "z9hG4bK1"), udpPeer)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.l.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain before timer J: %v", err)
		}
		r.net.Take()
		r.l.OnMessage(request("INVITE", "z9hG4bK2"), udpPeer)
		out := r.net.Take()
		if len(out) != 1 || out[0].Msg.Status != 503 || out[0].Msg.Get("Retry-After") == "" || headers.ToTag(&out[0].Msg) == "" {
			t.Errorf("new call while draining: %+v", out)
		}
		r.l.OnMessage(inDialog(request("BYE", "z9hG4bK3")), udpPeer)
		r.want("in-dialog while draining", r.wire(), "200")
		if err := r.l.Drain(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestOverloadIsAnsweredWithoutState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.l.cfg.MaxTransactions = 2
		for i := range 5 {
			r.l.OnMessage(request("OPTIONS", fmt.Sprintf("z9hG4bK%d", i)), udpPeer)
		}
		r.want("wire", r.wire(), "503 503 503")
		if s, _ := r.l.Len(); s != 2 {
			t.Errorf("%d transactions", s)
		}
		if _, err := r.l.Request(request("BYE", ""), core, r.result); !errors.Is(err, ErrOverload) {
			t.Errorf("Request: %v", err)
		}
	})
}

func TestMetricNames(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := NewMetrics(reg)
	m.live.WithLabelValues("server").Inc()
	m.repeats.WithLabelValues("in").Inc()
	m.failed.WithLabelValues("timeout").Inc()
	m.refused.WithLabelValues("drain").Inc()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
}

// The ACK of a repeated 2xx is the one that went before; another 2xx, be it of a fork, has another.
func TestRFC3261_13_2_2_4_AckIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		fork, next := inDialog(request("ACK", "")), inDialog(request("ACK", ""))
		fork.Set("To", "<sip:bob@example.com>;tag=other")
		next.Set("CSeq", "8 ACK")
		var branches []string
		for _, ack := range []headers.Msg{inDialog(request("ACK", "")), inDialog(request("ACK", "")), fork, next} {
			if err := r.l.Send(ack, core); err != nil {
				t.Fatal(err)
			}
			sent := r.net.Take()
			via, err := headers.TopVia(&sent[0].Msg)
			if err != nil {
				t.Fatal(err)
			}
			branches = append(branches, via.Branch())
		}
		if branches[0] != branches[1] {
			t.Errorf("the repeated ACK has another branch: %s, %s", branches[0], branches[1])
		}
		if branches[2] == branches[0] || branches[3] == branches[0] || branches[2] == branches[3] {
			t.Errorf("ACKs of different 2xx share a branch: %v", branches)
		}
	})
}

// keeping is a network whose links want keep-alives.
type keeping struct{ *siptxtest.Network }

type keepingLink struct{ siptransport.Link }

func (keepingLink) AsksKeep() bool { return true }

func (k keeping) Link(h siptransport.Hop) (siptransport.Link, error) {
	l, err := k.Network.Link(h)
	return keepingLink{l}, err
}

// TestR6223_ViaAsksForKeepAlives: where the connection wants them, and only there.
func TestR6223_ViaAsksForKeepAlives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, sent := r.must("OPTIONS")
		if strings.Contains(sent.Msg.Get("Via"), "keep") {
			t.Errorf("Via %s", sent.Msg.Get("Via"))
		}
		r.l.net = keeping{r.net}
		if _, sent = r.must("OPTIONS"); !strings.HasSuffix(sent.Msg.Get("Via"), ";keep") {
			t.Errorf("Via %s", sent.Msg.Get("Via"))
		}
	})
}
