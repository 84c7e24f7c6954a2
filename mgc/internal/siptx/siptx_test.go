package siptx

import (
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

// lose loses everything that is sent from now on, and notes when it was.
func (r *rig) lose() *[]time.Duration {
	start, at := time.Now(), new([]time.Duration)
	r.net.Lose(func(siptxtest.Sent) bool { *at = append(*at, time.Since(start)); return true })
	return at
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
	r.answerWith(sent, status, toTag, "", "")
}

// answerWith is answer with one more header field.
func (r *rig) answerWith(sent siptxtest.Sent, status int, toTag, name, value string) {
	resp := headers.NewResponse(&sent.Msg, status, "")
	if toTag != "" {
		resp.Set("To", "<sip:bob@example.com>;tag="+toTag)
	}
	if name != "" {
		resp.Add(name, value)
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
