package flow

import (
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

var cn8 = codec.Codec{Name: codec.ComfortNoise, PT: 13, ClockRate: 8000, Channels: 1}

// Relayed comfort noise reaches a peer that has agreed to it, in sequence with the audio and under the peer's payload type;
// for others it is refused and counted, beside audio that cannot be decoded, and leaves no gap in the numbers.
func TestR3551_RFC3389_5_RelayedComfortNoise(t *testing.T) {
	none, taken := codec.Codec{}, codec.Codec{Name: codec.ComfortNoise, PT: 97, ClockRate: 8000, Channels: 1}
	for name, c := range map[string]struct{ agreed, foreign codec.Codec }{
		"agreed":                 {agreed: taken},
		"not agreed":             {foreign: codec.Codec{Name: "G726-32", PT: 8, ClockRate: 8000, Channels: 1}},
		"not agreed, beside AMR": {foreign: codec.Codec{Name: codec.AMR, PT: 8, ClockRate: 8000, Channels: 1}}, // which has pauses of its own
	} {
		t.Run(name, func(t *testing.T) {
			agreed, foreign := c.agreed, c.foreign
			access, core := relaySettings()
			if agreed == none {
				access, core = both(SendRecv, []codec.Codec{foreign}, foreign, codec.Codec{}), both(SendRecv, []codec.Codec{foreign}, foreign, codec.Codec{})
			}
			core.Recv = append(core.Recv, cn8)
			access.SendCN = agreed
			r := newRig(t, srtp.AES128GCM, access, core)
			buf := make([]byte, bufferSize)
			noise := func() rtp.Packet { return rtp.Packet(r.fill(buf, 13)[:rtp.HeaderLen+1]) }
			if out := r.c.core.media(1, sipAddr, noise()); out != nil {
				t.Error("noise leaves before it is known how audio goes")
			}
			first := r.open(t, r.c.core.media(2, sipAddr, r.fill(buf, 8)))
			out := r.c.core.media(3, sipAddr, noise())
			refused := r.c.in.drops.Map()["payload_type"]
			if agreed.IsZero() {
				if out != nil || refused != 2 {
					t.Errorf("sent %d bytes, %d refused", len(out), refused)
				}
				if next := r.open(t, r.c.core.media(4, sipAddr, r.fill(buf, 8))); next.Seq() != first.Seq()+1 {
					t.Errorf("number %d after %d", next.Seq(), first.Seq())
				}
				return
			}
			p := r.open(t, out)
			if p.PT() != 97 || p.Seq() != first.Seq()+1 || p.TS() != first.TS()+160 || p.SSRC() != first.SSRC() || refused != 1 {
				t.Errorf("audio % x, noise % x, %d refused", first[:rtp.HeaderLen], p[:rtp.HeaderLen], refused)
			}
			if next := r.open(t, r.c.core.media(4, sipAddr, r.fill(buf, 8))); next.Seq() != p.Seq()+1 || next.PT() != 8 {
				t.Errorf("audio after it: % x", next[:rtp.HeaderLen])
			}
		})
	}
}

// TestR3389_NoiseForAPeerThatHasLostIt: a source may say that it is silent, and goes on to when the other peer's new description has no comfort noise any more.
// That peer never gets it (RFC 3264 §8), and hears noise of the level that the source tells, speech as it is, and no hole, however long the pause; and comfort
// noise again when it takes that.
func TestR3389_NoiseForAPeerThatHasLostIt(t *testing.T) {
	const level = 52 // -dBov
	for name, end := range map[string]int{"core": coreEnd, "browser": browserEnd} {
		t.Run(name, func(t *testing.T) {
			x := newScene(t, false, end)
			x.access.Recv, x.core.Recv = append(x.access.Recv, cn8), append(x.core.Recv, cn8)
			x.access.SendCN, x.core.SendCN = cn8, cn8
			x.set(x.access, x.core)
			to := &x.from.to
			silence := func(steps int) { // its clock goes on
				for i := range steps {
					if p := rtp.Packet(x.next()); i == 0 {
						p.SetPT(cn8.PT)
						p[rtp.HeaderLen] = level
						x.speak(x.from, p[:rtp.HeaderLen+1])
					} else {
						x.offset(0, ^uint16(0), 0)
					}
					x.step()
				}
				x.mark = true
			}
			relayed := func() {
				t.Helper()
				x.run(20)
				from := len(x.all[end])
				silence(20)
				if got := x.all[end][from:]; len(got) != 1 || got[0].PT() != cn8.PT || (*to).active != nil {
					t.Errorf("comfort noise is not relayed: %d packets", len(got))
				}
			}
			relayed()
			x.listener().SendCN = codec.Codec{}
			x.set(x.access, x.core)
			from := len(x.all[end])
			x.run(50)
			if p := (*to).path(); p.Kind != PathRelay || (*to).active != nil {
				t.Errorf("before there is a pause: %+v", p)
			}
			begun := x.now
			silence(100)
			x.run(50)
			silence(100)
			x.run(50)
			if p := (*to).path(); p.Kind != PathTranscode || p.Reason != whyNoise {
				t.Errorf("path %+v", p)
			}
			x.set(x.access, x.core) // as any other change does
			x.run(10)
			e, speech := newEar(t, pcma), 0
			for i, p := range x.all[end][from:] {
				e.hear(p.Packet)
				l := 10 * math.Log10(power(e.pcm[len(e.pcm)-160:])/(32768*32768))
				since := time.Duration(p.at-begun).Milliseconds() % 3000
				switch before := x.all[end][from+max(i, 1)-1]; {
				case p.PT() != pcma.PT:
					t.Fatalf("packet %d of payload type %d", i, p.PT())
				case p.at-before.at > int64(60*time.Millisecond):
					t.Errorf("packet %d: nothing for %v", i, time.Duration(p.at-before.at))
				case l > -20:
					speech++
				case p.at < begun || since > 100 && since < 2000 && math.Abs(l+level) > 3:
					t.Errorf("packet %d, %d ms after the begin of a pause: %.1f dB", i, since, l)
				}
			}
			if want := 50 + 50 + 50 + 10; speech < want-2 || speech > want+1 { // two are on their way
				t.Errorf("%d frames of speech, %d were sent", speech, want)
			}
			if n := x.from.in.drops.Map()["payload_type"]; n != 0 {
				t.Errorf("%d packets refused", n)
			}
			// It says so once and is silent for so long that its codecs are given up; the next pause has noise again.
			silence(2200)
			(*to).rest(x.now)
			if !(*to).resting {
				t.Fatal("it does not rest")
			}
			from = len(x.all[end])
			silence(20)
			if n := len(x.all[end]) - from; n < 17 {
				t.Errorf("%d packets of noise after a long pause", n)
			}
			x.listener().SendCN = cn8
			x.set(x.access, x.core)
			relayed()
		})
	}
}

// TestR3389_NoiseGoesOnAfterAChangeInAPause: descriptions change while the source is silent, as on hold; what is heard of the pause afterwards is noise, or comfort
// noise where that is taken again, and not nothing until the source speaks.
func TestR3389_NoiseGoesOnAfterAChangeInAPause(t *testing.T) {
	const taken = "comfort noise was taken"
	for name, c := range map[string]struct {
		change func(x *scene)
		pt     uint8 // of what is heard then
	}{
		"hold":                   {func(x *scene) { x.modes(Inactive, Inactive) }, pcma.PT},
		"another packet length":  {func(x *scene) { x.listener().Ptime = 40 * time.Millisecond }, pcma.PT},
		"another codec":          {func(x *scene) { x.listener().Send = pcmu }, pcmu.PT},
		"a codec of others":      {func(x *scene) { x.listener().Send = opus }, opus.PT},
		taken:                    {func(x *scene) { x.listener().Send, x.listener().SendCN = opus, codec.Codec{} }, opus.PT},
		"comfort noise is taken": {func(x *scene) { x.listener().SendCN = cn8 }, cn8.PT},
	} {
		for end, to := range map[int]string{coreEnd: "core", browserEnd: "browser"} {
			t.Run(name+", "+to, func(t *testing.T) {
				x := newScene(t, false, end)
				x.access.Recv, x.core.Recv = append(x.access.Recv, cn8), append(x.core.Recv, cn8)
				if name == taken {
					x.listener().SendCN = cn8
				}
				x.set(x.access, x.core)
				silence := func(steps int) {
					for i := range steps {
						if p := rtp.Packet(x.next()); i%10 == 0 {
							p.SetPT(cn8.PT)
							x.speak(x.from, p[:rtp.HeaderLen+1])
						} else {
							x.offset(0, ^uint16(0), 0)
						}
						x.step()
					}
				}
				x.run(20)
				silence(20)
				if (x.from.to.path().Reason == whyNoise) != (name != taken) {
					t.Fatalf("before: %+v", x.from.to.path())
				}
				c.change(x)
				silence(20)
				x.set(x.access, x.core)
				from := len(x.all[end])
				silence(50)
				got := x.all[end][from:]
				if len(got) < 5 || got[len(got)-1].PT() != c.pt && x.from.to.active == nil { // one that may play digits goes on
					t.Errorf("%d packets in a second, want some of type %d", len(got), c.pt)
				}
			})
		}
	}
}

// TestR3389_PauseBehindASignal: a transcoder follows its source while a signal is played in its place, also one that has relayed audio since a pause: nothing is
// lost then, and a pause that begins meanwhile is noise afterwards.
func TestR3389_PauseBehindASignal(t *testing.T) {
	for name, codecs := range map[string][2]codec.Codec{"relayed until a pause": {pcma, pcma}, "transcoded": {pcma, pcmu}} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, both(SendRecv, []codec.Codec{codecs[0], cn8}, codecs[0], codec.Codec{}), both(SendRecv, []codec.Codec{codecs[1]}, codecs[1], codec.Codec{}))
			mic := newTone(t, codecs[0], 700, 0xbb)
			say := func(n int) {
				for range n {
					s.speak(s.a, mic.next())
					s.step()
				}
			}
			hush := func() {
				p := rtp.Packet(mic.next())
				p.SetPT(cn8.PT)
				p[rtp.HeaderLen] = 50
				s.speak(s.a, p[:rtp.HeaderLen+1])
				s.step()
			}
			say(20)
			hush()
			say(20)
			if err := s.c.play(s.now, Signals{List: []audio.Item{sounding(signals.Dial, 0, 0)}}); err != nil {
				t.Fatal(err)
			}
			say(60)
			hush()
			s.steps(100)
			before := len(s.all[coreEnd])
			if err := s.c.play(s.now, Signals{}); err != nil {
				t.Fatal(err)
			}
			s.steps(50)
			if n := len(s.all[coreEnd]) - before; n < 48 {
				t.Errorf("%d packets of noise in a second", n)
			}
			mic.n += 150 * 160 // its clock has gone on
			say(20)
			if st := s.a.to.active.dir.Stats(); st.Concealed+st.Jitter.Lost != 0 || s.a.in.drops[gate.Displaced] != 0 {
				t.Errorf("nothing is lost on the way: %+v, %d packets displaced", st, s.a.in.drops[gate.Displaced])
			}
		})
	}
}

// power is the mean square.
func power(pcm []int16) (sum float64) {
	for _, v := range pcm {
		sum += float64(v) * float64(v) / float64(len(pcm))
	}
	return sum
}

// open decrypts as the browser does.
func (r *rig) open(t *testing.T, b []byte) rtp.Packet {
	t.Helper()
	if b == nil {
		t.Fatal("nothing was sent")
	}
	plain, err := r.peerRx.OpenRTP(b)
	if err != nil {
		t.Fatal(err)
	}
	return append(rtp.Packet(nil), plain...)
}

// A press all of whose end packets are lost is notified once it has been silent (RFC 4733 §2.5.1.4), though it is only relayed.
func TestRFC4733_PressWithoutEndsIsNotified(t *testing.T) {
	access, core := relaySettings()
	core.Armed = AllEvents
	r := newRig(t, srtp.AES128GCM, access, core)
	var digits []byte
	r.w.cfg.Events = func(e Event) {
		if e.Kind == DTMF {
			digits = append(digits, e.Digit)
		}
	}
	buf := make([]byte, bufferSize)
	for i := range 4 {
		rtp.PutHeader(buf, rtp.Header{PT: ev8.PT, Marker: i == 0, Seq: uint16(i + 1), TS: 160, SSRC: 77})
		copy(buf[rtp.HeaderLen:], []byte{5, 10, 0, byte(160 / 4 * (i + 1))})
		if r.c.core.media(int64(i)*int64(20*time.Millisecond), sipAddr, buf[:rtp.HeaderLen+4]) == nil {
			t.Fatal("event not relayed")
		}
	}
	r.c.sweep(int64(200 * time.Millisecond))
	if len(digits) != 0 {
		t.Errorf("%q notified while it is pressed", digits)
	}
	r.c.sweep(int64(500 * time.Millisecond))
	r.c.sweep(int64(900 * time.Millisecond))
	if string(digits) != "5" {
		t.Errorf("notified %q, want one 5", digits)
	}
}

// Events of several clock rates lead to the peer's one; a change of settings must not mix up their conversions.
func TestEventDurationsAfterANewDescription(t *testing.T) {
	ev16 := codec.Codec{Name: codec.TelephoneEvent, PT: 105, ClockRate: 16000}
	wide := codec.Codec{Name: "AMR-WB", PT: 104, ClockRate: 16000, Channels: 1}
	ev8b := codec.Codec{Name: codec.TelephoneEvent, PT: 126, ClockRate: 8000}
	access := both(SendRecv, []codec.Codec{wide, ev48, ev8b}, wide, ev48)
	r := newRig(t, srtp.AES128GCM, access, both(SendRecv, []codec.Codec{wide, ev16}, wide, ev16))
	seq := uint16(0)
	press := func(pt uint8, ms uint16, clock uint32) {
		t.Helper()
		seq++
		b := make([]byte, rtp.HeaderLen+4, bufferSize)
		rtp.PutHeader(b, rtp.Header{PT: pt, Marker: true, Seq: seq, TS: uint32(seq) * 100_000, SSRC: 77})
		dtmf.Put(b[rtp.HeaderLen:], dtmf.Block{Code: 5, Duration: uint16(uint32(ms) * clock / 1000)})
		out := r.a.media(int64(seq)*int64(time.Second), b)
		if out == nil {
			t.Fatalf("dropped: %v", r.a.in.drops.Map())
		}
		if got, err := dtmf.Read(rtp.Packet(out).Payload()); err != nil || got.Duration != ms*16 {
			t.Errorf("%d ms at %d Hz: %d ticks at 16000 Hz, %v", ms, clock, got.Duration, err)
		}
	}
	for range 2 {
		press(110, 100, 48000)
		press(126, 100, 8000)
		if err := r.a.configure(1, access); err != nil {
			t.Fatal(err)
		}
	}
	access.Recv = []codec.Codec{wide, {Name: codec.TelephoneEvent, PT: 110, ClockRate: 8000}}
	if err := r.a.configure(1, access); err != nil {
		t.Fatal(err)
	}
	press(110, 100, 8000)
}
