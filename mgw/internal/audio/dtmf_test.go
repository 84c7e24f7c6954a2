package audio

import (
	"fmt"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/stamp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// dial replaces the audio of in by key presses of 160 ms, one per half second from the second second on, as browsers do: during
// a press only event packets are sent, the end three times. lose names packets of each press that do not arrive.
func dial(in []sent, ev codec.Codec, keys []uint8, lose map[int]bool) []sent {
	const ticks = 8 // packets of one press
	var out []sent
	for i, s := range in {
		k, pos := (i-100)/25, (i-100)%25
		if i < 100 || k >= len(keys) || pos >= ticks+2 {
			out = append(out, s)
			continue
		}
		if lose[pos] {
			continue
		}
		p := rtp.Packet(s.pkt)
		b := dtmf.Block{Code: keys[k], Volume: 8, End: pos >= ticks-1, Duration: uint16(min(pos+1, ticks) * int(ev.ClockRate) / 50)}
		payload := make([]byte, dtmf.PayloadLen)
		dtmf.Put(payload, b)
		// The timestamp is that of the press's beginning, in the event's clock.
		ts := uint32(i-pos) * ev.ClockRate / 50
		out = append(out, sent{s.at, packet(rtp.Header{PT: ev.PT, Seq: p.Seq(), TS: ts, SSRC: p.SSRC(), Marker: pos == 0}, payload)})
	}
	return out
}

func TestR4733_KeysThroughTranscoding(t *testing.T) {
	race.Slow(t)
	event16 := &codec.Codec{Name: codec.TelephoneEvent, PT: 126, ClockRate: 16000}
	for _, tc := range []struct {
		src, dst codec.Codec
		srcEv    *codec.Codec
	}{
		{opus, pcma, event(opus, 110)}, {pcma, opus, event(pcma, 101)}, {pcma, pcmu, event(pcma, 101)}, {opus, g722, event(opus, 110)},
		{pcma, opus, event(opus, 110)}, {opus, pcma, event(pcma, 101)}, {pcma, opus, event16},
		{opus, narrow, event(opus, 110)}, {narrow, opus, event(narrow, 101)}, {wideOctets, opus, event(wideOctets, 101)}, {opus, wide, event(opus, 110)},
		{opus, wide, event(pcma, 126)}, {wide, pcma, event16}, {pcmu, narrowOctets, event16}, {narrow, wide, event(narrow, 101)},
	} {
		if !transcode.Supported(tc.src) || !transcode.Supported(tc.dst) {
			continue
		}
		for name, lose := range map[string]map[int]bool{"clean": nil, "ends lost": {7: true, 8: true, 9: true}, "begin lost": {0: true, 1: true}, "one left": {0: true, 1: true, 2: true, 3: true, 5: true, 6: true, 7: true, 8: true, 9: true}} {
			t.Run(fmt.Sprintf("%s ev%d to %s ev%d %s", tc.src.Name, tc.srcEv.ClockRate, tc.dst.Name, tc.dst.ClockRate, name), func(t *testing.T) {
				from, to := rateOf(tc.src, tc.dst), rateOf(tc.dst, tc.src)
				d := direction(t, Config{Src: tc.src, Dst: tc.dst, SrcDTMF: tc.srcEv, DstDTMF: event(tc.dst, 99)})
				in := dial(source(t, tc.src, from, tone(300, 8000, from, 6*from), 0), *tc.srcEv, []uint8{1, 1, 11, 5}, lose)
				taps := checkKeys(t, d, in, to)
				if taps != "11#5" {
					t.Errorf("the peer hears keys %q", taps)
				}
				got := ""
				for k, ok := d.TakeDTMF(); ok; k, ok = d.TakeDTMF() {
					got += string(k.Digit)
					if name == "clean" && k.Duration != 160*time.Millisecond {
						t.Errorf("key %c for %v", k.Digit, k.Duration)
					}
				}
				if got != "11#5" {
					t.Errorf("notified of %q", got)
				}
			})
		}
	}
}

// checkKeys listens and returns the keys heard; it checks the time line of events and audio.
func checkKeys(t *testing.T, d *Direction, in []sent, rate int) string {
	t.Helper()
	taps, ends := "", 0
	out := make([]byte, transcode.MaxPayload)
	var last Frame
	var lastOut stamp.Out
	peer := stamp.New(stamp.Config{SSRC: 5, Seq: 65000, TS: 0xfffff000, ClockRate: d.cfg.Dst.ClockRate})
	step := d.cfg.Dst.ClockRate / 50
	clock, next, started := uint32(0), 0, false
	for now := int64(0); now < 8*int64(time.Second); now += 5 * ms {
		for next < len(in) && in[next].at <= now {
			p, err := rtp.Parse(in[next].pkt)
			if err != nil {
				t.Fatal(err)
			}
			if v := d.Push(in[next].at, p); v != Accepted {
				t.Fatalf("packet %d: %v", next, v)
			}
			next++
		}
		for d.NextTick() <= now {
			n, f := d.Tick(now, out)
			if f.Kind == None {
				continue
			}
			if started && f.Seq != last.Seq+1 {
				t.Fatalf("number %d after %d", f.Seq, last.Seq)
			}
			kind := stamp.Audio
			if f.Kind == Event {
				kind = stamp.Event
			}
			o, v := peer.Map(now, stamp.In{SSRC: 1, Seq: f.Seq, TS: f.TS, Marker: f.Marker, Kind: kind})
			if v != stamp.Pass || started && (o.Seq != lastOut.Seq+1 || o.TS-lastOut.TS != f.TS-last.TS || o.Marker != f.Marker) {
				t.Fatalf("stamped %+v after %+v (%v), the direction said %+v after %+v", o, lastOut, v, f, last)
			}
			lastOut = o
			if !started {
				clock = f.TS
			}
			switch f.Kind {
			case Event:
				b, err := dtmf.Read(out[:n])
				if err != nil || f.PT != 99 {
					t.Fatalf("%+v %v", f, err)
				}
				if f.Marker {
					taps += string(dtmf.Digit(b.Code))
					ends = 0
					if f.TS != clock {
						t.Errorf("press begins at %d, the audio is at %d", f.TS, clock)
					}
				} else if f.TS != last.TS {
					t.Errorf("timestamp moves within a press: %+v after %+v", f, last)
				}
				if b.End {
					ends++
				}
			case Audio:
				if started && f.TS != clock {
					t.Fatalf("audio at %d, want %d", f.TS, clock)
				}
				if last.Kind == Event && (ends != 3 || !f.Marker) {
					t.Errorf("audio returns after %d ends, marker %v", ends, f.Marker)
				}
			}
			clock += step
			last, started = f, true
		}
	}
	return taps
}

// Without events towards the peer the keys are noted but not sent, and the audio goes on.
func TestKeysForAPeerWithoutEvents(t *testing.T) {
	d := direction(t, Config{Src: pcma, Dst: pcmu, SrcDTMF: event(pcma, 101)})
	h := listen(t, d, dial(source(t, pcma, 8000, tone(300, 8000, 8000, 6*8000), 0), *event(pcma, 101), []uint8{7}, nil), 8000, 5*ms, 8*int64(time.Second))
	for _, f := range h.frames {
		if f.Kind != Audio {
			t.Fatalf("%+v", f)
		}
	}
	if k, ok := d.TakeDTMF(); !ok || k.Digit != '7' {
		t.Errorf("notified of %+v %v", k, ok)
	}
}
