package flow

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/portset"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// Core is a termination towards the core network: RTP, or SRTP with keys from signalling (RFC 4568), on a port pair. Its methods are safe from any goroutine but that of
// Config.Events.
type Core struct {
	e     *Engine
	w     *worker
	realm *coreRealm
	s     *coreState // owned by the worker
	id    string
	cname string
	local CoreLocal
	even  uint16

	mu     sync.Mutex // guards closed
	closed bool
	ended  chan struct{} // closed when final holds
	final  Stats
}

// ID is that of the spec.
func (c *Core) ID() string { return c.id }

// Local is what the peer must be told.
func (c *Core) Local() CoreLocal { return c.local }

// SetRemote takes the peer's address; it may be called again. Errors: ErrBadRemote, ErrClosed.
func (c *Core) SetRemote(r CoreRemote) error {
	r.Filter = slices.Clone(r.Filter)
	v6 := c.s.rtp.Local().Addr().Is6()
	if r.RTP.IsValid() && r.RTP.Addr().Unmap().Is6() != v6 || r.RTCP.IsValid() && r.RTCP.Addr().Unmap().Is6() != v6 {
		return fmt.Errorf("%s: %w: address family", c.id, ErrBadRemote)
	}
	if a := r.RTP.Addr(); r.RTP.IsValid() && (a.IsMulticast() || a.IsUnspecified() && r.Latch == LatchOff) {
		return fmt.Errorf("%s: %w: address %s", c.id, ErrBadRemote, a)
	}
	if r.Latch > Relatch {
		return fmt.Errorf("%s: %w: latch mode", c.id, ErrBadRemote)
	}
	if r.RTP.Addr().IsUnspecified() {
		r.RTP, r.RTCP = netip.AddrPort{}, netip.AddrPort{} // RFC 3264 §8.4: the old style of hold; nothing to send to
	}
	if err := r.checkCrypto(); err != nil {
		return fmt.Errorf("%s: %w", c.id, err)
	}
	r.RTP, r.RTCP = unmap(r.RTP), unmap(r.RTCP)
	err := ErrClosed
	c.w.alive(c.s.t, func() { err = c.s.setRemote(c.w.now, r) })
	if err != nil {
		return fmt.Errorf("%s: %w", c.id, err)
	}
	return nil
}

// Configure replaces the settings. Errors: ErrBadSettings, ErrClosed; then the settings before stay.
func (c *Core) Configure(s Settings) error { return configure(c.w, c.s.t, s) }

// Play plays signals in the place of those that are playing. Errors: ErrNoCodec, ErrBusy, ErrClosed; then those go on.
func (c *Core) Play(s Signals) error { return play(c.w, c.s.t, s) }

// Stats reads the counters.
func (c *Core) Stats() Stats {
	var s Stats
	if c.w.alive(c.s.t, func() { s = c.s.t.stats() }) {
		return s
	}
	<-c.ended
	return c.final
}

// Close ends the termination, releases its ports and returns the final counters. Idempotent; later calls return the same.
func (c *Core) Close() Stats {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.ended
		return c.final
	}
	c.closed = true
	c.mu.Unlock()

	c.w.do(func() {
		c.final = c.s.t.stats()
		c.s.t.close()
		c.w.unwatch(c.s.rtp, c.s.keys[0])
		c.w.unwatch(c.s.rtcp, c.s.keys[1])
	})
	c.realm.release(c.s.rtp, c.s.rtcp, c.even)
	c.e.gone(c.w, nil, c)
	close(c.ended)
	return c.final
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// coreRealm is the port pairs of one core realm. Safe for concurrent use.
type coreRealm struct {
	name              string
	listen, advertise netip.Addr
	ports             *portset.Set
}

func newCoreRealm(r CoreRealm, quarantine time.Duration) (*coreRealm, error) {
	if !r.Listen.IsValid() {
		return nil, fmt.Errorf("flow: realm %q: no listen address", r.Name)
	}
	ports, err := portset.New(r.PortMin, r.PortMax, quarantine)
	if err != nil {
		return nil, fmt.Errorf("flow: realm %q: %w", r.Name, err)
	}
	c := &coreRealm{name: r.Name, listen: r.Listen, advertise: r.Advertise, ports: ports}
	if !c.advertise.IsValid() {
		c.advertise = r.Listen
	}
	return c, nil
}

// open takes a port pair and binds both halves. A pair that another program holds is skipped, and given back to rest.
func (r *coreRealm) open() (media, control *udpio.Socket, even uint16, err error) {
	var skipped []uint16
	defer func() {
		for _, p := range skipped {
			r.ports.Release(time.Now(), p)
		}
	}()
	for {
		even, err = r.ports.Take(time.Now())
		if errors.Is(err, portset.ErrExhausted) {
			return nil, nil, 0, fmt.Errorf("%w %q", ErrPortsExhausted, r.name)
		}
		if err != nil {
			return nil, nil, 0, err
		}
		if media, control, err = r.bind(even); err == nil {
			return media, control, even, nil
		}
		skipped = append(skipped, even)
		// Another cause, such as too few descriptors, is the same for the next pair.
		if len(skipped) == maxSkipped || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, nil, 0, fmt.Errorf("%w %q: %w", ErrPortsExhausted, r.name, err)
		}
	}
}

// maxSkipped bounds the search for a pair that no other program holds.
const maxSkipped = 1024

func (r *coreRealm) bind(even uint16) (media, control *udpio.Socket, err error) {
	o := udpio.Options{ReceiveBuffer: coreBuffer}
	if media, err = udpio.Open(netip.AddrPortFrom(r.listen, even), o); err != nil {
		return nil, nil, err
	}
	if control, err = udpio.Open(netip.AddrPortFrom(r.listen, even+1), o); err != nil {
		_ = media.Close()
		return nil, nil, err
	}
	return media, control, nil
}

// release closes both sockets and lets the pair rest.
func (r *coreRealm) release(media, control *udpio.Socket, even uint16) {
	_ = media.Close()
	_ = control.Close()
	r.ports.Release(time.Now(), even)
}
