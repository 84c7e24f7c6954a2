package call

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/bus"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// patience bounds every wait of these tests.
const patience = 10 * time.Second

// pool is what the instances of a test share: the embedded store, the token keys, and who is alive.
type pool struct {
	t      *testing.T
	store  store.Store
	engine *store.Engine // nil: the store of a bubble
	joined bool          // instances have a bus
	sealer *flowtoken.Sealer

	mu   sync.Mutex
	dead map[string]bool
}

// newPool opens the real embedded store and, at the end, checks that no goroutine is left.
func newPool(t *testing.T) *pool {
	t.Helper()
	before := goleak.IgnoreCurrent()
	engine, err := store.Open(t.Context(), store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		engine.Close()
		goleak.VerifyNone(t, before)
	})
	p := poolOn(t, engine)
	p.engine = engine
	return p
}

func poolOn(t *testing.T, s store.Store) *pool {
	t.Helper()
	sealer, err := flowtoken.New([]flowtoken.Key{{ID: 1, Secret: [flowtoken.KeySize]byte{1}}})
	if err != nil {
		t.Fatal(err)
	}
	return &pool{t: t, store: s, sealer: sealer, dead: map[string]bool{}}
}

func (p *pool) alive(instance string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead[instance]
}

// records returns the calls in the store.
func (p *pool) records() []store.Entry[store.Call] {
	p.t.Helper()
	list, err := store.Calls(p.store).List(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// instance is one controller: a Manager among fakes.
type instance struct {
	*Manager
	t    *testing.T
	pool *pool
	bind *bindings
	mgw  *mgws
	sip  *sip
	bus  *bus.Bus
	txs  atomic.Uint64
}

func (p *pool) instance(name string, adapt ...func(*Config)) *instance {
	p.t.Helper()
	return p.instanceWith(name, func(*Deps) {}, adapt...)
}

// instanceWith is an instance with other parts than the usual ones.
func (p *pool) instanceWith(name string, parts func(*Deps), adapt ...func(*Config)) *instance {
	p.t.Helper()
	i := &instance{t: p.t, pool: p, bind: newBindings(), mgw: &mgws{instance: name}, sip: newSIP()}
	cfg := Config{Instance: name, AccessHost: "ws.example:8080", CoreHost: "mgc.example:5070", AccessRealm: "access", CoreRealm: "core",
		UserAgent: "isthmus", Policy: callcore.DefaultPolicy(), Alive: p.alive}
	for _, f := range adapt {
		f(&cfg)
	}
	if p.joined {
		i.bus = bus.New(p.engine.Conn(), name)
	}
	deps := Deps{Store: p.store, Sealer: p.sealer, Bindings: i.bind, Gateways: i.mgw, Signalling: i.sip,
		Metrics: NewMetrics(prometheus.NewRegistry()), Log: zap.NewNop(), Bus: i.bus}
	parts(&deps)
	i.Manager = NewManager(cfg, deps)
	if err := i.Join(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(i.stop) // runs before the store closes
	return i
}

func (i *instance) stop() {
	i.Close()
	if i.bus != nil {
		i.bus.Close()
	}
}

// kill ends the instance as a crash does for the others: its records stay, it is no longer alive.
func (i *instance) kill() {
	i.pool.mu.Lock()
	i.pool.dead[i.cfg.Instance] = true
	i.pool.mu.Unlock()
	i.stop()
}

// bindings is a fake registrar with alice on flow fa and bob on flow fb; path tokens are "path-" and the id.
type bindings struct {
	mu   sync.Mutex
	byID map[string]Binding
}

func newBindings() *bindings {
	b := &bindings{byID: map[string]Binding{}}
	for id, flow := range map[string]string{"alice": "fa", "bob": "fb"} {
		aor := "sip:" + id + "@x.example"
		b.byID[id] = Binding{ID: id, AOR: aor, Identities: []string{aor, "tel:+49" + id[:1]}, Contact: "sip:" + id + "@df7.invalid;transport=ws",
			ServiceRoute: []string{"<sip:orig@core.example;lr>"}, FlowID: flow}
	}
	return b
}

func (b *bindings) set(id, flow string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.byID[id]
	x.FlowID = flow
	b.byID[id] = x
}

func (b *bindings) drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byID, id)
}

func (b *bindings) OfFlow(flow string) (out []Binding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range b.byID {
		if flow != "" && x.FlowID == flow {
			out = append(out, x)
		}
	}
	return out
}

func (b *bindings) ByID(id string) (Binding, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.byID[id]
	return x, ok
}

func (b *bindings) ByPathToken(token string) (Binding, error) {
	id, ok := strings.CutPrefix(token, "path-")
	if !ok {
		return Binding{}, flowtoken.ErrForged
	}
	if x, ok := b.ByID(id); ok {
		return x, nil
	}
	return Binding{}, ErrNoBinding
}

// mgws is a fake pool of media gateways: it answers as one would, unless the test says otherwise.
type mgws struct {
	instance string

	mu        sync.Mutex
	needs     []Need // of the picks
	down      map[Node][]string
	none      error                                                                                 // what Pick fails with
	onRequest func(context.Context, Node, *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) // nil result: the default
	lacks     []string                                                                              // capabilities that the pool has not
	seen      []string                                                                              // "mgw: kinds id"
}

func (g *mgws) Down(node Node) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.down[node]
}

func (*mgws) Codecs(names []string) []string { return names }

func (g *mgws) Features(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(g.lacks, n) })
}

func (g *mgws) Pick(need Need) (Node, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.needs = append(g.needs, need)
	if need.AccessRealm != "access" || need.CoreRealm != "core" || !slices.Contains(need.Codecs, "opus") {
		return Node{}, fmt.Errorf("need %+v", need)
	}
	return Node{MGW: "g-" + g.instance, Boot: "b1"}, g.none
}

// picks is what Pick was asked for.
func (g *mgws) picks() []Need {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.needs)
}

func (g *mgws) Transact(ctx context.Context, node Node, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
	g.mu.Lock()
	g.seen = append(g.seen, node.MGW+": "+kinds(req)+" "+req.GetTransactionId())
	f := g.onRequest
	g.mu.Unlock()
	if f != nil {
		if reply, err := f(ctx, node, req); reply != nil || err != nil {
			return reply, err
		}
	}
	return answer(req), nil
}

func (g *mgws) on(f func(context.Context, Node, *iqv1.TransactionRequest) (*iqv1.TransactionReply, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onRequest = f
}

// kindsSeen lists the transactions without their ids.
func (g *mgws) kindsSeen() (out []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.seen {
		out = append(out, s[:strings.LastIndexByte(s, ' ')])
	}
	return out
}

func kinds(r *iqv1.TransactionRequest) string {
	var out []string
	for _, c := range r.GetActions()[0].GetCommands() {
		switch {
		case c.GetAdd() != nil:
			out = append(out, "Add")
		case c.GetModify() != nil:
			out = append(out, "Modify")
		case c.GetSubtract() != nil:
			out = append(out, "Subtract")
		}
	}
	return strings.Join(out, " ")
}

// answer is the reply of an MGW that does all that is asked.
func answer(req *iqv1.TransactionRequest) *iqv1.TransactionReply {
	a := &iqv1.ActionReply{ContextId: "cx1", Revision: 1}
	for i, c := range req.GetActions()[0].GetCommands() {
		r := &iqv1.CommandReply{TerminationId: fmt.Sprintf("ip/%d", i)}
		if c.GetAdd() != nil {
			r.Resolved = &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 1, Local: &iqv1.MediaDescription{
				Address: "10.0.0.1", Port: 20000, RtcpPort: 20001, Ssrc: 7, Cname: "c"}}}}
			if i == 0 {
				r.Resolved.Transport = &iqv1.TransportGroup{
					LocalIce: &iqv1.IceParameters{Ufrag: "mGw1", Pwd: "k3v0Qe9m2Jx7Zt5Wb8Rr4Yp6", Candidates: []*iqv1.Candidate{{
						Foundation: "1", Component: 1, Transport: "udp", Priority: 2130706431, Address: "10.0.0.1", Port: 7430, Type: "host"}}},
					LocalDtls: &iqv1.DtlsParameters{Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: strings.Repeat("AB:", 31) + "AB"}}},
				}
			}
		}
		a.Commands = append(a.Commands, r)
	}
	return &iqv1.TransactionReply{TransactionId: req.GetTransactionId(), BootId: "b1", Actions: []*iqv1.ActionReply{a}}
}

// sent is a request that the manager gave to the transaction layer.
type sent struct {
	leg     callcore.Leg
	flow    string
	msg     headers.Msg
	deliver func(Outcome) // nil: an ACK
	cancel  chan []headers.Field
}

func (s *sent) Cancel(extra []headers.Field) error { s.cancel <- extra; return nil }

// respond answers the request as its server would.
func (s *sent) respond(status int, body string, extra ...headers.Field) {
	m := headers.NewResponse(&s.msg, status, "")
	if to := m.Get("To"); !strings.Contains(to, ";tag=") {
		m.Set("To", to+";tag=peer")
	}
	if s.msg.Method == "INVITE" {
		m.Add("Contact", "<sip:peer@10.0.0.7:5060>")
	}
	m.Fields = append(m.Fields, extra...)
	if body != "" {
		m.Add("Content-Type", "application/sdp")
		m.Body = []byte(body)
	}
	s.deliver(Outcome{Msg: m})
}

// sip is a fake transaction layer that hands what is sent to the test.
type sip struct {
	out  chan *sent // cap 64, more than any test sends unread
	fail atomic.Bool
}

func newSIP() *sip { return &sip{out: make(chan *sent, 64)} }

var errNoFlow = errors.New("flow is gone")

func (s *sip) Request(leg callcore.Leg, flow string, req headers.Msg, deliver func(Outcome)) (ClientTx, error) {
	if s.fail.Load() {
		return nil, errNoFlow
	}
	x := &sent{leg: leg, flow: flow, msg: req, deliver: deliver, cancel: make(chan []headers.Field, 1)}
	s.out <- x
	return x, nil
}

func (s *sip) Send(leg callcore.Leg, flow string, req headers.Msg) error {
	s.out <- &sent{leg: leg, flow: flow, msg: req}
	return nil
}

// expectOut waits for the next request of the manager and checks leg and method.
func (i *instance) expectOut(leg callcore.Leg, method string) *sent {
	i.t.Helper()
	select {
	case x := <-i.sip.out:
		if x.leg != leg || x.msg.Method != method {
			i.t.Fatalf("sent %s to %s, want %s to %s", x.msg.Method, x.leg, method, leg)
		}
		return x
	case <-time.After(patience):
		i.t.Fatalf("no %s to %s", method, leg)
		return nil
	}
}

// tx is a fake server transaction.
type tx struct {
	id  string
	t   *testing.T
	req headers.Msg
	got chan headers.Msg // cap 64
}

func (x *tx) ID() string { return x.id }

// Respond completes the response as the transaction layer does.
func (x *tx) Respond(m headers.Msg) error {
	headers.CompleteResponse(&x.req, &m)
	x.got <- m
	return nil
}

func (i *instance) tx(req headers.Msg) *tx {
	return &tx{id: fmt.Sprintf("%s-%d", i.cfg.Instance, i.txs.Add(1)), t: i.t, req: req, got: make(chan headers.Msg, 64)}
}

// ask brings a call's request to the manager.
func (i *instance) ask(leg callcore.Leg, req headers.Msg, flow string) *tx {
	x := i.tx(req)
	i.OnRequest(leg, x, req.Clone(), flow)
	return x
}

// expect waits for the next response and checks its status.
func (x *tx) expect(status int) headers.Msg {
	x.t.Helper()
	select {
	case m := <-x.got:
		if m.Status != status {
			x.t.Fatalf("got %d %s, want %d", m.Status, m.Reason, status)
		}
		return m
	case <-time.After(patience):
		x.t.Fatalf("no response, want %d", status)
		return headers.Msg{}
	}
}

// count reads a counter of the manager's metrics.
func count(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	fam, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := 0.0
	for _, f := range fam {
		for _, m := range f.GetMetric() {
			n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return n
}

func has(list []string, want ...string) bool { return slices.Equal(list, want) }
