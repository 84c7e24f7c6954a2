// Package dtmf carries telephone events between peers whose RTP clocks differ, one press in is one press out. Floor 1. // hot
// Owner: the worker of the flow; no goroutine, no clock, no allocation after New; not safe for concurrent use. RFC 4733 §2.
//
//	relay:      packet -> Receiver (which press is it?) -> Relay (scale, mark) -> stamp
//	transcode:  packet -> Receiver -> Player (own packets on the frame clock) -> stamp
package dtmf

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"
)

// PayloadLen is the length of one event block, bytes (RFC 4733 §2.3).
const PayloadLen = 4

const (
	// MaxCode is the highest event carried: 0..9, *, #, A..D and flash (RFC 4733 §3.2).
	MaxCode = 16

	maxField   = 0xffff                        // of the duration field, ticks
	silentFor  = int64(200 * time.Millisecond) // an event without update for so long is over: four usual update intervals
	maxVolume  = 63                            // -dBm0
	endPackets = 3                             // the end is sent so often (RFC 4733 §2.5.1.4)
)

// ErrPayload tells that a payload is no telephone event.
var ErrPayload = errors.New("dtmf: payload is no telephone event")

// Block is the content of one event packet.
type Block struct {
	Code     uint8 // 0..16
	End      bool
	Volume   uint8  // power below 0 dBm0, dB
	Duration uint16 // since the packet's timestamp, ticks
}

// Read reads the first block of a payload; further ones repeat older events. Errors: ErrPayload, also for events that are no DTMF.
func Read(p []byte) (Block, error) {
	if len(p) < PayloadLen || len(p)%PayloadLen != 0 || p[0] > MaxCode {
		return Block{}, ErrPayload
	}
	return Block{Code: p[0], End: p[1]&0x80 != 0, Volume: p[1] & maxVolume, Duration: binary.BigEndian.Uint16(p[2:])}, nil
}

// Put writes b to p[:PayloadLen] and returns PayloadLen; it panics when p is shorter.
func Put(p []byte, b Block) int {
	_ = p[PayloadLen-1]
	p[0], p[1] = b.Code, b.Volume&maxVolume
	if b.End {
		p[1] |= 0x80
	}
	binary.BigEndian.PutUint16(p[2:], b.Duration)
	return PayloadLen
}

const keys = "0123456789*#ABCD!"

// Digit is the key of an event code as a character: 0-9 * # A-D, '!' for flash, '?' for others.
func Digit(code uint8) byte {
	if int(code) < len(keys) {
		return keys[code]
	}
	return '?'
}

// Code is the event code of a key, the inverse of Digit; an unknown one is that of flash.
func Code(key byte) uint8 {
	if i := strings.IndexByte(keys, key); i >= 0 {
		return uint8(i)
	}
	return MaxCode
}

// scale converts ticks between clocks, rounded to the nearest; a clock of 0 leaves them.
func scale(ticks uint64, from, to uint32) uint64 {
	if from == to || from == 0 || to == 0 {
		return ticks
	}
	return (ticks*uint64(to) + uint64(from)/2) / uint64(from)
}
