package rtpengine

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"testing"

	"github.com/pion/rtp"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/bencode"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// coding is what the gateway and rtpengine have between them, while bob's telephone has PCMA.
type coding struct {
	codec   codec.Codec // Fmtp: of rtpengine's offer
	modes   codec.Modes // that may be on the wire
	options string      // of rtpengine's coder
	tones   bool        // there is no telephone-event between them: rtpengine finds and plays tones
	sealed  bool        // by SRTP
	noise   bool        // comfort noise (RFC 3389) stays beside the codec, and rtpengine makes and takes it
	wire    *wire
}

func (c *coding) aligned() bool {
	v, _ := c.codec.Param("octet-align")
	return v == "1"
}

// carries tells rtpengine to translate: towards the telephone the codec is taken away, towards the gateway bob's.
func (c *coding) carries(cmd map[string]any, toPhone bool) {
	take, give := []string{c.codec.Name}, []string{"PCMA"}
	switch {
	case c.tones: // the gateway offers
		cmd["codec"] = bencode.Dict{"transcode": []string{"telephone-event"}}
		return
	case !toPhone:
		take, give = give, []string{fmt.Sprintf("%s/%d/1///%s/%s", c.codec.Name, c.codec.ClockRate, c.codec.Fmtp, c.options)}
	}
	cmd["codec"] = bencode.Dict{"transcode": give, "mask": take}
	if c.noise && toPhone {
		cmd["codec"] = bencode.Dict{"transcode": give, "mask": take, "accept": []string{codec.ComfortNoise}}
	}
}

// through leaves in a description between the gateway and rtpengine the codec in its packing and telephone-event, and has the media pass over the wire.
// ours: it is rtpengine's.
func (c *coding) through(text string, ours bool) (string, error) {
	d, err := sdp.Parse([]byte(text))
	if err != nil {
		return "", err
	}
	m := &d.Media[0]
	var kept []codec.Codec
	var formats []string
	events := uint8(0)
	for _, f := range m.Codecs {
		event := f.Is("telephone-event") && f.ClockRate == c.codec.ClockRate && !c.tones
		noise := c.noise && f.Is(codec.ComfortNoise) && f.ClockRate == c.codec.ClockRate
		if !event && !noise && !(f.Is(c.codec.Name) && (&coding{codec: f}).aligned() == c.aligned()) {
			continue
		}
		if event {
			events = f.PT
		}
		kept, formats = append(kept, f), append(formats, strconv.Itoa(int(f.PT)))
	}
	if len(kept) == 0 {
		return "", fmt.Errorf("no %s %s in\n%s", c.codec.Name, c.codec.Fmtp, text)
	}
	m.Codecs, m.Formats = kept, formats
	to, ip := toPhone, d.ConnectionOf(m).IP
	if !ours {
		to = toGateway
	}
	at := c.wire.reroute(to, netip.AddrPortFrom(ip, m.Port))
	c.wire.expect(to, events, func(p *rtp.Packet) string { return c.judge(to, kept[0].PT, p) })
	m.Port, m.RTCP = at.Port(), nil
	return string(d.Marshal()), nil
}

// judge tells what is wrong with an audio packet. The wire calls it, holding its lock.
func (c *coding) judge(d way, pt uint8, p *rtp.Packet) string {
	if c.noise && p.PayloadType == 13 {
		return ""
	}
	if p.PayloadType != pt {
		return fmt.Sprintf("payload type %d, want %d", p.PayloadType, pt)
	}
	if c.sealed {
		return ""
	}
	if !c.codec.IsAMR() {
		if len(p.Payload) != 160 {
			return fmt.Sprintf("%d octets", len(p.Payload))
		}
		return ""
	}
	f, err := readPayload(p.Payload, c.codec.Is(codec.AMRWB), c.aligned())
	if err != nil {
		return err.Error()
	}
	c.wire.count(d, f)
	return ""
}

const slack = 1.5 // dB of level that the codecs may add or take

// sound waits until each end hears the other's tone as loud as it was sent.
func (w *world) sound(c *webua.Call) {
	w.t.Helper()
	scenario.Until(w.within(), w.t, "each end to hear the other's tone at its level", func() (bool, any) {
		near := c.Result().Last
		w.mu.Lock()
		var far tone.Detection
		if w.heard != nil {
			far = tone.Detect(w.heard.Samples(tone.Rate / 5))
		}
		w.mu.Unlock()
		good := func(d tone.Detection, hz float64) bool { return d.IsTone(hz, 3) && math.Abs(d.Level-level) < slack }
		return good(near, phoneHz) && good(far, browserHz), []tone.Detection{near, far}
	})
}

// digits are pressed at both ends at once; each press is one event at the other.
func (w *world) digits(c *webua.Call) {
	w.t.Helper()
	w.mu.Lock()
	phone := w.phone
	w.mu.Unlock()
	const fromBrowser, fromPhone = "15#", "*90"
	pressed := make(chan error, 1)
	go func() { pressed <- phone.SendDigits(w.ctx, fromPhone) }()
	if err := c.SendDigits(w.within(), fromBrowser); err != nil {
		w.t.Error(err)
	}
	if err := <-pressed; err != nil {
		w.t.Error(err)
	}
	scenario.Until(w.within(), w.t, "the digits at both ends", func() (bool, any) {
		near, far := c.Result(), phone.Media().Stats().Recv.Digits
		return near.Digits == fromPhone && near.Unended == 0 && far == fromBrowser, []string{near.Digits, far}
	})
}

// onWire checks what was between the gateway and rtpengine.
func (w *world) onWire() {
	w.t.Helper()
	const enough = 20 // packets
	for d, name := range []string{"to rtpengine", "to the gateway"} {
		scenario.Until(w.within(), w.t, name, func() (bool, any) { n := w.coding.wire.went(way(d)).audio; return n >= enough, n })
		got := w.coding.wire.went(way(d))
		w.t.Logf("%s: %d packets, frames by type %v, requests %v", name, got.audio, got.modes, got.requests)
		if len(got.faults) > 0 {
			w.t.Errorf("%s: %q", name, got.faults)
		}
		for kind := range got.modes {
			if kind < 8 && !w.coding.modes.Has(uint8(kind)) {
				w.t.Errorf("%s: mode %d is not in the mode-set", name, kind)
			}
		}
	}
}

// follows waits until the gateway's frames are of the highest mode that rtpengine asks for.
func (w *world) follows() {
	w.t.Helper()
	scenario.Until(w.within(), w.t, "the gateway to send in the mode that rtpengine asks for", func() (bool, any) {
		asked, sent := w.coding.wire.went(toGateway).requests, w.coding.wire.went(toPhone).modes
		return asked[highest] > 0 && sent[highest] > 0, []any{asked, sent}
	})
}

const highest = 8 // mode of AMR-WB: 23.85 kbit/s

// play makes a call over the coding and judges it from both ends.
func (w *world) play(t *testing.T, c coding, suite string, gatewayOffers bool, more ...func()) {
	outer := w.t
	w.begin(t, suite)
	defer func() { w.t = outer }()
	var err error
	if c.modes, err = c.codec.ModeSet(); err != nil {
		t.Fatal(err)
	}
	c.wire = newWire(t)
	w.mu.Lock()
	w.coding = &c
	w.mu.Unlock()
	call := w.call(gatewayOffers)
	w.sound(call)
	if gatewayOffers { // digits do not depend on who offered; audio goes on after them
		w.digits(call)
		w.sound(call)
	}
	for _, f := range more {
		f()
	}
	w.onWire()
	if suite != "" {
		w.secured(2)
	}
	if err := call.Hangup(w.within()); err != nil {
		t.Error(err)
	}
}

var (
	narrow        = codec.Codec{Name: codec.AMR, ClockRate: 8000}
	narrowAligned = codec.Codec{Name: codec.AMR, ClockRate: 8000, Fmtp: "octet-align=1"}
	wide          = codec.Codec{Name: codec.AMRWB, ClockRate: 16000}
	wideAligned   = codec.Codec{Name: codec.AMRWB, ClockRate: 16000, Fmtp: "octet-align=1"}
)

// coreCodecs are flags of the controller: the browser has Opus.
var coreCodecs = []string{"--media.prefer=core", "--media.core_codecs=AMR-WB,AMR,G722,PCMA", "--media.dtmf.core=in-band"}

// TestRtpengineCodes has rtpengine, whose encoders and decoders are libavcodec's, code towards the gateway, whoever offers: each end hears the other at
// its level and gets its digits, and every payload on the wire is what was agreed.
func TestRtpengineCodes(t *testing.T) {
	// The gateway starts AMR-WB below its highest mode, so that there is something to ask for.
	w := newWorld(t, "off", setup{codecs: []string{"opus"}, mgc: coreCodecs, mgw: []string{"--media.amr_wb_bitrate=12650"}})
	for _, c := range []struct {
		name string
		coding
	}{
		{"R4867_BandwidthEfficientAMR", coding{codec: narrow}},
		{"R4867_OctetAlignedAMR", coding{codec: narrowAligned}},
		{"R4867_BandwidthEfficientAMRWB", coding{codec: wide}},
		{"R4867_OctetAlignedAMRWB", coding{codec: wideAligned}},
		{"IQ18_G722", coding{codec: codec.Codec{Name: "G722", ClockRate: 8000}}},
	} {
		t.Run(c.name+"_GatewayOffers", func(t *testing.T) { w.play(t, c.coding, "", true) })
		t.Run(c.name+"_RtpengineOffers", func(t *testing.T) { w.play(t, c.coding, "", false) })
	}
	t.Run("R4733_InBandG711", func(t *testing.T) { // rtpengine finds the gateway's tones, and plays bob's telephone-events
		w.play(t, coding{codec: codec.Codec{Name: "PCMA", ClockRate: 8000}, tones: true}, "", true)
	})
	t.Run("R4867_ModeSet", func(t *testing.T) {
		c := narrowAligned
		c.Fmtp += ";mode-set=0,2,4;mode-change-period=2;mode-change-neighbor=1"
		w.play(t, coding{codec: c}, "", false)
	})
	t.Run("R4867_ModeRequests", func(t *testing.T) {
		w.play(t, coding{codec: wide, options: "CMR-interval=100"}, "", false, w.follows)
	})
}

// TestR4568_IQ14_RtpengineCodesUnderSRTP: AMR-WB in SRTP with keys in SDP.
func TestR4568_IQ14_RtpengineCodesUnderSRTP(t *testing.T) {
	w := newWorld(t, "required", setup{codecs: []string{"opus"}, mgc: coreCodecs})
	w.play(t, coding{codec: wideAligned, sealed: true}, "AEAD_AES_256_GCM", true)
}
