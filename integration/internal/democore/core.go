package democore

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// originating is the user part of the Service-Route: a request that carries it comes from a served
// user (TS 24.229 §5.4.1.2.2).
const originating = "orig"

// serverName is written as Server and User-Agent.
const serverName = "Isthmus demo core"

// Core is the running demo core.
type Core struct {
	cfg    Config
	auth   *authenticator
	node   *sipnode.Node
	ready  chan struct{} // closed when node and apps are set
	apps   *apps
	status *http.Server
	statAt netip.AddrPort
	wg     sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	closed   bool
	bindings map[string][]*binding // by user
	calls    map[string]*callRecord
	order    []string // Call-IDs, oldest first
}

// New starts a Core. The caller owns it and must Close it.
func New(cfg Config) (*Core, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	c := &Core{
		cfg: cfg, auth: newAuthenticator(&cfg), ready: make(chan struct{}),
		bindings: map[string][]*binding{}, calls: map[string]*callRecord{},
	}
	node, err := sipnode.Listen(sipnode.Config{
		Listen: cfg.Listen, UserAgent: serverName, Timers: cfg.Timers, Trace: cfg.Trace,
		Warn: func(text string) { c.logf("WARNING   %s", text) },
	}, c)
	if err != nil {
		return nil, fmt.Errorf("democore: %w", err)
	}
	c.node = node
	if c.apps, err = newApps(c); err != nil {
		close(c.ready)
		node.Close()
		return nil, fmt.Errorf("democore: built-in users: %w", err)
	}
	close(c.ready)
	if err := c.serveStatus(); err != nil {
		c.Close()
		return nil, fmt.Errorf("democore: status: %w", err)
	}
	return c, nil
}

// Addr is the SIP address, for UDP and TCP.
func (c *Core) Addr() netip.AddrPort { return c.node.Addr() }

// StatusAddr is the address of the HTTP status, invalid when there is none.
func (c *Core) StatusAddr() netip.AddrPort { return c.statAt }

// Close hangs up the built-in users' calls, then closes everything and waits. Registrations are left
// to expire, as after any restart of a registrar.
func (c *Core) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	err := c.apps.close()
	if c.status != nil {
		err = errors.Join(err, c.status.Close())
	}
	err = errors.Join(err, c.node.Close())
	c.wg.Wait()
	return err
}

func (c *Core) logf(format string, args ...any) {
	if c.cfg.Log != nil {
		c.cfg.Log(fmt.Sprintf(format, args...))
	}
}

// ServeRequest implements sipnode.Handler.
func (c *Core) ServeRequest(tx *sipnode.ServerTx) {
	<-c.ready
	req := tx.Request()
	switch {
	case req.Method == sip.REGISTER && req.Route() == nil || req.Method == sip.REGISTER && c.isOwn(&req.Route().Address):
		c.serveRegister(tx)
	case req.Method == sip.OPTIONS && req.Recipient.User == "" && c.isDomain(&req.Recipient):
		tx.Reply(200, "OK", sip.NewHeader("Allow", allowed))
	default:
		c.proxy(tx)
	}
}

// isDomain reports whether u is at our domain or address.
func (c *Core) isDomain(u *sip.Uri) bool {
	return strings.EqualFold(u.Host, c.cfg.Domain) || c.isOwn(u)
}

// isOwn reports whether u is this element's own address.
func (c *Core) isOwn(u *sip.Uri) bool {
	ip, err := netip.ParseAddr(strings.Trim(u.Host, "[]"))
	if err != nil {
		return strings.EqualFold(u.Host, c.cfg.Domain) && (u.Port == 0 || u.Port == int(c.node.Addr().Port()))
	}
	port := u.Port
	if port == 0 {
		port = 5060
	}
	return ip.Unmap() == c.node.Addr().Addr() && port == int(c.node.Addr().Port())
}

// ownURI is this element's loose-routing URI on a network.
func (c *Core) ownURI(network string) sip.Uri {
	host := c.node.Addr().Addr().String()
	if c.node.Addr().Addr().Is6() {
		host = "[" + host + "]"
	}
	u := sip.Uri{Scheme: "sip", Host: host, Port: int(c.node.Addr().Port()), UriParams: sip.NewParams()}
	if network == sipnode.TCP {
		u.UriParams.Add("transport", "tcp")
	}
	u.UriParams.Add("lr", "")
	return u
}

// callRecord follows a proxied INVITE dialog for the status and for admission of later requests.
type callRecord struct {
	id, from, to string
	started      time.Time
	answered     time.Time
	ended        time.Time
	code         int // final response, 0 while pending
}

// maxCalls records are kept, the oldest ended ones give way first.
const maxCalls = 1000

func (c *Core) recordCall(id, from, to string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[id] != nil {
		return true
	}
	if len(c.order) >= maxCalls && !c.forgetLocked() {
		return false
	}
	c.calls[id] = &callRecord{id: id, from: from, to: to, started: time.Now()}
	c.order = append(c.order, id)
	return true
}

func (c *Core) forgetLocked() bool {
	for i, id := range c.order {
		if !c.calls[id].ended.IsZero() {
			delete(c.calls, id)
			c.order = append(c.order[:i], c.order[i+1:]...)
			return true
		}
	}
	return false
}

// callEvent notes a final response or the end of a call.
func (c *Core) callEvent(id string, code int, over bool) (first *callRecord) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.calls[id]
	if r == nil {
		return nil
	}
	if code != 0 && r.code == 0 {
		r.code = code
		if code < 300 {
			r.answered = time.Now()
		}
		copied := *r
		first = &copied
	}
	if over && r.ended.IsZero() {
		r.ended = time.Now()
		copied := *r
		first = &copied
	}
	return first
}

func (c *Core) knowsCall(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[id] != nil
}

func (c *Core) serveStatus() error {
	if c.cfg.Status == "" {
		return nil
	}
	l, err := net.Listen("tcp", c.cfg.Status)
	if err != nil {
		return err
	}
	c.statAt = l.Addr().(*net.TCPAddr).AddrPort()
	c.status = &http.Server{Handler: c.statusMux(), ReadHeaderTimeout: 5 * time.Second}
	c.wg.Go(func() {
		if err := c.status.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			c.logf("WARNING   status server: %v", err)
		}
	})
	return nil
}
