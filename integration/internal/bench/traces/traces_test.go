package traces

import (
	"math"
	"slices"
	"testing"
	"time"
)

const ptime = 20 * time.Millisecond

func TestTracesAreWhatTheySay(t *testing.T) {
	const n = 50000
	for _, c := range Conditions() {
		a := c.Make(1, n, ptime)
		if share := 1 - float64(len(a))/n; math.Abs(share-c.Loss) > 0.005 {
			t.Errorf("%s: %.3f lost", c.Name, share)
		}
		came := make([]bool, n)
		most, last := time.Duration(0), time.Duration(0)
		for _, x := range a {
			sent := time.Duration(float64(x.Packet) * float64(ptime) * (1 + c.Drift))
			if came[x.Packet] || x.At < last || x.At < sent || x.At > sent+c.Jitter {
				t.Fatalf("%s: packet %d at %v", c.Name, x.Packet, x.At)
			}
			came[x.Packet], last, most = true, x.At, max(most, x.At-sent)
		}
		if most < c.Jitter*9/10 {
			t.Errorf("%s: late by %v at most", c.Name, most)
		}
		if c.Burst == 0 {
			continue
		}
		bursts := 0
		for k := 1; k < n; k++ {
			if !came[k] && came[k-1] {
				bursts++
			}
		}
		if mean := float64(n-len(a)) / float64(bursts); math.Abs(mean-c.Burst) > 0.2 {
			t.Errorf("%s: %.2f lost in a row", c.Name, mean)
		}
	}
}

func TestTracesComeAgain(t *testing.T) {
	c := Conditions()[6]
	if !slices.Equal(c.Make(4, 500, ptime), c.Make(4, 500, ptime)) {
		t.Error("the same seed gave another trace")
	}
	if slices.Equal(c.Make(4, 500, ptime), c.Make(5, 500, ptime)) {
		t.Error("another seed gave the same trace")
	}
}
