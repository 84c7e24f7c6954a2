package codecs

/*
#cgo pkg-config: opencore-amrwb vo-amrwbenc
#include <opencore-amrwb/dec_if.h>
#include <vo-amrwbenc/enc_if.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
)

// Modes of AMR-WB: the highest that most mobile networks allow, and the highest.
const (
	AMRWB1265 = 2
	AMRWB2385 = 8
)

// amrwbMode is that of the material.
const amrwbMode = AMRWB1265

// amrwbFrame is 20 ms at 16 kHz.
const amrwbFrame = speech.Middle / 50

// amrwbBits is the length of a frame by type (RFC 4867 §3.6, TS 26.201 table 2); beyond 9 there is no speech.
var amrwbBits = [10]int{132, 177, 253, 285, 317, 365, 397, 461, 477, 40}

// EncodeAMRWB makes one payload in a mode per frame of pcm at 16 kHz.
func EncodeAMRWB(pcm []int16, mode byte) ([][]byte, error) {
	enc := C.E_IF_init()
	if enc == nil {
		return nil, errors.New("codecs: no AMR-WB encoder")
	}
	defer C.E_IF_exit(enc)
	var payloads [][]byte
	var out [64]byte
	for ; len(pcm) >= amrwbFrame; pcm = pcm[amrwbFrame:] {
		n := C.E_IF_encode(enc, C.int(mode), (*C.short)(unsafe.Pointer(&pcm[0])), (*C.uchar)(&out[0]), 0)
		if int(n) != 1+(amrwbBits[mode]+7)/8 {
			return nil, fmt.Errorf("codecs: AMR-WB frame of %d octets", int(n))
		}
		payloads = append(payloads, packAMRWB(mode, out[1:n]))
	}
	return payloads, nil
}

// packAMRWB is the bandwidth-efficient payload of one frame without a mode request (RFC 4867 §4.3): CMR 1111, F 0, type, Q 1, speech.
func packAMRWB(mode byte, speech []byte) []byte {
	head := uint16(0xf)<<6 | uint16(mode)<<1 | 1 // ten bits
	out := make([]byte, (10+amrwbBits[mode]+7)/8)
	out[0], out[1] = byte(head>>2), byte(head<<6)
	for i, b := range speech {
		out[1+i] |= b >> 2
		if 2+i < len(out) {
			out[2+i] = b << 6
		}
	}
	return out
}

// unpackAMRWB is the frame of a payload of one, with its header octet.
func unpackAMRWB(p []byte) ([]byte, error) {
	if len(p) < 2 {
		return nil, errors.New("codecs: AMR-WB payload without table of contents")
	}
	toc := byte(uint16(p[0])<<2 | uint16(p[1])>>6) // the ten bits but for CMR's upper ones
	ft := toc >> 1 & 15
	if toc&0x20 != 0 || int(ft) >= len(amrwbBits) || len(p) != (10+amrwbBits[ft]+7)/8 {
		return nil, fmt.Errorf("codecs: AMR-WB payload of %d octets with frame type %d", len(p), ft)
	}
	frame := make([]byte, 1+(amrwbBits[ft]+7)/8)
	frame[0] = ft<<3 | toc&1<<2
	for i := range frame[1:] {
		frame[1+i] = p[1+i] << 2
		if 2+i < len(p) {
			frame[1+i] |= p[2+i] >> 6
		}
	}
	return frame, nil
}

// DecodeAMRWB turns bandwidth-efficient payloads of one frame each into samples at 16 kHz; a nil one is lost and concealed by the codec. Errors:
// a payload that is none.
func DecodeAMRWB(payloads [][]byte) ([]int16, error) {
	dec := C.D_IF_init()
	if dec == nil {
		return nil, errors.New("codecs: no AMR-WB decoder")
	}
	defer C.D_IF_exit(dec)
	pcm := make([]int16, len(payloads)*amrwbFrame)
	for i, p := range payloads {
		frame := []byte{15<<3 | 4} // no data
		if p != nil {
			var err error
			if frame, err = unpackAMRWB(p); err != nil {
				return nil, err
			}
		}
		C.D_IF_decode(dec, (*C.uchar)(&frame[0]), (*C.short)(unsafe.Pointer(&pcm[i*amrwbFrame])), 0)
	}
	return pcm, nil
}
