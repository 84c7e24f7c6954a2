package flow

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// tone is a talker that sends a sine in a codec, a packet each 20 ms.
type tone struct {
	t     *testing.T
	enc   transcode.Encoder
	codec codec.Codec
	hz    float64
	n     int // samples so far
	seq   uint16
	ssrc  uint32
	pcm   [160]int16
	out   [transcode.MaxPayload]byte
}

func newTone(t *testing.T, c codec.Codec, hz float64, ssrc uint32) *tone {
	t.Helper()
	enc, err := transcode.NewEncoder(c, transcode.EncoderConfig{Rate: 8000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(enc.Close)
	return &tone{t: t, enc: enc, codec: c, hz: hz, ssrc: ssrc}
}

func (s *tone) next() []byte {
	s.t.Helper()
	for i := range s.pcm {
		s.pcm[i] = int16(8000 * math.Sin(2*math.Pi*s.hz*float64(s.n)/8000))
		s.n++
	}
	n, err := s.enc.Encode(s.pcm[:], s.out[:])
	if err != nil {
		s.t.Fatal(err)
	}
	s.seq++
	return packet(s.codec.PT, s.ssrc, s.seq, uint32(s.seq)*s.codec.ClockRate/50, s.out[:n])
}

// ear decodes what arrives.
type ear struct {
	t   *testing.T
	dec transcode.Decoder
	pcm []int16
}

func newEar(t *testing.T, c codec.Codec) *ear {
	t.Helper()
	dec, err := transcode.NewDecoder(c, 8000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dec.Close)
	return &ear{t: t, dec: dec}
}

func (e *ear) hear(p rtp.Packet) {
	e.t.Helper()
	var pcm [960]int16
	n, err := e.dec.Decode(p.Payload(), pcm[:])
	if err != nil {
		e.t.Fatal(err)
	}
	e.pcm = append(e.pcm, pcm[:n]...)
}

// share is how much of the energy lies at hz, 0..1: the median over windows of 50 ms among the last samples, so that a concealed
// packet, which shifts the phase, does not count as another frequency.
func (e *ear) share(hz float64, samples int) float64 {
	const window = 400
	x := e.pcm[len(e.pcm)-samples:]
	var shares []float64
	for ; len(x) >= window; x = x[window:] {
		shares = append(shares, goertzel(x[:window], hz))
	}
	slices.Sort(shares)
	return shares[len(shares)/2]
}

func goertzel(x []int16, hz float64) float64 {
	w := 2 * math.Pi * hz / 8000
	var s1, s2, energy float64
	for _, v := range x {
		s0 := float64(v) + 2*math.Cos(w)*s1 - s2
		s2, s1 = s1, s0
		energy += float64(v) * float64(v)
	}
	power := s1*s1 + s2*s2 - 2*math.Cos(w)*s1*s2
	return 2 * power / (energy*float64(len(x)) + 1)
}

func transcodeSpec() callSpec {
	return callSpec{
		role:   RoleServer,
		access: both(SendRecv, []codec.Codec{opus, ev48}, opus, ev48),
		core:   both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8),
	}
}

func TestTranscodedToneIsHeardBothWays(t *testing.T) {
	transcodetest.Need(t, opus)
	for _, c := range []codec.Codec{pcma, {Name: codec.AMR, PT: 97, ClockRate: 8000, Channels: 1, Fmtp: "octet-align=1"}} {
		if transcode.Supported(c) {
			t.Run(c.Name, func(t *testing.T) { hearBothWays(t, c) })
		}
	}
}

// hearBothWays has a browser with Opus and a peer with codec c, at 8 kHz, hear each other's tone for 1.2 s of the test's time.
func hearBothWays(t *testing.T, c codec.Codec) {
	spec := transcodeSpec()
	x := newStage(t, spec.access, both(SendRecv, []codec.Codec{c, ev8}, c, ev8))
	up, down := newTone(t, opus, 1000, 0xbb), newTone(t, c, 600, 0xcc)
	for range 60 {
		x.speak(x.a, up.next())
		x.speak(x.c, down.next())
		x.step()
	}
	for _, l := range []struct {
		name      string
		end       int
		codec     codec.Codec
		term      *term
		hz, other float64
	}{{"core", coreEnd, c, x.c, 1000, 600}, {"browser", browserEnd, opus, x.a, 600, 1000}} {
		ear := newEar(t, l.codec)
		var last rtp.Packet
		for _, p := range x.all[l.end] {
			if p.PT() != l.codec.PT || p.SSRC() != l.term.out.stamp.SSRC() {
				t.Fatalf("%s: pt %d ssrc %x", l.name, p.PT(), p.SSRC())
			}
			if step := l.codec.ClockRate / 50; last != nil && (p.Seq() != last.Seq()+1 || p.TS() != last.TS()+step) {
				t.Errorf("%s: seq %d after %d, ts %d after %d", l.name, p.Seq(), last.Seq(), p.TS(), last.TS())
			}
			last = p.Packet
			ear.hear(last)
		}
		if len(ear.pcm) < 8000 {
			t.Fatalf("%s hears %d samples", l.name, len(ear.pcm))
		}
		if s := ear.share(l.hz, 4000); s < 0.8 {
			t.Errorf("%s hears %.2f of its energy at %v Hz (%v Hz: %.2f)", l.name, s, l.hz, l.other, ear.share(l.other, 4000))
		}
		if s := l.term.stats(); !s.Transcoding || s.Dropped != nil {
			t.Errorf("%s: %+v", l.name, s)
		}
	}
	if s := x.a.stats(); s.CodecReceived != "opus/48000/2" || s.CodecSent != "opus/48000/2" {
		t.Errorf("%+v", s)
	}
}

// press sends one key press as telephone events of 50 ms updates and three ends.
func press(send func([]byte), ev codec.Codec, ssrc uint32, seq *uint16, ts uint32, code uint8) {
	for i := 1; i <= 6; i++ {
		var b [dtmf.PayloadLen]byte
		dtmf.Put(b[:], dtmf.Block{Code: code, End: i > 3, Volume: 10, Duration: uint16(min(i, 4)) * uint16(ev.ClockRate/20)})
		*seq++
		p := packet(ev.PT, ssrc, *seq, ts, b[:])
		rtp.Packet(p).SetMarker(i == 1)
		send(p)
	}
}

func TestRFC4733_DTMFAcrossClocks(t *testing.T) {
	for name, c := range map[string]struct {
		spec    callSpec
		brow    codec.Codec // what the browser sends events in
		audio   codec.Codec
		toCore  uint16 // ticks of a 200 ms press
		viaTick bool
	}{
		"relay":     {relaySpec(), evBrow, pcma, 1600, false},
		"transcode": {transcodeSpec(), ev48, opus, 1600, true},
	} {
		t.Run(name, func(t *testing.T) {
			transcodetest.Need(t, c.audio)
			x := newCall(t, c.spec)
			talk := newTone(t, c.audio, 500, 0xbb)
			for range 5 {
				x.b.send(talk.next())
			}
			x.s.read()
			seq := talk.seq
			press(x.b.send, c.brow, 0xbb, &seq, uint32(seq)*c.audio.ClockRate/50, 5)
			var events []rtp.Packet
			for ends := 0; ends < 3; {
				p := x.s.read()
				if p.PT() != ev8.PT {
					continue
				}
				b, err := dtmf.Read(p.Payload())
				if err != nil || b.Code != 5 {
					t.Fatalf("event %+v, %v", b, err)
				}
				events = append(events, p)
				if b.End {
					ends++
					if d := int(b.Duration) - int(c.toCore); d < -160 || d > 160 {
						t.Errorf("duration %d ticks, want about %d", b.Duration, c.toCore)
					}
				}
			}
			for i, p := range events {
				if p.TS() != events[0].TS() || p.Marker() != (i == 0) || p.SSRC() != x.c.Local().SSRC {
					t.Errorf("event packet %d: ts %d, marker %v", i, p.TS(), p.Marker())
				}
			}
			e := x.ev.wait(t, x.a, DTMF, 1)
			if e.Digit != '5' || e.Duration < 190*time.Millisecond || e.Duration > 210*time.Millisecond {
				t.Errorf("detected %q for %v", e.Digit, e.Duration)
			}
			if _, twice := x.ev.find(x.a, DTMF, 2); twice {
				t.Error("one press reported twice")
			}
			// The other way.
			seq = 100
			press(func(p []byte) { x.s.send(x.c.Local().RTP, p) }, ev8, 0xcc, &seq, 16000, 11)
			for {
				p := x.b.read()
				if p.PT() != c.brow.PT {
					continue
				}
				if b, err := dtmf.Read(p.Payload()); err != nil || b.Code != 11 {
					t.Fatalf("event %+v, %v", b, err)
				} else if b.End {
					break
				}
			}
			if e := x.ev.wait(t, x.c, DTMF, 1); e.Digit != '#' {
				t.Errorf("detected %q", e.Digit)
			}
		})
	}
}

func TestSourceMayChangeBetweenRelayAndTranscoding(t *testing.T) {
	transcodetest.Need(t, opus)
	spec := transcodeSpec()
	spec.access.Recv = []codec.Codec{opus, pcma, ev48}
	x := newCall(t, spec)
	op, al := newTone(t, opus, 1000, 0xbb), newTone(t, pcma, 1000, 0xbb)
	var last rtp.Packet
	check := func(p rtp.Packet) {
		t.Helper()
		if p.PT() != 8 || last != nil && (p.Seq() != last.Seq()+1 || int32(p.TS()-last.TS()) <= 0) {
			t.Errorf("pt %d, seq %d, ts %d", p.PT(), p.Seq(), p.TS())
		}
		last = p
	}
	for range 5 {
		x.b.send(op.next())
	}
	check(x.s.read())
	if !x.a.Stats().Transcoding {
		t.Error("not transcoding")
	}
	al.seq = op.seq
	// A change of route right after the last is refused for a while: nobody shall make us build codecs per packet.
	eventually(t, "relay", func() bool {
		x.b.send(al.next())
		if p, ok := x.s.tryRead(10 * time.Millisecond); ok {
			check(p)
		}
		return !x.a.Stats().Transcoding
	})
	x.b.send(al.next())
	check(x.s.read())
}

func TestCodecChangeBySettings(t *testing.T) {
	transcodetest.Need(t, opus)
	x := newCall(t, transcodeSpec())
	op := newTone(t, opus, 1000, 0xbb)
	for range 5 {
		x.b.send(op.next())
	}
	first := x.s.read()
	spec := transcodeSpec()
	spec.core.Recv, spec.core.Send = []codec.Codec{pcmu, ev8}, pcmu
	x.configure(x.c, spec.core)
	for range 5 {
		x.b.send(op.next())
	}
	eventually(t, "PCMU", func() bool {
		p := x.s.read()
		return p.PT() == 0 && p.SSRC() == first.SSRC()
	})
}

func TestIQ18_PlanOfAPair(t *testing.T) {
	g729 := codec.Codec{Name: "G729", PT: 18, ClockRate: 8000}
	for _, c := range []struct {
		from, to codec.Codec
		want     Path
	}{
		{opus, pcma, Path{PathTranscode, "opus/48000/2", "PCMA/8000", whyDifferent}},
		{pcma, pcma, Path{PathRelay, "PCMA/8000", "PCMA/8000", whyShared}},
		{evs, evs, Path{PathRelay, "EVS/16000", "EVS/16000", whyShared}},
		{g729, pcma, Path{}}, {evs, pcma, Path{}}, {opus, evs, Path{}},
	} {
		if !transcode.Supported(opus) && c.want.Kind == PathTranscode {
			continue
		}
		got, err := Plan(c.from, c.to)
		if got != c.want || (err == nil) != (c.want.Kind != PathNone) {
			t.Errorf("%s to %s: %+v, %v", c.from.Name, c.to.Name, got, err)
		}
		if err != nil && (!errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), describe(c.from)+" to "+describe(c.to))) {
			t.Errorf("%v", err)
		}
	}
}

// EVS passes as it is, both ways, with the digits beside it (TS 26.445 annex A); a peer that has not got it gets nothing of it.
func TestIQ18_EVSIsRelayed(t *testing.T) {
	ev16 := codec.Codec{Name: codec.TelephoneEvent, PT: 105, ClockRate: 16000}
	theirs := evs
	theirs.PT, theirs.Fmtp = 120, "br=13.2-24.4;bw=swb"
	r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{evs, ev16}, evs, ev16), both(SendRecv, []codec.Codec{theirs, ev16}, theirs, ev16))
	buf := make([]byte, bufferSize)
	speech := func(pt uint8, i int) rtp.Packet {
		r.seq++
		rtp.PutHeader(buf, rtp.Header{PT: pt, Seq: r.seq, TS: uint32(r.seq) * 320, SSRC: 77})
		for k := range 61 {
			buf[rtp.HeaderLen+k] = byte(i + k)
		}
		return rtp.Packet(buf[: rtp.HeaderLen+61 : bufferSize])
	}
	for i := range 4 {
		now := int64(i+1) * int64(20*time.Millisecond)
		want := bytes.Clone(speech(120, i).Payload())
		if out := r.open(t, r.c.core.media(now, sipAddr, speech(120, i))); !bytes.Equal(out.Payload(), want) || out.PT() != evs.PT {
			t.Fatalf("% x", out)
		}
		if out := rtp.Packet(r.a.media(now, speech(evs.PT, i))); !bytes.Equal(out.Payload(), want) || out.PT() != 120 {
			t.Fatalf("% x", out)
		}
	}
	for _, x := range []*term{r.a, r.c} {
		if s := x.stats(); s.Transcoding || s.Path.Kind != PathRelay || s.Path.From != "EVS/16000" || s.Dropped != nil {
			t.Errorf("%+v", s)
		}
	}
	r = newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{opus}, opus, codec.Codec{}), both(SendRecv, []codec.Codec{theirs}, theirs, codec.Codec{}))
	if out := r.c.core.media(1, sipAddr, speech(120, 1)); out != nil || r.c.in.drops.Map()["payload_type"] != 1 {
		t.Errorf("% x, %v", out, r.c.in.drops.Map())
	}
	if s := r.c.stats(); s.Path != (Path{}) {
		t.Errorf("%+v", s.Path)
	}
}
