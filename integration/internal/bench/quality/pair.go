package quality

import (
	"errors"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/estoi"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/opus"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/pkg/g722"
)

// pair is Opus and what it is transcoded to and from.
type pair struct {
	media load.Media
	core  string // name of the codec at the core
	wide  int    // what is compared has so many times rate
	clock int    // of RTP at the core, Hz
	peer  string // what rtpengine must be able to make for it; empty: what it always can
	mode  byte   // of AMR-WB
	opus  int    // what the gateway makes of it, bit/s
}

// Defaults of the gateway's Opus encoder.
const (
	narrowOpus     = 24000
	wideOpus       = 32000
	opusComplexity = 5
)

// pairs in the order in which they are measured.
var pairs = []*pair{
	{load.OpusPCMA, "PCMA", 1, 8000, "", 0, narrowOpus},
	{load.OpusAMRWB, "AMR-WB 12.65", 2, 16000, "AMR-WB", codecs.AMRWB1265, wideOpus},
	{load.OpusAMRWBFull, "AMR-WB 23.85", 2, 16000, "AMR-WB", codecs.AMRWB2385, wideOpus},
	{load.OpusG722, "G.722", 2, 8000, "", 0, wideOpus},
}

// Pairs are the names of what is measured beside Opus.
func Pairs() (names []string) {
	for _, p := range pairs {
		names = append(names, p.core)
	}
	return names
}

// title of a direction.
func (p *pair) title(d load.Direction) string {
	if d == load.Up {
		return "Opus to " + p.core
	}
	return p.core + " to Opus"
}

// hz is the rate of what is compared.
func (p *pair) hz() int { return rate * p.wide }

// frame is 20 ms of it, samples.
func (p *pair) frame() int { return frame * p.wide }

// said is what is encoded at the core, and what everything is compared with.
func (p *pair) said(m *material) []int16 {
	if p.wide == 1 {
		return m.narrow
	}
	return m.middle
}

// score is ESTOI of two signals that are aligned.
func (p *pair) score(clean, heard []float64) (float64, error) {
	if p.wide == 1 {
		return estoi.Score(speech.Convert(clean, rate, estoi.Rate), speech.Convert(heard, rate, estoi.Rate))
	}
	return estoi.ScoreWide(clean, heard) // hz is WideRate
}

// encodeCore makes packets of 20 ms of what is said at the core.
func (p *pair) encodeCore(pcm []int16) (out [][]byte, err error) {
	n := p.frame()
	switch p.media {
	case load.OpusAMRWB, load.OpusAMRWBFull:
		return codecs.EncodeAMRWB(pcm, p.mode)
	case load.OpusG722:
		enc := g722.NewEncoder()
		for ; len(pcm) >= n; pcm = pcm[n:] {
			b := make([]byte, n/2)
			enc.Encode(pcm[:n], b)
			out = append(out, b)
		}
	default:
		for ; len(pcm) >= n; pcm = pcm[n:] {
			out = append(out, tone.ALaw.Encode(nil, pcm[:n]))
		}
	}
	return out, nil
}

// decode decodes payloads that go in a direction with all that a receiver without gateway can do, given time: what the next packet knows about
// a lost one, and concealment. A nil payload is lost.
func (p *pair) decode(way load.Direction, payloads [][]byte) ([]float64, error) {
	if way == load.Up {
		return p.decodeOpus(payloads)
	}
	switch p.media {
	case load.OpusAMRWB, load.OpusAMRWBFull:
		pcm, err := codecs.DecodeAMRWB(payloads)
		return speech.Floats(pcm), err
	case load.OpusG722:
		dec, pcm := g722.NewDecoder(), make([]int16, p.frame())
		return concealed(p.hz(), payloads, func(b []byte) ([]float64, error) {
			if 2*len(b) != len(pcm) {
				return nil, errors.New("quality: G.722 of another length than 20 ms")
			}
			dec.Decode(b, pcm)
			return speech.Floats(pcm), nil
		})
	}
	return concealed(p.hz(), payloads, func(b []byte) ([]float64, error) { return speech.Floats(tone.ALaw.Decode(nil, b)), nil })
}

func (p *pair) decodeOpus(payloads [][]byte) ([]float64, error) {
	dec, err := opus.NewDecoder(p.hz())
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	var pcm []int16
	buf := make([]int16, 6*p.frame())
	one := buf[:p.frame()]
	for k, b := range payloads {
		switch {
		case b != nil:
			n, err := dec.Decode(buf, b)
			if err != nil {
				return nil, err
			}
			pcm = append(pcm, buf[:n]...)
			continue
		case k+1 < len(payloads) && payloads[k+1] != nil:
			err = dec.Recover(one, payloads[k+1])
		default:
			err = dec.Conceal(one)
		}
		if err != nil {
			return nil, err
		}
		pcm = append(pcm, one...)
	}
	return speech.Floats(pcm), nil
}
