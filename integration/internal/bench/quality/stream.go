package quality

import (
	"errors"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/traces"
	"github.com/isthmus-gateway/isthmus/integration/internal/opus"
)

// What the browser's encoder is set to.
const (
	bitrate    = 28000
	complexity = 9
)

// stream is one direction of one call under one condition: what is sent and what the network leaves of it.
type stream struct {
	*pair
	way      load.Direction
	cond     traces.Condition
	speech   *material
	payloads [][]byte         // one for each 20 ms
	arrivals []traces.Arrival // at the gateway
	start    time.Duration    // of the stream after the replay's
}

// newStream encodes the speech and makes the trace.
func newStream(p *pair, way load.Direction, cond traces.Condition, m *material, seed uint64) (*stream, error) {
	s := &stream{pair: p, way: way, cond: cond, speech: m}
	var err error
	if way == load.Up {
		s.payloads, err = encodeOpus(m.wide, speech.Wide, bitrate, complexity, false, int(100*cond.Loss+0.5))
	} else {
		s.payloads, err = p.encodeCore(p.said(m))
	}
	s.arrivals = cond.Make(seed*2+uint64(way), len(s.payloads), ptime)
	return s, err
}

// encodeOpus makes packets of 20 ms of pcm at hz, with redundancy for so many percent of loss, as a browser does after its first reports. plain: as
// the gateway does it.
func encodeOpus(pcm []int16, hz, bitrate, complexity int, plain bool, loss int) (out [][]byte, err error) {
	enc, err := opus.NewEncoder(hz)
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	if plain {
		if err := enc.Plain(); err != nil {
			return nil, err
		}
	}
	if err := enc.Tune(bitrate, complexity, loss); err != nil {
		return nil, err
	}
	var buf [opus.MaxPacket]byte
	for ; len(pcm) >= hz/50; pcm = pcm[hz/50:] {
		n, err := enc.Encode(buf[:], pcm[:hz/50])
		if err != nil {
			return nil, err
		}
		out = append(out, append([]byte(nil), buf[:n]...))
	}
	return out, nil
}

// sendings are the packets as the network delivers them.
func (s *stream) sendings() []load.Sending {
	out := make([]load.Sending, len(s.arrivals))
	for i, a := range s.arrivals {
		out[i] = load.Sending{At: s.start + a.At, Number: a.Packet, Payload: s.payloads[a.Packet]}
	}
	return out
}

// reference is what a receiver without gateway hears.
func (s *stream) reference() ([]float64, error) {
	came := make([][]byte, len(s.payloads))
	for _, a := range s.arrivals {
		came[a.Packet] = s.payloads[a.Packet]
	}
	return s.decode(s.way, came)
}

// codedTwice is what is heard of it when it is coded once more, as every gateway that transcodes has to, by the same libraries and with Isthmus'
// settings, and reaches the far end whole: there is no gateway's buffer in between.
func (s *stream) codedTwice(heard []float64) ([]float64, error) {
	pcm, way := speech.Samples(heard), load.Down
	var payloads [][]byte
	var err error
	if s.way == load.Up {
		payloads, err = s.encodeCore(pcm)
	} else {
		way = load.Up
		payloads, err = encodeOpus(pcm, s.hz(), s.opus, opusComplexity, true, 0)
	}
	if err != nil {
		return nil, err
	}
	return s.decode(way, payloads)
}

var errSilent = errors.New("nothing came out")

// placed is a packet of what a gateway made, laid out.
type placed struct {
	load.Recorded
	from int // first of its samples
}

// layOut decodes what came from a gateway and puts it where its timestamps say, from the first packet on. Between packets that do not join
// there is silence, as in a pause.
func (s *stream) layOut(rec []load.Recorded) (pcm []float64, pieces []placed, err error) {
	if len(rec) == 0 {
		return nil, nil, errSilent
	}
	way, clock := load.Down, s.clock
	if s.way == load.Down {
		way, clock = load.Up, speech.Wide
	}
	packets := inOrder(rec)
	payloads := make([][]byte, len(packets))
	for i, p := range packets {
		payloads[i] = p.Payload
	}
	one, err := s.decode(way, payloads)
	if err != nil {
		return nil, nil, err
	}
	size := len(one) / len(packets)
	for i, p := range packets {
		from := int(int64(int32(p.TS-packets[0].TS)) * int64(s.hz()) / int64(clock))
		if from < 0 || from > len(one)*10 {
			continue // a timestamp from nowhere
		}
		if need := from + size; need > len(pcm) {
			pcm = append(pcm, make([]float64, need-len(pcm))...)
		}
		copy(pcm[from:], one[i*size:(i+1)*size])
		pieces = append(pieces, placed{p, from})
	}
	return pcm, pieces, nil
}
