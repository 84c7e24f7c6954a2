package load

import "github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"

// How late transcoded audio is: pieces of what was heard are found again in the material, and when a packet came is compared with when the
// sender sent the sound at its begin. The codecs' look-ahead and the jitter buffer are in it, the 20 ms of the packet itself are not.

const (
	pieceLen  = 2560 // samples that are found at once: 320 ms
	pieceStep = pieceLen / 2
	firstFar  = 240 // how far from where the loudness says the first piece is looked for, samples
	nextFar   = 160 // and the next from the one before
	found     = 0.5 // least correlation of a piece that counts
	second    = int64(1e9)
)

// track is what lateness needs of one direction of a call.
type track struct {
	ref     []int16 // the material, a loop, at the narrow rate
	heard   []int16
	arrived []int64 // of each packet, ns
	sent    []int64 // of packets from number first on, ns
	first   uint32
	since   int64 // packets that came before do not count, ns
}

// lateness is the delay of each packet whose sound was found, ns.
func (t *track) lateness() (out []int64) {
	n := len(t.arrived)
	if n == 0 || len(t.heard) != n*frameLen || len(t.ref) < pieceLen {
		return nil
	}
	lag, far := speech.Place(t.ref, t.heard), firstFar
	done := 0
	for from := 0; from+pieceLen <= len(t.heard); from += pieceStep {
		at, like := t.find(from, lag-far, lag+far)
		if like < found {
			continue
		}
		lag, far = at, nextFar
		for ; done < n && (done+1)*frameLen <= from+pieceLen; done++ {
			if done*frameLen < from || t.arrived[done] < t.since {
				continue
			}
			if late, ok := t.late(done, lag); ok {
				out = append(out, late)
			}
		}
	}
	return out
}

// late is how late packet i is when its sound is lag samples further on in the material.
func (t *track) late(i, lag int) (int64, bool) {
	frames := len(t.ref) / frameLen
	pos := ((i*frameLen+lag)%len(t.ref) + len(t.ref)) % len(t.ref)
	for k := len(t.sent) - 1; k >= 0; k-- {
		if t.sent[k] <= t.arrived[i] && int(t.first+uint32(k))%frames == pos/frameLen {
			return t.arrived[i] - t.sent[k] - int64(pos%frameLen)*second/speech.Narrow, true
		}
	}
	return 0, false
}

// find is the lag between lo and hi at which the piece of what was heard is most like the material.
func (t *track) find(from, lo, hi int) (lag int, like float64) {
	for l := lo; l <= hi; l += 2 {
		if v := t.like(from, l, 3); v > like {
			lag, like = l, v
		}
	}
	mid := lag
	like = 0
	for l := mid - 2; l <= mid+2; l++ {
		if v := t.like(from, l, 1); v > like {
			lag, like = l, v
		}
	}
	return lag, like
}

// like is the correlation of the piece, one sample in stride, with the material at a lag; pauses are like nothing.
func (t *track) like(from, lag, stride int) float64 {
	var cross, ea, eb float64
	at := ((from+lag)%len(t.ref) + len(t.ref)) % len(t.ref)
	for i := 0; i < pieceLen; i += stride {
		x, y := float64(t.heard[from+i]), float64(t.ref[(at+i)%len(t.ref)])
		cross, ea, eb = cross+x*y, ea+x*x, eb+y*y
	}
	const quiet = 100 * 100 // mean square
	if n := float64(pieceLen / stride); ea < quiet*n || eb < quiet*n || cross <= 0 {
		return 0
	}
	return cross * cross / (ea * eb)
}
