// Package siptransport carries SIP messages over sockets: UDP, TCP and TLS here, WebSocket connections as links given by the
// access edge. Floor 1 of mgc. Owners: one reader goroutine per UDP socket, a reader and a writer per TCP or TLS connection, one
// acceptor per listener; each ends with its Close.
//
// Walk of an incoming message:
//
//	socket -> framing -> headers.Read (400 when refused) -> admission (403) -> received/rport stamped -> Sink.OnMessage
//
// The reader calls the Sink itself, so the messages of one connection keep their order and a slow Sink slows its sender.
// Nothing is remembered of a UDP source. A TLS transport is a TCP one with a Security: the handshake comes before the first
// message, and connections are told apart by the name that their certificate was checked for, too.
package siptransport

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Errors of sending.
var (
	// ErrFlowGone: the connection that a Target names does not exist (any more). It is never dialled; the answer to a
	// request that needed it is 430 (RFC 5626 §5.3.1).
	ErrFlowGone = errors.New("siptransport: flow is gone")
	// ErrQueueFull: the peer does not read; the message is dropped.
	ErrQueueFull = errors.New("siptransport: send queue is full")
	// ErrClosed: the transport is shut.
	ErrClosed = errors.New("siptransport: closed")
	// ErrNoTransport: no listener can reach the address (transport or address family).
	ErrNoTransport = errors.New("siptransport: no transport for this address")
)

// Edge is the side of the gateway a message came from.
type Edge uint8

// The two sides.
const (
	EdgeAccess Edge = iota + 1 // browsers
	EdgeCore                   // IMS core or SIP PBX
)

// String returns "access" or "core".
func (e Edge) String() string {
	switch e {
	case EdgeAccess:
		return "access"
	case EdgeCore:
		return "core"
	}
	return "none"
}

// Flow identifies where a message came from: a connection, or a UDP source as seen by one of our sockets. A plain value.
type Flow struct {
	ID        string         // unique for ever for WS, TCP and TLS connections; "" for UDP
	Transport string         // "WS", "WSS", "UDP", "TCP", "TLS"
	Remote    netip.AddrPort // IPv4 unmapped; behind a trusted proxy the address it reports
	Local     netip.AddrPort // our socket
	Edge      Edge
	Trusted   bool // TLS: the peer's certificate makes it one of ours (Security.Trust); set on what was received
}

// Target says where a request shall go. The first that is set counts: FlowID, Addr, URI; all zero means the configured next hop.
type Target struct {
	FlowID    string         // this existing connection, never dial
	Transport string         // with Addr: "UDP" (default), "TCP" or "TLS"
	Addr      netip.AddrPort // core side, no resolution
	Name      string         // with Addr and TLS: what the certificate must name; "": the address
	URI       string         // SIP URI to resolve by RFC 3263
}

// Hop is one resolved place to try.
type Hop struct {
	FlowID    string // set: this connection, the rest is zero
	Transport string
	Addr      netip.AddrPort
	Name      string // TLS: the SIP domain or address that the peer's certificate must name (RFC 5922 §7.3); else ""
	Fallback  bool   // tried only because the hop before it failed on another transport (RFC 3261 §18.1.1)
}

// Link is a way to one peer. Safe for concurrent use.
type Link interface {
	// Flow describes the link; the Flow of a message received over the same connection has the same ID.
	Flow() Flow
	// SentBy is host[:port] for the Via of requests sent here.
	SentBy() string
	// Send queues or writes one message and takes ownership of it. It never blocks for long. Errors: ErrFlowGone,
	// ErrQueueFull, or that of the socket; a later failure of the connection is told by Sink.OnClosed.
	Send(msg []byte) error
}

// KeepAsker is a Link on which keep-alives are wanted: the Via of requests over it says so (RFC 6223 §4.3).
type KeepAsker interface{ AsksKeep() bool }

// Sink takes what the transports receive. The transaction layer implements it.
type Sink interface {
	// OnMessage is called for every valid, admitted and stamped message, in order for one connection, from its reader.
	OnMessage(m headers.Msg, from Flow)
	// OnClosed is called once when a connection with a Flow.ID is gone or could not be made.
	OnClosed(flow Flow, err error)
}

// Network finds links. The core edge implements it on its sockets and on the shared table of flows.
type Network interface {
	// Known returns the hops of a target that needs no waiting: a flow, an address, a numeric host, a cached name.
	Known(to Target) ([]Hop, bool)
	// Resolve returns the hops of a target in the order to try them; it may ask the DNS until ctx ends.
	Resolve(ctx context.Context, to Target) ([]Hop, error)
	// Expand returns the hops to try for a message of size bytes: a UDP hop becomes TCP and then UDP when it is too big.
	Expand(hop Hop, size int) []Hop
	// Failed tells that a hop could not be reached, was silent or is overloaded, so that others are preferred for a while: for
	// at least the time that it asked for (Retry-After of a 503), 0 when it did not.
	Failed(hop Hop, retryAfter time.Duration)
	// Reached tells that a hop has answered.
	Reached(hop Hop)
	// Localize writes our address as the peer at the end of over must see it into the fields of m that name us. m is a
	// request of ours (then req is its content, too) or our response to req. It replaces m.Fields, and writes into nothing that
	// it was given.
	Localize(m, req *headers.Msg, over Flow)
	// Link returns the link of a hop. It never blocks: a connection that must be dialled is dialled behind it.
	Link(hop Hop) (Link, error)
	// Reply returns the link for responses to a request that came from the flow with this top Via (RFC 3261 §18.2.2).
	Reply(from Flow, via headers.Via) (Link, error)
}

// Reliable reports whether a transport delivers or fails, so that transactions need not retransmit.
func Reliable(transport string) bool { return !strings.EqualFold(transport, "UDP") }

// NewFlowID returns an id for a connection that no other connection of any instance ever had or will have.
func NewFlowID() string {
	var b [15]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
