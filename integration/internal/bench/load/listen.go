package load

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/opus"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// Listening is what the recordings of a transcoding fleet's sample calls say.
type Listening struct {
	Heard  int     // recordings that are the audio that was sent
	Of     int     // recordings
	Worst  float64 // least likeness
	TOC    byte    // first octet of the Opus that the system makes
	Octets float64 // mean size of its payloads
}

// heard decodes the recordings and compares them with the material; late is by how much the packets in them were late, ns.
func (f *Fleet) heard() (l Listening, late []int64, err error) {
	l.Worst = 1
	octets, packets := 0, 0
	for _, c := range f.calls {
		for d := range c.in {
			if c.in[d].record == nil {
				continue
			}
			payloads := c.in[d].payloads()
			pcm, err := f.decode(Direction(d), payloads)
			if err != nil {
				return Listening{}, nil, fmt.Errorf("load: call %d, %s: %w", c.index, Direction(d), err)
			}
			l.Of++
			like := speech.Likeness(f.o.Material.PCM, pcm)
			if like >= speech.Same {
				l.Heard++
			}
			l.Worst = min(l.Worst, like)
			t := track{ref: f.o.Material.PCM, heard: pcm, arrived: c.in[d].at, sent: c.out[d].log, first: c.out[d].logged, since: f.opened}
			late = append(late, t.lateness()...)
			if Direction(d) == Down && len(payloads) > 0 {
				l.TOC = payloads[len(payloads)-1][0]
				for _, p := range payloads {
					octets += len(p)
				}
				packets += len(payloads)
			}
		}
	}
	l.Octets = float64(octets) / float64(max(packets, 1))
	return l, late, nil
}

// decode turns payloads of direction d into samples at 8 kHz.
func (f *Fleet) decode(d Direction, payloads [][]byte) ([]int16, error) {
	switch {
	case d == Down:
		return decodeOpus(payloads)
	case f.o.Media == OpusAMRWB:
		pcm, err := codecs.DecodeAMRWB(payloads)
		return speech.Narrowed(pcm), err
	}
	var pcm []int16
	for _, p := range payloads {
		pcm = tone.ALaw.Decode(pcm, p)
	}
	return pcm, nil
}

func decodeOpus(payloads [][]byte) (pcm []int16, err error) {
	dec, err := opus.NewDecoder(speech.Narrow)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	var frame [960]int16
	for _, p := range payloads {
		n, err := dec.Decode(frame[:], p)
		if err != nil {
			return nil, err
		}
		pcm = append(pcm, frame[:n]...)
	}
	return pcm, nil
}
