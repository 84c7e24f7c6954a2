package ice

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/transport/v5"

	"github.com/isthmus-gateway/isthmus/mgw/internal/pionlog"
)

// idle is how often pion's agent loop looks after itself; a lite agent has nothing to send.
const idle = 30 * time.Second

// Priority is that of our only candidate: host, best local preference, component 1 (RFC 8445 §5.1.2.1).
const Priority = 126<<24 | 65535<<8 | 255

// Check is one authenticated connectivity check of the peer.
type Check struct {
	From      netip.AddrPort
	Nominated bool   // From is the remote end of the selected pair
	Priority  uint32 // of the remote candidate, when Nominated
}

// Config of an Agent.
type Config struct {
	Mux *Mux
	Net transport.Net // shared by all agents; pion would enumerate the interfaces for each
	// Checked is called for each authenticated check before its response leaves, from the agent's goroutine. It must not block or
	// call the Agent.
	Checked func(Check)
}

// Agent is one generation of ICE-lite credentials (RFC 8445 §2.5): a restart is a new Agent beside the old one, which stays
// answering until the new one has a nominated pair (RFC 8445 §9).
type Agent struct {
	ufrag, pwd string
	conn       *conn
	agent      *ice.Agent
	cfg        Config
	started    atomic.Bool
	closeOnce  sync.Once
}

// NewAgent makes an agent with fresh credentials; checks that come before Start wait, up to a few. The caller closes it.
func NewAgent(cfg Config) (*Agent, error) {
	a := &Agent{cfg: cfg}
	for {
		a.ufrag, a.pwd = text(ufragLen), text(pwdLen)
		a.conn = newConn(cfg.Mux, a.ufrag, a.answered)
		if cfg.Mux.add(a.ufrag, a.conn) {
			break
		}
	}
	if err := a.open(); err != nil {
		_ = a.conn.Close()
		return nil, fmt.Errorf("ice: %w", err)
	}
	return a, nil
}

func (a *Agent) open() error {
	agent, err := ice.NewAgentWithOptions(
		ice.WithICELite(true),
		ice.WithLocalCredentials(a.ufrag, a.pwd),
		ice.WithUDPMux(a.cfg.Mux),
		ice.WithNet(a.cfg.Net),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithIncludeLoopback(),
		ice.WithDisableActiveTCP(),
		// Consent and failure are watched by the worker, by authenticated checks only: pion counts any packet as a sign of life.
		ice.WithDisconnectedTimeout(0),
		ice.WithFailedTimeout(0),
		ice.WithCheckInterval(idle),
		ice.WithKeepaliveInterval(idle),
		ice.WithLoggerFactory(pionlog.Silent{}),
	)
	if err != nil {
		return err
	}
	a.agent = agent
	gathered := make(chan struct{})
	err = agent.OnCandidate(func(c ice.Candidate) {
		if c == nil {
			close(gathered)
		}
	})
	if err == nil {
		err = agent.GatherCandidates()
	}
	if err != nil {
		return errors.Join(err, agent.GracefulClose())
	}
	<-gathered // there is nothing to wait for but pion's own loop: no network is asked
	return nil
}

// Ufrag is the local username fragment.
func (a *Agent) Ufrag() string { return a.ufrag }

// Pwd is the local password. It is never logged.
func (a *Agent) Pwd() string { return a.pwd }

// Start begins to answer checks of the peer with these credentials. Once. Errors: credentials that RFC 8839 §5.4 forbids, or closed.
func (a *Agent) Start(ufrag, pwd string) error {
	if !a.started.CompareAndSwap(false, true) {
		return errors.New("ice: started twice")
	}
	if _, err := a.agent.StartAccept(ufrag, pwd); err != nil {
		return fmt.Errorf("ice: start: %w", err)
	}
	return nil
}

// Started reports whether Start was called.
func (a *Agent) Started() bool { return a.started.Load() }

// Close ends the agent and waits for its goroutines. Not from Checked. Idempotent.
func (a *Agent) Close() {
	a.closeOnce.Do(func() {
		_ = a.conn.Close()
		_ = a.agent.GracefulClose()
	})
}

// answered is called by the conn when pion answers a check, from pion's loop, after it has accepted a nomination.
func (a *Agent) answered(from netip.AddrPort) {
	c := Check{From: from}
	if pair, err := a.agent.GetSelectedCandidatePair(); err == nil && pair != nil {
		remote := a.conn.real(netip.AddrPortFrom(parseAddr(pair.Remote.Address()), uint16(pair.Remote.Port())))
		c.Nominated, c.Priority = remote == from, pair.Remote.Priority()
	}
	a.cfg.Checked(c)
}

func parseAddr(s string) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

const (
	ufragLen = 8  // 47 bits; RFC 8445 §5.3 asks for 24
	pwdLen   = 24 // 142 bits; RFC 8445 §5.3 asks for 128
	alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
)

// text is n random ice-chars (RFC 8839 §5.4).
func text(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails since Go 1.24
	for i := range b {
		b[i] = alphabet[b[i]&63]
	}
	return string(b)
}
