package quality

import (
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
)

// Summary is the part of the bench's JSON that this package makes. null: not measured.
type Summary struct {
	Below     *float64 `json:"quality_below_reference"` // most that Isthmus falls below the receiver without gateway, of all conditions
	PeerBelow *float64 `json:"rtpengine_quality_below_reference"`
	Loss5     *float64 `json:"quality_opus_pcma_5_loss"` // ESTOI at 5 % random loss
	PeerLoss5 *float64 `json:"rtpengine_quality_opus_pcma_5_loss"`
	RefLoss5  *float64 `json:"reference_quality_opus_pcma_5_loss"`
	Delay     *float64 `json:"quality_delay_ms"` // added on a clean network, the slower way
	Level     *float64 `json:"quality_level_db"` // furthest from what was said, clean
}

// Summary reduces the results; nil has none.
func (r *Results) Summary() Summary {
	s := Summary{Below: r.below(Isthmus), PeerBelow: r.below(Rtpengine)}
	s.Loss5, s.PeerLoss5, s.RefLoss5 = r.fivePercent(Isthmus), r.fivePercent(Rtpengine), r.fivePercent(Reference)
	if sys := r.find(Isthmus); sys != nil {
		up, down := sys.Means[0][load.Up], sys.Means[0][load.Down]
		s.Delay, s.Level = rounded(max(up.Delay, down.Delay)), rounded(further(up.Level, down.Level))
	}
	return s
}

func further(a, b float64) float64 {
	if a*a > b*b {
		return a
	}
	return b
}

// fivePercent is the score with 5 % of random loss, Opus to PCMA.
func (r *Results) fivePercent(name string) *float64 {
	s := r.find(name)
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
