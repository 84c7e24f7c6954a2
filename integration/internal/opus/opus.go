// Package opus binds the two calls of libopus that test callers need. Floor 0 of the integration module. Values are not
// safe for concurrent use and must be closed.
package opus

/*
#cgo pkg-config: opus
#include <opus.h>

static int test_opus_tune(OpusEncoder *e, int bitrate, int complexity, int loss) {
	int r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_BITRATE(bitrate)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_COMPLEXITY(complexity)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_INBAND_FEC(1)))) return r;
	return opus_encoder_ctl(e, OPUS_SET_PACKET_LOSS_PERC(loss));
}

static int test_opus_plain(OpusEncoder *e) { return opus_encoder_ctl(e, OPUS_SET_APPLICATION(OPUS_APPLICATION_AUDIO)); }
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// MaxPacket is the longest Opus frame in bytes (RFC 6716 §3.2.1 rule R2).
const MaxPacket = 1275

// Encoder is a mono VoIP encoder.
type Encoder struct{ c *C.OpusEncoder }

// NewEncoder returns an encoder for PCM of the rate (8000, 12000, 16000, 24000 or 48000 Hz).
func NewEncoder(rate int) (*Encoder, error) {
	var code C.int
	c := C.opus_encoder_create(C.opus_int32(rate), 1, C.OPUS_APPLICATION_VOIP, &code)
	if code != C.OPUS_OK {
		return nil, fmt.Errorf("opus: encoder: %s", C.GoString(C.opus_strerror(code)))
	}
	return &Encoder{c}, nil
}

// Encode encodes one frame (2.5 to 60 ms) into dst and returns the length used.
func (e *Encoder) Encode(dst []byte, pcm []int16) (int, error) {
	if len(dst) == 0 || len(pcm) == 0 {
		return 0, errors.New("opus: empty buffer")
	}
	n := C.opus_encode(e.c, (*C.opus_int16)(unsafe.Pointer(&pcm[0])), C.int(len(pcm)), (*C.uchar)(&dst[0]), C.opus_int32(len(dst)))
	if n < 0 {
		return 0, fmt.Errorf("opus: encode: %s", C.GoString(C.opus_strerror(C.int(n))))
	}
	return int(n), nil
}

// Tune sets what a browser sets: bit/s, complexity 0 to 10, in-band FEC for so many percent of loss.
func (e *Encoder) Tune(bitrate, complexity, loss int) error {
	if n := C.test_opus_tune(e.c, C.int(bitrate), C.int(complexity), C.int(loss)); n != C.OPUS_OK {
		return fmt.Errorf("opus: settings: %s", C.GoString(C.opus_strerror(n)))
	}
	return nil
}

// Plain leaves out the filter that takes away what is below a voice: the gateway has none. Before the first frame only.
func (e *Encoder) Plain() error {
	if n := C.test_opus_plain(e.c); n != C.OPUS_OK {
		return fmt.Errorf("opus: settings: %s", C.GoString(C.opus_strerror(n)))
	}
	return nil
}

// Close frees the encoder.
func (e *Encoder) Close() { C.opus_encoder_destroy(e.c); e.c = nil }

// Decoder is a mono decoder.
type Decoder struct{ c *C.OpusDecoder }

// NewDecoder returns a decoder to PCM of the rate.
func NewDecoder(rate int) (*Decoder, error) {
	var code C.int
	c := C.opus_decoder_create(C.opus_int32(rate), 1, &code)
	if code != C.OPUS_OK {
		return nil, fmt.Errorf("opus: decoder: %s", C.GoString(C.opus_strerror(code)))
	}
	return &Decoder{c}, nil
}

// Decode decodes one packet into pcm and returns the number of samples.
func (d *Decoder) Decode(pcm []int16, packet []byte) (int, error) {
	if len(packet) == 0 || len(pcm) == 0 {
		return 0, errors.New("opus: empty buffer")
	}
	n := C.opus_decode(d.c, (*C.uchar)(&packet[0]), C.opus_int32(len(packet)), (*C.opus_int16)(unsafe.Pointer(&pcm[0])), C.int(len(pcm)), 0)
	if n < 0 {
		return 0, fmt.Errorf("opus: decode: %s", C.GoString(C.opus_strerror(n)))
	}
	return int(n), nil
}

// Conceal fills pcm with what libopus makes of a packet that did not come.
func (d *Decoder) Conceal(pcm []int16) error { return d.fill(pcm, nil, 0) }

// Recover fills pcm with the packet before next, from the redundancy in next.
func (d *Decoder) Recover(pcm []int16, next []byte) error { return d.fill(pcm, next, 1) }

func (d *Decoder) fill(pcm []int16, packet []byte, fec C.int) error {
	var data *C.uchar
	if len(packet) > 0 {
		data = (*C.uchar)(&packet[0])
	}
	n := C.opus_decode(d.c, data, C.opus_int32(len(packet)), (*C.opus_int16)(unsafe.Pointer(&pcm[0])), C.int(len(pcm)), fec)
	if int(n) != len(pcm) {
		return fmt.Errorf("opus: conceal %d samples: %d", len(pcm), int(n))
	}
	return nil
}

// Close frees the decoder.
func (d *Decoder) Close() { C.opus_decoder_destroy(d.c); d.c = nil }
