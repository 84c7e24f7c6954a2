package siptransport

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// KeepAlive says how connections that we opened are kept alive: by a double CRLF, which the peer answers with a single one
// (RFC 5626 §3.5.1). Connections that the peer opened are the peer's to keep.
type KeepAlive struct {
	// Mode: KeepNegotiated (default) sends them when the peer has agreed to take them (RFC 6223), KeepAlways from the start,
	// KeepNever not at all.
	Mode KeepMode
	// Interval is the longest time between two of them; each wait is drawn between 80 and 100 % of it (RFC 5626 §4.4.1).
	// A peer that names an interval of its own gets that. Default 95 s.
	Interval time.Duration
	// Patience is how long the peer may be silent after one before the connection counts as dead, default 10 s (RFC 5626 §4.4.1).
	Patience time.Duration
}

// KeepMode tells when keep-alives are sent.
type KeepMode uint8

// The modes.
const (
	KeepNegotiated KeepMode = iota
	KeepAlways
	KeepNever
)

func (k KeepAlive) withDefaults() KeepAlive {
	if k.Interval == 0 {
		k.Interval = 95 * time.Second
	}
	if k.Patience == 0 {
		k.Patience = 10 * time.Second
	}
	return k
}

var (
	errNoPong  = errors.New("siptransport: no answer to a keep-alive")
	doubleCRLF = []byte("\r\n\r\n")
)

// keeper is what the reader of a connection tells the writer, who sends the keep-alives.
type keeper struct {
	agreed  chan time.Duration // the peer takes keep-alives, every so long (0: ours to say); cap 1, full: one is enough
	waiting atomic.Bool        // the writer wants to know of life
	life    chan struct{}      // something was received; cap 1, full: told already
	done    bool               // agreed has been told; owned by the reader
}

func newKeeper() *keeper {
	return &keeper{agreed: make(chan time.Duration, 1), life: make(chan struct{}, 1)}
}

// heard tells that the peer lives: any byte will do, a pong is one.
func (k *keeper) heard() {
	if !k.waiting.Load() {
		return
	}
	select {
	case k.life <- struct{}{}:
	default:
	}
}

// AsksKeep implements KeepAsker.
func (c *tcpConn) AsksKeep() bool {
	return !c.inbound && c.t.cfg.KeepAlive.Mode == KeepNegotiated
}

// seen looks in a response for the peer's consent: keep with a value in our Via (RFC 6223 §4.3).
func (c *tcpConn) seen(m *headers.Msg) {
	if c.done || !c.AsksKeep() || !strings.Contains(m.Get("Via"), "keep=") {
		return
	}
	via, err := headers.TopVia(m)
	if err != nil {
		return
	}
	n, err := strconv.ParseUint(via.Params.Value("keep"), 10, 31)
	if err != nil {
		return
	}
	c.done = true
	c.agreed <- time.Duration(n) * time.Second // the first and only one: cap 1
}

// pinger is the writer's state.
type pinger struct {
	cfg     KeepAlive
	every   time.Duration // 0: none are sent
	timer   *time.Timer   // until the next one, or until the end of patience
	waiting bool          // one is out and nothing has been received since
	k       *keeper
}

func newPinger(cfg KeepAlive, k *keeper, inbound bool) *pinger {
	p := &pinger{cfg: cfg, k: k, timer: time.NewTimer(time.Hour)}
	p.timer.Stop()
	if !inbound && cfg.Mode == KeepAlways {
		p.every = cfg.Interval
		p.next()
	}
	return p
}

func (p *pinger) stop() { p.timer.Stop() }

// next sets the time of the next keep-alive.
func (p *pinger) next() {
	p.timer.Reset(time.Duration((0.8 + 0.2*rand.Float64()) * float64(p.every)))
}

// agree begins with keep-alives. A peer may not make us send more than one per second.
func (p *pinger) agree(every time.Duration) {
	if every == 0 {
		every = p.cfg.Interval
	}
	p.every = max(every, time.Second)
	if !p.waiting {
		p.next()
	}
}

// sends notes that a keep-alive goes out; what was received before it is no answer.
func (p *pinger) sends() {
	select {
	case <-p.k.life:
	default:
	}
	p.waiting = true
	p.k.waiting.Store(true)
	p.timer.Reset(p.cfg.Patience)
}

// alive notes that something was received.
func (p *pinger) alive() {
	if p.waiting {
		p.waiting = false
		p.k.waiting.Store(false)
		p.next()
	}
}
