package siptx

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx/siptxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a layer on a network in memory with a handler and a callback that write down what they get.
type rig struct {
	t   *testing.T
	net *siptxtest.Network
	l   *Layer

	mu      sync.Mutex // guards what follows
	txs     []*ServerTx
	events  []string
	results []ClientResult
	onReq   func(tx *ServerTx, req headers.Msg)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, net: siptxtest.New()}
	r.l = New(Config{}, r.net, NewMetrics(nil), zap.NewNop())
	r.l.SetHandler(r)
	t.Cleanup(func() {
		if err := r.l.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *rig) OnRequest(tx *ServerTx, req headers.Msg, _ siptransport.Flow) {
	r.note("request %s", req.Method)
	r.mu.Lock()
	r.txs = append(r.txs, tx)
	f := r.onReq
	r.mu.Unlock()
	if f != nil {
		f(tx, req)
	}
}

func (r *rig) OnCancel(_ *ServerTx, _ headers.Msg)        { r.note("cancel") }
func (r *rig) OnAck(ack headers.Msg, _ siptransport.Flow) { r.note("ack %s", ack.Get("CSeq")) }
func (r *rig) tx(i int) *ServerTx                         { r.mu.Lock(); defer r.mu.Unlock(); return r.txs[i] }
func (r *rig) setOnReq(f func(*ServerTx, headers.Msg))    { r.mu.Lock(); defer r.mu.Unlock(); r.onReq = f }
func (r *rig) result(c ClientResult)                      { r.mu.Lock(); r.results = append(r.results, c); r.mu.Unlock() }

// takeEvents returns and forgets what the handler got, joined by ", ".
func (r *rig) takeEvents() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := strings.Join(r.events, ", ")
	r.events = nil
	return s
}

// takeResults returns and forgets what the callback got.
func (r *rig) takeResults() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, c := range r.results {
		s := map[ResultKind]string{Provisional: "1xx", Final: "final", Timeout: "timeout", TransportError: "transport"}[c.Kind]
		if c.Msg.Status != 0 {
			s += fmt.Sprintf(" %d", c.Msg.Status)
		}
		if c.Retransmission {
			s += " again"
		}
		out = append(out, s)
	}
	r.results = nil
	return strings.Join(out, ", ")
}

// wire returns what went out since the last call, as "METHOD" or status, joined by spaces.
func (r *rig) wire() string {
	var out []string
	for _, s := range r.net.Take() {
		if s.Msg.IsRequest() {
			out = append(out, s.Msg.Method)
		} else {
			out = append(out, fmt.Sprint(s.Msg.Status))
		}
	}
	return strings.Join(out, " ")
}

func (r *rig) want(what, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Fatalf("%s: %q, want %q", what, got, want)
	}
}

// after lets d pass and everything settle.
func after(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
	synctest.Wait()
}

var core = siptransport.Target{Addr: netip.MustParseAddrPort("192.0.2.9:5060")}

func request(method, branch string) headers.Msg {
	m := headers.Msg{Method: method, RequestURI: "sip:bob@192.0.2.9"}
	if branch != "" {
		m.Add("Via", "SIP/2.0/UDP 192.0.2.9:5060;branch="+branch)
	}
	m.Add("Max-Forwards", "70")
	m.Add("From", "<sip:alice@example.com>;tag=a1")
	m.Add("To", "<sip:bob@example.com>")
	m.Add("Call-ID", "call-"+branch)
	seq := method
	m.Add("CSeq", "7 "+seq)
	return m
}

// inDialog gives a request a To tag.
func inDialog(m headers.Msg) headers.Msg {
	m.Set("To", "<sip:bob@example.com>;tag=b1")
	return m
}

var udpPeer = siptxtest.CoreFlow("192.0.2.9:5060")

// answer feeds a response to the request that went out as the n-th of sent.
func (r *rig) answer(sent siptxtest.Sent, status int, toTag string) {
	resp := headers.NewResponse(&sent.Msg, status, "")
	if toTag != "" {
		resp.Set("To", "<sip:bob@example.com>;tag="+toTag)
	}
	from := sent.Flow
	r.l.OnMessage(resp, from)
}

// must sends a request to the core and returns the first thing on the wire.
func (r *rig) must(method string) (*ClientTx, siptxtest.Sent) {
	r.t.Helper()
	tx, err := r.l.Request(request(method, ""), core, r.result)
	if err != nil {
		r.t.Fatal(err)
	}
	sent := r.net.Take()
	if len(sent) != 1 || sent[0].Msg.Method != method {
		r.t.Fatalf("on the wire: %+v", sent)
	}
	return tx, sent[0]
}

// --- client INVITE, RFC 3261 §17.1.1 ---

func TestRFC3261_17_1_1_2_TimerA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		start := time.Now()
		var at []time.Duration
		r.net.Lose(func(siptxtest.Sent) bool { at = append(at, time.Since(start)); return true })
		if _, err := r.l.Request(request("INVITE", ""), core, r.result); err != nil {
			t.Fatal(err)
		}
		after(31999 * time.Millisecond)
		r.want("intervals double from T1", fmt.Sprint(at), "[0s 500ms 1.5s 3.5s 7.5s 15.5s 31.5s]")
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
		start := time.Now()
		var at []time.Duration
		r.net.Lose(func(siptxtest.Sent) bool { at = append(at, time.Since(start)); return true })
		if _, err := r.l.Request(request("MESSAGE", ""), core, r.result); err != nil {
			t.Fatal(err)
		}
		after(32 * time.Second)
		r.want("E doubles up to T2", fmt.Sprint(at), "[0s 500ms 1.5s 3.5s 7.5s 11.5s 15.5s 19.5s 23.5s 27.5s 31.5s]")
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
		r.answer(sent[0], 503, "b1")
		out := r.net.Take()
		if len(out) != 2 || out[0].Msg.Method != "ACK" || out[1].Flow.Remote.String() != "192.0.2.10:5060" {
			t.Fatalf("after 503: %+v", out)
		}
		r.answer(out[1], 503, "b2") // the last one's answer counts
		r.want("results", r.takeResults(), "final 503")
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
		for range 2 {
			if err := r.l.Send(inDialog(request("ACK", "")), core); err != nil {
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
