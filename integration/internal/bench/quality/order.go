package quality

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
)

// inOrder sorts packets by sequence number, each once.
func inOrder(rec []load.Recorded) []load.Recorded {
	out := slices.Clone(rec)
	slices.SortStableFunc(out, func(a, b load.Recorded) int { return int(int16(a.Seq-rec[0].Seq)) - int(int16(b.Seq-rec[0].Seq)) })
	return slices.CompactFunc(out, func(a, b load.Recorded) bool { return a.Seq == b.Seq })
}
