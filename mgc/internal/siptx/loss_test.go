package siptx

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// lossy joins two layers by UDP that loses, repeats, delays and reorders. It is the network of one side.
type lossy struct {
	self, peer netip.AddrPort
	other      *Layer
	wire       *wire
}

// wire is what both directions share.
type wire struct {
	mu   sync.Mutex // guards rnd
	rnd  *rand.Rand
	loss float64
	done sync.WaitGroup // deliveries on their way
}

// fates draws the delays of the copies that arrive: none, one or two.
func (w *wire) fates() []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []time.Duration
	copies := 1
	if w.rnd.Float64() < 0.1 {
		copies = 2
	}
	for range copies {
		if w.rnd.Float64() >= w.loss {
			out = append(out, time.Duration(w.rnd.IntN(300))*time.Millisecond)
		}
	}
	return out
}

func (n *lossy) Known(siptransport.Target) ([]siptransport.Hop, bool) {
	return []siptransport.Hop{{Transport: "UDP", Addr: n.peer}}, true
}
func (n *lossy) Resolve(context.Context, siptransport.Target) ([]siptransport.Hop, error) {
	return nil, siptransport.ErrNoTransport
}
func (n *lossy) Expand(h siptransport.Hop, _ int) []siptransport.Hop             { return []siptransport.Hop{h} }
func (n *lossy) Failed(siptransport.Hop, time.Duration)                          {}
func (n *lossy) Reached(siptransport.Hop)                                        {}
func (n *lossy) Localize(_, _ *headers.Msg, _ siptransport.Flow)                 {}
func (n *lossy) Link(siptransport.Hop) (siptransport.Link, error)                { return n, nil }
func (n *lossy) SentBy() string                                                  { return n.self.String() }
func (n *lossy) Reply(siptransport.Flow, headers.Via) (siptransport.Link, error) { return n, nil }
func (n *lossy) Flow() siptransport.Flow {
	return siptransport.Flow{Transport: "UDP", Remote: n.peer, Local: n.self, Edge: siptransport.EdgeCore}
}

func (n *lossy) Send(raw []byte) error {
	m, err := headers.Read(raw, headers.Datagram)
	if err != nil {
		return err
	}
	from := siptransport.Flow{Transport: "UDP", Remote: n.self, Local: n.peer, Edge: siptransport.EdgeCore}
	for _, delay := range n.wire.fates() {
		n.wire.done.Add(1)
		time.AfterFunc(delay, func() {
			defer n.wire.done.Done()
			n.other.OnMessage(m.Clone(), from)
		})
	}
	return nil
}

// callee answers by what the Call-ID says and counts how often each request reaches it.
type callee struct {
	t    *testing.T
	mu   sync.Mutex // guards what follows
	seen map[string]int
	acks map[string]int
}

func (c *callee) OnRequest(tx *ServerTx, req headers.Msg, _ siptransport.Flow) {
	key := req.Get("Call-ID") + " " + req.Method
	c.mu.Lock()
	c.seen[key]++
	kind := req.Get("Subject")
	c.mu.Unlock()
	status := map[string]int{"ok": 200, "busy": 486, "cancel": 180}[kind]
	_ = tx.Respond(response(status)) // a duplicate that came after the end is answered, too
}

func (c *callee) OnCancel(tx *ServerTx, _ headers.Msg) { _ = tx.Respond(response(487)) }

func (c *callee) OnAck(ack headers.Msg, _ siptransport.Flow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acks[ack.Get("Call-ID")]++
}

// TestTransactionsOverALossyNetwork runs many transactions of all kinds at 30 % loss, with duplicates and reordering: each
// request gets exactly one final result, the far side sees each request once, nothing is left on either side.
func TestTransactionsOverALossyNetwork(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			w := &wire{rnd: rand.New(rand.NewPCG(seed, 7)), loss: 0.3}
			a, b := netip.MustParseAddrPort("192.0.2.1:5060"), netip.MustParseAddrPort("192.0.2.2:5060")
			na, nb := &lossy{self: a, peer: b, wire: w}, &lossy{self: b, peer: a, wire: w}
			la := New(Config{}, na, NewMetrics(nil), zap.NewNop())
			lb := New(Config{}, nb, NewMetrics(nil), zap.NewNop())
			na.other, nb.other = lb, la
			c := &callee{t: t, seen: map[string]int{}, acks: map[string]int{}}
			lb.SetHandler(c)
			la.SetHandler(&callee{t: t, seen: map[string]int{}})

			var mu sync.Mutex
			finals, canceled := map[string][]ClientResult{}, map[string]bool{}
			for i := range 60 {
				method := [...]string{"INVITE", "INVITE", "MESSAGE"}[i%3]
				kind := [...]string{"ok", "busy", "cancel"}[i/3%3]
				if method == "MESSAGE" {
					kind = "ok"
				}
				req := request(method, "")
				id := fmt.Sprintf("%d-%s-%s", i, method, kind)
				req.Set("Call-ID", id)
				req.Add("Subject", kind)
				var tx *ClientTx
				ready := make(chan struct{})
				tx, err := la.Request(req, siptransport.Target{}, func(r ClientResult) {
					<-ready
					mu.Lock()
					defer mu.Unlock()
					switch {
					case r.Kind == Provisional:
						if kind == "cancel" && !canceled[id] {
							canceled[id] = true
							_ = tx.Cancel(nil) // not closed here
						}
					case !r.Retransmission:
						finals[id] = append(finals[id], r)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				close(ready)
			}
			<-time.After(25 * time.Minute) // longer than the guard of an INVITE whose caller has given up
			synctest.Wait()
			lost := 0
			for id, got := range finals {
				if len(got) != 1 {
					t.Fatalf("seed %d: %s has %d finals", seed, id, len(got))
				}
			}
			if len(finals) != 60 {
				t.Errorf("seed %d: %d of 60 requests have a final result", seed, len(finals))
			}
			for id, got := range finals {
				if got[0].Kind == Timeout {
					lost++
				} else if want := map[string]int{"ok": 200, "busy": 486, "cancel": 487}[id[lastDash(id)+1:]]; got[0].Msg.Status != want {
					t.Errorf("seed %d: %s ended by %d", seed, id, got[0].Msg.Status)
				}
			}
			if lost > 12 { // a lost 2xx is not repeated by the layer, here nobody does
				t.Errorf("seed %d: %d of 60 timed out at 30 %% loss", seed, lost)
			}
			c.mu.Lock()
			for key, n := range c.seen {
				if n != 1 {
					t.Errorf("seed %d: %s reached the handler %d times", seed, key, n)
				}
			}
			c.mu.Unlock()
			for name, l := range map[string]*Layer{"caller": la, "callee": lb} {
				if s, cl := l.Len(); s+cl != 0 {
					t.Errorf("seed %d: %s has %d server and %d client transactions left", seed, name, s, cl)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
			w.done.Wait()
		})
	}
}

func lastDash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '-' {
			return i
		}
	}
	return -1
}
