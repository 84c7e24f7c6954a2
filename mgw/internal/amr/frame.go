package amr

// Codec is one of the two codecs of RFC 4867.
type Codec uint8

// The codecs.
const (
	Narrow Codec = iota // AMR, 8000 Hz
	Wide                // AMR-WB, 16000 Hz
)

// Frame types that both codecs share (RFC 4867 §4.3.2). Below the SID type, a frame type is a speech mode.
const (
	SpeechLost uint8 = 14 // AMR-WB only: a frame was lost on the way to the sender
	NoData     uint8 = 15 // nothing is known of these 20 ms, or nothing is said
)

// NoRequest is the codec mode request that asks for nothing (RFC 4867 §4.3.1).
const NoRequest uint8 = 15

const (
	// MaxFrames is the most frames in one payload: 240 ms.
	MaxFrames = 12
	// FrameSize is the longest frame with its header octet, bytes: 23.85 kbit/s.
	FrameSize = 61
	// MaxPayload is the longest payload that a Packet builds, bytes.
	MaxPayload = 1 + MaxFrames*FrameSize
	// FrameMS is the duration of a frame, ms.
	FrameMS = 20
)

const reserved = -1 // frame types that have no meaning (yet)

// frameBits is the number of speech bits by codec and frame type (TS 26.101 table 2, TS 26.201 table 3; SID included).
var frameBits = [2][16]int16{
	Narrow: {95, 103, 118, 134, 148, 159, 204, 244, 39, reserved, reserved, reserved, reserved, reserved, reserved, 0},
	Wide:   {132, 177, 253, 285, 317, 365, 397, 461, 477, 40, reserved, reserved, reserved, reserved, 0, 0},
}

// Bits is the length of a frame of type ft, bits without header and padding; -1 when there is no such frame: a payload that names it is
// to be discarded whole, since nobody knows where its next frame begins (RFC 4867 §4.3.2).
func (c Codec) Bits(ft uint8) int { return int(frameBits[c&1][ft&15]) }

// Octets is Bits in whole bytes, -1 when there is no such frame.
func (c Codec) Octets(ft uint8) int {
	if n := c.Bits(ft); n != reserved {
		return (n + 7) / 8
	}
	return reserved
}

// SID is the frame type of comfort noise.
func (c Codec) SID() uint8 { return 8 + uint8(c&1) }

// Speech reports whether ft is a speech mode.
func (c Codec) Speech(ft uint8) bool { return ft < c.SID() }

// ClockRate is the RTP clock and the sampling rate, Hz (RFC 4867 §4.1).
func (c Codec) ClockRate() uint32 { return 8000 << (c & 1) }

// FrameTicks is the duration of a frame, ticks of the RTP clock.
func (c Codec) FrameTicks() uint32 { return c.ClockRate() * FrameMS / 1000 }

// rates are the bit rates of the speech modes, bit/s.
var rates = [2][9]int32{
	Narrow: {4750, 5150, 5900, 6700, 7400, 7950, 10200, 12200},
	Wide:   {6600, 8850, 12650, 14250, 15850, 18250, 19850, 23050, 23850},
}

// Bitrate is the rate of a speech mode, bit/s; 0 when ft is none.
func (c Codec) Bitrate(ft uint8) int {
	if !c.Speech(ft) {
		return 0
	}
	return int(rates[c&1][ft])
}
