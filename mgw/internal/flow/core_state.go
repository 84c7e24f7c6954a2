package flow

import (
	"net/netip"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// coreState is the core half of a termination. Owned by the worker.
type coreState struct {
	t       *term
	rtp     *udpio.Socket
	rtcp    *udpio.Socket
	round   uint64 // round of the last read, to see bursts
	mux     bool
	secure  bool // only SRTP passes
	sources gate.Sources

	c       *Core
	keys    [2]uint32  // poll keys of rtp and rtcp
	remote  CoreRemote // as signalled
	crypto  coreKeys
	latched netip.AddrPort // zero: nothing learnt
}

// setRemote takes a remote description that check has passed.
func (c *coreState) setRemote(now int64, r CoreRemote) error {
	if err := c.setCrypto(now, r.Secure, r.Crypto); err != nil {
		return err
	}
	keep := c.latched.IsValid() && r.Latch == LatchOn && r.RTP == c.remote.RTP && c.remote.Latch != LatchOff
	c.remote, c.mux = r, r.Mux
	filter := gate.Filter{Prefixes: r.Filter, Min: r.FilterPorts[0], Max: r.FilterPorts[1]}
	if r.Latch == Relatch && c.latched.IsValid() {
		c.sources.Relatch(c.latched, filter, now+int64(c.t.w.cfg.Timers.Relatch))
		keep = true
	}
	if keep {
		c.aim(c.latched, c.latchedRTCP())
		return nil
	}
	c.latched = netip.AddrPort{}
	if r.Latch == LatchOff {
		c.sources.Strict(r.RTP, filter)
		c.sources.SignalledRTCP(r.RTCP)
	} else {
		c.sources.Latch(filter)
	}
	c.aim(r.RTP, r.RTCP)
	return nil
}

// aim directs what we send. rtcp zero: the next port (RFC 3550 §11).
func (c *coreState) aim(media, control netip.AddrPort) {
	o := &c.t.out
	o.addr, o.rtcp.addr = udpio.Addr{}, udpio.Addr{}
	if !media.IsValid() || media.Port() == 0 {
		return
	}
	o.addr = c.rtp.Addr(media)
	o.rtcp.sock = c.rtcp
	switch {
	case c.mux:
		o.rtcp.sock, o.rtcp.addr = c.rtp, o.addr
	case control.IsValid() && control.Port() != 0:
		o.rtcp.addr = c.rtcp.Addr(control)
	case media.Port() != 65535:
		o.rtcp.addr = c.rtcp.Addr(netip.AddrPortFrom(media.Addr(), media.Port()+1))
	}
}

// media takes an RTP datagram and returns what leaves.
func (c *coreState) media(now int64, src netip.AddrPort, b []byte) []byte {
	t := c.t
	if !c.sources.Admit(now, src) {
		return t.drop(gate.Source)
	}
	if c.secure {
		if _, err := rtp.ParseHeader(b); err != nil {
			return t.drop(gate.Malformed)
		}
		plain, err := c.open(now, b, false)
		if err != nil {
			return t.drop(refused(err))
		}
		b = plain
	}
	if c.sources.Latching(src) && !c.latch(src, b) {
		return nil
	}
	return t.media(now, b)
}

// latch locks on src if b is valid media of the peer (H.248.37): garbage that hits the port first must not capture it. With SRTP b has
// been authenticated.
func (c *coreState) latch(src netip.AddrPort, b []byte) bool {
	p, err := rtp.Parse(b)
	if err != nil {
		c.t.drop(gate.Malformed)
		return false
	}
	if c.t.in.types[p.PT()] == 0 {
		c.t.drop(gate.PayloadType)
		return false
	}
	c.sources.Learn(src)
	c.latched = src
	c.aim(src, c.latchedRTCP())
	c.t.emit(Event{Kind: Latched, Addr: src})
	return true
}

// latchedRTCP is where reports go beside the latched address: as signalled when that was right, else unknown.
func (c *coreState) latchedRTCP() netip.AddrPort {
	if c.latched == c.remote.RTP {
		return c.remote.RTCP
	}
	return netip.AddrPort{}
}

// control takes an RTCP datagram.
func (c *coreState) control(now int64, src netip.AddrPort, b []byte) {
	if !c.sources.AdmitRTCP(src) {
		c.t.in.drops.Count(gate.Source)
		return
	}
	if c.secure {
		plain, err := c.open(now, b, true)
		if err != nil {
			c.t.in.drops.Count(refused(err))
			return
		}
		b = plain
	}
	c.t.control(now, b)
}
