//go:build cgo && !noopus

package transcode

/*
#cgo pkg-config: opus
#include <opus.h>

#include "park.h"

// An encoder keeps its state as it is in own, or parked; one of them is null. wide is for the second kind, see park.h.
typedef struct {
	OpusEncoder *own;
	park_state *parked;
} isthmus_encoder;

static OpusEncoder *isthmus_begin(const isthmus_encoder *e, void *wide) {
	if (e->own) return e->own;
	park_spread(e->parked, wide);
	return wide;
}

static int isthmus_end(const isthmus_encoder *e, void *wide, int result) {
	if (!e->own && !park_keep(e->parked, wide)) return OPUS_ALLOC_FAIL;
	return result;
}

// opus_*_ctl are variadic, which cgo cannot call.
static int isthmus_opus_reset(OpusDecoder *d) { return opus_decoder_ctl(d, OPUS_RESET_STATE); }

typedef struct {
	int rate, bitrate, complexity, loss, fec, dtx, vbr, bandwidth;
} isthmus_settings;

static int isthmus_set_up(OpusEncoder *e, const isthmus_settings *s) {
	int r;
	// The application for voice differs in a filter that takes away what is below the voice, as microphones need it. What we get has been through one
	// where it was spoken; another costs 0.002 to 0.005 of ESTOI.
	if ((r = opus_encoder_init(e, s->rate, 1, OPUS_APPLICATION_AUDIO))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_BITRATE(s->bitrate)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_COMPLEXITY(s->complexity)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_INBAND_FEC(s->fec)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_PACKET_LOSS_PERC(s->loss)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_DTX(s->dtx)))) return r;
	if ((r = opus_encoder_ctl(e, OPUS_SET_VBR(s->vbr)))) return r;
	return opus_encoder_ctl(e, OPUS_SET_MAX_BANDWIDTH(s->bandwidth));
}

// One crossing into C per encoder: memory and all settings, the first error ends.
static int isthmus_opus_new(isthmus_encoder *e, void *wide, const isthmus_settings *s) {
	int size = opus_encoder_get_size(1);
	e->own = 0, e->parked = 0;
	if (wide) e->parked = park_new(size); else e->own = malloc(size);
	if (!e->own && !e->parked) return OPUS_ALLOC_FAIL;
	return isthmus_end(e, wide, isthmus_set_up(isthmus_begin(e, wide), s));
}

static int isthmus_opus_loss(const isthmus_encoder *e, void *wide, int percent, int bitrate) {
	OpusEncoder *enc = isthmus_begin(e, wide);
	int r = opus_encoder_ctl(enc, OPUS_SET_BITRATE(bitrate));
	if (!r) r = opus_encoder_ctl(enc, OPUS_SET_PACKET_LOSS_PERC(percent));
	return isthmus_end(e, wide, r);
}

static int isthmus_opus_encode(const isthmus_encoder *e, void *wide, const opus_int16 *pcm, int n, unsigned char *out, int room) {
	return isthmus_end(e, wide, opus_encode(isthmus_begin(e, wide), pcm, n, out, room));
}

static void isthmus_opus_free(isthmus_encoder *e) {
	free(e->own);
	if (e->parked) park_free(e->parked);
	e->own = 0, e->parked = 0;
}

// What it takes between two frames, bytes.
static int isthmus_opus_kept(const isthmus_encoder *e) {
	if (e->own) return opus_encoder_get_size(1);
	return e->parked ? sizeof *e->parked + e->parked->words * sizeof(uint64_t) + e->parked->room * PARK_BLOCK : 0;
}
*/
import "C"

import (
	"fmt"
	"strconv"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

const (
	minBitrate = 6000
	maxBitrate = 128000
	// fecBitrate is what the redundancy costs, bit/s. Below 20 kbit/s narrow band and 28 kbit/s wide band libopus leaves it out,
	// whatever it was told about loss (measured with 1.3.1).
	fecBitrate = 4000
	// What is sent unless told otherwise, bit/s (RFC 7587 §3.1.1). In ESTOI narrow band at 24 kbit/s is 0.008 below its source, at 16 0.022. Wide band
	// at 32, which browsers choose too, is 0.009 to 0.011 below it, at 24 0.015 to 0.018 (mgw/docs/quality.md).
	narrowBitrate = 24000
	wideBitrate   = 32000
)

// opusBuilt tells that this build has Opus.
const opusBuilt = true

// opusEncoder owns one libopus encoder.
type opusEncoder struct {
	enc     C.isthmus_encoder // without memory after Close
	scratch *Scratch          // nil: the state stays spread out
	loss    int               // percent
	plain   int               // bit/s without loss
	guarded int               // bit/s under loss
}

func newOpusEncoder(c codec.Codec, cfg EncoderConfig) (*opusEncoder, error) {
	s := opusSettings(c, cfg)
	e := &opusEncoder{scratch: cfg.Scratch, loss: clampPercent(cfg.Loss), plain: s.bitrate, guarded: s.guarded}
	if e.scratch != nil && e.scratch.wide == nil {
		e.scratch.wide = make([]byte, int(C.park_words(C.opus_encoder_get_size(1)))*64*C.PARK_BLOCK)
	}
	settings := C.isthmus_settings{
		rate: C.int(cfg.Rate), bitrate: C.int(e.bitrate()), complexity: C.int(s.complexity), loss: C.int(e.loss),
		fec: cBool(s.fec), dtx: cBool(s.dtx), vbr: cBool(s.vbr), bandwidth: s.bandwidth,
	}
	if rc := C.isthmus_opus_new(&e.enc, e.wide(), &settings); rc != C.OPUS_OK {
		e.Close()
		return nil, opusError("create encoder", rc)
	}
	return e, nil
}

// wide is where the state is spread out for the time of a call.
func (e *opusEncoder) wide() unsafe.Pointer {
	if e.scratch == nil {
		return nil
	}
	return unsafe.Pointer(&e.scratch.wide[0])
}

func (e *opusEncoder) open() bool { return e.enc.own != nil || e.enc.parked != nil }

// bitrate is the rate for the present loss, bit/s.
func (e *opusEncoder) bitrate() int {
	if e.loss > 0 {
		return e.guarded
	}
	return e.plain
}

// opusParams are the settings of one encoder after the peer's format parameters.
type opusParams struct {
	bitrate, guarded, complexity int
	fec, dtx, vbr                bool
	bandwidth                    C.int
}

// opusSettings joins our defaults with what the receiver asked for (RFC 7587 §6.1): its ceilings bind us, unreadable values do not.
// Forward error correction is on unless refused; every Opus decoder takes it.
func opusSettings(c codec.Codec, cfg EncoderConfig) opusParams {
	s := opusParams{bitrate: cfg.Bitrate, complexity: cfg.Complexity, fec: true, dtx: cfg.DTX, vbr: true, bandwidth: C.OPUS_BANDWIDTH_WIDEBAND}
	switch {
	case s.bitrate != 0:
	case cfg.Rate == 8000:
		s.bitrate = narrowBitrate
	default:
		s.bitrate = wideBitrate
	}
	if s.complexity == 0 {
		s.complexity = 5
	}
	s.complexity = min(max(s.complexity, 1), 10)
	limit := maxBitrate
	if v, ok := intParam(c, "maxaveragebitrate"); ok {
		limit = min(max(v, minBitrate), limit)
	}
	if cfg.MaxBitrate != 0 {
		limit = min(max(cfg.MaxBitrate, minBitrate), limit)
	}
	s.bitrate = min(max(s.bitrate, minBitrate), limit)
	s.guarded = min(max(s.bitrate, min(s.bitrate+fecBitrate, wideBitrate)), limit) // from there on the redundancy has its place
	if v, ok := intParam(c, "maxplaybackrate"); cfg.Rate == 8000 || ok && v <= 8000 {
		s.bandwidth = C.OPUS_BANDWIDTH_NARROWBAND
	} else if ok && v <= 12000 {
		s.bandwidth = C.OPUS_BANDWIDTH_MEDIUMBAND
	}
	if v, ok := intParam(c, "useinbandfec"); ok && v == 0 {
		s.fec = false
	}
	if v, ok := intParam(c, "cbr"); ok && v == 1 {
		s.vbr = false
	}
	return s
}

// intParam is a whole-number format parameter of c.
func intParam(c codec.Codec, key string) (int, bool) {
	v, ok := c.Param(key)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(v)
	return n, err == nil
}

// Encode runs libopus on one frame. A payload of at most two bytes is a DTX frame and is not sent (RFC 7587 §3.1.3).
func (e *opusEncoder) Encode(pcm []int16, out []byte) (int, error) {
	if !e.open() || len(pcm) == 0 {
		return 0, ErrFrame
	}
	if len(out) == 0 {
		return 0, ErrSpace
	}
	n := C.isthmus_opus_encode(&e.enc, e.wide(), (*C.opus_int16)(unsafe.Pointer(&pcm[0])), C.int(len(pcm)), (*C.uchar)(unsafe.Pointer(&out[0])),
		C.int(min(len(out), MaxPayload)))
	switch {
	case n == C.OPUS_BAD_ARG:
		return 0, ErrFrame
	case n == C.OPUS_BUFFER_TOO_SMALL:
		return 0, ErrSpace
	case n == C.OPUS_ALLOC_FAIL: // the state is lost
		e.Close()
		return 0, ErrFrame
	case n < 0:
		return 0, ErrPayload
	case n <= 2:
		return 0, nil
	}
	return int(n), nil
}

// SetLoss steers how much redundancy goes into the stream; libopus adds none at 0.
func (e *opusEncoder) SetLoss(percent int) {
	percent = clampPercent(percent)
	if !e.open() || percent == e.loss {
		return
	}
	e.loss = percent
	if C.isthmus_opus_loss(&e.enc, e.wide(), C.int(percent), C.int(e.bitrate())) == C.OPUS_ALLOC_FAIL {
		e.Close()
	}
}

// kept is the memory outside Go's heap between two frames, bytes.
func (e *opusEncoder) kept() int { return int(C.isthmus_opus_kept(&e.enc)) }

func (e *opusEncoder) Close() { C.isthmus_opus_free(&e.enc) }

// opusDecoder owns one libopus decoder; stereo is mixed down by it.
type opusDecoder struct {
	dec  *C.OpusDecoder // nil after Close
	rate int
}

func newOpusDecoder(rate int) (*opusDecoder, error) {
	var rc C.int
	dec := C.opus_decoder_create(C.opus_int32(rate), 1, &rc)
	if dec == nil || rc != C.OPUS_OK {
		return nil, opusError("create decoder", rc)
	}
	return &opusDecoder{dec: dec, rate: rate}, nil
}

// Decode runs libopus on a payload whose TOC was checked first.
func (d *opusDecoder) Decode(payload []byte, pcm []int16) (int, error) {
	need := d.samples(opusTicks(payload))
	if d.dec == nil || need == 0 {
		return 0, ErrPayload
	}
	if len(pcm) < need {
		return 0, ErrSpace
	}
	n := d.run(payload, pcm[:need], false)
	if n != need {
		return 0, ErrPayload
	}
	return n, nil
}

// Conceal lets libopus extrapolate; it wants multiples of 2.5 ms, the rest is silence.
func (d *opusDecoder) Conceal(pcm []int16) { d.fill(nil, pcm, false) }

// Recover decodes the redundancy about the frame before next; libopus conceals when next holds none.
func (d *opusDecoder) Recover(next []byte, pcm []int16) bool {
	if opusTicks(next) == 0 {
		d.Conceal(pcm)
		return true
	}
	d.fill(next, pcm, true)
	return true
}

// fill decodes into all of pcm and silences what libopus did not write.
func (d *opusDecoder) fill(payload []byte, pcm []int16, fec bool) {
	n := 0
	if whole := len(pcm) - len(pcm)%(d.rate/400); whole > 0 && d.dec != nil {
		n = max(0, d.run(payload, pcm[:whole], fec))
	}
	clear(pcm[n:])
}

// run calls opus_decode; a nil payload means loss.
func (d *opusDecoder) run(payload []byte, pcm []int16, fec bool) int {
	var data *C.uchar
	if len(payload) > 0 {
		data = (*C.uchar)(unsafe.Pointer(&payload[0]))
	}
	return int(C.opus_decode(d.dec, data, C.opus_int32(len(payload)), (*C.opus_int16)(unsafe.Pointer(&pcm[0])), C.int(len(pcm)), cBool(fec)))
}

// Reset puts the decoder back to its start.
func (d *opusDecoder) Reset() {
	if d.dec != nil {
		C.isthmus_opus_reset(d.dec)
	}
}

func (d *opusDecoder) Ticks(payload []byte) uint32 { return opusTicks(payload) }

// samples converts 48 kHz ticks to samples at the API rate.
func (d *opusDecoder) samples(ticks uint32) int { return int(ticks) / (opusClock / d.rate) }

func (d *opusDecoder) Close() {
	if d.dec != nil {
		C.opus_decoder_destroy(d.dec)
		d.dec = nil
	}
}

func opusError(op string, rc C.int) error {
	return fmt.Errorf("transcode: opus %s: %s", op, C.GoString(C.opus_strerror(rc)))
}

func cBool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func clampPercent(p int) int { return min(max(p, 0), 100) }
