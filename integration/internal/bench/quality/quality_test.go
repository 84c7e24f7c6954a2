package quality

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/traces"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// speaker is a synthetic one, so that the tests need no program.
func speaker() *material { return newMaterial(speech.Floats(speech.Make(3, 400)), speech.Wide) }

func conditions(t *testing.T) map[string]traces.Condition {
	t.Helper()
	out := map[string]traces.Condition{}
	for _, c := range traces.Conditions() {
		out[c.Name] = c
	}
	return out
}

// The more is lost, the lower the score of the receiver without gateway; on a clean network it is near 1 and keeps the level.
func TestReferenceFallsWithLoss(t *testing.T) {
	race.Slow(t)
	m, conds := newMaterial(speech.Floats(speech.Make(3, 200)), speech.Wide), conditions(t)
	for _, p := range pairs {
		for d := range load.Direction(2) {
			last := 2.0
			for _, name := range []string{"clean", "2 % loss", "10 % loss"} {
				s, err := newStream(p, d, conds[name], m, 1)
				if err != nil {
					t.Fatal(err)
				}
				sc, twice, lag, err := s.judgeReference()
				if err != nil || sc.Score >= last {
					t.Errorf("%s, %s: %.3f after %.3f, %v", p.title(d), name, sc.Score, last, err)
				}
				if twice.Score >= sc.Score || twice.Score < sc.Score-0.1 || math.Abs(twice.Level-sc.Level) > 1 {
					t.Errorf("%s, %s: coded twice %+v, once %+v", p.title(d), name, twice, sc)
				}
				if name == "clean" && (sc.Score < 0.85 || p == pairs[0] && sc.Score < 0.9 || math.Abs(sc.Level) > 1 || lag < 0 || lag > 80) {
					t.Errorf("%s: %+v, codec lag %d", p.title(d), sc, lag)
				}
				last = sc.Score
			}
		}
	}
}

// relayed is what a gateway would send that only passes PCMA on as it comes, late by delay. still: its timestamps do not move over lost
// packets.
func relayed(s *stream, delay time.Duration, still bool) (out []load.Recorded) {
	for i, a := range s.arrivals {
		k := a.Packet
		if still {
			k = i
		}
		out = append(out, load.Recorded{At: a.At + delay, Seq: uint16(65500 + k), TS: uint32(7000 + k*frame), Payload: s.payloads[a.Packet]})
	}
	return out
}

// A gateway that does nothing but wait adds its wait and nothing else; one whose clock stands still over lost packets, so
// that the speech skips, scores lower than a receiver that conceals.
func TestDelayAndStandingTimestampsAreSeen(t *testing.T) {
	race.Slow(t)
	m, conds := speaker(), conditions(t)
	for _, wait := range []time.Duration{0, 35 * time.Millisecond} {
		s, err := newStream(pairs[0], load.Up, conds["+200 ppm"], m, 1)
		if err != nil {
			t.Fatal(err)
		}
		s.start = 7 * time.Millisecond
		s.way, s.payloads = load.Up, law(m) // what comes out of an Opus to PCMA gateway
		sc, err := s.judgeGateway(relayed(s, s.start+wait, false), 0)
		if ms := wait.Seconds() * 1000; err != nil || math.Abs(sc.Delay-ms) > 1 || math.Abs(sc.Last-ms) > 1 || sc.Score < 0.95 || math.Abs(sc.Level) > 0.2 {
			t.Errorf("wait of %v: %+v, %v", wait, sc, err)
		}
	}
	s, err := newStream(pairs[0], load.Down, conds["10 % loss"], m, 1)
	if err != nil {
		t.Fatal(err)
	}
	concealed, _, _, err1 := s.judgeReference()
	s.way = load.Up // PCMA comes out
	still, err2 := s.judgeGateway(relayed(s, 0, true), 0)
	if err1 != nil || err2 != nil || still.Score > concealed.Score-0.01 || still.Score < 0.7 {
		t.Errorf("standing %+v, concealed %+v; %v, %v", still, concealed, err1, err2)
	}
}

// Streams begin at all times of a packet, those of neighbours far from each other.
func TestStreamsBeginApart(t *testing.T) {
	var quarters [4]int
	for i := range 40 {
		p := phase(i)
		if p < 0 || p >= ptime {
			t.Fatalf("stream %d begins at %v", i, p)
		}
		if d := (p - phase(i+1)).Abs(); min(d, ptime-d) < ptime/4 {
			t.Errorf("streams %d and %d begin at %v and %v", i, i+1, p, phase(i+1))
		}
		quarters[4*p/ptime]++
	}
	for _, n := range quarters {
		if n < 8 || n > 12 {
			t.Errorf("quarters %v", quarters)
		}
	}
}

// law is the speech as PCMA packets.
func law(m *material) [][]byte {
	s, _ := newStream(pairs[0], load.Down, traces.Condition{}, m, 1)
	return s.payloads
}

// Speech that is cut and stretched here and there is found again, and so is speech that lost pieces by and by.
func TestAlignmentFollows(t *testing.T) {
	race.Slow(t)
	clean := speech.Floats(speaker().narrow)
	r := rand.New(rand.NewPCG(1, 2))
	var got []float64
	at := make([]int, len(clean)) // where each sample came to lie
	for i := 0; i < len(clean); {
		n := min(len(clean)-i, 2000+r.IntN(3000))
		for k := range n {
			at[i+k] = len(got) + k - i - k
		}
		got = append(got, clean[i:i+n]...)
		i += n
		if r.IntN(2) == 0 {
			i += 160
		}
	}
	a := align(clean, got)
	off, loud := 0, 0
	for i := block; i < len(clean)-block; i += step {
		if energy(clean[i:i+step]) < 1e6*step || at[i] == 0 && i > 20000 {
			continue
		}
		loud++
		if d := a.at(i) - at[i]; d < -200 || d > 200 {
			off++
		}
	}
	if loud < 20 || off > loud/10 {
		t.Errorf("%d of %d blocks are not where they came to lie", off, loud)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{Seeds: 0, Speech: 10 * time.Second}, {Seeds: 21, Speech: 10 * time.Second}, {Seeds: 3, Speech: time.Second}, {Seeds: 3, Speech: 10 * time.Second, Pair: "AMR-WB"}} {
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), "quality: ") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, name := range Pairs() {
		c := Config{Seeds: 3, Speech: 10 * time.Second, Pair: name}
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpeakersHeaderIsRead(t *testing.T) {
	wav := make([]byte, 44+6)
	copy(wav, "RIFF")
	copy(wav[36:], "data")
	wav[20], wav[22], wav[34] = 1, 1, 16
	wav[24], wav[25] = 0x22, 0x56 // 22050
	wav[44], wav[46], wav[47] = 5, 0xff, 0xff
	pcm, hz, err := readWAV(wav)
	if err != nil || hz != 22050 || len(pcm) != 3 || pcm[0] != 5 || pcm[1] != -1 {
		t.Errorf("%v at %d, %v", pcm, hz, err)
	}
	wav[22] = 2
	if _, _, err := readWAV(wav); err == nil {
		t.Error("stereo was taken")
	}
}
