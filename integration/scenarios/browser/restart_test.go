package browser

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// gap is the audio that was missing: samples of 8 kHz without sound at baresip, and samples of 48 kHz that the browser made up. Its count of
// lost packets says nothing: a jump of fifty is a new stream to it.
type gap struct{ up, down int }

// String implements fmt.Stringer.
func (g gap) String() string {
	return fmt.Sprintf("%d samples (%d ms) at baresip, %d samples (%d ms) made up in the browser", g.up, g.up*1000/tone.Rate, g.down, g.down/48)
}

// gapOf measures what goes missing while something is done to the media, until both hear each other again and the browser has had time
// to count (it does so once a second).
func (p *party) gapOf(id string, do func()) gap {
	p.t.Helper()
	p.sampled(id)
	before, err := p.alice.Stats(p.ctx, id)
	p.ok(err)
	p.bob.Forget()
	p.hears(p.bob, micHz)
	do()
	p.both(id, p.bob, bobHz)
	p.sampled(id)
	after, err := p.alice.Stats(p.ctx, id)
	p.ok(err)
	return gap{up: p.bob.Gap(), down: after.Totals.Concealed - before.Totals.Concealed}
}

// sampled waits for new statistics in the browser.
func (p *party) sampled(id string) {
	p.t.Helper()
	first, err := p.alice.Stats(p.ctx, id)
	p.ok(err)
	p.until("new statistics", func() (bool, any) {
		s, err := p.alice.Stats(p.ctx, id)
		return err == nil && s.All != first.All, fmt.Sprint(s, err)
	})
}

// selectedPair is the pair of the browser's termination at the MGW: local and remote address.
func (p *party) selectedPair() (local, remote string) {
	p.t.Helper()
	audit, err := p.mgw.AuditValue(p.ctx, &iqv1.AuditRequest{
		Context:     &iqv1.ContextRef{Ref: &iqv1.ContextRef_All{All: &emptypb.Empty{}}},
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}},
		Statistics:  true,
	})
	p.ok(err)
	for {
		r, err := audit.Recv()
		if err != nil {
			p.t.Fatalf("no access termination: %v", err)
		}
		for _, st := range r.GetStatistics() {
			if local, remote, _ = strings.Cut(st.GetSelectedPair(), " "); strings.HasPrefix(local, accessAddr) {
				return local, remote
			}
		}
	}
}

// accessAddr is where the MGW waits for browsers.
const accessAddr = "127.0.0.1:743"

// iceRestart: the browser restarts ICE in a re-INVITE; nothing of it reaches the core, the pair changes, and hardly a packet is missing.
func iceRestart(p *party) {
	id := p.talk()
	_, old := p.selectedPair()
	n := len(p.wire(0))
	missing := p.gapOf(id, func() {
		p.ok(p.alice.RestartICE(p.ctx, id))
		p.restarted(id, old)
	})
	p.t.Logf("ICE restart: %v", missing)
	if missing.up > tone.Rate/2 || missing.down > 24000 {
		p.t.Errorf("more than half a second is missing: %v", missing)
	}
	for _, m := range p.wire(n) {
		if !strings.HasPrefix(m.StartLine(), "OPTIONS") && kamailioCall(m) {
			p.t.Errorf("the core was told: %s", m.StartLine())
		}
	}
	// Restarts in a row, and on hold.
	for range 3 {
		_, old = p.selectedPair()
		p.ok(p.alice.RestartICE(p.ctx, id))
		p.restarted(id, old)
	}
	p.ok(p.alice.Hold(p.ctx, id))
	p.until("the phone to show hold", func() (bool, any) { c := p.call(id); return c.LocalHold, c })
	_, old = p.selectedPair()
	p.ok(p.alice.RestartICE(p.ctx, id))
	p.restarted(id, old)
	p.ok(p.alice.Resume(p.ctx, id))
	p.until("the phone to show no hold", func() (bool, any) { c := p.call(id); return !c.LocalHold, c })
	p.both(id, p.bob, bobHz)
	// Held by the other one: the browser's offer says recvonly then, which is not its wish once that one is back.
	p.tell(p.bob, "hold", "")
	p.until("the phone to show that it is held", func() (bool, any) { c := p.call(id); return c.RemoteHold, c })
	_, old = p.selectedPair()
	p.ok(p.alice.RestartICE(p.ctx, id))
	p.restarted(id, old)
	p.tell(p.bob, "resume", "")
	p.until("the phone to show that it is no longer held", func() (bool, any) { c := p.call(id); return !c.RemoteHold, c })
	p.both(id, p.bob, bobHz)
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// kamailioCall reports whether a message belongs to a call.
func kamailioCall(m kamailio.Message) bool {
	for _, method := range []string{"INVITE", "UPDATE", "BYE"} {
		if strings.HasPrefix(m.StartLine(), method) {
			return true
		}
	}
	return false
}

// restarted waits until the MGW uses another pair than the old one.
func (p *party) restarted(id, old string) {
	p.t.Helper()
	p.until("another pair than "+old, func() (bool, any) {
		_, now := p.selectedPair()
		return now != old, fmt.Sprint(now, p.call(id))
	})
}

// pathDies: the way between all of the browser's ports and the MGW goes dark, as when a phone leaves a WLAN: only sockets that are opened
// after that get through. The phone notices and restarts ICE by itself; nobody presses anything.
func pathDies(p *party) {
	id := p.talk()
	_, old := p.selectedPair()
	missing := p.gapOf(id, func() {
		ports := strings.Join(p.browserPorts(), ", ")
		p.block("udp sport { " + ports + " } drop; udp dport { " + ports + " } drop;")
		p.restarted(id, old)
	})
	p.t.Logf("a dead path, noticed by the browser: %v", missing)
	if c := p.call(id); c.Restarts == 0 {
		p.t.Errorf("the phone has not restarted ICE: %+v", c)
	}
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// networkChanges: the like, but the phone is told at once, as a device tells its browser when it goes from WLAN to mobile.
func networkChanges(p *party) {
	id := p.talk()
	_, old := p.selectedPair()
	missing := p.gapOf(id, func() {
		ports := strings.Join(p.browserPorts(), ", ")
		p.block("udp sport { " + ports + " } drop; udp dport { " + ports + " } drop;")
		p.ok(p.alice.RestartICE(p.ctx, id))
		p.restarted(id, old)
	})
	p.t.Logf("a change of network that the browser is told of: %v", missing)
	if missing.up > 2*tone.Rate || missing.down > 2*48000 {
		p.t.Errorf("more than two seconds are missing: %v", missing)
	}
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// noUDP: a network that lets no UDP through to the MGW: the browser comes over TCP, with DTLS and SRTP in its frames, and restarts ICE there.
func noUDP(p *party) {
	p.block("udp sport 7430-7439 drop; udp dport 7430-7439 drop;")
	id := p.talk()
	local, old := p.selectedPair()
	if local != "127.0.0.1:7439/tcp" {
		p.t.Errorf("the pair is %s %s", local, old)
	}
	missing := p.gapOf(id, func() {
		p.ok(p.alice.RestartICE(p.ctx, id))
		p.restarted(id, old)
	})
	p.t.Logf("ICE restart over TCP: %v", missing)
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// browserPorts are the UDP ports that the kernel chose in our namespace: the browser's, since the gateway's are configured.
func (p *party) browserPorts() (ports []string) {
	p.t.Helper()
	for _, file := range []string{"/proc/self/net/udp", "/proc/self/net/udp6"} {
		table, err := os.ReadFile(file)
		p.ok(err)
		for _, line := range strings.Split(string(table), "\n")[1:] {
			fields := strings.Fields(line)
			if len(fields) < 2 {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			if port, err := strconv.ParseUint(hex, 16, 16); err == nil && port >= 32768 {
				ports = append(ports, strconv.FormatUint(port, 10))
			}
		}
	}
	slices.Sort(ports)
	if ports = slices.Compact(ports); len(ports) == 0 {
		p.t.Fatal("the browser has no port")
	}
	return ports
}

// block drops what the rules say, in our namespace, until the scenario ends.
func (p *party) block(rules string) {
	p.t.Helper()
	const table = "isthmus"
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table inet " + table + " { chain c { type filter hook input priority 0; " + rules + " }\n}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		p.t.Fatalf("nft: %v: %s", err, out)
	}
	p.t.Cleanup(func() {
		if out, err := exec.Command("nft", "delete", "table", "inet", table).CombinedOutput(); err != nil {
			p.t.Errorf("nft: %v: %s", err, out)
		}
	})
}
