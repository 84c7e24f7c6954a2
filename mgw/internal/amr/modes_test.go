package amr

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func params(t testing.TB, name, fmtp string) Params {
	t.Helper()
	c := codec.Codec{Name: name, ClockRate: 8000, Fmtp: fmtp}
	if c.Is(codec.AMRWB) {
		c.ClockRate = 16000
	}
	p, err := ParseParams(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Scripts: a digit is a frame of that mode, "cN" a request, "." a frame time without frame.
func TestRFC4867_4_3_1_ModeOfEachFrame(t *testing.T) {
	for _, tc := range []struct {
		name, codec, fmtp string
		bitrate           int
		script            string
		most              int
	}{
		{"default", "AMR", "", 0, "7 7 c15 7", 0},
		{"default wide", "AMR-WB", "", 0, "8 8 c15 8", 0},
		{"default of a mobile network", "AMR-WB", "mode-set=0,1,2", 0, "2 c8 2", 0},
		{"by rate", "AMR-WB", "", 20000, "6 6", 0},
		{"rate too low", "AMR", "mode-set=2,4", 1000, "2 2", 0},
		{"within the set", "AMR", "mode-set=0,2,4", 12200, "4 4", 0},
		{"above the set only", "AMR-WB", "mode-set=8", 0, "8 c0 8", 0},
		{"request at once", "AMR", "", 0, "7 c2 2 2 c7 7", 0},
		{"request before the first frame", "AMR", "mode-change-neighbor=1;mode-change-period=2", 0, "c2 2 2 2", 0},
		{"request withdrawn", "AMR", "", 0, "c0 0 0 c15 7", 0},
		{"reserved requests", "AMR", "", 0, "c3 3 c8 3 c9 3 c14 3 c255 3", 0},
		{"23.85 may be asked for", "AMR-WB", "", 12650, "2 c8 8 c15 2", 0},
		{"not above what is asked for", "AMR", "mode-set=0,2,4,7", 0, "7 c6 4 c3 2 c1 0 c5 4", 0},
		{"below the set", "AMR", "mode-set=4,7", 0, "7 c1 4", 0},
		{"every second frame", "AMR", "mode-change-period=2", 0, "7 c2 7 2 2 c4 4 4 c5 5 c6 5 6", 0},
		{"every second frame time", "AMR", "mode-change-period=2", 0, "7 . c2 2 . c3 3 3 . c4 3 4", 0},
		{"neighbours", "AMR", "mode-change-neighbor=1", 0, "7 c4 6 5 4 4 c6 5 6", 0},
		{"neighbours of the set", "AMR", "mode-set=0,2,4,7;mode-change-neighbor=1", 0, "7 c0 4 2 0 c7 2 4 7 7", 0},
		{"turned back on the way", "AMR", "mode-set=0,2,4,7;mode-change-neighbor=1", 0, "7 c0 4 c7 7", 0},
		{"no more than the peer takes", "AMR-WB", "", 0, "2 c8 2 c15 2 c1 1", 13000},
		{"no more than the peer takes of its set", "AMR-WB", "mode-set=0,1,2,8;mode-change-neighbor=1", 0, "2 c0 1 0 c8 1 2 2", 23050},
		{"the peer takes less than its set has", "AMR-WB", "mode-set=4,8", 0, "4 c8 4", 6600},
		{"our own below what the peer takes", "AMR-WB", "", 12650, "2 c8 7 c15 2", 23050},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := NewModes(params(t, tc.codec, tc.fmtp), tc.bitrate, tc.most)
			var got []string
			for _, w := range strings.Fields(tc.script) {
				var cmr uint8
				switch {
				case w == ".":
					m.Skip(1)
				case w[0] == 'c':
					fmt.Sscanf(w, "c%d", &cmr)
					m.Request(cmr)
				default:
					w = fmt.Sprint(m.Next())
				}
				got = append(got, w)
			}
			if s := strings.Join(got, " "); s != tc.script {
				t.Errorf("got  %s\nwant %s", s, tc.script)
			}
		})
	}
}

// What GERAN peers answer: any order of requests keeps to set, period and neighbours.
func TestCOD03_GERANRulesHoldForAnyRequests(t *testing.T) {
	const fmtp = "mode-set=0,2,4,7; mode-change-period=2; mode-change-neighbor=1"
	r := rand.New(rand.NewPCG(3, 26114))
	place := map[uint8]int{0: 0, 2: 1, 4: 2, 7: 3}
	m := NewModes(params(t, "AMR", fmtp), 0, 0)
	last, changed, reached := m.Next(), 0, map[uint8]bool{}
	for i := 1; i < 20000; i++ {
		if r.IntN(5) == 0 {
			m.Request(uint8(r.UintN(16)))
		}
		if r.IntN(9) == 0 {
			m.Skip(1)
			i++
		}
		now := m.Next()
		at, ok := place[now]
		if !ok {
			t.Fatalf("frame %d: mode %d is not in the set", i, now)
		}
		if now != last {
			if d := at - place[last]; d != 1 && d != -1 {
				t.Fatalf("frame %d: mode %d after %d", i, now, last)
			}
			if (i-changed)%2 != 0 {
				t.Fatalf("frame %d: change after one in frame %d", i, changed)
			}
			changed = i
		}
		last, reached[now] = now, true
	}
	if len(reached) != 4 {
		t.Errorf("only %v", reached)
	}
}

func TestModesAllocateNothing(t *testing.T) {
	p := params(t, "AMR", "mode-set=0,2,4,7; mode-change-period=2; mode-change-neighbor=1")
	m := NewModes(p, 0, 0)
	if a := testing.AllocsPerRun(100, func() { m.Request(m.Next() + 1); m.Skip(1) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
