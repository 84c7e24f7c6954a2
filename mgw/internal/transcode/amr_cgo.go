//go:build cgo && !noamr

package transcode

/*
#cgo pkg-config: opencore-amrnb opencore-amrwb vo-amrwbenc
#include <opencore-amrnb/interf_dec.h>
#include <opencore-amrnb/interf_enc.h>
#include <opencore-amrwb/dec_if.h>
#include <vo-amrwbenc/enc_if.h>
*/
import "C"

import (
	"errors"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
)

// amrBuilt tells that this build has AMR and AMR-WB.
const amrBuilt = true

var errAMRMemory = errors.New("out of memory")

// amrCoder is an encoder of opencore-amrnb or vo-amrwbenc. The libraries keep all state in what open returns.
type amrCoder struct {
	state unsafe.Pointer // nil: closed
	codec amr.Codec
	dtx   C.int
}

func (c *amrCoder) open(codec amr.Codec, dtx bool) error {
	c.codec, c.dtx = codec, 0
	if dtx {
		c.dtx = 1
	}
	if codec == amr.Wide {
		c.state = C.E_IF_init()
	} else {
		c.state = C.Encoder_Interface_init(c.dtx)
	}
	if c.state == nil {
		return errAMRMemory
	}
	return nil
}

func (c *amrCoder) isOpen() bool { return c.state != nil }

// encode writes the frame of 20 ms of pcm with its header octet and returns its length. It may change pcm.
func (c *amrCoder) encode(mode uint8, pcm []int16, out *[amr.FrameSize]byte) int {
	in, to := (*C.short)(unsafe.Pointer(&pcm[0])), (*C.uchar)(unsafe.Pointer(&out[0]))
	if c.codec == amr.Wide {
		return int(C.E_IF_encode(c.state, C.int(mode), in, to, c.dtx))
	}
	return int(C.Encoder_Interface_Encode(c.state, C.enum_Mode(mode), in, to, 0))
}

func (c *amrCoder) close() {
	switch {
	case c.state == nil:
	case c.codec == amr.Wide:
		C.E_IF_exit(c.state)
	default:
		C.Encoder_Interface_exit(c.state)
	}
	c.state = nil
}

// amrReader is a decoder of opencore-amrnb or opencore-amrwb.
type amrReader struct {
	state unsafe.Pointer // nil: closed
	codec amr.Codec
}

func (r *amrReader) open(codec amr.Codec) error {
	r.codec = codec
	if codec == amr.Wide {
		r.state = C.D_IF_init()
	} else {
		r.state = C.Decoder_Interface_init()
	}
	if r.state == nil {
		return errAMRMemory
	}
	return nil
}

func (r *amrReader) isOpen() bool { return r.state != nil }

// decode fills pcm, 20 ms, from a frame with header octet, whose length fits its type.
func (r *amrReader) decode(frame []byte, pcm []int16) {
	in, to := (*C.uchar)(unsafe.Pointer(&frame[0])), (*C.short)(unsafe.Pointer(&pcm[0]))
	if r.codec == amr.Wide {
		C.D_IF_decode(r.state, in, to, 0)
		return
	}
	C.Decoder_Interface_Decode(r.state, in, to, 0)
}

func (r *amrReader) close() {
	switch {
	case r.state == nil:
	case r.codec == amr.Wide:
		C.D_IF_exit(r.state)
	default:
		C.Decoder_Interface_exit(r.state)
	}
	r.state = nil
}
