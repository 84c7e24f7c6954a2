package signals

import (
	"net/netip"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/multimon"
	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// keypad plays a digit's tones when it is told to, and is silent between.
type keypad struct {
	press chan byte // capacity 1: the player's own pace
	now   tone.Source
	left  int // frames
}

const (
	pressed = 5 // frames of a press
	between = 4 // frames of silence after it
)

// Fill implements tone.Source.
func (k *keypad) Fill(dst []int16) bool {
	if k.left == 0 {
		select {
		case d := <-k.press:
			k.now, k.left = tone.DTMF(d, -12), pressed+between
		default:
		}
	}
	clear(dst)
	if k.left > between {
		k.now.Fill(dst)
	}
	k.left = max(0, k.left-1)
	return true
}

// inBand: a SIP telephone without telephone-event hears the browser's keys as tones, which multimon-ng tells, and its own tones are telephone-events
// in the browser; each press once.
func (w *world) inBand(t *testing.T, codec string, clock uint32) {
	w.t = t
	alice, err := w.browser(codec)
	if err != nil {
		t.Fatal(err)
	}
	heard, keys := &rtpua.Recorder{}, &keypad{press: make(chan byte, 1)}
	bob, err := ua.New(ua.Config{
		Listen: "127.0.0.1:0", Domain: "isthmus.example", User: "bob", Password: "builder", Codecs: []ua.Codec{ua.PCMA}, NoEvents: true,
		Proxy: sipnode.Target{Network: sipnode.UDP, Addr: netip.MustParseAddrPort(gateway.At(scenario.PortSIP))},
		OnCall: ua.AutoAnswer(0, func(c *ua.Call) {
			c.Media().SetSink(heard)
			c.Media().SetSource(keys)
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	scenario.Closing(t, bob.Close)
	if _, err := bob.Register(w.within(), time.Minute); err != nil {
		t.Fatal(err)
	}
	c, err := alice.Call(w.within(), "sip:bob@isthmus.example", tone.Silence{})
	if err != nil {
		t.Fatal(err)
	}
	scenario.Until(w.within(), t, "audio at both ends", func() (bool, any) {
		return c.Result().Packets > 5 && heard.Total() > 0, []uint64{c.Result().Packets, heard.Total()}
	})

	const fromBob, fromAlice = "1559*#D", "2288#0A" // at once
	sent := make(chan error, 1)
	ctx := w.within()
	go func() { sent <- c.SendDigits(ctx, fromAlice) }()
	for _, d := range []byte(fromBob) {
		select {
		case keys.press <- d:
		case <-ctx.Done():
			t.Fatal("the telephone does not send")
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	scenario.Until(w.within(), t, fromBob+" as telephone-events in the browser", func() (bool, any) {
		r := c.Result()
		return r.Digits == fromBob && r.Ended && r.Unended == 0 && r.DigitsClock == clock, r
	})
	scenario.Until(ctx, t, fromAlice+" as tones at the telephone", func() (bool, any) {
		got, err := multimon.Digits(ctx, heard.Samples(0))
		return got == fromAlice, []any{got, err}
	})
	if err := c.Hangup(w.within()); err != nil {
		t.Error(err)
	}
}
