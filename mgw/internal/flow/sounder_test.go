package flow

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

func sounding(name string, rounds int, limit time.Duration) audio.Item {
	plan, _ := signals.PlanOf("eu")
	return audio.Item{Source: signals.NewTone(plan[name], rounds, limit), Name: name, Key: name, Notify: true}
}

func digits(keys string) (out []audio.Item) {
	for _, k := range keys {
		for code := range uint8(16) {
			if dtmf.Digit(code) == byte(k) {
				out = append(out, audio.Item{Digit: code, Hold: 100 * time.Millisecond, Name: "dg/" + string(k), Notify: true})
			}
		}
	}
	return out
}

// evs is a codec that is relayed only.
var evs = codec.Codec{Name: "EVS", PT: 96, ClockRate: 16000, Channels: 1}

// TestSignalTakesThePlaceOfMedia: a tone is heard in the codec of the peer, in the place of what was relayed or transcoded to it; then media
// again; one stream throughout, with a mark at each change and no click in the tone (H.248.1 §7.1.11).
func TestSignalTakesThePlaceOfMedia(t *testing.T) {
	g722 := codec.Codec{Name: codec.G722, PT: 9, ClockRate: 8000, Channels: 1}
	amr := codec.Codec{Name: codec.AMR, PT: 97, ClockRate: 8000, Channels: 1, Fmtp: "octet-align=1"}
	for name, c := range map[string]struct{ browser, core codec.Codec }{
		"relay": {pcma, pcma}, "transcode": {opus, pcma}, "wide": {opus, g722}, "amr": {opus, amr},
	} {
		t.Run(name, func(t *testing.T) {
			if !transcode.Supported(c.browser) || !transcode.Supported(c.core) {
				t.Log("codec not in this build")
				return
			}
			s := newStage(t, both(SendRecv, []codec.Codec{c.browser}, c.browser, codec.Codec{}), both(SendRecv, []codec.Codec{c.core}, c.core, codec.Codec{}))
			mic := newTone(t, c.browser, 700, 0xbb)
			for range 25 {
				s.speak(s.a, mic.next())
				s.step()
			}
			if err := s.c.play(s.now, Signals{List: []audio.Item{sounding(signals.Dial, 0, 0)}}); err != nil {
				t.Fatal(err)
			}
			before := len(s.all[coreEnd])
			for range 50 {
				s.speak(s.a, mic.next())
				s.step()
			}
			if err := s.c.play(s.now, Signals{}); err != nil {
				t.Fatal(err)
			}
			s.speak(s.a, mic.next())
			s.step()
			for range 50 {
				s.speak(s.a, mic.next())
				s.step()
			}
			after := before + 1
			for after < len(s.all[coreEnd]) && !s.all[coreEnd][after].Marker() {
				after++
			}
			heard := func(from, to int, hz float64) float64 {
				e := hearing(t, c.core)
				for _, p := range s.all[coreEnd][from:to] {
					e.hear(p.Packet)
				}
				return e.share(hz, len(e.pcm)*3/4/400*400)
			}
			if x := heard(0, before, 700); x < 0.9 {
				t.Errorf("media before: %.2f at 700 Hz", x)
			}
			if x := heard(before, after, 425); x < 0.95 {
				t.Errorf("signal: %.2f at 425 Hz", x)
			}
			if x := heard(after, len(s.all[coreEnd]), 700); x < 0.9 {
				t.Errorf("media after: %.2f at 700 Hz", x)
			}
			if n := after - before; n < 50 || n > 52 {
				t.Errorf("%d packets in 51 frames", n)
			}
			if !s.all[coreEnd][before].Marker() {
				t.Error("no mark where the signal begins")
			}
			if name == "relay" && s.a.in.drops[gate.Displaced] != 51 {
				t.Errorf("displaced: %d packets, want 51", s.a.in.drops[gate.Displaced])
			}
			if d := s.told(SignalDone); len(d) != 1 || d[0].Signal.How != audio.ByCommand || d[0].Signal.Name != signals.Dial || !d[0].Signal.Last || d[0].Endpoint != s.c.owner {
				t.Errorf("told %+v", d)
			}
			if s.c.sound != nil || s.a.to.replaced {
				t.Error("something is left of the signal")
			}
			if c.core == pcma {
				noClick(t, s.all[coreEnd][before:after])
			}
		})
	}
}

// hearing is an ear for a codec at whatever rate it has; at 16 kHz every second sample is heard.
func hearing(t *testing.T, c codec.Codec) *ear {
	if !c.Is(codec.G722) {
		return newEar(t, c)
	}
	dec, err := transcode.NewDecoder(c, 16000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dec.Close)
	return &ear{t: t, dec: halved{dec}}
}

// halved is a decoder whose output is thinned out.
type halved struct{ transcode.Decoder }

func (h halved) Decode(payload []byte, pcm []int16) (int, error) {
	n, err := h.Decoder.Decode(payload, pcm)
	for i := range n / 2 {
		pcm[i] = pcm[2*i]
	}
	return n / 2, err
}

// noClick decodes a tone of 425 Hz and looks at its second difference, which an edge would make large.
func noClick(t *testing.T, packets []arrival) {
	t.Helper()
	e := newEar(t, pcma)
	for _, p := range packets {
		e.hear(p.Packet)
	}
	pcm := append([]int16{0, 0}, e.pcm...)
	top := 0
	for i := 2; i < len(pcm); i++ {
		top = max(top, int(math.Abs(float64(pcm[i])-2*float64(pcm[i-1])+float64(pcm[i-2]))))
	}
	if top > 1400 { // 804 of the sine, the rest of A-law
		t.Errorf("second difference %d", top)
	}
}

// TestSignalWithoutPartner: a termination alone in its context hears its signal, whatever its mode is, from when its address is known.
func TestSignalWithoutPartner(t *testing.T) {
	transcodetest.Need(t, opus)
	s := newStage(t, both(Inactive, []codec.Codec{opus}, opus, codec.Codec{}), both(Inactive, []codec.Codec{pcma}, pcma, codec.Codec{}))
	s.a.disconnect()
	for _, x := range []*term{s.a, s.c} {
		if err := x.play(s.now, Signals{List: []audio.Item{sounding(signals.Ringing, 0, 0)}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 49 {
		s.step()
	}
	for i, c := range []codec.Codec{opus, pcma} {
		e := newEar(t, c)
		for _, p := range s.all[i] {
			e.hear(p.Packet)
		}
		if len(s.all[i]) < 48 || e.share(425, 6000) < 0.9 {
			t.Errorf("end %d: %d packets, %.2f at 425 Hz", i, len(s.all[i]), e.share(425, min(6000, len(e.pcm)/400*400)))
		}
	}
	s.c.core.aim(s.c.core.latched, s.c.core.latched) // no address any more
	before := len(s.all[coreEnd])
	for range 50 {
		s.step()
	}
	if len(s.all[coreEnd]) != before {
		t.Error("sent to nowhere")
	}
	if err := s.c.core.setRemote(0, CoreRemote{RTP: addrPortOf(s.ends[coreEnd])}); err != nil {
		t.Fatal(err)
	}
	// The cadence has gone on meanwhile: 2 s on, in all 2 s of 5: it is silent now.
	e := newEar(t, pcma)
	for range 20 {
		s.step()
	}
	for _, p := range s.all[coreEnd][before:] {
		e.hear(p.Packet)
	}
	for _, v := range e.pcm {
		if v > 100 || v < -100 {
			t.Fatal("the tone has waited for the address")
		}
	}
}

// TestR4733_DigitsWaitForTheirListener: digits that come before the peer can be reached, as while DTLS is at it, are heard once each when it can;
// when it never can they have failed, each.
func TestR4733_DigitsWaitForTheirListener(t *testing.T) {
	for _, named := range []bool{true, false} {
		event := codec.Codec{}
		if named {
			event = ev8
		}
		s := newStage(t, both(SendRecv, []codec.Codec{opus}, opus, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, event))
		s.a.disconnect()
		s.c.core.aim(s.c.core.latched, s.c.core.latched) // no address yet
		if err := s.c.play(s.now, Signals{List: digits("12")}); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			s.step()
		}
		if d := s.told(SignalDone); len(d) != 0 {
			t.Fatalf("named %v: %d digits have ended unheard", named, len(d))
		}
		if err := s.c.core.setRemote(0, CoreRemote{RTP: addrPortOf(s.ends[coreEnd])}); err != nil {
			t.Fatal(err)
		}
		before := len(s.all[coreEnd])
		for range 50 {
			s.step()
		}
		if d := s.told(SignalDone); len(d) != 2 || d[0].Signal.How != audio.ByItself || d[1].Signal.How != audio.ByItself {
			t.Errorf("named %v: ends %v", named, d)
		}
		if n := len(s.all[coreEnd]) - before; n < 10 {
			t.Errorf("named %v: %d packets of two digits", named, n)
		}
		s.c.core.aim(s.c.core.latched, s.c.core.latched)
		if err := s.c.play(s.now, Signals{List: digits("34")}); err != nil {
			t.Fatal(err)
		}
		for range 8 * 50 {
			s.step()
		}
		if err := s.c.play(s.now, Signals{List: digits("5")}); err != nil { // a number in the midst of which one is missing is another number
			t.Fatal(err)
		}
		for range 3 * 50 {
			s.step()
		}
		if d := s.told(SignalDone); len(d) != 5 || d[2].Signal.How != audio.Failed || d[3].Signal.How != audio.Failed || s.c.sound != nil {
			t.Errorf("named %v: ends of what nobody could hear %v", named, d)
		}
	}
}

// An isolated termination has signals one after another, each as the first: by nothing in it may the stream take them for repeated packets.
func TestSignalsWithoutPartnerAreAllHeard(t *testing.T) {
	s := newStage(t, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
	s.a.disconnect()
	for i := range 3 {
		before := len(s.all[coreEnd])
		if err := s.c.play(s.now, Signals{List: []audio.Item{sounding(signals.Dial, 0, time.Second)}}); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			s.step()
		}
		if n := len(s.all[coreEnd]) - before; n < 50 || s.c.sound != nil {
			t.Errorf("signal %d: %d packets of a second, at its end %v", i, n, s.c.sound == nil)
		}
	}
}

// TestInternalSignal: the partner's peer hears it, in its own codec; the termination's own does not.
func TestInternalSignal(t *testing.T) {
	transcodetest.Need(t, opus)
	s := newStage(t, both(SendRecv, []codec.Codec{opus}, opus, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
	if err := s.c.play(s.now, Signals{Internal: true, List: []audio.Item{sounding(signals.Busy, 2, 0)}}); err != nil {
		t.Fatal(err)
	}
	far := newTone(t, pcma, 1000, 0xcc)
	for range 101 {
		s.speak(s.c, far.next())
		s.step()
	}
	if len(s.all[coreEnd]) != 0 {
		t.Errorf("%d packets to the wrong peer", len(s.all[coreEnd]))
	}
	e := newEar(t, opus)
	for _, p := range s.all[browserEnd][:25] {
		e.hear(p.Packet)
	}
	if x := e.share(425, 3200); x < 0.9 {
		t.Errorf("%.2f at 425 Hz", x)
	}
	if d := s.told(SignalDone); len(d) != 1 || d[0].Endpoint != s.c.owner || d[0].Signal.How != audio.ByItself {
		t.Errorf("told %+v", d)
	}
	for range 40 { // media again, which the transcoder has kept in step
		s.speak(s.c, far.next())
		s.step()
	}
	e = newEar(t, opus)
	for _, p := range s.all[browserEnd][len(s.all[browserEnd])-28:] {
		e.hear(p.Packet)
	}
	if x := e.share(1000, 2000); x < 0.9 {
		t.Errorf("%.2f at 1000 Hz afterwards", x)
	}
}

// TestSignalsInARow: one after the other; a list that begins with the same and keeps it goes on without a break; a digit of the peer ends what
// is not kept; the endings say which it was.
func TestSignalsInARow(t *testing.T) {
	core := both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8)
	core.Armed = DTMF.Bit()
	s := newStage(t, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}), core)
	play := func(items ...audio.Item) {
		t.Helper()
		if err := s.c.play(s.now, Signals{List: items}); err != nil {
			t.Fatal(err)
		}
	}
	steps := func(n int) {
		for range n {
			s.step()
		}
	}
	endings := func() (out string) {
		for _, e := range s.told(SignalDone) {
			out += fmt.Sprintf("%s %d %v, ", e.Signal.Name, e.Signal.How, e.Signal.Last)
		}
		s.ev = nil
		return out
	}
	play(sounding(signals.SpecialInfo, 1, 0), sounding(signals.Dial, 0, 200*time.Millisecond))
	steps(99) // 1990 ms
	if got := endings(); got != "" {
		t.Errorf("too early: %s", got)
	}
	steps(12)
	if got := endings(); got != "cg/sit 0 false, cg/dt 0 true, " || s.c.sound != nil {
		t.Errorf("in a row: %s", got)
	}
	kept := sounding(signals.Ringing, 0, 0)
	kept.Keep = true
	play(kept)
	steps(25)
	again := sounding(signals.Ringing, 0, 0)
	again.Keep = true
	source := s.c.sound.player
	play(again)
	steps(24) // 980 ms of the one, or 480 of another
	e := newEar(t, pcma)
	n := len(s.all[coreEnd])
	steps(5)
	for _, p := range s.all[coreEnd][n+2:] {
		e.hear(p.Packet)
	}
	for _, v := range e.pcm {
		if v > 100 || v < -100 {
			t.Fatal("the ringing began anew")
		}
	}
	if s.c.sound.player != source || endings() != "" {
		t.Error("what is kept has ended")
	}
	seq := uint16(0)
	digit := func() {
		press(func(p []byte) { s.speak(s.c, p) }, ev8, 5, &seq, uint32(s.now/125000), 5)
		steps(2)
	}
	digit()
	if got := endings(); got != "" {
		t.Errorf("a digit has ended what is kept: %s", got)
	}
	play(sounding(signals.Busy, 0, 0), sounding(signals.Dial, 0, 0))
	steps(2)
	if got := endings(); got != "cg/rt 2 false, " {
		t.Errorf("another list: %s", got)
	}
	digit()
	if got := endings(); got != "cg/bt 1 true, " || s.c.sound != nil {
		t.Errorf("digit: %s", got)
	}
}

// TestSignalRefused: what the peer's codec cannot carry is refused, or ends when the codec changes to such a one; digits as events need none.
func TestSignalRefused(t *testing.T) {
	core := both(SendRecv, []codec.Codec{evs}, evs, codec.Codec{})
	s := newStage(t, both(SendRecv, []codec.Codec{evs}, evs, codec.Codec{}), core)
	if err := s.c.play(s.now, Signals{List: []audio.Item{sounding(signals.Dial, 0, 0)}}); !errors.Is(err, ErrNoCodec) || s.c.sound != nil {
		t.Errorf("tone in EVS: %v", err)
	}
	if err := s.c.play(s.now, Signals{List: digits("1")}); !errors.Is(err, ErrNoCodec) {
		t.Errorf("digit as tone in EVS: %v", err)
	}
	ev16 := codec.Codec{Name: codec.TelephoneEvent, PT: 102, ClockRate: 16000, Channels: 1}
	core.Recv, core.SendDTMF = append(core.Recv, ev16), ev16
	if err := s.c.configure(s.now, core); err != nil {
		t.Fatal(err)
	}
	if err := s.c.play(s.now, Signals{List: digits("1")}); err != nil {
		t.Errorf("digit as event beside EVS: %v", err)
	}
	for range 10 {
		s.step()
	}
	if len(s.all[coreEnd]) != 7 || s.all[coreEnd][6].PT() != 102 {
		t.Errorf("%d packets", len(s.all[coreEnd]))
	}
	if err := s.a.configure(s.now, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{})); err != nil {
		t.Fatal(err)
	}
	if err := s.a.play(s.now, Signals{List: []audio.Item{sounding(signals.Dial, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	s.ev = nil
	if err := s.a.configure(s.now, both(SendRecv, []codec.Codec{evs}, evs, codec.Codec{})); err != nil {
		t.Fatal(err)
	}
	s.step()
	if d := s.told(SignalDone); len(d) != 1 || d[0].Signal.How != audio.Failed || s.a.sound != nil {
		t.Errorf("codec change: %+v", d)
	}
	var many []audio.Item
	for range audio.MaxItems {
		many = append(many, digits("1")...)
	}
	if err := s.c.play(s.now, Signals{List: many}); !errors.Is(err, ErrBusy) {
		t.Errorf("too many: %v", err)
	}
	if s.c.sound != nil || s.a.to.replaced {
		t.Errorf("signals that were refused displace media: %v %v", s.c.sound != nil, s.a.to.replaced)
	}
}

// TestSignalFollowsTheCodec: the peer changes its codec while a tone plays; the tone goes on in the new one.
func TestSignalFollowsTheCodec(t *testing.T) {
	transcodetest.Need(t, opus)
	s := newStage(t, both(SendRecv, []codec.Codec{opus}, opus, codec.Codec{}), both(SendRecv, []codec.Codec{pcma, opus}, pcma, codec.Codec{}))
	if err := s.c.play(s.now, Signals{List: []audio.Item{sounding(signals.Dial, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []codec.Codec{pcma, opus, pcmu} {
		if err := s.c.configure(s.now, both(SendRecv, []codec.Codec{c}, c, codec.Codec{})); err != nil {
			t.Fatal(err)
		}
		n := len(s.all[coreEnd])
		for range 30 {
			s.step()
		}
		e := newEar(t, c)
		for _, p := range s.all[coreEnd][n:] {
			if p.PT() != c.PT {
				t.Fatalf("payload type %d beside %d", p.PT(), c.PT)
			}
			e.hear(p.Packet)
		}
		if x := e.share(425, 4000); x < 0.9 {
			t.Errorf("%s: %.2f at 425 Hz", c.Name, x)
		}
	}
}

// TestSignalDoesNotAllocate: nor what it displaces.
func TestSignalDoesNotAllocate(t *testing.T) {
	s := newStage(t, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
	if err := s.c.play(s.now, Signals{List: []audio.Item{sounding(signals.Ringing, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, bufferSize)
	step := func() {
		s.now += int64(20 * time.Millisecond)
		if s.a.media(s.now, s.fill(buf, 8)) != nil {
			t.Fatal("not displaced")
		}
		s.w.clock.heap[0].of.tick(s.now)
		s.w.flush()
	}
	step()
	if n := testing.AllocsPerRun(200, step); n > race.Allocs(1) {
		t.Errorf("%v allocations", n)
	}
}
