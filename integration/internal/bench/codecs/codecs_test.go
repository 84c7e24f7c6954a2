package codecs

import (
	"bytes"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
	"github.com/isthmus-gateway/isthmus/integration/internal/opus"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

func TestAllFormsOfTheMaterialAreTheSameAudio(t *testing.T) {
	m, err := NewMaterial(300)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := opus.NewDecoder(speech.Narrow)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var fromOpus, fromLaw []int16
	octets := 0
	pcm := make([]int16, 960)
	for i := range m.Opus {
		n, err := dec.Decode(pcm, m.Opus[i])
		if err != nil || n != frame {
			t.Fatalf("frame %d: %d samples, %v", i, n, err)
		}
		fromOpus = append(fromOpus, pcm[:n]...)
		fromLaw = tone.ALaw.Decode(fromLaw, m.PCMA[i])
		octets += len(m.Opus[i])
	}
	if l := speech.Likeness(m.PCM, fromOpus); l < 0.9 {
		t.Errorf("Opus is like the source by %.2f", l)
	}
	if l := speech.Likeness(m.PCM, fromLaw); l < 0.95 {
		t.Errorf("PCMA is like the source by %.2f", l)
	}
	fromAMR, err := DecodeAMRWB(m.AMRWB)
	if err != nil {
		t.Fatal(err)
	}
	if l := speech.Likeness(m.PCM, speech.Narrowed(fromAMR)); l < 0.9 || len(m.AMRWB) != len(m.Opus) {
		t.Errorf("AMR-WB is like the source by %.2f, %d payloads", l, len(m.AMRWB))
	}
	if rate := octets * 8 * 50 / len(m.Opus); rate < browserBitrate/2 || rate > browserBitrate*3/2 {
		t.Errorf("%d bit/s", rate)
	}
}

func TestLimitCodesTheMaterial(t *testing.T) {
	m, err := NewMaterial(100)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		core    Core
		toc     byte // SILK, 20 ms, mono: configurations 1 and 9 (RFC 6716 §3.1)
		bitrate float64
	}{{PCMA, 0x08, gatewayNarrow}, {AMRWB, 0x48, gatewayWide}} {
		for _, pairs := range []int{1, 3} {
			l, err := MeasureLimit(m, c.core, pairs, 20*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if l.TOC != c.toc {
				t.Errorf("TOC %#02x", l.TOC)
			}
			if rate := l.Octets * 400; rate < c.bitrate/2 || rate > c.bitrate*3/2 {
				t.Errorf("%.0f bit/s", rate)
			}
			if l.PerFrame <= 0 || l.CallsPerCore() <= 0 {
				t.Errorf("%+v", l)
			}
		}
	}
}

func TestAMRWBPayloadRoundTrip(t *testing.T) {
	for ft, bits := range amrwbBits {
		speech := make([]byte, (bits+7)/8)
		for i := range speech {
			speech[i] = byte(i*37 + ft)
		}
		if n := bits % 8; n > 0 {
			speech[len(speech)-1] &= 0xff << (8 - n)
		}
		p := packAMRWB(byte(ft), speech)
		f, err := unpackAMRWB(p)
		if err != nil || f[0] != byte(ft)<<3|4 || !bytes.Equal(f[1:], speech) {
			t.Errorf("type %d: %x, %v; want %x", ft, f, err, speech)
		}
		if _, err := unpackAMRWB(append(p, 0)); err == nil {
			t.Errorf("type %d: an octet too many is taken", ft)
		}
	}
}

func TestLawTablesAgreeWithTheCodec(t *testing.T) {
	expand, compress := lawTables()
	for v := -32768; v < 32768; v++ {
		if got, want := compress[uint16(v)>>3], tone.ALaw.Encode(nil, []int16{int16(v)})[0]; got != want {
			t.Fatalf("%d: %#02x, want %#02x", v, got, want)
		}
	}
	for i := range expand {
		if compress[uint16(expand[i])>>3] != byte(i) {
			t.Errorf("code %#02x is %d", i, expand[i])
		}
	}
}
