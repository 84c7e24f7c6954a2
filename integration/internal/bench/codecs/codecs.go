// Package codecs is the bench's own use of libopus and G.711: it makes the payloads to send and measures the codec-only limit of
// transcoding. Floor 1 of the integration module.
package codecs

/*
#cgo pkg-config: opus
#include <opus.h>

static OpusEncoder *bench_encoder(int rate, int application, int bitrate, int complexity, int fec, int bandwidth) {
	int rc;
	OpusEncoder *e = opus_encoder_create(rate, 1, application, &rc);
	if (!e) return NULL;
	if (opus_encoder_ctl(e, OPUS_SET_BITRATE(bitrate)) || opus_encoder_ctl(e, OPUS_SET_COMPLEXITY(complexity)) ||
		opus_encoder_ctl(e, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE)) || opus_encoder_ctl(e, OPUS_SET_INBAND_FEC(fec)) ||
		opus_encoder_ctl(e, OPUS_SET_VBR(1)) || opus_encoder_ctl(e, OPUS_SET_MAX_BANDWIDTH(bandwidth))) {
		opus_encoder_destroy(e);
		return NULL;
	}
	return e;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// What a browser's encoder is set to: WebRTC's defaults for one voice.
const (
	browserBitrate    = 32000
	browserComplexity = 9
)

// The MGW's settings for an Opus peer (opusSettings of its transcode package); the bench compares TOC and size of what the MGW sends with
// what these give and says so when they differ.
const (
	gatewayNarrow     = 24000 // bit/s
	gatewayWide       = 32000
	gatewayComplexity = 5
)

// frame is 20 ms of G.711.
const frame = 160

// Material is what the calls send, in a loop: the same audio in all forms, one payload per 20 ms.
type Material struct {
	PCM   []int16  // at the narrow rate, 160 samples per frame
	PCMA  [][]byte // 160 octets each
	AMRWB [][]byte // 12.65 kbit/s, bandwidth-efficient (RFC 4867 §4.3)
	Opus  [][]byte // one RFC 7587 payload each, encoded at 48 kHz
}

// NewMaterial makes frames*20 ms of material. Errors: the libraries'.
func NewMaterial(frames int) (*Material, error) {
	wide := speech.Make(1, frames)
	m := &Material{PCM: speech.Narrowband(wide)}
	for i := range frames {
		m.PCMA = append(m.PCMA, tone.ALaw.Encode(nil, m.PCM[i*frame:(i+1)*frame]))
	}
	var err error
	if m.AMRWB, err = EncodeAMRWB(speech.Wideband(wide), amrwbMode); err != nil {
		return nil, err
	}
	enc := newEncoder(speech.Wide, C.OPUS_APPLICATION_VOIP, browserBitrate, browserComplexity, C.OPUS_BANDWIDTH_FULLBAND)
	if enc == nil {
		return nil, errors.New("codecs: no Opus encoder")
	}
	defer C.opus_encoder_destroy(enc)
	const step = speech.Wide / 50
	var out [1500]byte
	for i := range frames {
		n := C.opus_encode(enc, (*C.opus_int16)(unsafe.Pointer(&wide[i*step])), step, (*C.uchar)(&out[0]), C.opus_int32(len(out)))
		if n <= 2 {
			return nil, fmt.Errorf("codecs: encode: %d", int(n))
		}
		m.Opus = append(m.Opus, append([]byte(nil), out[:n]...))
	}
	return m, nil
}

// newEncoder makes an encoder with in-band FEC; nil when libopus does not.
func newEncoder(rate int, application C.int, bitrate, complexity int, bandwidth C.int) *C.OpusEncoder {
	return C.bench_encoder(C.int(rate), application, C.int(bitrate), C.int(complexity), 1, bandwidth)
}
