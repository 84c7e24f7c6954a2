package quality

import (
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
)

// Summary is the part of the bench's JSON that this package makes. null: not measured.
type Summary struct {
	Below     *float64 `json:"quality_below_reference"` // most that Isthmus falls below the receiver without gateway, of all conditions and codecs
	BelowAMR  *float64 `json:"quality_below_opus_amrwb"`
	BelowFull *float64 `json:"quality_below_opus_amrwb_2385"`
	BelowG722 *float64 `json:"quality_below_opus_g722"`
	Itself    *float64 `json:"quality_below_both_codecs"` // the same against a receiver that has coded twice: what the gateway takes by itself
	PeerBelow *float64 `json:"rtpengine_quality_below_reference"`
	Loss5     *float64 `json:"quality_opus_pcma_5_loss"` // ESTOI at 5 % random loss
	PeerLoss5 *float64 `json:"rtpengine_quality_opus_pcma_5_loss"`
	RefLoss5  *float64 `json:"reference_quality_opus_pcma_5_loss"`
	Delay     *float64 `json:"quality_delay_ms"` // added on a clean network, the slowest way
	Level     *float64 `json:"quality_level_db"` // furthest from what was said, clean, PCMA
}

// Summary reduces the results; nil has none.
func (r *Results) Summary() Summary {
	narrow, amr, full, g722 := r.part(load.OpusPCMA), r.part(load.OpusAMRWB), r.part(load.OpusAMRWBFull), r.part(load.OpusG722)
	s := Summary{
		BelowAMR: amr.below(Isthmus, Reference), BelowFull: full.below(Isthmus, Reference), BelowG722: g722.below(Isthmus, Reference),
		PeerBelow: narrow.below(Rtpengine, Reference),
	}
	s.Loss5, s.PeerLoss5, s.RefLoss5 = r.fivePercent(Isthmus), r.fivePercent(Rtpengine), r.fivePercent(Reference)
	for _, p := range []*Part{narrow, amr, full, g722} {
		s.Below = worse(s.Below, p.below(Isthmus, Reference))
		s.Itself = worse(s.Itself, p.below(Isthmus, Twice))
		if sys := p.find(Isthmus); sys != nil {
			up, down := sys.Means[0][load.Up], sys.Means[0][load.Down]
			if v := rounded(max(up.Delay, down.Delay)); s.Delay == nil || *v > *s.Delay {
				s.Delay = v
			}
			if p == narrow {
				s.Level = rounded(further(up.Level, down.Level))
			}
		}
	}
	return s
}

// worse is the higher of two; nil: not measured.
func worse(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

func further(a, b float64) float64 {
	if a*a > b*b {
		return a
	}
	return b
}

// fivePercent is the score with 5 % of random loss, Opus to PCMA.
func (r *Results) fivePercent(name string) *float64 {
	s := r.part(load.OpusPCMA).find(name)
	if s == nil {
		return nil
	}
	for i, c := range r.conditions {
		if c.Loss == 0.05 && c.Burst == 0 && c.Jitter == 0 {
			return rounded(s.Means[i][load.Up].Score)
		}
	}
	return nil
}
