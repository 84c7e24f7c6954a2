package badinput

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const mediaGateway = `isthmus_mgc_calls_ended_total{cause="media_gateway"}`

// TestResources takes the controller through media gateways that are not there, unreachable, hanging, full, killed and back.
func TestResources(t *testing.T) {
	t.Parallel()
	b := newBed(t, 17000)
	b.startCore(t)
	b.startMGC(t, "--access.require_origin=true", "--log.format=console")
	t.Run("with users", func(t *testing.T) {
		bob := b.register(t, "bob", nil)
		t.Run("no origin", func(t *testing.T) { originRequired(t, b) })
		t.Run("no gateway", func(t *testing.T) {
			resp, err := scraper.Get("http://" + b.At(scenario.PortHTTP) + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got := text(resp); got != "503 no media gateway is registered" {
				t.Errorf("ready: %s", got)
			}
			b.unavailable(t, bob, mediaGateway)
		})
		t.Run("unreachable gateway", func(t *testing.T) {
			b.startMGW(t, "--iq.advertise=127.0.0.1:9")
			b.unavailable(t, bob, mediaGateway)
			b.stopMGW(t)
		})
		few := []string{ // three port pairs; contexts that nobody cares for are looked after soon
			fmt.Sprintf("--realms.core.0.port_max=%d", b.Base+scenario.PortRTPMin+5), "--contexts.orphan_ttl=10s", "--contexts.hanging_grace=1s",
		}
		b.startMGW(t, few...)
		t.Run("ports used up", func(t *testing.T) { portsUsedUp(t, b, bob) })
		t.Run("hanging gateway", func(t *testing.T) {
			pid := b.procs["mgw"].Pid("mgw")
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			b.unavailable(t, bob, mediaGateway)
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			eventually(t, 2*deadline, func() string { return b.tryCall(t, bob) })
			// What the gateway made of the transaction after the controller had given it up goes as a hanging termination (H.248.36).
			eventually(t, 3*deadline, func() string {
				if h := b.held(t); h.contexts != 0 || h.ports != 0 {
					return fmt.Sprintf("the gateway holds %+v", h)
				}
				return ""
			})
		})
		t.Run("killed gateway comes back", func(t *testing.T) {
			calls := b.twoCalls(t)
			b.counts(t, "mgc", "isthmus_mgc_media_gateways_lost_total", 1, func() {
				b.killMGW(t)
				b.startMGW(t, few...)
				b.released(t, calls, deadline) // its new boot tells at once that the contexts are gone
			})
			eventually(t, deadline, func() string { return b.tryCall(t, bob) })
		})
		t.Run("killed gateway stays away", func(t *testing.T) {
			calls := b.twoCalls(t)
			b.killMGW(t)
			b.unavailable(t, bob, mediaGateway)
			b.released(t, calls, 4*deadline) // three heartbeats of 5 s
		})
	})
	b.startMGW(t)
	b.holds(t, held{})
	b.logsAreClean(t, "console")
}

func originRequired(t *testing.T, b *bed) {
	b.counts(t, "mgc", wsReason("origin"), 1, func() {
		resp, _ := httpAsk(t, dialTCP(t, b.At(scenario.PortWS)), handshake(b.At(scenario.PortWS), "Sec-WebSocket-Protocol: sip"))
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("no Origin: %s", text(resp))
		}
	})
}

// unavailable requires that a call is refused by 503 with Retry-After, soon, and counted.
func (b *bed) unavailable(t *testing.T, br *browser, metric string) {
	t.Helper()
	b.counts(t, "mgc", metric, 1, func() {
		r := br.ask(t, br.compose("INVITE", target).sdp(offer()))
		if r.status != 503 || r.get("Retry-After") == "" {
			t.Errorf("answered %d %s, Retry-After %q; want 503", r.status, r.reason, r.get("Retry-After"))
		}
	})
}

// tryCall places a call and hangs up; it says why that failed.
func (b *bed) tryCall(t *testing.T, br *browser) string {
	t.Helper()
	m := br.compose("INVITE", target).sdp(offer())
	r := br.ask(t, m)
	if r.status != 200 {
		return fmt.Sprintf("call answered by %d %s", r.status, r.reason)
	}
	d := dialogOf(t, br)
	_ = br.Raw(d.request("ACK").set("CSeq", "1 ACK").String())
	if r := br.ask(t, d.request("BYE")); r.status != 200 {
		return fmt.Sprintf("BYE answered by %d %s", r.status, r.reason)
	}
	return ""
}

// portsUsedUp: three port pairs carry three calls; the fourth is told when to try again, and may once one has ended.
func portsUsedUp(t *testing.T, b *bed, bob *browser) {
	users := []*browser{b.register(t, "carol", nil), b.register(t, "dave", nil), b.register(t, "erin", nil)}
	var calls []*webua.Call
	for _, u := range users {
		calls = append(calls, u.call(t, target, tone.NewSine(callerHz, level)))
	}
	b.unavailable(t, bob, mediaGateway)
	for _, c := range calls {
		hears(t, c)
	}
	users[0].hangup(t, calls[0], dialogOf(t, users[0]))
	eventually(t, deadline, func() string { return b.tryCall(t, bob) }) // the pair rests for two seconds
}

func (b *bed) killMGW(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(b.procs["mgw"].Pid("mgw"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.stopMGW(t)
}

func (b *bed) stopMGW(t *testing.T) {
	t.Helper()
	if err := b.procs["mgw"].Close(15 * time.Second); err != nil {
		t.Error(err)
	}
}

// twoCalls are up and heard.
func (b *bed) twoCalls(t *testing.T) (calls []*webua.Call) {
	t.Helper()
	for _, u := range []string{"carol", "dave"} {
		br := b.register(t, u, nil)
		c := br.call(t, target, tone.NewSine(callerHz, level))
		hears(t, c)
		calls = append(calls, c)
	}
	return calls
}

// released requires that both ends of the calls are told the end and its reason.
func (b *bed) released(t *testing.T, calls []*webua.Call, within time.Duration) {
	t.Helper()
	for i, c := range calls {
		select {
		case <-c.Ended():
			if r := c.Result(); !strings.Contains(r.Cause, `SIP;cause=503;text="Media gateway lost"`) {
				t.Errorf("call %d ended by %q", i, r.Cause)
			}
		case <-time.After(within):
			t.Errorf("call %d goes on without a media gateway", i)
		}
	}
	b.coreGot(t, "BYE", `Reason: SIP;cause=503;text="Media gateway lost"`)
	for _, u := range []string{"carol", "dave"} {
		eventually(t, deadline, func() string {
			if tel, err := b.telephone(u); err != nil || tel.State != "ended" {
				return fmt.Sprintf("the far end of %s: %s, %v", u, tel.State, err)
			}
			return ""
		})
	}
}
