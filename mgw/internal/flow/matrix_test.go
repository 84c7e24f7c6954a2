package flow

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// form is how a peer sends or takes digits.
type form struct {
	name   string
	audio  codec.Codec
	events codec.Codec // zero: none
	info   bool        // by signalling

	declined codec.Codec // telephone-event that it was offered and does not have; zero: none was offered
}

var (
	wb   = codec.Codec{Name: codec.AMRWB, PT: 98, ClockRate: 16000, Channels: 1, Fmtp: "octet-align=1"}
	ev16 = codec.Codec{Name: codec.TelephoneEvent, PT: 99, ClockRate: 16000, Fmtp: "0-16"}

	forms = []form{
		{name: "4733 at 48000", audio: opus, events: ev48},
		{name: "4733 at 16000", audio: wb, events: ev16},
		{name: "4733 at 8000", audio: pcma, events: ev8},
		{name: "4733 at 8000 beside Opus", audio: opus, events: ev8},
		{name: "INFO", audio: pcma, info: true},
		{name: "in-band", audio: pcma},
		{name: "in-band in Opus", audio: opus},
		{name: "in-band, events declined", audio: pcma, declined: ev8},
	}
)

// settings of a termination whose peer has the form, as the MGC makes them.
func (f form) settings() Settings {
	s := both(SendRecv, []codec.Codec{f.audio}, f.audio, f.events)
	if !f.events.IsZero() {
		s.Recv = append(s.Recv, f.events)
	}
	if !f.declined.IsZero() {
		s.Recv = append(s.Recv, f.declined)
	}
	s.Armed = DTMF.Bit()
	s.DropDigits = f.info
	s.DetectTones = f.events.IsZero() && !f.info
	return s
}

// mouth speaks audio of a codec, frame by frame.
type mouth struct {
	t     *testing.T
	c     codec.Codec
	enc   transcode.Encoder
	rate  int
	at    int
	seq   uint16
	ts    uint32
	tones [2]float64 // of a key; zero: a voice of 300 Hz
}

func newMouth(t *testing.T, c codec.Codec) *mouth {
	t.Helper()
	rate := transcode.Rates(c)[0]
	enc, err := transcode.NewEncoder(c, transcode.EncoderConfig{Rate: rate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(enc.Close)
	return &mouth{t: t, c: c, enc: enc, rate: rate}
}

func (m *mouth) frame() []byte {
	m.t.Helper()
	pcm, out := make([]int16, m.rate/50), make([]byte, transcode.MaxPayload)
	for i := range pcm {
		x := 2 * math.Pi * float64(m.at) / float64(m.rate)
		m.at++
		if m.tones[0] == 0 {
			pcm[i] = int16(2000 * math.Sin(x*300))
		} else {
			pcm[i] = int16(8000*math.Sin(x*m.tones[0]) + 10000*math.Sin(x*m.tones[1]))
		}
	}
	n, err := m.enc.Encode(pcm, out)
	if err != nil {
		m.t.Fatal(err)
	}
	m.seq++
	b := packet(m.c.PT, 0x77, m.seq, m.ts, out[:n])
	m.ts += m.c.ClockRate / 50
	return b
}

// event is a packet of a press that has lasted so many frames.
func (m *mouth) event(f form, start uint32, frames int, code uint8, end bool) []byte {
	var b [dtmf.PayloadLen]byte
	dtmf.Put(b[:], dtmf.Block{Code: code, End: end, Volume: 10, Duration: uint16(frames) * uint16(f.events.ClockRate/50)})
	m.seq++
	p := packet(f.events.PT, 0x77, m.seq, start, b[:])
	rtp.Packet(p).SetMarker(frames == 1 && !end)
	return p
}

// press lets a peer of the form press a key for n frames, a step for each, and then speak for as many.
func (s *stage) press(m *mouth, f form, from *term, key byte, n int) {
	s.t.Helper()
	code := dtmf.Code(key)
	switch {
	case f.info: // what the MGC makes of it: a signal on the other termination
		if err := from.partner.play(s.now, Signals{List: digits(string(key))}); err != nil {
			s.t.Fatal(err)
		}
	case f.events.IsZero():
		m.tones = keyTones(code)
	}
	start := m.ts
	if f.events.ClockRate != f.audio.ClockRate {
		start = uint32(uint64(m.ts) * uint64(f.events.ClockRate) / uint64(f.audio.ClockRate))
	}
	for i := range n {
		if f.events.IsZero() {
			s.speak(from, m.frame())
		} else {
			m.ts += f.audio.ClockRate / 50
			s.speak(from, m.event(f, start, i+1, code, i == n-1))
			if i == n-1 {
				s.speak(from, m.event(f, start, n, code, true), m.event(f, start, n, code, true))
			}
		}
		s.step()
	}
	m.tones = [2]float64{}
	for range n {
		s.speak(from, m.frame())
		s.step()
	}
}

func keyTones(code uint8) [2]float64 {
	at := [16]int{13, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 14, 3, 7, 11, 15}[code]
	return [2]float64{[4]float64{697, 770, 852, 941}[at/4], [4]float64{1209, 1336, 1477, 1633}[at%4]}
}

// heard is what a peer of the form makes of what has arrived: keys of events, keys in the audio.
func (f form) heard(t *testing.T, all []arrival) (events, tones []dtmf.Detected) {
	t.Helper()
	rate := transcode.Rates(f.audio)[0]
	dec, err := transcode.NewDecoder(f.audio, rate)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	clock := f.events.ClockRate
	rx, ear, pcm := dtmf.NewReceiver(max(clock, 8000)), dtmf.NewDetector(rate), make([]int16, 5760)
	take := func() {
		for d, ok := ear.Take(); ok; d, ok = ear.Take() {
			tones = append(tones, d)
		}
		for d, ok := rx.Take(); ok; d, ok = rx.Take() {
			events = append(events, d)
		}
	}
	for _, p := range all {
		switch {
		case p.PT() == f.audio.PT:
			n, err := dec.Decode(p.Payload(), pcm)
			if err != nil {
				t.Fatal(err)
			}
			ear.Process(pcm[:n])
		case clock != 0 && p.PT() == f.events.PT:
			if _, v := rx.Push(p.at, dtmf.Packet{SSRC: p.SSRC(), TS: p.TS(), Marker: p.Marker(), Payload: p.Payload()}); v == dtmf.Malformed {
				t.Fatal("malformed event")
			}
		default:
			t.Fatalf("payload type %d, not negotiated", p.PT())
		}
		take()
	}
	ear.Process(make([]int16, rate/10))
	rx.Poll(math.MaxInt64)
	take()
	return events, tones
}

func keysOf(d []dtmf.Detected) (s string) {
	for _, x := range d {
		s += string(x.Digit)
	}
	return s
}

// TestR4733_DigitMatrix: each way of sending digits to each way of taking them, both directions: one press is one digit, in order, as long as
// it was, in the one form that the peer takes and in no other.
func TestR4733_DigitMatrix(t *testing.T) {
	const keys = "1559*D#"
	for _, from := range forms {
		for _, to := range forms {
			for end, dir := range []string{"core to browser", "browser to core"} {
				t.Run(from.name+" to "+to.name+", "+dir, func(t *testing.T) {
					if !transcode.Supported(from.audio) || !transcode.Supported(to.audio) {
						t.Log("codec not in this build")
						return
					}
					access, core := to.settings(), from.settings()
					if end == coreEnd {
						access, core = core, access
					}
					s := newStage(t, access, core)
					src := s.c
					if end == coreEnd {
						src = s.a
					}
					m := newMouth(t, from.audio)
					for range 10 {
						s.speak(src, m.frame())
						s.step()
					}
					for _, k := range []byte(keys) {
						s.press(m, from, src, k, 6)
					}
					for range 25 {
						s.speak(src, m.frame())
						s.step()
					}
					events, tones := to.heard(t, s.all[end])
					var told []dtmf.Detected
					for _, e := range s.told(DTMF) {
						if e.Endpoint != src.owner {
							t.Errorf("told of the wrong side: %c", e.Digit)
						}
						told = append(told, dtmf.Detected{Digit: e.Digit, Duration: e.Duration})
					}
					want := map[string]string{"events": "", "tones": "", "told": keys}
					switch {
					case from.info && to.info: // an order to play is obeyed; the MGC gives none here
						want["tones"], want["told"] = keys, ""
					case from.info && to.events.IsZero():
						want["tones"], want["told"] = keys, ""
					case from.info:
						want["events"], want["told"] = keys, ""
					case to.info:
					case to.events.IsZero():
						want["tones"] = keys
					default:
						want["events"] = keys
					}
					for name, got := range map[string][]dtmf.Detected{"events": events, "tones": tones, "told": told} {
						if keysOf(got) != want[name] {
							t.Errorf("%s: %q, want %q", name, keysOf(got), want[name])
						}
						for _, d := range got {
							least := 120 * time.Millisecond
							if from.info {
								least = 100 * time.Millisecond
							}
							slack := 25 * time.Millisecond
							if name == "tones" && from.events.IsZero() {
								slack = 32 * time.Millisecond // the end of the one is known a while after it
							}
							if (d.Duration - least).Abs() > slack {
								t.Errorf("%s: %c for %v, want %v", name, d.Digit, d.Duration, least)
							}
						}
					}
				})
			}
		}
	}
}

// TestLeakBesideEvents: a gateway that lets 40 ms of the tone through before and after the events of the same press is no second digit, for a
// peer that takes tones, or events, or gets digits by signalling.
func TestLeakBesideEvents(t *testing.T) {
	source := form{name: "leaky", audio: pcma, events: ev8}
	for _, to := range []form{forms[0], {name: "in-band in G.711 of the other law", audio: pcmu}, {name: "INFO", audio: opus, info: true}} {
		t.Run(to.name, func(t *testing.T) {
			if !transcode.Supported(to.audio) {
				t.Log("codec not in this build")
				return
			}
			s := newStage(t, to.settings(), source.settings())
			m := newMouth(t, pcma)
			say := func(n int) {
				for range n {
					s.speak(s.c, m.frame())
					s.step()
				}
			}
			say(10)
			for _, key := range []byte("1559") {
				m.tones = keyTones(dtmf.Code(key))
				say(2)
				s.press(m, source, s.c, key, 6) // silent again afterwards
				m.tones = keyTones(dtmf.Code(key))
				say(2)
				m.tones = [2]float64{}
				say(8)
			}
			events, tones := to.heard(t, s.all[browserEnd])
			want := [2]string{"1559", ""}
			switch {
			case to.info:
				want[0] = ""
			case to.events.IsZero():
				want = [2]string{"", "1559"}
			}
			if keysOf(events) != want[0] || keysOf(tones) != want[1] || len(s.told(DTMF)) != 4 {
				t.Errorf("events %q, tones %q, told %d, want %q", keysOf(events), keysOf(tones), len(s.told(DTMF)), want)
			}
		})
	}
}

// TestTonesAreDetectedWhereTheyAreAskedFor: without the order audio is relayed with all that is in it; what cannot be decoded is refused.
func TestTonesAreDetectedWhereTheyAreAskedFor(t *testing.T) {
	f := forms[5]
	plain := f.settings()
	plain.DetectTones = false
	s := newStage(t, plain, plain)
	s.press(newMouth(t, pcma), f, s.c, '7', 6)
	if _, tones := f.heard(t, s.all[browserEnd]); keysOf(tones) != "7" || len(s.told(DTMF)) != 0 || s.c.to.active != nil {
		t.Errorf("heard %q, told %d, transcoded %v", keysOf(tones), len(s.told(DTMF)), s.c.to.active != nil)
	}
	if err := configure(nil, s.c, Settings{Recv: []codec.Codec{evs}, DetectTones: true}); !errors.Is(err, ErrCannotDetect) {
		t.Errorf("EVS: %v", err)
	}
}
