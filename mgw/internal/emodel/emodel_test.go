package emodel

import (
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

var (
	pcma = codec.Codec{Name: codec.PCMA, ClockRate: 8000}
	amr  = codec.Codec{Name: codec.AMR, ClockRate: 8000}
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.01 {
		t.Errorf("%s: %.3f, want %.3f", what, got, want)
	}
}

// TestG107_Values: figures worked out by hand from the equations, and those that the recommendation prints.
func TestG107_Values(t *testing.T) {
	near(t, "R at the defaults", Quality{Codec: pcma}.R(), 93.2)
	near(t, "MOS at the defaults", Quality{Codec: pcma}.MOS(), 4.41)
	for ms, want := range map[int]float64{0: 0, 100: 0, 200: 3.04, 400: 24.07} {
		near(t, "Idd", delayImpairment(time.Duration(ms)*time.Millisecond), want)
	}
	near(t, "G.711 with concealment, 5 % loss", Quality{Codec: pcma, Loss: 0.05}.R(), 93.2-95*5/(5+25.1))
	near(t, "AMR 12.2, no loss", Quality{Codec: amr}.R(), 88.2)
	near(t, "AMR 12.2, 3 % loss", Quality{Codec: amr, Loss: 0.03}.R(), 93.2-5-90*3/13.)
	near(t, "5 % loss in bursts twice as long", Quality{Codec: pcma, Loss: 0.05, Burst: 2}.R(), 93.2-95*5/(2.5+25.1))
}

// TestG107_AnnexB: the table of R and MOS.
func TestG107_AnnexB(t *testing.T) {
	for r, want := range map[float64]float64{90: 4.34, 80: 4.03, 70: 3.60, 60: 3.10, 50: 2.58} {
		// The delay that leaves this rating.
		lo, hi := time.Duration(0), 10*time.Second
		for hi-lo > time.Microsecond {
			if mid := (lo + hi) / 2; (Quality{Codec: pcma, Delay: mid}).R() > r {
				lo = mid
			} else {
				hi = mid
			}
		}
		near(t, "MOS", Quality{Codec: pcma, Delay: lo}.MOS(), want)
	}
}

// TestStaysInRange: whatever comes in, and more loss or delay is never better.
func TestStaysInRange(t *testing.T) {
	last := 5.0
	for loss := -0.5; loss <= 2; loss += 0.01 {
		m := Quality{Codec: amr, Loss: loss, Delay: time.Duration(loss * float64(3*time.Second))}.MOS()
		if math.IsNaN(m) || m < 1 || m > 4.5 || m > last {
			t.Fatalf("loss %.2f: %v after %v", loss, m, last)
		}
		last = m
	}
	if last > 1.05 {
		t.Errorf("everything lost: %v", last)
	}
}
