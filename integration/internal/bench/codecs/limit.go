package codecs

/*
#cgo pkg-config: opus opencore-amrwb vo-amrwbenc
#include <opus.h>
#include <opencore-amrwb/dec_if.h>
#include <stdlib.h>
#include <time.h>
#include <vo-amrwbenc/enc_if.h>

// One transcoded call: Opus on one side, G.711 or, where there is an AMR-WB codec, that on the other.
typedef struct {
	OpusEncoder *enc;
	OpusDecoder *dec;
	void *amr_enc, *amr_dec;
} bench_pair;

static long long thread_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// bench_limit transcodes frames of 20 ms both ways, pairs in turn, for about budget ns of CPU time. core: what the other side sends, size
// octets per frame. Returns the number of frame pairs done, -1 on an error; *spent: the CPU time, *octets: the Opus octets made, *toc: the
// first octet of the last one.
static long long bench_limit(bench_pair *pair, int pairs, const unsigned char *opus, const int *at, int frames, const unsigned char *core, int size,
	int mode, const short *expand, const unsigned char *compress, long long budget, long long *spent, long long *octets, int *toc) {
	short pcm[960];
	unsigned char out[1500], coded[160];
	long long done = 0, start = thread_ns();
	*octets = 0;
	do {
		for (int k = 0; k < pairs; k++) {
			bench_pair *p = pair + k;
			int f = (done / pairs + k * 37) % frames, n = p->amr_enc ? 320 : 160;
			if (opus_decode(p->dec, opus + at[f], at[f + 1] - at[f], pcm, n, 0) != n) return -1;
			if (p->amr_enc) {
				if (E_IF_encode(p->amr_enc, mode, pcm, coded, 0) < 1) return -1;
				D_IF_decode(p->amr_dec, core + (long)f * size, pcm, 0);
			} else {
				for (int i = 0; i < n; i++) coded[i] = compress[(unsigned short)pcm[i] >> 3];
				for (int i = 0; i < n; i++) pcm[i] = expand[core[(long)f * size + i]];
			}
			__asm__ volatile("" :: "r"(coded) : "memory");
			int m = opus_encode(p->enc, pcm, n, out, sizeof out);
			if (m < 1) return -1;
			*octets += m;
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
	"runtime"
	"time"
	"unsafe"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// Core is the codec of the side that is not Opus.
type Core int

// The codecs.
const (
	PCMA  Core = iota
	AMRWB      // 12.65 kbit/s
)

// Limit is what the codecs alone cost.
type Limit struct {
	PerFrame time.Duration // CPU time of one 20 ms frame both ways: decode Opus, encode the other; decode the other, encode Opus
	TOC      byte          // of the Opus made
	Octets   float64       // mean size of its payloads
}

// CallsPerCore is how many calls would use up a core.
func (l Limit) CallsPerCore() float64 { return float64(20*time.Millisecond) / float64(l.PerFrame) }

// MeasureLimit runs the codecs of a transcoded call over the material, on one thread, for about budget of CPU time. pairs: how many
// calls take turns; 1 is the strict limit, more also pay for the caches. Errors: the libraries'.
func MeasureLimit(m *Material, core Core, pairs int, budget time.Duration) (Limit, error) {
	// The array holds C pointers only and is C's: cgo lets no Go memory with pointers through.
	mem := (*C.bench_pair)(C.calloc(C.size_t(pairs), C.sizeof_bench_pair))
	defer C.free(unsafe.Pointer(mem))
	list := unsafe.Slice(mem, pairs)
	defer closePairs(list)
	for i := range list {
		if err := openPair(&list[i], core); err != nil {
			return Limit{}, err
		}
	}
	at, opus := flatten(m.Opus)
	other, size := m.core(core)
	expand, compress := lawTables()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var spent, octets C.longlong
	var toc C.int
	done := C.bench_limit(mem, C.int(pairs), (*C.uchar)(&opus[0]), &at[0], C.int(len(m.Opus)), (*C.uchar)(&other[0]), C.int(size), amrwbMode,
		(*C.short)(&expand[0]), (*C.uchar)(&compress[0]), C.longlong(budget), &spent, &octets, &toc)
	if done <= 0 {
		return Limit{}, errors.New("codecs: a library refused a frame of the material")
	}
	return Limit{PerFrame: time.Duration(spent / done), TOC: byte(toc), Octets: float64(octets) / float64(done)}, nil
}

func openPair(p *C.bench_pair, core Core) error {
	rate, bitrate, bandwidth := speech.Narrow, gatewayNarrow, C.int(C.OPUS_BANDWIDTH_NARROWBAND)
	if core == AMRWB {
		rate, bitrate, bandwidth = speech.Middle, gatewayWide, C.OPUS_BANDWIDTH_WIDEBAND
		p.amr_enc, p.amr_dec = C.E_IF_init(), C.D_IF_init()
		if p.amr_enc == nil || p.amr_dec == nil {
			return errors.New("codecs: no AMR-WB codec")
		}
	}
	var rc C.int
	p.enc = newEncoder(rate, C.OPUS_APPLICATION_AUDIO, bitrate, gatewayComplexity, bandwidth)
	if p.dec = C.opus_decoder_create(C.opus_int32(rate), 1, &rc); p.enc == nil || p.dec == nil {
		return errors.New("codecs: no Opus codec")
	}
	return nil
}

func closePairs(list []C.bench_pair) {
	for i := range list {
		p := &list[i]
		if p.enc != nil {
			C.opus_encoder_destroy(p.enc)
		}
		if p.dec != nil {
			C.opus_decoder_destroy(p.dec)
		}
		if p.amr_enc != nil {
			C.E_IF_exit(p.amr_enc)
		}
		if p.amr_dec != nil {
			C.D_IF_exit(p.amr_dec)
		}
	}
}

// core is what the other side sends, frame after frame of equal size: for AMR-WB with the header octet that the library wants.
func (m *Material) core(c Core) (b []byte, size int) {
	if c == PCMA {
		for _, p := range m.PCMA {
			b = append(b, p...)
		}
		return b, frame
	}
	for _, p := range m.AMRWB {
		f, err := unpackAMRWB(p)
		if err != nil {
			panic(err) // we have made it
		}
		b, size = append(b, f...), len(f)
	}
	return b, size
}

// flatten lays the payloads end to end; at[i] is where the i-th begins, at[len] where the last ends.
func flatten(payloads [][]byte) (at []C.int, b []byte) {
	for _, p := range payloads {
		at = append(at, C.int(len(b)))
		b = append(b, p...)
	}
	return append(at, C.int(len(b))), b
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
