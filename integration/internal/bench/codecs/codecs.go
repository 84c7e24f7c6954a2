// Package codecs is the bench's own use of libopus and G.711: it makes the payloads to send and measures the codec-only limit of
// transcoding. Floor 1 of the integration module.
package codecs

/*
#cgo pkg-config: opus
#include <opus.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static OpusEncoder *bench_encoder(int rate, int bitrate, int complexity, int fec, int bandwidth) {
	int rc;
	OpusEncoder *e = opus_encoder_create(rate, 1, OPUS_APPLICATION_VOIP, &rc);
	if (!e) return NULL;
	if (opus_encoder_ctl(e, OPUS_SET_BITRATE(bitrate)) || opus_encoder_ctl(e, OPUS_SET_COMPLEXITY(complexity)) ||
		opus_encoder_ctl(e, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE)) || opus_encoder_ctl(e, OPUS_SET_INBAND_FEC(fec)) ||
		opus_encoder_ctl(e, OPUS_SET_VBR(1)) || opus_encoder_ctl(e, OPUS_SET_MAX_BANDWIDTH(bandwidth))) {
		opus_encoder_destroy(e);
		return NULL;
	}
	return e;
}

static long long thread_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// bench_limit transcodes frames of 20 ms both ways, pairs codecs in turn, for about budget ns of CPU time. Returns the number of frame
// pairs done, -1 on an error; *spent: the CPU time, *octets: the Opus octets made, *toc: the first octet of the last one.
static long long bench_limit(OpusEncoder **enc, OpusDecoder **dec, int pairs, const unsigned char *opus, const int *at, int frames,
	const unsigned char *alaw, const short *expand, const unsigned char *compress, long long budget,
	long long *spent, long long *octets, int *toc) {
	short pcm[960];
	unsigned char out[1500], law[160];
	long long done = 0, start = thread_ns();
	*octets = 0;
	do {
		for (int k = 0; k < pairs; k++) {
			int f = (done / pairs + k * 37) % frames;
			int n = opus_decode(dec[k], opus + at[f], at[f + 1] - at[f], pcm, 160, 0);
			if (n != 160) return -1;
			for (int i = 0; i < 160; i++) law[i] = compress[(unsigned short)pcm[i] >> 3];
			__asm__ volatile("" :: "r"(law) : "memory");
			for (int i = 0; i < 160; i++) pcm[i] = expand[alaw[f * 160 + i]];
			n = opus_encode(enc[k], pcm, 160, out, sizeof out);
			if (n < 1) return -1;
			*octets += n;
			*toc = out[0];
		}
		done += pairs;
	} while ((*spent = thread_ns() - start) < budget);
	return done;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// What a browser's encoder is set to: WebRTC's defaults for one voice.
const (
	browserBitrate    = 32000
	browserComplexity = 9
)

// The MGW's settings for an Opus peer of a G.711 one (opusSettings of its transcode package); the bench compares TOC and size of what
// the MGW sends with what these give and says so when they differ.
const (
	gatewayBitrate    = 16000
	gatewayComplexity = 5
)

// frame is 20 ms of G.711.
const frame = 160

// Material is what the calls send, in a loop: the same audio in both forms, one payload per 20 ms.
type Material struct {
	PCM  []int16  // at the narrow rate, 160 samples per frame
	PCMA [][]byte // 160 octets each
	Opus [][]byte // one RFC 7587 payload each, encoded at 48 kHz
}

// NewMaterial makes frames*20 ms of material. Errors: libopus'.
func NewMaterial(frames int) (*Material, error) {
	wide := speech.Make(1, frames)
	m := &Material{PCM: speech.Narrowband(wide)}
	for i := range frames {
		m.PCMA = append(m.PCMA, tone.ALaw.Encode(nil, m.PCM[i*frame:(i+1)*frame]))
	}
	enc := C.bench_encoder(speech.Wide, browserBitrate, browserComplexity, 1, C.OPUS_BANDWIDTH_FULLBAND)
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

// Limit is what the codecs alone cost.
type Limit struct {
	PerFrame time.Duration // CPU time of one 20 ms frame both ways: decode Opus, encode A-law; decode A-law, encode Opus
	TOC      byte          // of the Opus made
	Octets   float64       // mean size of its payloads
}

// CallsPerCore is how many calls would use up a core.
func (l Limit) CallsPerCore() float64 { return float64(20*time.Millisecond) / float64(l.PerFrame) }

// MeasureLimit runs the codecs of a transcoded call over the material, on one thread, for about budget of CPU time. pairs: how many
// calls take turns; 1 is the strict limit, more also pay for the caches. Errors: libopus'.
func MeasureLimit(m *Material, pairs int, budget time.Duration) (Limit, error) {
	encs, decs := make([]*C.OpusEncoder, pairs), make([]*C.OpusDecoder, pairs)
	defer func() {
		for i := range pairs {
			if encs[i] != nil {
				C.opus_encoder_destroy(encs[i])
			}
			if decs[i] != nil {
				C.opus_decoder_destroy(decs[i])
			}
		}
	}()
	for i := range pairs {
		var rc C.int
		encs[i] = C.bench_encoder(speech.Narrow, gatewayBitrate, gatewayComplexity, 1, C.OPUS_BANDWIDTH_NARROWBAND)
		if decs[i] = C.opus_decoder_create(speech.Narrow, 1, &rc); encs[i] == nil || decs[i] == nil {
			return Limit{}, errors.New("codecs: no Opus codec")
		}
	}
	at, opus, alaw := flatten(m)
	expand, compress := lawTables()
	// The arrays hold C pointers only, so they are copied to C's heap: cgo lets no Go memory with pointers to Go through, and this has none.
	ce := (**C.OpusEncoder)(C.malloc(C.size_t(pairs) * C.size_t(unsafe.Sizeof(encs[0]))))
	cd := (**C.OpusDecoder)(C.malloc(C.size_t(pairs) * C.size_t(unsafe.Sizeof(decs[0]))))
	defer C.free(unsafe.Pointer(ce))
	defer C.free(unsafe.Pointer(cd))
	copy(unsafe.Slice(ce, pairs), encs)
	copy(unsafe.Slice(cd, pairs), decs)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var spent, octets C.longlong
	var toc C.int
	done := C.bench_limit(ce, cd, C.int(pairs), (*C.uchar)(&opus[0]), &at[0], C.int(len(m.Opus)), (*C.uchar)(&alaw[0]),
		(*C.short)(&expand[0]), (*C.uchar)(&compress[0]), C.longlong(budget), &spent, &octets, &toc)
	if done <= 0 {
		return Limit{}, errors.New("codecs: libopus refused a frame of the material")
	}
	return Limit{PerFrame: time.Duration(spent / done), TOC: byte(toc), Octets: float64(octets) / float64(done)}, nil
}

// flatten lays the payloads end to end; at[i] is where the i-th Opus payload begins, at[len] where the last ends.
func flatten(m *Material) (at []C.int, opus, alaw []byte) {
	for i, p := range m.Opus {
		at = append(at, C.int(len(opus)))
		opus = append(opus, p...)
		alaw = append(alaw, m.PCMA[i]...)
	}
	return append(at, C.int(len(opus))), opus, alaw
}

// lawTables are A-law as look-ups: by code, and by the upper 13 bits of a sample.
func lawTables() (expand [256]C.short, compress [8192]byte) {
	for i := range expand {
		expand[i] = C.short(tone.ALaw.Decode(nil, []byte{byte(i)})[0])
	}
	for i := range compress {
		compress[i] = tone.ALaw.Encode(nil, []int16{int16(uint16(i) << 3)})[0]
	}
	return expand, compress
}
