package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// collection is the resource of application sessions below an API root (TS 29.514 §5.3.2).
const collection = "/npcf-policyauthorization/v1/app-sessions"

// Sealer makes and opens the tokens in our callback URIs: authenticated, of one kind, at most 256 bytes of payload.
type Sealer interface {
	Seal(kind byte, payload []byte) string
	Open(kind byte, token string) ([]byte, error)
}

// KindCallback is the kind of token in a callback URI; no other token of the pool may have it.
const KindCallback byte = 5

// Deps are the parts that N5 uses. Dial may be nil: the network's.
type Deps struct {
	Sealer  Sealer
	Metrics *Metrics
	Log     *zap.Logger
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
}

// N5 is the Agent towards a PCF over Npcf_PolicyAuthorization (TS 29.514). Close it. Its Handler serves the PCF's notifications.
type N5 struct {
	cfg    Config
	deps   Deps
	roots  []*url.URL
	http   *http.Client
	tokens *tokens
	slots  chan struct{} // one per request of a call under way
	events chan Event    // capacity of the configuration; writers hold evMu; full: 503 to the PCF
	evMu   sync.Mutex    // guards sending to events, so that a notification is taken whole or not at all
	ctx    context.Context
	stop   context.CancelFunc
	wg     sync.WaitGroup // workers, creations, token requests

	mu      sync.Mutex // guards all below
	change  *sync.Cond // of mu: queue, pending, running, closed, halted
	closed  bool       // no new requests
	halted  bool       // workers end
	calls   map[string]string
	holds   map[string]hold
	running int // requests under way, deletions aside
	pending map[string]*deletion
	queue   []*deletion
	gone    recent
}

var _ Agent = (*N5)(nil)

// New makes the agent of cfg, whose Agent is n5. It contacts nobody. Errors: of the configuration and of reading TLS files.
func New(cfg Config, deps Deps) (*N5, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	a := &N5{
		cfg: cfg, deps: deps, slots: make(chan struct{}, cfg.Limits.InFlight), events: make(chan Event, cfg.Limits.Events),
		calls: map[string]string{}, holds: map[string]hold{}, pending: map[string]*deletion{},
	}
	for _, s := range cfg.PCF {
		u, err := url.Parse(strings.TrimSuffix(s, "/"))
		if err != nil {
			return nil, err
		}
		a.roots = append(a.roots, u)
	}
	if len(a.roots) == 0 {
		return nil, errors.New("policy.pcf: needed")
	}
	client, err := newHTTPClient(cfg.TLS, deps.Dial, cfg.Limits.Timeout)
	if err != nil {
		return nil, err
	}
	a.http = client
	a.change = sync.NewCond(&a.mu)
	a.ctx, a.stop = context.WithCancel(context.Background())
	a.tokens = &tokens{cfg: cfg.Token, client: client, metrics: deps.Metrics, ctx: a.ctx, wg: &a.wg}
	for range cfg.Limits.Deleters {
		a.wg.Add(1)
		go a.deleter()
	}
	return a, nil
}

// Events implements Agent.
func (a *N5) Events() <-chan Event { return a.events }

// outcome of a creation.
type outcome struct {
	session Session
	events  []Event
	refusal *Refusal // nil: granted, or Absent
}

// attempt is a creation under way; its caller may leave it.
type attempt struct {
	mu   sync.Mutex // guards left
	left bool
	done chan outcome // capacity 1
}

// settle hands out to the caller; false when the caller has left.
func (t *attempt) settle(out outcome) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.left {
		t.done <- out
	}
	return !t.left
}

// leave gives the attempt up; false when its outcome is there already.
func (t *attempt) leave() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.done) > 0 {
		return false
	}
	t.left = true
	return true
}

// Create implements Agent.
func (a *N5) Create(ctx context.Context, f Facts) (Session, error) {
	none := Session{Call: f.Call}
	if err := f.check(); err != nil {
		return none, err
	}
	root, held := a.pick()
	if held != nil {
		return none, a.refuse(&f, held)
	}
	select {
	case a.slots <- struct{}{}:
	default:
		return none, a.refuse(&f, &Refusal{Verdict: Overload, Status: 503, RetryAfter: a.cfg.Limits.Hold, Err: errors.New("too many requests under way")})
	}
	if err := a.begin(f.Call); err != nil {
		<-a.slots
		return none, err
	}
	t := &attempt{done: make(chan outcome, 1)}
	go a.create(t, f, root)
	timer := time.NewTimer(a.cfg.Limits.Timeout)
	defer timer.Stop()
	var err error
	select {
	case out := <-t.done:
		return a.created(&f, out)
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	if !t.leave() {
		return a.created(&f, <-t.done)
	}
	a.unbind(f.Call, "")
	if err != nil {
		return none, err
	}
	a.silent(root.Host)
	return none, a.refuse(&f, &Refusal{Verdict: Unreachable, Status: 503, Err: context.DeadlineExceeded})
}

// begin reserves the call for a creation, and enters.
func (a *N5) begin(call string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	if _, ok := a.calls[call]; ok {
		return ErrExists
	}
	a.calls[call] = ""
	a.running++
	a.wg.Add(1)
	return nil
}

// enter announces a request, which Close waits for; leave ends it.
func (a *N5) enter() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	a.running++
	a.wg.Add(1)
	return nil
}

func (a *N5) leave() {
	a.mu.Lock()
	a.running--
	a.change.Broadcast()
	a.mu.Unlock()
	a.wg.Done()
}

// bounded is ctx for at most d, and no longer than the agent lives.
func (a *N5) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	unlink := context.AfterFunc(a.ctx, cancel)
	return ctx, func() { unlink(); cancel() }
}

// pick returns the first API root that is not to be left alone, or why there is none.
func (a *N5) pick() (*url.URL, *Refusal) {
	var why *Refusal
	for _, r := range a.roots {
		h := a.held(r.Host)
		if h == nil {
			return r, nil
		}
		if why == nil || h.Verdict == Overload { // overloaded is more than down
			why = h
		}
	}
	return nil, why
}

// create runs one creation to its end, however long the caller waits.
func (a *N5) create(t *attempt, f Facts, root *url.URL) {
	defer a.leave()
	ctx, cancel := context.WithTimeout(a.ctx, a.cfg.Limits.Late)
	defer cancel()
	out := a.post(ctx, &f, root)
	<-a.slots
	if !t.settle(out) && out.session.Open() {
		a.deps.Metrics.late.Inc()
		a.deps.Log.Info("application session made too late is deleted", zap.String("call", f.Call))
		if !a.live(out.session.URI) {
			a.Delete(out.session)
		}
	}
}

// live reports whether a call has the application session.
func (a *N5) live(uri string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.calls {
		if u == uri {
			return true
		}
	}
	return false
}

// post makes an application session. A POST is repeated, at the next root, only when it never left: else there might be two.
func (a *N5) post(ctx context.Context, f *Facts, root *url.URL) outcome {
	none := Session{Call: f.Call}
	body, sent, rtcp, err := a.cfg.creation(f, a.notifURI(f.Call))
	if err != nil {
		return outcome{none, nil, &Refusal{Verdict: Unreachable, Status: 503, Err: err}}
	}
	for i := slices.Index(a.roots, root); ; i++ {
		rep, err := a.do(ctx, request{"create", http.MethodPost, a.roots[i].JoinPath(collection), body, "application/json"})
		var te *transportError
		if errors.As(err, &te) && !te.sent && !errors.Is(err, errToken) && ctx.Err() == nil && i+1 < len(a.roots) {
			continue
		}
		switch {
		case err != nil:
			return outcome{none, nil, &Refusal{Verdict: Unreachable, Status: 503, Err: err}}
		case rep.status == http.StatusCreated || rep.status == http.StatusSeeOther:
			return a.accept(f, rep, sent, rtcp)
		}
		r, absent := classify(rep)
		none.Absent = absent
		if absent && a.cfg.UnknownUser == "allow" {
			a.deps.Metrics.passed.WithLabelValues("unknown_user").Inc()
			return outcome{session: none}
		}
		return outcome{none, nil, r}
	}
}

// accept takes the Location of a created application session, or of the one that serves these media already (303).
func (a *N5) accept(f *Facts, rep reply, sent, rtcp []int) outcome {
	u, err := rep.from.Parse(rep.header.Get("Location"))
	if err == nil {
		u.Path = strings.TrimSuffix(u.Path, "/events-subscription")
		u.RawPath, u.RawQuery, u.Fragment = "", "", ""
	}
	if err != nil || !strings.Contains(u.Path, "/app-sessions/") || !a.allowed(u) {
		a.deps.Metrics.foreign.Inc()
		a.deps.Log.Error("the PCF names no usable Location: its application session is lost; see policy.hosts", zap.String("call", f.Call))
		return outcome{Session{Call: f.Call}, nil, &Refusal{Verdict: Unreachable, Status: 503, Err: errForeign}}
	}
	s := Session{Call: f.Call, URI: u.String(), UE: f.UE, Features: suppFeat, Sent: sent, RTCP: rtcp}
	out := outcome{session: s}
	out.session, out.events = readContext(s, rep.body)
	return out
}

// readContext takes features and events out of a body of the PCF; an unreadable one says nothing.
func readContext(s Session, body []byte) (Session, []Event) {
	var c appSessionContext
	if json.Unmarshal(body, &c) != nil {
		return s, nil
	}
	if c.AscRespData != nil && c.AscRespData.SuppFeat != "" {
		s.Features = common(c.AscRespData.SuppFeat)
	}
	if c.EvsNotif != nil {
		return s, c.EvsNotif.events(s.Call, s.URI)
	}
	return s, nil
}

// created brings a creation's outcome to its caller.
func (a *N5) created(f *Facts, out outcome) (Session, error) {
	a.unbind(f.Call, "")
	if out.refusal != nil {
		return out.session, a.refuse(f, out.refusal)
	}
	if out.session.Open() {
		a.bind(out.session)
		a.offer(out.events)
	}
	return out.session, nil
}

// bind notes the application session of a call of this instance.
func (a *N5) bind(s Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls[s.Call] == "" {
		a.deps.Metrics.sessions.Inc()
	}
	a.calls[s.Call] = s.URI
}

// unbind forgets it; a call that has another by now keeps that.
func (a *N5) unbind(call, uri string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u, ok := a.calls[call]; ok && u == uri {
		delete(a.calls, call)
		if uri != "" {
			a.deps.Metrics.sessions.Dec()
		}
	}
}

// refuse turns r into the caller's error, or into nil when the call goes on all the same.
func (a *N5) refuse(f *Facts, r *Refusal) error {
	switch {
	case f.emergency():
		a.deps.Metrics.passed.WithLabelValues("emergency").Inc()
		a.deps.Log.Warn("emergency call goes on without the policy function", zap.String("call", f.Call), zap.Error(r))
		return nil
	case r.Verdict == Unreachable && a.cfg.Failure == "allow":
		a.deps.Metrics.passed.WithLabelValues("unreachable").Inc()
		a.deps.Log.Debug("call goes on without the policy function", zap.String("call", f.Call), zap.Error(r))
		return nil
	}
	a.deps.Metrics.verdicts.WithLabelValues(string(r.Verdict)).Inc()
	return r
}

// notifURI is where the PCF reports about call.
func (a *N5) notifURI(call string) string {
	return a.cfg.Callback.base() + callbackPath + a.deps.Sealer.Seal(KindCallback, []byte(call))
}

// Restored tells the PCF that a user's P-CSCF failed and was restored, so that the network has the user register anew (TS 29.514 §4.2.8).
// Errors: *Refusal, ctx's.
func (a *N5) Restored(ctx context.Context, ue netip.Addr, supi string) error {
	root, held := a.pick()
	if held != nil {
		return held
	}
	d := struct {
		DNN       string  `json:"dnn,omitempty"`
		IPDomain  string  `json:"ipDomain,omitempty"`
		SliceInfo *snssai `json:"sliceInfo,omitempty"`
		SUPI      string  `json:"supi,omitempty"`
		UEIPv4    string  `json:"ueIpv4,omitempty"`
		UEIPv6    string  `json:"ueIpv6,omitempty"`
	}{DNN: a.cfg.Network.DNN, IPDomain: a.cfg.Network.IPDomain, SliceInfo: a.cfg.Network.slice(), SUPI: supi}
	if ue = ue.Unmap().WithZone(""); ue.Is4() {
		d.UEIPv4 = ue.String()
	} else if ue.IsValid() {
		d.UEIPv6 = ue.String()
	} else {
		return fmt.Errorf("%w: no address of the browser", ErrFacts)
	}
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	if err := a.enter(); err != nil {
		return err
	}
	defer a.leave()
	ctx, cancel := a.bounded(ctx, a.cfg.Limits.Timeout)
	defer cancel()
	rep, err := a.do(ctx, request{"restoration", http.MethodPost, root.JoinPath(collection, "pcscf-restoration"), body, "application/json"})
	if err != nil {
		return &Refusal{Verdict: Unreachable, Status: 503, Err: err}
	}
	if rep.status != http.StatusNoContent && rep.status != http.StatusOK {
		r, _ := classify(rep)
		return r
	}
	return nil
}
