// Package ua is a SIP telephone for tests and for the demo core's built-in users: RFC 3261 user agent
// over UDP and TCP with digest, offer/answer for G.711 and telephone-event, hold, INFO, MESSAGE. It
// checks what it receives: Violations lists each WebRTC-only line that leaked to the core side.
// Floor 2 of the integration module.
//
// Owner: Agent owns one sipnode.Node, its calls and the goroutines that run the incoming-call
// callback; Close ends all and waits.
package ua

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// Config describes an Agent.
type Config struct {
	Listen   string         // "127.0.0.1:0"; also the address of its media
	Network  string         // sipnode.UDP (default) or sipnode.TCP, for what it sends and its Contact
	Domain   string         // "isthmus.example"
	User     string         // user part of its address of record
	AuthUser string         // digest user name, default User
	Password string         // digest password
	Proxy    sipnode.Target // where out-of-dialog requests go; invalid: to the Request-URI
	Codecs   []Codec        // in order of preference, default PCMA, PCMU
	NoEvents bool           // telephone-event is neither offered nor taken
	Name     string         // User-Agent text
	Timers   sipnode.Timers // see there
	// RTCPInterval is the time between reports, default 5 s.
	RTCPInterval time.Duration
	// OnCall, when set, runs on its own goroutine for each incoming call and must answer or reject
	// it. The call ends with the Agent at the latest. Unset: incoming calls get 480.
	OnCall func(*Call)
	// OnMessage, when set, gets each MESSAGE outside a call and returns the status code to answer
	// with. It runs on the reader goroutine and must not block. Unset: 405.
	OnMessage func(Message) int
	// Translate may change each description of a call: one that came before it is read, one of ours before it leaves. It is for a media
	// gateway between us and the network, and may block for as long as that takes. Unset: none.
	Translate func(t Translation) (string, error)
	// OnlyProxy refuses requests from anybody but Proxy, over UDP.
	OnlyProxy bool
	// Trace and Warn, see sipnode.Config.
	Trace func(direction string, peer sipnode.Target, msg []byte)
	Warn  func(text string)
}

func (c *Config) authUser() string {
	if c.AuthUser != "" {
		return c.AuthUser
	}
	return c.User
}

// Translation is one description on its way.
type Translation struct {
	CallID string
	Ours   bool // it leaves
	Answer bool
	SDP    string
}

// Message is an instant message (RFC 3428).
type Message struct {
	From, To    string // addresses of record, "alice@isthmus.example"
	ContentType string
	Body        string
}

// StatusError is a final response that is no success.
type StatusError struct {
	Code     int
	Reason   string
	Response *sip.Response
}

// Error gives "486 Busy Here".
func (e *StatusError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Reason) }

// ErrClosed reports use of a closed Agent.
var ErrClosed = errors.New("ua: agent closed")

// allow is what the agent understands, also refused methods are answered with it.
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE"

// Agent is one SIP user agent.
type Agent struct {
	cfg    Config
	node   *sipnode.Node
	ip     netip.Addr
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu           sync.Mutex // guards the fields below
	closed       bool
	calls        map[string]*Call // by Call-ID and local tag
	serviceRoute []sip.Uri        // RFC 3608, of the last registration
	regCallID    string
	regCSeq      uint32
	violations   []string
}

// New starts an Agent. The caller owns it and must Close it.
func New(cfg Config) (*Agent, error) {
	if cfg.Network == "" {
		cfg.Network = sipnode.UDP
	}
	if len(cfg.Codecs) == 0 {
		cfg.Codecs = []Codec{PCMA, PCMU}
	}
	if cfg.Name == "" {
		cfg.Name = "Isthmus test agent"
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &Agent{cfg: cfg, ctx: ctx, cancel: cancel, calls: map[string]*Call{}, regCallID: sipnode.NewTag() + "@ua"}
	gate := &startGate{agent: a, open: make(chan struct{})}
	node, err := sipnode.Listen(sipnode.Config{
		Listen: cfg.Listen, UserAgent: cfg.Name, Timers: cfg.Timers, Trace: cfg.Trace, Warn: cfg.Warn,
	}, gate)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("ua: %w", err)
	}
	a.node, a.ip = node, node.Addr().Addr()
	close(gate.open)
	return a, nil
}

// startGate holds back requests that arrive before New has set the node.
type startGate struct {
	agent *Agent
	open  chan struct{}
}

func (g *startGate) ServeRequest(tx *sipnode.ServerTx) { <-g.open; g.agent.serve(tx) }

func (g *startGate) ServeAck(req *sip.Request, _ sipnode.Target) { <-g.open; g.agent.serveAck(req) }

// Addr is the SIP address bound, for UDP and TCP.
func (a *Agent) Addr() netip.AddrPort { return a.node.Addr() }

// AOR is the agent's address of record, "alice@isthmus.example".
func (a *Agent) AOR() string { return a.cfg.User + "@" + a.cfg.Domain }

// Violations lists, over all calls so far, the WebRTC-only SDP lines received and the offer/answer
// rules broken by peers. Empty is good.
func (a *Agent) Violations() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.violations...)
}

const maxViolations = 1000

func (a *Agent) violate(text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.violations) < maxViolations {
		a.violations = append(a.violations, text)
	}
}

// Close hangs up all calls, gives the peers up to a second to answer, and waits for all goroutines.
func (a *Agent) Close() error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.closed = true
	calls := make([]*Call, 0, len(a.calls))
	for _, c := range a.calls {
		calls = append(calls, c)
	}
	a.mu.Unlock()

	ctx, cancel := context.WithTimeout(a.ctx, time.Second)
	var bye sync.WaitGroup
	for _, c := range calls {
		bye.Go(func() { c.Hangup(ctx) })
	}
	bye.Wait()
	cancel()
	a.cancel()
	err := a.node.Close()
	for _, c := range calls {
		c.end(EndReason{Text: "agent closed"})
	}
	a.wg.Wait()
	return err
}

// spawn runs f on a goroutine that Close waits for; false after Close.
func (a *Agent) spawn(f func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() != nil {
		return false
	}
	a.wg.Add(1)
	go func() {
		defer a.wg.Done()
		f()
	}()
	return true
}

// contact is our Contact, for user.
func (a *Agent) contact(user string) *sip.ContactHeader {
	u := sip.Uri{Scheme: "sip", User: user, Host: hostOf(a.ip), Port: int(a.node.Addr().Port()), UriParams: sip.NewParams()}
	if a.cfg.Network == sipnode.TCP {
		u.UriParams.Add("transport", "tcp")
	}
	return &sip.ContactHeader{Address: u, Params: sip.NewParams()}
}

func hostOf(ip netip.Addr) string {
	if ip.Is6() {
		return "[" + ip.String() + "]"
	}
	return ip.String()
}

// uri makes sip:user@domain; to may also be "user@host" or a full SIP URI.
func (a *Agent) uri(to string) (sip.Uri, error) {
	switch {
	case strings.HasPrefix(to, "sip:"):
	case strings.Contains(to, "@"):
		to = "sip:" + to
	default:
		to = "sip:" + to + "@" + a.cfg.Domain
	}
	var u sip.Uri
	if err := sip.ParseUri(to, &u); err != nil {
		return u, fmt.Errorf("ua: address %q: %w", to, err)
	}
	return u, nil
}

// newRequest builds an out-of-dialog request from our address of record.
func (a *Agent) newRequest(m sip.RequestMethod, to sip.Uri, fromTag, callID string, cseq uint32) *sip.Request {
	req := sip.NewRequest(m, *to.Clone())
	a.mu.Lock()
	route := a.serviceRoute
	a.mu.Unlock()
	switch {
	case m == sip.REGISTER:
	case len(route) > 0:
		for i := range route {
			req.AppendHeader(&sip.RouteHeader{Address: *route[i].Clone()})
		}
	case a.cfg.Proxy.Addr.IsValid():
		req.AppendHeader(&sip.RouteHeader{Address: looseRoute(a.cfg.Proxy)})
	}
	sipnode.SetMaxForwards(req, 70)
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: a.cfg.User, Host: a.cfg.Domain}, Params: sip.NewParams()}
	from.Params.Add("tag", fromTag)
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: *to.Clone(), Params: sip.NewParams()})
	id := sip.CallIDHeader(callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: m})
	req.AppendHeader(sip.NewHeader("User-Agent", a.cfg.Name))
	req.SetBody(nil)
	return req
}

func looseRoute(t sipnode.Target) sip.Uri {
	u := sip.Uri{Scheme: "sip", Host: hostOf(t.Addr.Addr()), Port: int(t.Addr.Port()), UriParams: sip.NewParams()}
	if t.Network == sipnode.TCP {
		u.UriParams.Add("transport", "tcp")
	}
	u.UriParams.Add("lr", "")
	return u
}

// target is where req goes first.
func (a *Agent) target(req *sip.Request) (sipnode.Target, error) {
	if req.Method == sip.REGISTER && a.cfg.Proxy.Addr.IsValid() {
		return a.cfg.Proxy, nil
	}
	return sipnode.NextHop(req)
}

// setBody gives req or a response its body and type.
func setBody(m sip.Message, contentType, body string) {
	if body != "" {
		m.AppendHeader(sip.NewHeader("Content-Type", contentType))
	}
	m.SetBody([]byte(body))
}

// roundTrip sends req, answers one challenge with CSeq number nextCSeq(), and returns the final
// response. Not for INVITE.
func (a *Agent) roundTrip(ctx context.Context, req *sip.Request, nextCSeq func() uint32) (*sip.Response, error) {
	again := req.Clone()
	res, err := a.send(ctx, req)
	if err != nil || res.StatusCode != 401 && res.StatusCode != 407 {
		return res, err
	}
	again.RemoveHeader("CSeq")
	again.AppendHeader(&sip.CSeqHeader{SeqNo: nextCSeq(), MethodName: req.Method})
	if err := a.authorize(again, res, 1); err != nil {
		return res, nil // the caller sees the 401
	}
	return a.send(ctx, again)
}

func (a *Agent) send(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	t, err := a.target(req)
	if err != nil {
		return nil, err
	}
	final := make(chan *sip.Response, 1) // one writer, the transaction's only final response
	a.node.Request(req, t, func(res *sip.Response) {
		if res.StatusCode >= 200 {
			select {
			case final <- res:
			default:
			}
		}
	})
	select {
	case res := <-final:
		return res, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("ua: %s: %w", req.Method, ctx.Err())
	case <-a.ctx.Done():
		return nil, ErrClosed
	}
}

// SendMessage sends an instant message and waits for its final response; other than 2xx is a
// *StatusError.
func (a *Agent) SendMessage(ctx context.Context, to, body string) error {
	_, err := a.simple(ctx, sip.MESSAGE, to, body)
	return err
}

// SendMessageAs is SendMessage with another user of the domain as sender, for a server that hosts
// several.
func (a *Agent) SendMessageAs(ctx context.Context, user, to, body string) error {
	_, err := a.request(ctx, user, sip.MESSAGE, to, body)
	return err
}

// Options asks what to can do and returns the response.
func (a *Agent) Options(ctx context.Context, to string) (*sip.Response, error) {
	return a.simple(ctx, sip.OPTIONS, to, "")
}

func (a *Agent) simple(ctx context.Context, m sip.RequestMethod, to, body string) (*sip.Response, error) {
	return a.request(ctx, a.cfg.User, m, to, body)
}

func (a *Agent) request(ctx context.Context, user string, m sip.RequestMethod, to, body string) (*sip.Response, error) {
	u, err := a.uri(to)
	if err != nil {
		return nil, err
	}
	req := a.newRequest(m, u, sipnode.NewTag(), sipnode.NewTag()+"@ua", 1)
	req.From().Address.User = user
	setBody(req, "text/plain;charset=UTF-8", body)
	res, err := a.roundTrip(ctx, req, func() uint32 { return 2 })
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return res, &StatusError{res.StatusCode, res.Reason, res}
	}
	return res, nil
}
