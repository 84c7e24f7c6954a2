package nat

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestBrowserBehindNAT: calls from behind translators of every kind, through firewalls, and to a gateway that is behind one itself.
func TestBrowserBehindNAT(t *testing.T) {
	w := newWorld(t)
	for _, n := range []struct {
		name          string
		home, carrier string
		is            behaviour
	}{
		{"R8445_FullCone", plainHome, fullCone.rules, fullCone.is},
		{"R8445_AddressRestricted", plainHome, addressRestricted.rules, addressRestricted.is},
		{"R8445_PortRestricted", plainHome, portRestricted.rules, portRestricted.is},
		{"R8445_Symmetric", plainHome, symmetric.rules, symmetric.is},
		{"R8445_SymmetricBehindPortRestricted", portRestricted.rules, symmetric.rules, symmetric.is},
	} {
		t.Run(n.name, func(t *testing.T) {
			rules(t, w.home, n.home)
			rules(t, w.carrier, n.carrier)
			if got := probe(t, w.client, wifiAddr); got != n.is {
				t.Fatalf("the translator is %+v, not %+v", got, n.is)
			}
			w.registered(t)
			c := w.talk(t)
			c.goes(gateway+":743", "")
			c.end()
		})
	}
	rules(t, w.home, plainHome)
	for _, f := range []struct{ name, drop, local, relay string }{
		{"R6544_IQ16_UDPBlockedICETCP", "meta l4proto udp drop; tcp dport { 3478, 5349 } drop", gateway + ":443/tcp", ""},
		{"R8656_UDPAndICETCPBlockedTURNOverTCP", "meta l4proto udp drop; tcp dport 443 drop", "", "tcp"},
		{"R8656_OnlyTURNOverTLSPasses", "meta l4proto udp drop; tcp dport { 443, 3478 } drop", "", "tls"},
	} {
		t.Run(f.name, func(t *testing.T) {
			rules(t, w.carrier, symmetric.rules+"\ntable inet firewall {\nchain f { type filter hook forward priority 0; "+f.drop+"; }\n}")
			c := w.talk(t)
			c.goes(f.local, f.relay)
			c.end()
		})
	}
	t.Run("R8445_MappingChangesInACall", w.mappingChanges)
	t.Run("R8445_3_NetworkChanges", w.networkChanges)
	t.Run("R8445_3_NetworkIsReplacedCallStays", w.networkReplaced)
	t.Run("IQ12_GatewayBehindOneToOneNAT", w.gatewayBehindNAT)
}

// goes checks how media goes: to which of the gateway's addresses (what it begins with), from the public address of the browser's network
// unless it is relayed, and over which protocol to the relay.
func (c *call) goes(local, relay string) {
	c.t.Helper()
	at, from := c.pair()
	if relay == "" && (!strings.HasPrefix(at, local) || !strings.HasPrefix(from, wifiPublic+":")) {
		c.t.Errorf("the pair is %s %s, want %s", at, from, local)
	}
	c.until(fmt.Sprintf("the phone to show the relay %q", relay), func() (bool, any) {
		s, err := c.alice.Stats(c.ctx, c.id)
		return err == nil && strings.Contains(s.All, "localCandidate") && s.Relay == relay, fmt.Sprint(s, err)
	})
}

// mappingChanges: the translator forgets the call and gives the browser another port. The gateway follows at the next check from there, and only
// then: what it takes for the browser's address is what a check with the call's credentials came from.
func (w *world) mappingChanges(t *testing.T) {
	rules(t, w.carrier, fmt.Sprintf(portRange, 40000, 40999))
	c := w.talk(t)
	for _, fresh := range []uint16{50000, 60000} {
		rules(t, w.carrier, fmt.Sprintf(portRange, fresh, fresh+999))
		c.until("the pair to have a new port", func() (bool, any) {
			_, from := c.pair()
			a, err := netip.ParseAddrPort(from)
			return err == nil && a.Port() >= fresh && a.Port() < fresh+1000 && a.Addr().String() == wifiPublic, from
		})
		c.both()
	}
	c.end()
}

// gatewayBehindNAT: the media gateway has a private address and advertises the one that is translated to it.
func (w *world) gatewayBehindNAT(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	w.back(t)
	rules(t, w.carrier, symmetric.rules)
	nft(t, nil, "table ip nat {\nchain in { type nat hook prerouting priority dstnat; ip daddr "+mapped+" dnat to "+inside+"; }\n}")
	w.startMGW(t, ctx, "--realms.access.0.listen="+inside, "--realms.access.0.advertise="+mapped)
	c := w.talk(t)
	c.goes(mapped+":743", "")
	c.end()
}
