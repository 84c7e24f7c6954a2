package turnserver

import (
	"crypto/tls"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config says where the server listens and what it allows. Zero limits take the defaults of withDefaults.
type Config struct {
	UDP, TCP, TLS []netip.AddrPort
	// Certificate serves TLS; needed with TLS listeners.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	Realm   string
	Secrets func() []string // shared with those who make credentials; any is good. Not to be changed by us
	Relay   Relay
	Peers   Peers
	Quota   Quota

	MaxAge time.Duration // longest life of an allocation, however it is refreshed; default 12 h
	Skew   time.Duration // how long a credential is taken after its expiry, for clocks that differ; default 30 s

	Metrics prometheus.Registerer
	Log     *zap.Logger
	Now     func() time.Time // nil: time.Now
}

// Relay is where relayed addresses are.
type Relay struct {
	Listen           netip.Addr
	Advertise        netip.Addr // told to clients; zero: Listen
	PortMin, PortMax uint16     // UDP, inclusive
}

// Peers are whom a relayed address may reach: media ports of our own, and what an operator adds.
type Peers struct {
	Own      []OwnPeer
	Prefixes []netip.Prefix // any port
}

// OwnPeer is a range of our own ports. Clients know them by Advertise, the packets go to Local: no NAT has to turn them round.
type OwnPeer struct {
	Local            netip.Addr // may be unspecified: any address of this machine
	Advertise        netip.Addr
	PortMin, PortMax uint16 // inclusive
}

// Quota bounds what clients take.
type Quota struct {
	Total       int // allocations; default 1000
	PerUser     int // allocations of one user; default 24
	PerSource   int // allocations, and twice as many connections, of one source address (IPv6: /64); default 200
	Connections int // TCP and TLS connections; default 2000
	Bandwidth   int // bit/s of payload of an allocation, each way; default 2,000,000
	Requests    int // STUN requests per second of one source, and four times as many at once; default 50
}

// Times that are not an operator's concern.
const (
	handshakeTime = 5 * time.Second  // of TLS
	frameTime     = 10 * time.Second // from the first byte of a message over TCP to its last
	idleTime      = 30 * time.Second // of a connection without allocation, from its start or the end of its last one
	writeTime     = 5 * time.Second  // until a client that does not read is given up
	acceptPause   = 50 * time.Millisecond
)

// maxMessage bounds a message of a client, in bytes: what a path of 1500 bytes carries, with the TURN header. Longer ones are refused.
const maxMessage = 1600

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *int
		value int
	}{{&c.Quota.Total, 1000}, {&c.Quota.PerUser, 24}, {&c.Quota.PerSource, 200}, {&c.Quota.Connections, 2000}, {&c.Quota.Bandwidth, 2_000_000}, {&c.Quota.Requests, 50}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.MaxAge == 0 {
		c.MaxAge = 12 * time.Hour
	}
	if c.Skew == 0 {
		c.Skew = 30 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if !c.Relay.Advertise.IsValid() {
		c.Relay.Advertise = c.Relay.Listen
	}
	return c
}

// addrPort is the address of a socket, IPv4 as such.
func addrPort(a net.Addr) netip.AddrPort {
	var p netip.AddrPort
	switch a := a.(type) {
	case *net.UDPAddr:
		p = a.AddrPort()
	case *net.TCPAddr:
		p = a.AddrPort()
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// source is what one party cannot have many of: an IPv4 address, or the /64 of an IPv6 one.
func source(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is6() {
		p, _ := a.Prefix(64) // 64 is in range
		return p.Addr()
	}
	return a
}
