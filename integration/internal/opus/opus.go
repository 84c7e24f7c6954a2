// Package opus binds the two calls of libopus that test callers need. Floor 0 of the integration module. Values are not
// safe for concurrent use and must be closed.
package opus

/*
#cgo pkg-config: opus
#include <opus.h>
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

// Close frees the decoder.
func (d *Decoder) Close() { C.opus_decoder_destroy(d.c); d.c = nil }
