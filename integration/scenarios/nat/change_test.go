package nat

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// mostGap is what the best of some changes of network may cost of the audio, in each direction.
const (
	mostGap = 500 * time.Millisecond
	changes = 3
)

// network is one of the two that the browser's machine is in.
type network struct {
	link, addr, router, public string
	table                      string // of routes for what is sent from addr
	nat                        *netns.Space
}

// networkChanges: the machine is in two networks, as one with a cable and a WLAN or a telephone on its way out of the house is; the one that
// carries the call goes: link down, address gone, default route through the other, which has another NAT and another public address. Nobody
// tells the phone. The gap is measured on the sender's clock at bob, and by the samples that the browser had to make up.
func (w *world) networkChanges(t *testing.T) {
	wifi := network{"wifi", wifiAddr, wifiRouter, wifiPublic, "10", w.carrier}
	lte := network{"lte", lteAddr, lteRouter, ltePublic, "20", w.mobile}
	rules(t, w.carrier, portRestricted.rules)
	best := mostGap + 1
	for i := 0; i < changes && best > mostGap; i++ {
		if i > 0 {
			w.back(t)
		}
		w.plug(t, lte)
		before := w.talk(t)
		before.talks(3 * time.Second) // Chromium knows a network two seconds after it has come
		before.end()
		c := w.talk(t)
		up, down := c.gapOf(func() { w.leave(t, wifi, lte) }, lte)
		t.Logf("wifi goes, lte stays: %v missing at bob, %v in the browser", up, down)
		best = min(best, max(up, down))
		c.end() // the connection went with the address: the phone has another
	}
	if best > mostGap {
		t.Errorf("no change cost less than %v", best)
	}
}

// networkReplaced: the next network comes in the moment in which the other goes. Chromium tells nobody of it for two seconds (its notifier waits
// until things have settled), so that there is no bound here; the call stays.
func (w *world) networkReplaced(t *testing.T) {
	lte := network{"lte", lteAddr, lteRouter, ltePublic, "20", w.mobile}
	w.back(t)
	c := w.talk(t)
	up, down := c.gapOf(func() {
		batch(t, w.client, "addr del "+wifiAddr+"/24 dev wifi", "link set wifi down", "link set lte up", "addr add "+lteAddr+"/24 dev lte",
			"route replace default via "+lteRouter, "route replace default via "+lteRouter+" table 20")
	}, lte)
	t.Logf("wifi is replaced by lte: %v missing at bob, %v in the browser", up, down)
	c.end()
}

// back makes wifi the only network again; the page is loaded anew there.
func (w *world) back(t *testing.T) {
	w.plug(t, network{"wifi", wifiAddr, wifiRouter, wifiPublic, "10", w.carrier})
	batch(t, w.client, "addr flush dev lte", "link set lte down", "route replace default via "+wifiRouter)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	scenario.Must(t, w.alice.Reload(ctx, 0))
	scenario.Must(t, w.alice.RegisterRaw(ctx, "alice", "wonderland"))
}

// plug puts the machine into a network, not the one that it uses.
func (w *world) plug(t *testing.T, n network) {
	batch(t, w.client, "link set "+n.link+" up", "addr replace "+n.addr+"/24 dev "+n.link, "route replace default via "+n.router+" metric 100",
		"route replace default via "+n.router+" table "+n.table)
}

// leave takes it out of a network, into the other.
func (w *world) leave(t *testing.T, from, to network) {
	batch(t, w.client, "addr del "+from.addr+"/24 dev "+from.link, "link set "+from.link+" down", "route replace default via "+to.router)
}

// gapOf measures what goes missing while the network changes, until media goes by way of the new one.
func (c *call) gapOf(change func(), to network) (up, down time.Duration) {
	c.t.Helper()
	c.talks(1200 * time.Millisecond) // statistics are new each second
	c.bob.Media().LongestStep()
	before, err := c.alice.Stats(c.ctx, c.id)
	scenario.Must(c.t, err)
	change()
	c.until("media by way of "+to.link, func() (bool, any) { _, from := c.pair(); return strings.HasPrefix(from, to.public+":"), from })
	c.both()
	c.talks(1200 * time.Millisecond)
	after, err := c.alice.Stats(c.ctx, c.id)
	scenario.Must(c.t, err)
	const rate = 8 // samples in a millisecond of G.711, which is what is spoken here
	return c.bob.Media().LongestStep(), time.Duration(after.Totals.Concealed-before.Totals.Concealed) * time.Millisecond / rate
}

// talks waits until bob has heard so much more.
func (c *call) talks(d time.Duration) {
	c.t.Helper()
	end := c.ear.Total() + uint64(d.Seconds()*tone.Rate)
	c.until("bob to hear more", func() (bool, any) { return c.ear.Total() >= end, c.ear.Total() })
}

// batch runs lines of ip at once.
func batch(t *testing.T, at *netns.Space, lines ...string) {
	t.Helper()
	cmd := at.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ip: %v: %s", err, out)
	}
}
