package speech

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

func TestMaterialIsTheSameEachTimeAndMoves(t *testing.T) {
	a, b := Make(1, 500), Make(1, 500)
	if !slices.Equal(a, b) || len(a) != 500*960 {
		t.Fatalf("%d samples, not the same", len(a))
	}
	if l := tone.Level(Narrowband(a)); l < -30 || l > -6 {
		t.Errorf("level %.1f dBFS", l)
	}
	quiet := 0
	env := envelope(Narrowband(a))
	for _, v := range env {
		if v < 10 {
			quiet++
		}
	}
	if share := float64(quiet) / float64(len(env)); share < 0.1 || share > 0.6 {
		t.Errorf("%.0f %% pauses", 100*share)
	}
}

// The fricatives reach beyond the narrow band: most of what a wide encoder sees there is gone after Narrowband, and nothing folds back.
func TestNarrowbandRemovesWhatDoesNotFit(t *testing.T) {
	wide := make([]int16, Wide)
	for i := range wide {
		wide[i] = int16(10000 * (2*(i/4%2) - 1)) // 6 kHz
	}
	if l := tone.Level(Narrowband(wide)); l > -50 {
		t.Errorf("%.1f dBFS left of 6 kHz", l)
	}
}

func TestLikeness(t *testing.T) {
	ref := Narrowband(Make(1, 500))
	coded := tone.ALaw.Decode(nil, tone.ALaw.Encode(nil, ref))
	shifted := append(slices.Clone(coded[12345:]), coded[:12345]...)[:5*Narrow]
	if l := Likeness(ref, shifted); l < Same {
		t.Errorf("the same, coded and shifted: %.2f", l)
	}
	gaps := slices.Clone(shifted)
	for i := range gaps {
		if i/160%3 == 0 {
			gaps[i] = 0
		}
	}
	noise := make([]int16, 5*Narrow)
	for i := range noise {
		noise[i] = int16(rand.IntN(8000))
	}
	for name, got := range map[string][]int16{
		"other speech": Narrowband(Make(2, 500))[:5*Narrow], "silence": make([]int16, 5*Narrow), "noise": noise,
		"every third frame missing": gaps, "too short": shifted[:Narrow], "nothing": nil,
	} {
		if l := Likeness(ref, got); l >= Same {
			t.Errorf("%s: %.2f", name, l)
		}
	}
	if l := Likeness(ref, make([]int16, 5*Narrow)); l != 0 {
		t.Errorf("silence, which does not move at all: %v", l)
	}
}
