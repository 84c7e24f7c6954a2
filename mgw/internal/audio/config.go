package audio

import (
	"errors"
	"fmt"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// ErrConfig tells that a Config cannot work; it is wrapped with the reason.
var ErrConfig = errors.New("audio: bad direction")

// Config describes one direction. Src and Dst are mandatory; zero fields elsewhere mean the default.
type Config struct {
	Src codec.Codec // what the source sends
	Dst codec.Codec // what the peer wants; its Fmtp holds the peer's wishes

	SrcDTMF *codec.Codec // telephone events of the source, nil when not negotiated
	DstDTMF *codec.Codec // telephone events towards the peer, nil when not negotiated: events are then played as tones
	SrcCN   *codec.Codec // comfort noise of the source (RFC 3389), nil when not negotiated; of another clock it only tells that the source lives

	DstCN *codec.Codec // comfort noise towards the peer, at the clock of Dst: sent in place of audio while the source pauses; nil: noise is encoded

	Tones  bool // look for keys in the audio of the source; SrcDTMF is nil then
	Silent bool // keys do not go to the peer: signalling carries them

	Ptime time.Duration // length of one output packet, one that transcode.Ptime gives; default 20 ms

	DelayMin   time.Duration // least playout delay; default 10 ms
	DelayStart time.Duration // playout delay before anything was measured; default 20 ms
	DelayMax   time.Duration // largest playout delay; default 200 ms

	Bitrate    int  // of Opus and AMR encoders, bit/s: see transcode.EncoderConfig
	MaxBitrate int  // the most that the peer takes of them, bit/s; 0: no limit
	Complexity int  // Opus encoder, 1..10; default 5
	Loss       int  // expected loss towards the peer before the first report, percent
	DTX        bool // Opus and AMR encoders: stop in silence

	Scratch *Scratch // of the worker; nil: one of its own
}

// check refuses what cannot work and fills the defaults in.
func (c *Config) check() error {
	if c.Ptime == 0 {
		c.Ptime = 20 * time.Millisecond
	}
	if c.DelayStart == 0 {
		c.DelayStart = 20 * time.Millisecond
	}
	for _, cc := range []codec.Codec{c.Src, c.Dst} {
		if err := transcode.Unsupported(cc); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if cn := c.DstCN; cn != nil && (!cn.Is(codec.ComfortNoise) || cn.ClockRate != c.Dst.ClockRate) {
		return fmt.Errorf("%w: %s/%d is no comfort noise beside %s/%d", ErrConfig, cn.Name, cn.ClockRate, c.Dst.Name, c.Dst.ClockRate)
	}
	for _, ev := range []*codec.Codec{c.SrcDTMF, c.DstDTMF} {
		if ev != nil && (!ev.Is(codec.TelephoneEvent) || ev.ClockRate < 8000 || ev.ClockRate > 48000) {
			return fmt.Errorf("%w: %s/%d is no telephone-event", ErrConfig, ev.Name, ev.ClockRate)
		}
	}
	if c.Tones && c.SrcDTMF != nil {
		return fmt.Errorf("%w: keys are looked for in the audio of a source that has telephone-event", ErrConfig)
	}
	// RFC 4733 §2.1: events share the timestamps, so the clock, of the audio they replace. Presses that are made anew can do without.
	if c.DstDTMF != nil && c.DstDTMF.ClockRate != c.Dst.ClockRate && c.SrcDTMF == nil && !c.Tones {
		return fmt.Errorf("%w: telephone-event/%d beside %s/%d", ErrConfig, c.DstDTMF.ClockRate, c.Dst.Name, c.Dst.ClockRate)
	}
	return nil
}

// EncoderRate is the PCM rate at which the encoder works, Hz; both codecs are ones that transcode supports.
func (c *Config) EncoderRate() int {
	_, enc := c.rates()
	return enc
}

// rates chooses the PCM rates of decoder and encoder, Hz: the best that both know, else the best of each with rate conversion between.
func (c *Config) rates() (dec, enc int) {
	from, to := transcode.Rates(c.Src), transcode.Rates(c.Dst)
	for _, r := range from {
		for _, q := range to {
			if r == q {
				return r, q
			}
		}
	}
	return from[0], to[0]
}
