// Package transcode holds the audio codecs behind one interface: Opus (libopus) and AMR, AMR-WB (opencore-amr, vo-amrwbenc), which need
// cgo, G.711 and G.722 (Go). Floor 1. // hot
// Owner: the worker of the Direction that made them; encoders and decoders are not safe for concurrent use and allocate only in New.
// PCM is mono, 16 bit, at the API rate (8000 or 16000 Hz) that the caller chose; the pipeline from RTP to RTP is package audio.
package transcode

import (
	"errors"
	"fmt"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Sentinel errors of the package.
var (
	ErrUnsupported = errors.New("transcode: codec not available in this build")
	ErrRate        = errors.New("transcode: API rate not possible with this codec")
	ErrPayload     = errors.New("transcode: payload is not valid for the codec")
	ErrFrame       = errors.New("transcode: PCM length is no frame of the codec")
	ErrSpace       = errors.New("transcode: output buffer too short")
)

// MaxPayload is the longest payload that an Encoder writes, bytes: it fits into a datagram that no network cuts (RFC 8200 §5).
const MaxPayload = 1276

// MaxFrame is the longest packet duration that the Decoder of Opus takes, ms (RFC 6716 §3.2.5).
const MaxFrame = 120

// maxPCM is the same of G.711 and G.722: what fits into a datagram that no network cuts.
const maxPCM = 160

// Longest is the longest packet duration that the Decoder of c takes, ms.
func Longest(c codec.Codec) int {
	switch {
	case c.IsAMR():
		return amr.MaxFrames * amr.FrameMS
	case c.Is(codec.Opus):
		return MaxFrame
	}
	return maxPCM
}

// Shortest is the least Ptime that the Encoder of c can do.
func Shortest(c codec.Codec) time.Duration {
	if c.IsAMR() {
		return amr.FrameMS * time.Millisecond
	}
	return 10 * time.Millisecond
}

// Ptime is the packet duration that a peer gets of c that asks for another (RFC 8866 §6.4): the longest that the Encoder can do and is no longer, else
// its shortest. AMR does whole frames up to 240 ms (TS 26.114 §6.2.2), Opus what one packet can hold (RFC 6716 §3.2), others steps of 10 ms
// as long as the payload is not cut on its way.
func Ptime(c codec.Codec, asked time.Duration) time.Duration {
	got := Shortest(c)
	for p := got; p <= asked && p <= longestPtime; p += 10 * time.Millisecond {
		if makes(c, p) {
			got = p
		}
	}
	return got
}

const longestPtime = 240 * time.Millisecond

func makes(c codec.Codec, p time.Duration) bool {
	switch ms := int(p / time.Millisecond); {
	case c.IsAMR():
		return ms%amr.FrameMS == 0 && ms <= amr.MaxFrames*amr.FrameMS
	case c.Is(codec.Opus):
		return ms == 10 || ms%20 == 0 && ms <= MaxFrame
	default:
		return 8*ms <= MaxPayload // 64 kbit/s
	}
}

// Encoder turns PCM frames into payloads.
type Encoder interface {
	// Encode writes the payload of one frame to out and returns its length, bytes; 0 means "do not send" (DTX).
	// pcm: exactly one frame of a length the codec knows. It keeps neither slice. Errors: ErrFrame, ErrSpace, ErrPayload.
	Encode(pcm []int16, out []byte) (int, error)
	// SetLoss tells the expected packet loss, percent 0..100; codecs without redundancy ignore it.
	SetLoss(percent int)
	// Close frees memory outside Go's heap; a second call does nothing.
	Close()
}

// Decoder turns payloads into PCM.
type Decoder interface {
	// Decode writes the PCM of one payload to pcm and returns the number of samples.
	// pcm: room for the duration that Ticks reports. Errors: ErrPayload, ErrSpace; the decoder stays usable.
	Decode(payload []byte, pcm []int16) (int, error)
	// Conceal fills pcm with a plausible continuation where no packet is available; it fades to silence.
	Conceal(pcm []int16)
	// Recover fills pcm with the audio just before the packet next, from the redundancy in it, or conceals when there is none.
	// It reports whether the codec has such redundancy at all.
	Recover(next []byte, pcm []int16) bool
	// Reset forgets the stream decoded so far: the next payload begins another one.
	Reset()
	// Ticks is the duration of a payload in ticks of the RTP clock, 0 when the payload is not valid.
	Ticks(payload []byte) uint32
	// Close frees memory outside Go's heap; a second call does nothing.
	Close()
}

// Request is a codec mode request: the highest mode in which one who receives AMR or AMR-WB wants it (RFC 4867 §4.3.1). It comes with the
// payloads of one direction and is meant for the encoder of the other. The zero value is no request at all.
type Request struct {
	Made  bool
	Codec amr.Codec // that Mode is one of
	Mode  uint8     // frame type index of a speech mode; amr.NoRequest: no preference
}

// FrameEncoder is the Encoder of a codec whose payloads hold frames of 20 ms in modes that the receiver steers: AMR and AMR-WB.
type FrameEncoder interface {
	Encoder
	// Request takes the receiver's request; one for another codec is ignored.
	Request(r Request)
	// Skip tells that so many ticks of the RTP clock passed between two frames, in which nothing was encoded.
	Skip(ticks uint32)
	// Speech reports whether the newest payload begins with speech, and not with comfort noise or nothing: only that may begin a talk
	// spurt (RFC 4867 §4.1).
	Speech() bool
}

// FrameDecoder is the Decoder of such a codec.
type FrameDecoder interface {
	Decoder
	// DecodeAfter is Decode without the first skip ticks of the payload: senders may repeat frames of packets before
	// (RFC 4867 §3.7.1), and a frame must not be decoded twice.
	DecodeAfter(skip uint32, payload []byte, pcm []int16) (int, error)
	// Request is the codec mode request in a payload for which Ticks is not 0.
	Request(payload []byte) Request
	// Silent reports whether the source pauses: what Conceal makes then is its comfort noise, not a guess.
	Silent() bool
}

// EncoderConfig tunes an Encoder; zero fields mean the default.
type EncoderConfig struct {
	Rate  int           // PCM rate, Hz: 8000 or 16000
	Ptime time.Duration // frame length, one that the function Ptime gives; default 20 ms
	// Bitrate, bit/s. Opus: 6000..128000; default 32000, in narrow band 24000; under loss 4000 more, up to 32000. AMR: the highest mode of the
	// peer's mode-set that needs no more is sent until the peer asks for another; default: the highest.
	Bitrate int
	// MaxBitrate is the most that the peer takes, bit/s, whatever it asks for later; 0: it sets no limit. Neither codec goes below its lowest rate.
	MaxBitrate int
	Complexity int  // Opus: 1..10, default 5
	Loss       int  // Opus: expected packet loss until the first report, percent; default 0
	DTX        bool // Opus, AMR: stop sending in silence
	Scratch    *Scratch
}

// Scratch is memory that encoders use for the time of a call only and so can share: those of one worker. The zero value is ready. An encoder
// without one keeps that memory for itself: 43 KiB for Opus, in the place of 7 to 12.
type Scratch struct {
	wide []byte // for the state of the largest codec; zero between calls
}

// Available lists the codecs of this build, best first, with the parameters that they are offered with and PT 0 where it is dynamic.
func Available() []codec.Codec {
	var list []codec.Codec
	if opusBuilt {
		// Always 48000/2 (RFC 7587 §7); in-band FEC is wanted.
		list = append(list, codec.Codec{Name: codec.Opus, ClockRate: opusClock, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"})
	}
	if amrBuilt {
		list = append(list, codec.Codec{Name: codec.AMRWB, ClockRate: 16000, Channels: 1, Fmtp: amrOffer})
	}
	list = append(list, codec.Codec{Name: codec.G722, PT: 9, ClockRate: 8000, Channels: 1})
	if amrBuilt {
		list = append(list, codec.Codec{Name: codec.AMR, ClockRate: 8000, Channels: 1, Fmtp: amrOffer})
	}
	return append(list,
		codec.Codec{Name: codec.PCMA, PT: 8, ClockRate: 8000, Channels: 1},
		codec.Codec{Name: codec.PCMU, PT: 0, ClockRate: 8000, Channels: 1},
	)
}

// Supported reports whether c can be decoded and encoded in this build. Stereo is accepted for Opus only, which is always
// signalled so (RFC 7587 §7). AMR depends on its format parameters too.
func Supported(c codec.Codec) bool { return Unsupported(c) == nil }

// Unsupported says why c is not Supported: ErrUnsupported, wrapped with the reason; nil when it is.
func Unsupported(c codec.Codec) error {
	channels := c.ChannelCount()
	switch {
	case c.Is(codec.Opus) && c.ClockRate == opusClock && channels <= 2 && opusBuilt:
		return nil
	case (c.Is(codec.G722) || c.Is(codec.PCMA) || c.Is(codec.PCMU)) && c.ClockRate == 8000 && channels == 1:
		return nil
	case c.IsAMR() && amrBuilt:
		_, err := amr.ParseParams(c)
		if err == nil {
			return nil
		}
		return fmt.Errorf("%w: %s: %w", ErrUnsupported, c.Name, err)
	}
	return fmt.Errorf("%w: %s/%d", ErrUnsupported, c.Name, c.ClockRate)
}

// Rates are the API rates a codec works at without resampling, Hz, best first; nil when it is not supported.
func Rates(c codec.Codec) []int {
	switch {
	case !Supported(c):
		return nil
	case c.Is(codec.Opus):
		return []int{16000, 8000}
	case c.Is(codec.G722), c.Is(codec.AMRWB):
		return []int{16000}
	default:
		return []int{8000}
	}
}

// NewEncoder makes an encoder for c. c.Fmtp holds the peer's wishes (RFC 7587 §6.1). The caller closes it.
// Errors: ErrUnsupported, ErrRate, ErrFrame, wrapped with the codec's name.
func NewEncoder(c codec.Codec, cfg EncoderConfig) (Encoder, error) {
	if cfg.Ptime == 0 {
		cfg.Ptime = 20 * time.Millisecond
	}
	if err := check(c, cfg.Rate); err != nil {
		return nil, err
	}
	if cfg.Ptime != Ptime(c, cfg.Ptime) {
		return nil, fmt.Errorf("%w: %s with ptime %v", ErrFrame, c.Name, cfg.Ptime)
	}
	switch {
	case c.Is(codec.Opus):
		return newOpusEncoder(c, cfg)
	case c.IsAMR():
		return newAMREncoder(c, cfg)
	case c.Is(codec.G722):
		return newG722Encoder(), nil
	case c.Is(codec.PCMA):
		return g711Encoder{alaw: true}, nil
	default:
		return g711Encoder{}, nil
	}
}

// NewDecoder makes a decoder for c that delivers PCM at rate, Hz. The caller closes it. Errors: ErrUnsupported, ErrRate.
func NewDecoder(c codec.Codec, rate int) (Decoder, error) {
	if err := check(c, rate); err != nil {
		return nil, err
	}
	switch {
	case c.Is(codec.Opus):
		return newOpusDecoder(rate)
	case c.IsAMR():
		return newAMRDecoder(c)
	case c.Is(codec.G722):
		return newG722Decoder(), nil
	case c.Is(codec.PCMA):
		return newG711Decoder(&alawToLinear), nil
	default:
		return newG711Decoder(&ulawToLinear), nil
	}
}

// check refuses codecs and rates that cannot be had.
func check(c codec.Codec, rate int) error {
	if err := Unsupported(c); err != nil {
		return err
	}
	for _, r := range Rates(c) {
		if r == rate {
			return nil
		}
	}
	return fmt.Errorf("%w: %s at %d Hz", ErrRate, c.Name, rate)
}
