package browser

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

const (
	turnServer = netns.Here + ":3478"
	turnTLS    = netns.Here + ":5349"
	turnSecret = "known to this test only, as long as it runs"
)

// firewall makes the network one that lets no UDP through from the browser to the gateway, neither media nor TURN, nor what more says. What
// the TURN server itself relays has its ports. The namespace is this test's own.
func firewall(t *testing.T, more string) (dropped func() string) {
	t.Helper()
	nft := func(script string) string {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
		return string(out)
	}
	nft(`table inet firewall {
	chain in {
		type filter hook input priority 0; policy accept;
		udp sport != 30000-31999 udp dport { 3478, 7430-7449 } counter drop
		` + more + `
	}
}
`)
	t.Cleanup(func() { nft("delete table inet firewall") })
	return func() string { return nft("list table inet firewall") }
}

// turnNotNeeded: with TURN servers at hand and UDP open, the call goes directly.
func turnNotNeeded(p *party) {
	id := p.talk()
	p.goes(id, "")
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
	p.noAllocation()
}

// turnOverTCP: a browser behind a firewall calls and is called, and both hear each other.
func turnOverTCP(p *party) {
	dropped := firewall(p.t, "")
	id := p.talk()
	p.goes(id, "tcp")
	m, err := p.alice.Metrics(p.ctx, id)
	p.ok(err)
	p.t.Logf("INVITE to audio over TURN/TCP: %.0f ms", m.InviteToAudioMs)
	p.ok(p.alice.Hold(p.ctx, id))
	p.browserHearsNothing(id)
	p.ok(p.alice.Resume(p.ctx, id))
	p.both(id, p.bob, bobHz)
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")

	mark := p.bob.Mark()
	p.tell(p.bob, "dial", "sip:alice@"+domain)
	c := p.incoming()
	p.ok(p.alice.Answer(p.ctx, c.ID))
	p.told(p.bob, mark, "CALL_ESTABLISHED")
	p.both(c.ID, p.bob, bobHz)
	p.goes(c.ID, "tcp")
	p.tell(p.bob, "hangup", "")
	p.inState(c.ID, "ended")
	p.noAllocation()
	if text := dropped(); !strings.Contains(text, "counter packets") || strings.Contains(text, "counter packets 0 ") {
		p.t.Errorf("the firewall has dropped nothing:\n%s", text)
	}
}

// turnOverTLS: the firewall knows TURN over TCP, too.
func turnOverTLS(p *party) {
	firewall(p.t, "tcp dport 3478 drop")
	id := p.talk()
	p.goes(id, "tls")
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
	p.noAllocation()
}

// makeCertificate makes the certificate of TURN over TLS and returns the hash of its key, by which Chromium is told to take it.
func (w *world) makeCertificate(t *testing.T) (spki string) {
	t.Helper()
	c := tlstest.SelfSigned(t, "turn", netns.Here)
	cert, key := c.Write(t, w.dir, "turn")
	w.turnTLS = []string{"--turn.tls=" + turnTLS, "--turn.cert=" + cert, "--turn.key=" + key}
	return c.SPKI()
}

// credentialsHidden: the ladder, which people copy into mails, has the servers but not the password, and the daemons' logs have neither it
// nor the secret, though they tell everything.
func credentialsHidden(p *party) {
	rungs, err := p.alice.Ladder(p.ctx)
	p.ok(err)
	for _, r := range rungs {
		if _, field, ok := strings.Cut(r.Text, "Isthmus-ICE-Servers:"); ok {
			if !strings.Contains(field, turnServer) || !strings.Contains(field, `credential="…"`) {
				p.t.Errorf("shown: %s", field)
			}
			_, user, _ := strings.Cut(field, `username="`)
			user, _, _ = strings.Cut(user, `"`)
			if !p.log.Contains(`"debug"`) || p.log.Contains(turnSecret) || p.log.Contains(turnauth.Password(turnSecret, user)) {
				p.t.Error("the secret or the password is logged, or there is no log")
			}
			return
		}
	}
	p.t.Error("no TURN servers in any answer")
}

// goes waits until the phone's chosen path is of a kind: relayed over a protocol, or "" for direct.
func (p *party) goes(id, relay string) {
	p.t.Helper()
	p.until(fmt.Sprintf("the call to go %q", relay), func() (bool, any) {
		s, err := p.alice.Stats(p.ctx, id)
		return err == nil && s.CodecIn != "" && strings.Contains(s.All, "localCandidate") && s.Relay == relay, fmt.Sprint(s, err)
	})
}

// noAllocation waits until the browser has given back all relayed addresses.
func (p *party) noAllocation() {
	p.t.Helper()
	p.until("the TURN server to have no allocation", func() (bool, any) {
		resp, err := http.Get("http://127.0.0.1:7422/metrics")
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		page, err := io.ReadAll(resp.Body)
		return strings.Contains(string(page), "\nisthmus_mgw_turn_allocations 0\n"), err
	})
}
