package audio

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
)

// Scratch is what Directions and Players need only while they produce a frame, so that one is enough for all of a worker: 25 KiB, and 44 more
// for Opus. Owner: the worker.
type Scratch struct {
	work, conv, frame, tail []int16
	codecs                  transcode.Scratch
}

// The longest packets and frames, and the highest rate, that there are.
const (
	longest = 240 * time.Millisecond
	fastest = 16000
)

// NewScratch makes a Scratch.
func NewScratch() *Scratch {
	const n = int(fastest * longest / time.Second)
	return &Scratch{work: make([]int16, n), conv: make([]int16, n), frame: make([]int16, n), tail: make([]int16, fastest*seamMS/1000)}
}
