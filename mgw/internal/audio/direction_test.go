package audio

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func TestSmoke(t *testing.T) {
	d, err := New(Config{Src: codec.Codec{Name: "PCMA", PT: 8, ClockRate: 8000}, Dst: codec.Codec{Name: "opus", PT: 111, ClockRate: 48000, Channels: 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	buf := make([]byte, 172)
	out := make([]byte, 1500)
	n := 0
	for i := range 50 {
		now := int64(i+1) * 20e6
		rtp.PutHeader(buf, rtp.Header{PT: 8, Seq: uint16(i), TS: uint32(i * 160), SSRC: 5})
		p, _ := rtp.Parse(buf)
		if v := d.Push(now, p); v != Accepted {
			t.Fatal(v)
		}
		for d.NextTick() <= now {
			k, f := d.Tick(now, out)
			if f.Kind == Audio && k > 0 {
				n++
			}
		}
	}
	if n < 48 {
		t.Fatal(n, d.Stats())
	}
}
