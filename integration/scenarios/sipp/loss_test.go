package sipp

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

// linger is how long sipp stays after its last message in tests with loss, in ms: repetitions of the gateway come after 1, 3 and
// 7 of T1.
const linger = int64(9 * t1 / time.Millisecond)

// relayed starts a scenario behind a relay. With a browser it is called by sipp, else sipp waits for calls and a browser that
// calls it is returned.
func relayed(t *testing.T, scenario string, b *browser, p params, judge func(peer.Direction, peer.Message) peer.Fate, cfg peer.Config) (*browser, *sippRun, *peer.Relay) {
	t.Helper()
	at := local(t)
	relay, err := peer.NewRelay(netip.MustParseAddr("127.0.0.1"), world.core, at, judge)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := relay.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.Transport, cfg.Local = "udp", at
	if b != nil {
		cfg.Remote, p = relay.Back, p.with("User", b.user)
	} else {
		p = p.with("User", "callee")
	}
	r := startSipp(t, scenario, p.with("Contact", relay.Front.String(), "Linger", linger), cfg)
	if b == nil {
		b = newBrowser(t, "udp", relay.Front, nil)
	}
	return b, r, relay
}

// TestLostFromBrowser loses each message of calls to sipp once or twice: the call must go on as if nothing had been, and the
// browser must not see a message twice.
func TestLostFromBrowser(t *testing.T) {
	for _, c := range []struct {
		scenario string
		times    int
		way      peer.Direction
		what     string
		end      int // status that the browser's call ends with; 0: answered
	}{
		{"uas_answer", 3, peer.ToSipp, "INVITE", 0},
		{"uas_answer", 1, peer.ToGateway, "180 INVITE", 0},
		{"uas_answer", 2, peer.ToGateway, "200 INVITE", 0},
		{"uas_answer", 3, peer.ToSipp, "ACK", 0}, // sipp repeats its 200: each is acknowledged
		{"uas_answer", 2, peer.ToSipp, "BYE", 0},
		{"uas_answer", 1, peer.ToGateway, "200 BYE", 0},
		{"uas_answer_bye", 2, peer.ToGateway, "BYE", 0},
		{"uas_answer_bye", 2, peer.ToSipp, "200 BYE", 0},
		{"uas_refuse", 1, peer.ToGateway, "486 INVITE", 486},
		{"uas_refuse", 2, peer.ToSipp, "ACK", 486},
		{"uas_cancelled", 2, peer.ToSipp, "CANCEL", 487},
		{"uas_cancelled", 1, peer.ToGateway, "200 CANCEL", 487},
		{"uas_cancelled", 1, peer.ToGateway, "487 INVITE", 487},
		{"uas_cancelled", 2, peer.ToSipp, "ACK", 487},
	} {
		t.Run(name(c.scenario, c.times, c.what), func(t *testing.T) {
			t.Parallel()
			p := params{"Code": 486, "Phrase": "Busy Here"}
			b, r, relay := relayed(t, c.scenario, nil, p, peer.LoseFirst(c.times, c.way, c.what), peer.Config{})
			ctx := scenario.Within(t, patience)
			switch c.end {
			case 0:
				call, err := b.Call(ctx, callee, tone.Silence{})
				if err != nil {
					t.Fatal(err)
				}
				if c.scenario == "uas_answer_bye" {
					over(ctx, t, call)
					break
				}
				passed(ctx, t, relay, peer.ToSipp, "ACK") // sipp takes no BYE before it
				if err := call.Hangup(ctx); err != nil {
					t.Error(err)
				}
			case 486:
				_, err := b.Call(ctx, callee, tone.Silence{})
				refusedWith(t, err, 486)
			case 487:
				cancelWhen(ctx, t, b, "180 INVITE", 487)
			}
			r.done(ctx)
			checkLoss(t, relay, b, c.times)
		})
	}
}

func name(scenario string, times int, what string) string {
	return fmt.Sprintf("%s/%d_x_%s", scenario, times, strings.ReplaceAll(what, " ", "_of_"))
}

// passed waits until such a message has got through the relay.
func passed(ctx context.Context, t *testing.T, relay *peer.Relay, way peer.Direction, what string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for relay.Passed(way, what) == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no %s got through", what)
		}
	}
}

// checkLoss checks that the messages were lost and that the browser noticed nothing of it.
func checkLoss(t *testing.T, relay *peer.Relay, b *browser, times int) {
	t.Helper()
	if got := relay.Lost(); got != times {
		t.Errorf("%d messages were lost, want %d", got, times)
	}
	for _, what := range []string{"INVITE", "CANCEL", "ACK", "BYE", "200 INVITE", "200 BYE", "200 CANCEL", "486 INVITE", "487 INVITE"} {
		if n := len(b.ladder.received(what)); n > 1 {
			t.Errorf("the browser received %s %d times:\n%s", what, n, b.ladder)
		}
	}
}

// TestLostToBrowser does the same to calls from sipp.
func TestLostToBrowser(t *testing.T) {
	for _, c := range []struct {
		scenario string
		times    int
		way      peer.Direction
		what     string
	}{
		{"uac_call", 2, peer.ToGateway, "INVITE"},
		{"uac_call", 1, peer.ToSipp, "200 INVITE"},
		{"uac_hung_up", 3, peer.ToGateway, "ACK"}, // the gateway repeats its 200
		{"uac_call", 2, peer.ToGateway, "BYE"},
		{"uac_call", 2, peer.ToSipp, "200 BYE"},
		{"uac_hung_up", 2, peer.ToSipp, "BYE"},
		{"uac_hung_up", 1, peer.ToGateway, "200 BYE"},
		{"uac_refused", 2, peer.ToSipp, "603 INVITE"},
		{"uac_refused", 2, peer.ToGateway, "ACK"},
		{"uac_cancel", 2, peer.ToGateway, "CANCEL"},
		{"uac_cancel", 1, peer.ToSipp, "200 CANCEL"},
		{"uac_cancel", 1, peer.ToSipp, "487 INVITE"},
		{"uac_cancel", 2, peer.ToGateway, "ACK"},
	} {
		t.Run(name(c.scenario, c.times, c.what), func(t *testing.T) {
			t.Parallel()
			b := newBrowser(t, "udp", nowhere, nil)
			p := b.caller().with("Code", 603, "Branch", refusedBranch)
			if c.scenario == "uac_cancel" {
				p = cancelling(b, "180")
			}
			_, r, relay := relayed(t, c.scenario, b, p, peer.LoseFirst(c.times, c.way, c.what), peer.Config{})
			ctx := scenario.Within(t, patience)
			switch c.scenario {
			case "uac_call":
				over(ctx, t, b.answered(ctx, t))
			case "uac_hung_up":
				call := b.answered(ctx, t)
				b.ladder.await(ctx, t, 1, "ACK")
				passed(ctx, t, relay, peer.ToGateway, "ACK")
				if err := call.Hangup(ctx); err != nil {
					t.Error(err)
				}
			case "uac_refused":
				b.incoming(ctx, t).Reject(603, "Decline")
			case "uac_cancel":
				over(ctx, t, b.incoming(ctx, t))
			}
			r.done(ctx)
			checkLoss(t, relay, b, c.times)
		})
	}
	t.Run("uac_call/every_100_and_180", lostProvisional)
}

// lostProvisional: sipp hears nothing until the final response, so it repeats its INVITE; one call comes of it.
func lostProvisional(t *testing.T) {
	t.Parallel()
	b := newBrowser(t, "udp", nowhere, nil)
	judge := func(way peer.Direction, m peer.Message) peer.Fate {
		if way == peer.ToSipp && (m.Is("100 INVITE") || m.Is("180 INVITE")) {
			return 0
		}
		return 1
	}
	before := metric(t, `isthmus_mgc_sip_retransmissions_total{direction="in"}`)
	_, r, _ := relayed(t, "uac_call", b, b.caller(), judge, peer.Config{})
	ctx := scenario.Within(t, patience)
	call := b.incoming(ctx, t)
	if err := until(func(context.Context) error {
		if after := metric(t, `isthmus_mgc_sip_retransmissions_total{direction="in"}`); after < before+2 {
			return fmt.Errorf("%v repeated requests counted", after-before)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := call.Answer(tone.Silence{}); err != nil {
		t.Fatal(err)
	}
	over(ctx, t, call)
	if n := len(received(t, r.done(ctx), "200 INVITE", 0).Body); n == 0 {
		t.Error("no description in the answer")
	}
	if n := len(b.ladder.received("INVITE")); n != 1 {
		t.Errorf("%d INVITE reached the browser", n)
	}
}

// TestLossyCalls runs several calls over paths that lose or repeat datagrams in both directions; all must complete.
func TestLossyCalls(t *testing.T) {
	const calls = 12
	for _, c := range []struct {
		name  string
		judge func() func(peer.Direction, peer.Message) peer.Fate
		lost  int // by sipp itself, per cent
	}{
		{"each_once", func() func(peer.Direction, peer.Message) peer.Fate { return peer.LoseEach(1) }, 0},
		{"each_two_times", func() func(peer.Direction, peer.Message) peer.Fate { return peer.LoseEach(2) }, 0},
		{"twice", func() func(peer.Direction, peer.Message) peer.Fate { return peer.Twice }, 0},
		{"sipp_loses_5_per_cent", func() func(peer.Direction, peer.Message) peer.Fate { return peer.LoseFirst(0, peer.ToSipp, "") }, 5},
	} {
		cfg := peer.Config{Calls: calls, Rate: 20, Lost: c.lost}
		t.Run("browser_calls/"+c.name, func(t *testing.T) {
			t.Parallel()
			// sipp hangs up, as only it knows when the ACK has come.
			b, r, _ := relayed(t, "uas_plain", nil, params{"Hold": 200, "HangsUp": true}, c.judge(), cfg)
			ctx := scenario.Within(t, patience)
			placeCalls(ctx, t, []*browser{b}, calls, func(c *webua.Call) error {
				select {
				case <-c.Ended():
					return nil
				case <-ctx.Done():
					return fmt.Errorf("call has no end: %w", ctx.Err())
				}
			})
			r.done(ctx)
		})
		t.Run("core_calls/"+c.name, func(t *testing.T) {
			t.Parallel()
			b := newBrowser(t, "udp", nowhere, answerAll)
			_, r, _ := relayed(t, "uac_call", b, b.caller(), c.judge(), cfg)
			r.done(scenario.Within(t, patience))
		})
	}
}

// answerAll makes a browser answer every call.
func answerAll(c *webua.Config) {
	c.OnCall = func(call *webua.Call) { _ = call.Answer(tone.Silence{}) } // a call that is gone shows in sipp's result
}

// placeCalls has the browsers place calls in turn, 20 a second, and do with each what end says when it is answered.
func placeCalls(ctx context.Context, t *testing.T, from []*browser, calls int, end func(*webua.Call) error) {
	t.Helper()
	failed := make(chan error, calls)
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	for i := range calls {
		go func() {
			call, err := from[i%len(from)].Call(ctx, callee, tone.Silence{})
			if err == nil {
				err = end(call)
			}
			failed <- err
		}()
		<-pace.C
	}
	for range calls {
		if err := <-failed; err != nil {
			t.Errorf("call: %v", err)
		}
	}
}
