package transcode

import (
	"errors"
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// amrOffer is how AMR and AMR-WB are offered: every mode, any change of mode, and no repetition from us (RFC 4867 §8.1).
const amrOffer = "mode-change-capability=2;max-red=0"

// amrFrame is the most samples in a frame: 20 ms at 16 kHz.
const amrFrame = 320

// noData tells a codec of the C libraries that a frame is not there: it goes on by itself, with speech that fades or with comfort noise.
// The libraries look at nothing else: their parameter for bad frames is without effect, or means the same.
var noData = [1]byte{amr.NoData<<3 | 4}

// amrEncoder packs what the C library makes of 20 ms.
type amrEncoder struct {
	lib    amrCoder
	format amr.Format
	modes  amr.Modes
	pkt    amr.Packet
	pcm    [amrFrame]int16 // a copy: the narrow-band encoder filters in place
	frame  [amr.FrameSize]byte
	speech bool
}

func newAMREncoder(c codec.Codec, cfg EncoderConfig) (*amrEncoder, error) {
	p, err := amr.ParseParams(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnsupported, c.Name, err)
	}
	e := &amrEncoder{format: p.Format, modes: amr.NewModes(p, cfg.Bitrate, cfg.MaxBitrate)}
	if err := e.lib.open(p.Codec, cfg.DTX); err != nil {
		return nil, fmt.Errorf("transcode: %s encoder: %w", c.Name, err)
	}
	return e, nil
}

// Encode makes one payload of all frames in pcm; 0 when none of them has anything to say. We ask the peer for no mode: what it sends
// is its affair and that of the network behind it.
func (e *amrEncoder) Encode(pcm []int16, out []byte) (int, error) {
	n := int(e.format.Codec.FrameTicks())
	if !e.lib.isOpen() || len(pcm) == 0 || len(pcm)%n != 0 || len(pcm)/n > amr.MaxFrames {
		return 0, ErrFrame
	}
	e.pkt.Reset(e.format.Codec, amr.NoRequest)
	for ; len(pcm) > 0; pcm = pcm[n:] {
		copy(e.pcm[:n], pcm)
		k := e.lib.encode(e.modes.Next(), e.pcm[:n], &e.frame)
		if k < 1 || k > len(e.frame) || e.pkt.Add(e.frame[:k]) != nil {
			return 0, ErrPayload
		}
	}
	e.pkt.Trim()
	if e.pkt.Len() == 0 {
		e.speech = false
		return 0, nil
	}
	e.speech = e.format.Codec.Speech(e.pkt.FT(0))
	k, err := e.pkt.Build(e.format, out)
	if errors.Is(err, amr.ErrSpace) {
		return 0, ErrSpace
	}
	return k, err
}

func (e *amrEncoder) Request(r Request) {
	if r.Made && r.Codec == e.format.Codec {
		e.modes.Request(r.Mode)
	}
}

func (e *amrEncoder) Skip(ticks uint32) { e.modes.Skip(ticks / e.format.Codec.FrameTicks()) }

func (e *amrEncoder) Speech() bool { return e.speech }

// SetLoss has no effect: a peer that loses much asks for a lower mode itself.
func (e *amrEncoder) SetLoss(int) {}

func (e *amrEncoder) Close() { e.lib.close() }

// amrDecoder unpacks payloads for the C library.
type amrDecoder struct {
	lib    amrReader
	format amr.Format
	pkt    amr.Packet
	part   [amrFrame]int16 // of a frame that is wanted in part only
	blank  bool            // nothing decoded since the start: there is nothing to go on from
	silent bool            // the newest frame was comfort noise
}

func newAMRDecoder(c codec.Codec) (*amrDecoder, error) {
	p, err := amr.ParseParams(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnsupported, c.Name, err)
	}
	d := &amrDecoder{format: p.Format, blank: true}
	if err := d.lib.open(p.Codec); err != nil {
		return nil, fmt.Errorf("transcode: %s decoder: %w", c.Name, err)
	}
	return d, nil
}

func (d *amrDecoder) Decode(payload []byte, pcm []int16) (int, error) {
	return d.DecodeAfter(0, payload, pcm)
}

// DecodeAfter hands the frames to the library one by one, modes outside our mode-set too: what came is better than a guess.
func (d *amrDecoder) DecodeAfter(skip uint32, payload []byte, pcm []int16) (int, error) {
	if !d.lib.isOpen() || d.pkt.Parse(d.format, payload) != nil {
		return 0, ErrPayload
	}
	n := int(d.format.Codec.FrameTicks())
	first := min(int(skip)/n, d.pkt.Len())
	need := (d.pkt.Len() - first) * n
	if len(pcm) < need {
		return 0, ErrSpace
	}
	for i := first; i < d.pkt.Len(); i++ {
		d.frame(i, pcm[(i-first)*n:][:n])
	}
	return need, nil
}

// frame decodes frame i of the packet. A damaged one (Q=0) is as good as none to the libraries.
func (d *amrDecoder) frame(i int, pcm []int16) {
	ft := d.pkt.FT(i)
	if ft >= amr.SpeechLost || !d.pkt.Good(i) {
		d.missing(pcm)
		return
	}
	d.lib.decode(d.pkt.Frame(i), pcm)
	d.blank, d.silent = false, !d.format.Codec.Speech(ft)
}

// missing lets the library make a frame of its own.
func (d *amrDecoder) missing(pcm []int16) {
	if d.blank || !d.lib.isOpen() {
		clear(pcm)
		return
	}
	d.lib.decode(noData[:], pcm)
}

func (d *amrDecoder) Conceal(pcm []int16) {
	n := int(d.format.Codec.FrameTicks())
	for ; len(pcm) >= n; pcm = pcm[n:] {
		d.missing(pcm[:n])
	}
	if len(pcm) > 0 {
		d.missing(d.part[:n])
		copy(pcm, d.part[:n])
	}
}

// Recover conceals: repeated frames are in the packets themselves and overlap in time, see DecodeAfter.
func (d *amrDecoder) Recover(_ []byte, pcm []int16) bool {
	d.Conceal(pcm)
	return false
}

func (d *amrDecoder) Request(payload []byte) Request {
	return Request{Made: true, Codec: d.format.Codec, Mode: d.format.Request(payload)}
}

func (d *amrDecoder) Silent() bool { return d.silent }

// Reset begins with a new library decoder, as the library cannot reset one; without memory for it, there is silence.
func (d *amrDecoder) Reset() {
	if d.blank || !d.lib.isOpen() {
		return
	}
	d.lib.close()
	d.blank, d.silent = true, false
	_ = d.lib.open(d.format.Codec)
}

func (d *amrDecoder) Ticks(payload []byte) uint32 {
	return uint32(d.format.Scan(payload)) * d.format.Codec.FrameTicks()
}

func (d *amrDecoder) Close() { d.lib.close() }
