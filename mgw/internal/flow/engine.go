package flow

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/icetcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/stamp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

const (
	// accessBuffer is asked of the kernel for the sockets that all browsers of a worker share: 100 ms of 20,000 packets per second.
	accessBuffer = 4 << 20
	// coreBuffer is for one peer.
	coreBuffer = 64 << 10
	// certLife is the lifetime of a generated certificate; rotation well before is up to the caller (RFC 8827 §6.5).
	certLife = 30 * 24 * time.Hour
)

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
	for _, w := range e.workers {
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
		c.Workers = runtime.NumCPU()
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

// open makes certificate, realms, workers and access sockets.
func (e *Engine) open() error {
	if len(e.cfg.Access)+len(e.cfg.Core) == 0 {
		return errors.New("flow: no realms")
	}
	if err := e.setCertificate(e.cfg.Certificate); err != nil {
		return err
	}
	for _, r := range e.cfg.Core {
		realm, err := newCoreRealm(r, e.cfg.Timers.Quarantine)
		if err != nil {
			return err
		}
		if e.cores[r.Name] != nil {
			return fmt.Errorf("flow: realm %q twice", r.Name)
		}
		e.cores[r.Name] = realm
	}
	for i := range e.cfg.Workers {
		w, err := newWorker(&e.cfg, e.base, e.cfg.Logger)
		if err != nil {
			return err
		}
		e.workers = append(e.workers, w)
		for _, r := range e.cfg.Access {
			if err := e.openAccess(w, r, i); err != nil {
				return err
			}
		}
	}
	for _, r := range e.cfg.Access {
		if r.TCP == 0 {
			continue
		}
		if err := e.listenTCP(r); err != nil {
			return fmt.Errorf("flow: realm %q: %w", r.Name, err)
		}
	}
	return nil
}

// openAccess opens the port of worker w, the i-th, in realm r.
func (e *Engine) openAccess(w *worker, r AccessRealm, i int) error {
	for _, as := range w.access {
		if as.realm == r.Name {
			return fmt.Errorf("flow: realm %q twice", r.Name)
		}
	}
	port := 0
	if r.Port != 0 {
		port = int(r.Port) + i
	}
	if port > 65535 || !r.Listen.IsValid() {
		return fmt.Errorf("flow: realm %q: no port for worker %d", r.Name, i)
	}
	s, err := udpio.Open(netip.AddrPortFrom(r.Listen, uint16(port)), udpio.Options{ReceiveBuffer: accessBuffer, SendBuffer: accessBuffer})
	if err != nil {
		return fmt.Errorf("flow: realm %q: %w", r.Name, err)
	}
	advertise := r.Advertise
	if !advertise.IsValid() {
		advertise = r.Listen
	}
	as := &accessSock{
		component: 1, realm: r.Name, sock: s, paths: make(map[netip.AddrPort]*path), w: w, pool: &e.pool, streams: make(map[netip.AddrPort]*stream),
	}
	as.mux = ice.NewMux(netip.AddrPortFrom(advertise.Unmap(), s.Local().Port()), as.sendControl, &e.pool)
	as.mux.UseClock(w.monotonic)
	w.access = append(w.access, as)
	if r.RTCP {
		if as.apart, err = e.openApart(w, r, i); err != nil {
			return err
		}
	}
	if _, err = w.watch(s, sockRef{access: as}); err != nil || !r.Second.IsValid() {
		return err
	}
	if r.Second.Unmap().Is6() == r.Listen.Unmap().Is6() {
		return fmt.Errorf("flow: realm %q: both addresses are of one family", r.Name)
	}
	if as.second, err = udpio.Open(netip.AddrPortFrom(r.Second, s.Local().Port()), udpio.Options{ReceiveBuffer: accessBuffer, SendBuffer: accessBuffer}); err != nil {
		return fmt.Errorf("flow: realm %q: %w", r.Name, err)
	}
	if advertise = r.SecondAdvertise; !advertise.IsValid() {
		advertise = r.Second
	}
	as.secondAddr = netip.AddrPortFrom(advertise.Unmap(), s.Local().Port())
	_, err = w.watch(as.second, sockRef{access: as, second: true})
	return err
}

// release closes what open has made; the workers do not run.
func (e *Engine) release() {
	for _, l := range e.listeners {
		l.Close()
	}
	for _, w := range e.workers {
		for len(w.streams) > 0 {
			w.endStream(w.streams[0])
		}
		for _, as := range w.access {
			_ = as.sock.Close()
			if as.second != nil {
				_ = as.second.Close()
			}
		}
		_ = w.poll.Close()
	}
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

// NewAccess makes an access termination, Inactive and with nothing armed. Errors: ErrUnknownRealm, ErrClosed.
func (e *Engine) NewAccess(spec AccessSpec) (*Access, error) {
	var near *worker
	if spec.Near != nil {
		near = spec.Near.w
	}
	w, err := e.place(near)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.ID, err)
	}
	a, err := e.newAccess(w, spec)
	if err != nil {
		e.unplace(w)
		return nil, fmt.Errorf("%s: %w", spec.ID, err)
	}
	e.mu.Lock()
	closed := e.closed
	e.accesses[a] = struct{}{}
	e.mu.Unlock()
	if closed {
		a.Close()
		return nil, fmt.Errorf("%s: %w", spec.ID, ErrClosed)
	}
	return a, nil
}

func (e *Engine) newAccess(w *worker, spec AccessSpec) (*Access, error) {
	var sock *accessSock
	for _, as := range w.access {
		if as.realm == spec.Realm {
			sock = as
		}
	}
	if sock == nil {
		return nil, fmt.Errorf("%w %q", ErrUnknownRealm, spec.Realm)
	}
	if spec.Apart && sock.apart == nil {
		return nil, fmt.Errorf("%w in realm %q", ErrNoComponent, spec.Realm)
	}
	a := &Access{e: e, w: w, sock: sock, id: spec.ID, full: spec.Full, ssrc: spec.SSRC, cname: spec.CName, ended: make(chan struct{})}
	e.mu.Lock()
	a.cert, a.print = e.cert, e.print
	e.mu.Unlock()
	identity(&a.ssrc, &a.cname)
	a.locals = sock.candidates()
	t := &term{owner: a, w: w}
	a.s = &accessState{t: t, a: a, sock: sock}
	t.access = a.s
	t.out = outbound{secure: true, consent: true, sock: sock.sock, stamp: newStamper(a.ssrc)}
	if spec.Apart {
		a.openApart()
	}
	a.newGeneration()
	w.do(func() { t.begin() })
	return a, nil
}

// candidates are ours on the port: of each address family one of UDP, then one of TCP if there is a port for it.
func (as *accessSock) candidates() []Candidate {
	var out []Candidate
	addrs := []netip.AddrPort{as.mux.Advertise()}
	if as.second != nil {
		addrs = append(addrs, as.secondAddr)
	}
	for i, a := range addrs {
		out = append(out, Candidate{
			Component: as.component, Transport: "udp", Priority: ice.Priority - uint32(i)<<8 - (as.component - 1), Address: a.Addr().String(), Port: a.Port(), Type: "host",
		})
	}
	for i, a := range addrs {
		if as.tcp != 0 {
			out = append(out, Candidate{
				Component: 1, Transport: "tcp", Priority: tcpPriority - uint32(i)<<8, Address: a.Addr().String(), Port: as.tcp, Type: "host", TCPType: "passive",
			})
		}
	}
	for i := range out {
		out[i].Foundation = strconv.Itoa(i + 1)
	}
	return out
}

// NewCore makes a core termination, Inactive and with nothing armed. Errors: ErrUnknownRealm, ErrPortsExhausted, ErrClosed.
func (e *Engine) NewCore(spec CoreSpec) (*Core, error) {
	realm := e.cores[spec.Realm]
	if realm == nil {
		return nil, fmt.Errorf("%s: %w %q", spec.ID, ErrUnknownRealm, spec.Realm)
	}
	var near *worker
	if spec.Near != nil {
		near = spec.Near.w
	}
	w, err := e.place(near)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.ID, err)
	}
	c, err := e.newCore(w, realm, spec)
	if err != nil {
		e.unplace(w)
		return nil, fmt.Errorf("%s: %w", spec.ID, err)
	}
	e.mu.Lock()
	closed := e.closed
	e.coreSet[c] = struct{}{}
	e.mu.Unlock()
	if closed {
		c.Close()
		return nil, fmt.Errorf("%s: %w", spec.ID, ErrClosed)
	}
	return c, nil
}

func (e *Engine) newCore(w *worker, realm *coreRealm, spec CoreSpec) (*Core, error) {
	media, control, even, err := realm.open()
	if err != nil {
		return nil, err
	}
	c := &Core{e: e, w: w, realm: realm, id: spec.ID, cname: spec.CName, even: even, ended: make(chan struct{})}
	ssrc := spec.SSRC
	identity(&ssrc, &c.cname)
	c.local = CoreLocal{RTP: netip.AddrPortFrom(realm.advertise, even), RTCP: netip.AddrPortFrom(realm.advertise, even+1), SSRC: ssrc, CName: c.cname, Keys: newKeys()}
	t := &term{owner: c, w: w}
	c.s = &coreState{t: t, c: c, rtp: media, rtcp: control}
	t.core = c.s
	t.out = outbound{consent: true, sock: media, stamp: newStamper(ssrc)}
	w.do(func() {
		if c.s.keys[0], err = w.watch(media, sockRef{core: c.s}); err != nil {
			return
		}
		if c.s.keys[1], err = w.watch(control, sockRef{core: c.s, rtcp: true}); err != nil {
			w.unwatch(media, c.s.keys[0])
			return
		}
		t.begin()
	})
	if err != nil {
		realm.release(media, control, even)
		return nil, err
	}
	return c, nil
}

// begin starts t on its worker.
func (t *term) begin() {
	t.since = t.w.now
	t.in.heard = t.w.now
	t.w.join(t)
}

// place picks near, or the worker with the fewest terminations.
func (e *Engine) place(near *worker) (*worker, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	w := near
	if w == nil {
		for _, x := range e.workers {
			if w == nil || e.placed[x] < e.placed[w] {
				w = x
			}
		}
	}
	e.placed[w]++
	return w, nil
}

func (e *Engine) unplace(w *worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.placed[w]--
}

// gone forgets a closed termination.
func (e *Engine) gone(w *worker, a *Access, c *Core) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.accesses, a)
	delete(e.coreSet, c)
	e.placed[w]--
}

// Connect makes the two flows between a and c; what passes is up to their settings. A termination has one partner at a time.
// Errors: ErrConnected, ErrOtherWorker, ErrClosed. Connecting what is already connected to each other does nothing.
func (e *Engine) Connect(a *Access, c *Core) error {
	if a.w != c.w {
		return fmt.Errorf("%s, %s: %w", a.id, c.id, ErrOtherWorker)
	}
	err := ErrClosed
	a.w.do(func() { err = connect(a.s.t, c.s.t) })
	if err != nil {
		return fmt.Errorf("%s, %s: %w", a.id, c.id, err)
	}
	return nil
}

// Disconnect ends the flows between a and c, if there are any. It never fails for terminations that are closed.
func (e *Engine) Disconnect(a *Access, c *Core) error {
	a.w.do(func() {
		if a.s.t.partner == c.s.t {
			a.s.t.disconnect()
		}
	})
	return nil
}

// identity fills in what the spec left to us: a random SSRC (RFC 3550 §8.1) and a short-term CNAME (RFC 7022 §4.2).
func identity(ssrc *uint32, cname *string) {
	for *ssrc == 0 {
		*ssrc = random32()
	}
	if *cname == "" {
		var b [12]byte
		_, _ = rand.Read(b[:]) // never fails since Go 1.24
		*cname = base64.StdEncoding.EncodeToString(b[:])
	}
}

func random32() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}

// newStamper starts a stream at random numbers (RFC 3550 §5.1); the sequence in its lower half (RFC 3711 §3.3.1).
func newStamper(ssrc uint32) *stamp.Stamper {
	return stamp.New(stamp.Config{SSRC: ssrc, Seq: uint16(random32()) & 0x7fff, TS: random32()})
}
