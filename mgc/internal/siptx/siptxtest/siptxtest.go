// Package siptxtest is a network of links in memory for tests of transaction users: no socket, no goroutine, works under
// testing/synctest. Floor 2 of mgc, for tests only.
package siptxtest

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Network records what is sent and lets a test decide what fails. Safe for concurrent use.
type Network struct {
	mu     sync.Mutex // guards what follows
	sent   []Sent
	links  map[string]*link              // by flow id or transport/address
	names  map[string][]siptransport.Hop // for URI targets
	broken map[string]error              // by link key: Send fails
	failed []siptransport.Hop            // told by Failed

	retryAfter time.Duration      // told by the last Failed
	reached    []siptransport.Hop // told by Reached

	tcp    bool            // Expand makes TCP of big UDP messages
	filter func(Sent) bool // false: the network loses it
}

// Sent is one message that a layer handed to a link.
type Sent struct {
	Msg  headers.Msg
	Flow siptransport.Flow // of the link; its ID is "" for UDP
}

// New returns an empty network.
func New() *Network {
	return &Network{links: make(map[string]*link), names: make(map[string][]siptransport.Hop), broken: make(map[string]error)}
}

// AccessFlow returns the flow of a browser with the id.
func AccessFlow(id string) siptransport.Flow {
	return siptransport.Flow{ID: id, Transport: "WS", Edge: siptransport.EdgeAccess,
		Remote: netip.MustParseAddrPort("198.51.100.7:50000"), Local: netip.MustParseAddrPort("192.0.2.1:80")}
}

// CoreFlow returns the flow of a UDP peer on the core side.
func CoreFlow(addr string) siptransport.Flow {
	return siptransport.Flow{Transport: "UDP", Edge: siptransport.EdgeCore,
		Remote: netip.MustParseAddrPort(addr), Local: netip.MustParseAddrPort("192.0.2.1:5060")}
}

// AddFlow makes a connection known under its id.
func (n *Network) AddFlow(f siptransport.Flow) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[f.ID] = &link{n: n, key: f.ID, flow: f}
}

// DropFlow forgets a connection; tell the layer by OnClosed, too.
func (n *Network) DropFlow(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, id)
}

// Name sets what a URI resolves to. A URI without a name set fails to resolve.
func (n *Network) Name(uri string, hops ...siptransport.Hop) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.names[uri] = hops
}

// Break makes sending over a connection (flow id) or to a place ("UDP 192.0.2.9:5060") fail.
func (n *Network) Break(key string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broken[key] = err
}

// Lose sets what the network loses: keep returns false for a message that shall not be recorded. nil: nothing is lost.
func (n *Network) Lose(keep func(Sent) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.filter = keep
}

// SwitchToTCP makes Expand behave as RFC 3261 §18.1.1 above 1300 bytes.
func (n *Network) SwitchToTCP() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tcp = true
}

// Take returns what has been sent since the last Take.
func (n *Network) Take() []Sent {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.sent
	n.sent = nil
	return out
}

// FailedHops returns the hops that were told to have failed.
func (n *Network) FailedHops() []siptransport.Hop {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]siptransport.Hop(nil), n.failed...)
}

// Known implements siptransport.Network: flows and addresses.
func (n *Network) Known(to siptransport.Target) ([]siptransport.Hop, bool) {
	switch {
	case to.FlowID != "":
		return []siptransport.Hop{{FlowID: to.FlowID}}, true
	case to.Addr.IsValid():
		t := to.Transport
		if t == "" {
			t = "UDP"
		}
		return []siptransport.Hop{{Transport: t, Addr: to.Addr}}, true
	}
	return nil, false
}

// Resolve implements siptransport.Network: the names set by Name.
func (n *Network) Resolve(ctx context.Context, to siptransport.Target) ([]siptransport.Hop, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if hops := n.names[to.URI]; hops != nil {
		return hops, ctx.Err()
	}
	return nil, errors.New("siptxtest: unknown name")
}

// Expand implements siptransport.Network.
func (n *Network) Expand(hop siptransport.Hop, size int) []siptransport.Hop {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.tcp || hop.Transport != "UDP" || size <= 1300 {
		return []siptransport.Hop{hop}
	}
	return []siptransport.Hop{{Transport: "TCP", Addr: hop.Addr}, {Transport: "UDP", Addr: hop.Addr, Fallback: true}}
}

// Failed implements siptransport.Network.
func (n *Network) Failed(hop siptransport.Hop, retryAfter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failed = append(n.failed, hop)
	n.retryAfter = retryAfter
}

// Reached implements siptransport.Network.
func (n *Network) Reached(hop siptransport.Hop) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reached = append(n.reached, hop)
}

// Localize implements siptransport.Network: there is one address.
func (n *Network) Localize(_, _ *headers.Msg, _ siptransport.Flow) {}

// RetryAfter returns what the last Failed was told.
func (n *Network) RetryAfter() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.retryAfter
}

// ReachedHops returns the hops that were told to have answered.
func (n *Network) ReachedHops() []siptransport.Hop {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]siptransport.Hop(nil), n.reached...)
}

// Link implements siptransport.Network.
func (n *Network) Link(hop siptransport.Hop) (siptransport.Link, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if hop.FlowID != "" {
		if l := n.links[hop.FlowID]; l != nil {
			return l, nil
		}
		return nil, siptransport.ErrFlowGone
	}
	key := hop.Transport + " " + hop.Addr.String()
	l := n.links[key]
	if l == nil {
		f := CoreFlow(hop.Addr.String())
		if f.Transport = hop.Transport; hop.Transport != "UDP" {
			f.ID = key
		}
		l = &link{n: n, key: key, flow: f}
		n.links[key] = l
	}
	return l, nil
}

// Reply implements siptransport.Network.
func (n *Network) Reply(from siptransport.Flow, _ headers.Via) (siptransport.Link, error) {
	if from.ID != "" {
		return n.Link(siptransport.Hop{FlowID: from.ID})
	}
	return n.Link(siptransport.Hop{Transport: from.Transport, Addr: from.Remote})
}

type link struct {
	n    *Network
	key  string
	flow siptransport.Flow
}

// Flow implements siptransport.Link.
func (l *link) Flow() siptransport.Flow { return l.flow }

// SentBy implements siptransport.Link.
func (l *link) SentBy() string { return l.flow.Local.String() }

// Send implements siptransport.Link.
func (l *link) Send(raw []byte) error {
	m, err := headers.Read(raw, headers.Framed)
	if err != nil {
		return err
	}
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	if err := l.n.broken[l.key]; err != nil {
		return err
	}
	s := Sent{Msg: m, Flow: l.flow}
	if l.n.filter == nil || l.n.filter(s) {
		l.n.sent = append(l.n.sent, s)
	}
	return nil
}
