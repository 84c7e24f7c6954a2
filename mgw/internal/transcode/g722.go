package transcode

import adpcm "github.com/isthmus-gateway/isthmus/pkg/g722" // its own name is that of a codec in tests

// g722Encoder codes 16 kHz PCM.
type g722Encoder struct{ *adpcm.Encoder }

func newG722Encoder() g722Encoder { return g722Encoder{adpcm.NewEncoder()} }

// Encode writes one byte per two samples (RFC 3551 §4.5.2).
func (e g722Encoder) Encode(pcm []int16, out []byte) (int, error) {
	if len(pcm) == 0 || len(pcm)%2 != 0 {
		return 0, ErrFrame
	}
	n := len(pcm) / 2
	if len(out) < n {
		return 0, ErrSpace
	}
	e.Encoder.Encode(pcm, out)
	return n, nil
}

func (g722Encoder) SetLoss(int) {}
func (g722Encoder) Close()      {}

// g722Decoder decodes to 16 kHz PCM and conceals.
type g722Decoder struct {
	dec  *adpcm.Decoder
	conc concealer
}

func newG722Decoder() *g722Decoder {
	return &g722Decoder{adpcm.NewDecoder(), newConcealer(16000)}
}

// Decode writes two samples per byte.
func (d *g722Decoder) Decode(payload []byte, pcm []int16) (int, error) {
	if d.Ticks(payload) == 0 {
		return 0, ErrPayload
	}
	n := 2 * len(payload)
	if len(pcm) < n {
		return 0, ErrSpace
	}
	d.dec.Decode(payload, pcm)
	d.conc.good(pcm[:n])
	return n, nil
}

func (d *g722Decoder) Conceal(pcm []int16) { d.conc.conceal(pcm) }

func (d *g722Decoder) Recover(_ []byte, pcm []int16) bool {
	d.conc.conceal(pcm)
	return false
}

// Ticks is one per byte: the RTP clock is 8 kHz by a historical error (RFC 3551 §4.5.2).
func (d *g722Decoder) Ticks(payload []byte) uint32 {
	if len(payload) > maxPCM*8 {
		return 0
	}
	return uint32(len(payload))
}

// Reset begins a new stream.
func (d *g722Decoder) Reset() {
	d.dec.Reset()
	d.conc.lost = 0
}

func (*g722Decoder) Close() {}
