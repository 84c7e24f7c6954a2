package siptx

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Layer owns all transactions of an instance. It is the Sink of the transports. Safe for concurrent use.
type Layer struct {
	cfg     Config
	net     siptransport.Network
	log     *zap.Logger
	metrics *Metrics
	handler atomic.Pointer[Handler]
	prefix  string   // of transaction ids, one per Layer
	secret  [32]byte // of the branches of ACKs
	nextID  atomic.Uint64
	ctx     context.Context // ends with Close: stops resolution
	cancel  context.CancelFunc
	running sync.WaitGroup // timer callbacks and resolutions

	mu       sync.Mutex // guards what follows; never held while a transaction's lock is wanted
	servers  map[string]*ServerTx
	clients  map[string]*attempt
	byFlow   map[string]map[*attempt]struct{}
	perFlow  map[string]int // server transactions by access connection
	draining bool
	closed   bool
	idle     chan struct{} // closed when draining and no transaction is left
}

var _ siptransport.Sink = (*Layer)(nil)

// New returns a layer over the network. Give it its user with SetHandler before the transports serve.
func New(cfg Config, network siptransport.Network, metrics *Metrics, log *zap.Logger) *Layer {
	l := &Layer{
		cfg: cfg.withDefaults(), net: network, log: log, metrics: metrics, prefix: siptransport.NewFlowID()[:8] + "-",
		servers: make(map[string]*ServerTx), clients: make(map[string]*attempt),
		byFlow: make(map[string]map[*attempt]struct{}), perFlow: make(map[string]int), idle: make(chan struct{}),
	}
	_, _ = rand.Read(l.secret[:]) // never fails
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// SetHandler sets the transaction user. Requests that come before it are answered 503.
func (l *Layer) SetHandler(h Handler) { l.handler.Store(&h) }

func (l *Layer) newID() string { return l.prefix + strconv.FormatUint(l.nextID.Add(1), 36) }

// enter registers a running callback unless the layer is closed; leave with l.running.Done.
func (l *Layer) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.running.Add(1)
	return true
}

// serverKey is the key of RFC 3261 §17.2.3: branch and sent-by, or for a branch without the magic cookie the fields of
// RFC 2543. It is scoped by edge, and on the access side by connection: who learns a branch cannot cancel from elsewhere.
func serverKey(m *headers.Msg, via headers.Via, from siptransport.Flow, method string) string {
	scope := from.Edge.String() + "|"
	if from.Edge == siptransport.EdgeAccess {
		scope += from.ID + "|"
	}
	if b := via.Branch(); strings.HasPrefix(b, headers.BranchCookie) {
		return scope + b + "|" + via.SentBy() + "|" + method
	}
	seq := m.Get("CSeq")
	if c, err := headers.ParseCSeq(seq); err == nil {
		seq = strconv.FormatUint(uint64(c.Seq), 10)
	}
	return scope + strings.Join([]string{"2543", m.RequestURI, headers.FromTag(m), m.Get("Call-ID"), seq, via.String(), method}, "|")
}

func clientKey(branch, method string) string { return branch + "|" + method }

// removeServer and removeClient are called with the transaction's lock held; they take only the layer's.
func (l *Layer) removeServer(tx *ServerTx) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.servers[tx.key] == tx {
		delete(l.servers, tx.key)
		l.metrics.live.WithLabelValues("server").Dec()
		if id := tx.from.ID; tx.from.Edge == siptransport.EdgeAccess {
			if l.perFlow[id]--; l.perFlow[id] <= 0 {
				delete(l.perFlow, id)
			}
		}
	}
	l.checkIdle()
}

func (l *Layer) addClient(a *attempt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if len(l.servers)+len(l.clients) >= l.cfg.MaxTransactions {
		return ErrOverload
	}
	l.clients[a.key] = a
	if id := a.link.Flow().ID; id != "" {
		if l.byFlow[id] == nil {
			l.byFlow[id] = make(map[*attempt]struct{})
		}
		l.byFlow[id][a] = struct{}{}
	}
	l.metrics.live.WithLabelValues("client").Inc()
	return nil
}

func (l *Layer) removeClient(a *attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.clients[a.key] == a {
		delete(l.clients, a.key)
		l.metrics.live.WithLabelValues("client").Dec()
	}
	id := a.link.Flow().ID
	delete(l.byFlow[id], a)
	if len(l.byFlow[id]) == 0 {
		delete(l.byFlow, id)
	}
	l.checkIdle()
}

// checkIdle is called with l.mu held.
func (l *Layer) checkIdle() {
	if !l.draining || len(l.servers)+len(l.clients) > 0 {
		return
	}
	select {
	case <-l.idle:
	default:
		close(l.idle)
	}
}

// Len returns the number of live server and client transactions.
func (l *Layer) Len() (servers, clients int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.servers), len(l.clients)
}

// Drain refuses new dialogs by 503 with Retry-After from now on and waits until no transaction is left or ctx ends.
func (l *Layer) Drain(ctx context.Context) error {
	l.mu.Lock()
	l.draining = true
	l.checkIdle()
	l.mu.Unlock()
	select {
	case <-l.idle:
		return nil
	case <-ctx.Done():
		s, c := l.Len()
		return fmt.Errorf("siptx: drain: %d server and %d client transactions left: %w", s, c, ctx.Err())
	}
}

// Close ends all transactions, tells the users of unfinished requests TransportError with ErrClosed, and waits for every
// callback. It must not be called from a callback.
func (l *Layer) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	servers := make([]*ServerTx, 0, len(l.servers))
	for _, tx := range l.servers {
		servers = append(servers, tx)
	}
	clients := make([]*attempt, 0, len(l.clients))
	for _, a := range l.clients {
		clients = append(clients, a)
	}
	l.mu.Unlock()
	l.cancel()
	for _, tx := range servers {
		tx.end()
	}
	for _, a := range clients {
		a.tx.transportFailed(a, ErrClosed)
	}
	l.running.Wait()
	return nil
}

// Send sends a request without a transaction: the ACK for a 2xx. Sent again for a repeated 2xx it is the same message on the
// wire, branch included, so that the peer can tell a repetition (RFC 3261 §13.2.2.4). When the target must be resolved first,
// failures after the return are counted and logged.
func (l *Layer) Send(req headers.Msg, to siptransport.Target) error {
	if hops, ok := l.net.Known(to); ok {
		return l.sendOnce(req, hops)
	}
	if !l.enter() {
		return ErrClosed
	}
	go func() {
		defer l.running.Done()
		hops, err := l.net.Resolve(l.ctx, to)
		if err == nil {
			err = l.sendOnce(req, hops)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			l.metrics.failed.WithLabelValues("send").Inc()
			l.log.Warn("request without transaction not sent", zap.String("method", req.Method),
				zap.String("call_id", headers.ForLog(req.Get("Call-ID"), 80)), zap.Error(err))
		}
	}()
	return nil
}

// sendOnce writes to the first hop that takes the message.
func (l *Layer) sendOnce(req headers.Msg, hops []siptransport.Hop) error {
	err := error(siptransport.ErrNoTransport)
	for _, hop := range hops {
		var link siptransport.Link
		if link, err = l.net.Link(hop); err != nil {
			continue
		}
		var raw []byte
		if raw, err = l.onWire(&req, viaFor(link, l.ackBranch(&req)), link.Flow()); err != nil {
			return err
		}
		if err = link.Send(raw); err == nil {
			return nil
		}
	}
	return fmt.Errorf("siptx: send %s: %w", req.Method, err)
}

// newBranch returns a branch with 120 random bits: nobody answers a request that he has not seen.
func newBranch() string { return headers.BranchCookie + siptransport.NewFlowID() }

// ackBranch returns a branch that is the same for every ACK of one 2xx, and that nobody else can make.
func (l *Layer) ackBranch(ack *headers.Msg) string {
	mac := hmac.New(sha256.New, l.secret[:])
	for _, name := range [...]string{"Call-ID", "CSeq", "From", "To"} {
		mac.Write([]byte(ack.Get(name)))
		mac.Write([]byte{0})
	}
	return headers.BranchCookie + hex.EncodeToString(mac.Sum(nil)[:15])
}

// onWire returns the request as it goes over the flow: our Via on top, our address as the peer must see it. req is not changed.
func (l *Layer) onWire(req *headers.Msg, via string, over siptransport.Flow) ([]byte, error) {
	m := *req
	l.net.Localize(&m, req, over)
	return withViaLine(&m, via)
}

func withViaLine(req *headers.Msg, via string) ([]byte, error) {
	m := *req
	m.Fields = make([]headers.Field, 0, len(req.Fields)+1)
	m.Fields = append(m.Fields, headers.Field{Name: "Via", Value: via})
	m.Fields = append(m.Fields, req.Fields...)
	return m.Bytes()
}

// viaFor builds our Via; over UDP it asks for the port seen by the peer (RFC 3581 §3), over a connection that wants keep-alives
// whether the peer takes them (RFC 6223 §4.3).
func viaFor(link siptransport.Link, branch string) string {
	t := link.Flow().Transport
	via := "SIP/2.0/" + t + " " + link.SentBy() + ";branch=" + branch
	if !siptransport.Reliable(t) {
		via += ";rport"
	}
	if k, ok := link.(siptransport.KeepAsker); ok && k.AsksKeep() {
		via += ";keep"
	}
	return via
}
