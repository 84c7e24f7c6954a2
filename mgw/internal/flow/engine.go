package flow

import (
	"crypto/tls"
	"fmt"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/icetcp"
)

// certLife is the lifetime of a generated certificate; rotation well before is up to the caller (RFC 8827 §6.5).
const certLife = 30 * 24 * time.Hour

// Engine owns the workers, sockets and terminations. Its methods are safe from any goroutine but that of Config.Events.
type Engine struct {
	cfg     Config
	pool    bufpool.Pool
	base    time.Time
	workers []*worker
	// listeners for ICE-TCP; immutable once New is done.
	listeners []*icetcp.Listener
	cores     map[string]*coreRealm // by name; immutable

	mu       sync.Mutex // guards all below
	cert     tls.Certificate
	print    Fingerprint
	accesses map[*Access]struct{}
	coreSet  map[*Core]struct{}
	placed   map[*worker]int // terminations per worker
	closed   bool
	down     chan struct{} // closed when Close is done
}

// New opens the access sockets and starts the workers. Errors: a bad Config, or a socket that cannot be opened; then nothing is left.
func New(cfg Config) (*Engine, error) {
	cfg.defaults()
	e := &Engine{
		cfg: cfg, base: time.Now(), cores: make(map[string]*coreRealm),
		accesses: make(map[*Access]struct{}), coreSet: make(map[*Core]struct{}), placed: make(map[*worker]int), down: make(chan struct{}),
	}
	if err := e.open(); err != nil {
		e.release()
		return nil, err
	}
	addProcessors(len(e.workers))
	for i, w := range e.workers {
		w.quiet = i > 0
		go w.run()
	}
	return e, nil
}

// processors guards the change of GOMAXPROCS, which is the process's.
var processors sync.Mutex

// addProcessors gives each of n workers a processor of Go's scheduler beside those that other goroutines share. A worker under load keeps
// its own while it waits (udpio.Poller.Wait): handed over and back with every wait it would cost more than the packets.
func addProcessors(n int) {
	processors.Lock()
	defer processors.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

func (c *Config) defaults() {
	if c.Workers <= 0 {
		c.Workers = Cores()
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	t := &c.Timers
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.DTLS, 10 * time.Second}, {&t.ICE, 40 * time.Second}, {&t.Quarantine, 2 * time.Second},
		{&t.RTCP, 5 * time.Second}, {&t.Relatch, 10 * time.Second}, {&t.Coalesce, 900 * time.Microsecond},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	t.Coalesce = min(max(t.Coalesce, 0), time.Millisecond)
}

// Close ends every termination and worker and waits until no goroutine, socket or buffer is left. Idempotent.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		<-e.down
		return nil
	}
	e.closed = true
	var ends []func() Stats
	for a := range e.accesses {
		ends = append(ends, a.Close)
	}
	for c := range e.coreSet {
		ends = append(ends, c.Close)
	}
	e.mu.Unlock()
	for _, l := range e.listeners {
		l.Close() // before the workers that it gives to
	}
	for _, end := range ends {
		end()
	}
	for _, w := range e.workers {
		w.close()
	}
	addProcessors(-len(e.workers))
	e.release()
	close(e.down)
	return nil
}

// setCertificate takes cert, or makes one when it is nil.
func (e *Engine) setCertificate(cert *tls.Certificate) error {
	if cert == nil {
		c, err := dtls.NewCertificate(time.Now(), certLife)
		if err != nil {
			return err
		}
		cert = &c
	}
	f, err := dtls.FingerprintOf(*cert)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cert, e.print = *cert, Fingerprint(f)
	return nil
}

// Fingerprint is that of the certificate that new access terminations use.
func (e *Engine) Fingerprint() Fingerprint {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.print
}

// RotateCertificate makes new access terminations use a new generated certificate; associations alive keep theirs (RFC 8827 §6.5).
func (e *Engine) RotateCertificate() error { return e.setCertificate(nil) }

// Counters reads the totals; it does not stop the packet path.
func (e *Engine) Counters() Counters {
	e.mu.Lock()
	c := Counters{Accesses: len(e.accesses), Cores: len(e.coreSet)}
	e.mu.Unlock()
	for _, r := range e.cores {
		c.PortPairs += r.ports.InUse()
	}
	c.Buffers = e.pool.Out()
	for _, l := range e.listeners {
		c.StreamsRefused += l.Refused.Load()
		unknown, _ := l.Counts()
		c.StreamsUnknown += unknown
	}
	for _, w := range e.workers {
		c.PacketsReceived += w.count.received.Load()
		c.PacketsSent += w.count.sent.Load()
		c.Dropped += w.count.stray.Load()
		c.Unsent += w.count.lost.Load()
		c.WakeUps += w.count.wakeups.Load()
		c.Batches += w.count.batches.Load()
		for r := range c.Refused {
			c.Refused[r] += w.count.refused[r].Load()
		}
		for _, as := range w.access {
			taken, answered := as.mux.Checks()
			c.ChecksTaken, c.ChecksAnswered = c.ChecksTaken+taken, c.ChecksAnswered+answered
		}
	}
	return c
}

// Connect makes the two flows between a and c; what passes is up to their settings. A termination has one partner at a time.
// Errors: ErrConnected, ErrOtherWorker, ErrClosed. Connecting what is already connected to each other does nothing.
func (e *Engine) Connect(a AccessEnd, c *Core) error {
	w, t := a.stream()
	if w != c.w {
		return fmt.Errorf("%s, %s: %w", a.ID(), c.id, ErrOtherWorker)
	}
	err := ErrClosed
	w.do(func() { err = connect(t, c.s.t) })
	if err != nil {
		return fmt.Errorf("%s, %s: %w", a.ID(), c.id, err)
	}
	return nil
}

// Disconnect ends the flows between a and c, if there are any. It never fails for terminations that are closed.
func (e *Engine) Disconnect(a AccessEnd, c *Core) error {
	w, t := a.stream()
	w.do(func() {
		if t.partner == c.s.t {
			t.disconnect()
		}
	})
	return nil
}
