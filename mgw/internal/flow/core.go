package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Core is a termination towards the core network: plain RTP/AVP on a port pair. Its methods are safe from any goroutine but that of
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
	r.RTP, r.RTCP = unmap(r.RTP), unmap(r.RTCP)
	if !c.w.alive(c.s.t, func() { c.s.setRemote(r) }) {
		return fmt.Errorf("%s: %w", c.id, ErrClosed)
	}
	return nil
}

// Configure replaces the settings. Errors: ErrBadSettings, ErrClosed; then the settings before stay.
func (c *Core) Configure(s Settings) error { return configure(c.w, c.s.t, s) }

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
