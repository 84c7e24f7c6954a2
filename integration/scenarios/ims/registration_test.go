package ims

import (
	"regexp"
	"strings"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
)

// fromGateway are the messages of this user that the gateway sent to the core.
func (p *party) fromGateway(what string) []peer.Message {
	p.t.Helper()
	var out []peer.Message
	for _, m := range p.tapped(func(m kamailio.Message) bool { return m.From.Addr().String() == netns.Here }) {
		if m.Is(what) && strings.Contains(m.Get("From")+m.Get("To"), ":"+p.user+"@") {
			out = append(out, m)
		}
	}
	return out
}

// toGateway are those that the core sent to it.
func (p *party) toGateway(what string) []peer.Message {
	p.t.Helper()
	var out []peer.Message
	for _, m := range p.tapped(func(m kamailio.Message) bool { return m.To.Addr().String() == netns.Here }) {
		if m.Is(what) && strings.Contains(m.Get("From")+m.Get("To"), ":"+p.user+"@") {
			out = append(out, m)
		}
	}
	return out
}

var icid = regexp.MustCompile(`icid-value="?([^";]+)`)

// registered: what the P-CSCF adds to a REGISTER and keeps of its 200; and the subscription to the reg event.
func registered(p *party) {
	seen := map[string]bool{}
	all := p.fromGateway("REGISTER")
	for _, m := range all {
		p.has(m, "P-Visited-Network-ID: ", visited, "Path: <sip:", "@"+gateway+";", "Require: path", "orig-ioi="+ioi, "P-Access-Network-Info: "+access, "+sip.instance=", "reg-id=1", "!Security-")
		id := icid.FindStringSubmatch(m.Get("P-Charging-Vector"))
		if id == nil || seen[id[1]] {
			p.t.Errorf("P-Charging-Vector %q, want an icid of its own", m.Get("P-Charging-Vector"))
			continue
		}
		seen[id[1]] = true
	}
	if len(all) != 2 {
		p.t.Errorf("%d REGISTERs reached the core, want one and one with the digest", len(all))
	}
	b, err := p.core.Bindings(p.ctx, p.user)
	p.ok(err)
	if len(b) != 1 || !strings.Contains(b[0].Path, "@"+gateway) || b[0].RegID != 1 || b[0].Instance == "" {
		p.t.Errorf("bindings %+v", b)
	}
	p.until("a reg event", func() (bool, any) { return len(p.toGateway("NOTIFY")) > 0, nil })
	s := p.fromGateway("SUBSCRIBE")
	if len(s) == 0 {
		p.t.Fatal("no subscription")
	}
	p.has(s[0], "Event: reg", "Route: <sip:orig@"+sipCore+";lr>", "P-Asserted-Identity: <sip:"+gateway+">", "Accept: application/reginfo+xml")

	bob := p.waits("bob", "uas", 440, nil)
	id := p.dial(bob.name)
	p.inState(id, "connected")
	invite := p.fromGateway("INVITE")[0]
	p.has(invite, "Route: <sip:orig@"+sipCore+";lr>", "P-Asserted-Identity: ", "<sip:"+p.user+"@"+domain+">", "icid-value=", "orig-ioi="+ioi)
	if id := icid.FindStringSubmatch(invite.Get("P-Charging-Vector")); id == nil || seen[id[1]] {
		p.t.Errorf("P-Charging-Vector %q, want an icid of its own", invite.Get("P-Charging-Vector"))
	}
	p.ok(p.alice.Hangup(p.ctx, id))
	bob.done()
}

// deregistered: the network ends the registration: the call ends with a BYE to both sides and the browser's connection closes.
func deregistered(p *party) {
	bob := p.waits("bob", "uas", 440, nil)
	id := p.dial(bob.name)
	bob.media(bob.got(1, "INVITE").Body)
	p.talking(id, bob)
	p.until("a reg event", func() (bool, any) { return len(p.toGateway("NOTIFY")) > 0, nil })
	closed := p.closings()
	p.ok(p.core.Unbind(p.ctx, p.user))
	p.has(bob.got(1, "BYE"), "Reason: ")
	bob.done()
	p.inState(id, "ended")
	p.until("the browser's connection to be closed", func() (bool, any) { n := p.closings(); return n > closed, n })
	var last peer.Message
	for _, last = range p.toGateway("NOTIFY") {
	}
	p.has(last, "application/reginfo+xml", "terminated")
}

// closings counts how often the page lost its connection.
func (p *party) closings() int {
	p.t.Helper()
	n, err := p.alice.Lost(p.ctx)
	p.ok(err)
	return n
}
