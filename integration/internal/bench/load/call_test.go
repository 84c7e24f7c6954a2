package load

import (
	"encoding/binary"
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/speech"
)

// material is 4 s, made once for all tests.
var material = func() *codecs.Material {
	m, err := codecs.NewMaterial(200)
	if err != nil {
		panic(err)
	}
	return m
}()

// sent builds the k-th packet of end d as the far side gets it from a perfect gateway, and counts it as sent.
func sent(c *call, d Direction, k uint32) []byte {
	b := make([]byte, 512)
	b[0], b[1] = 0x80, ptPCMA
	if c.media.Transcoded() && d == Down {
		b[1] = ptOpus
	}
	binary.BigEndian.PutUint16(b[2:], uint16(k))
	n := rtpHeader
	switch {
	case c.media.Transcoded() && d == Down:
		n += copy(b[n:], c.material.Opus[int(k)%len(c.material.Opus)])
	case c.media == OpusAMRWB:
		b[1] = ptAMRWB
		n += copy(b[n:], c.material.AMRWB[int(k)%len(c.material.AMRWB)])
	case c.media.Transcoded():
		n += copy(b[n:], c.material.PCMA[int(k)%len(c.material.PCMA)])
	default:
		n += c.frame(d, k, b[n:])
	}
	c.out[d].count = max(c.out[d].count, k+1)
	if d == Down {
		n += srtpTag // plain ends are of the size of SRTP
	}
	return b[:n]
}

func TestRelayedPacketsAreComparedOctetByOctet(t *testing.T) {
	for _, d := range []Direction{Up, Down} {
		c := &call{index: 3, plain: true, material: material}
		other := &call{index: 4, plain: true, material: material}
		step := func(name string, b []byte, want verdict) {
			t.Helper()
			if v, _ := c.receive(d, b, 0); v != want {
				t.Errorf("%s, %s: verdict %d, want %d", d, name, v, want)
			}
		}
		step("first", sent(c, d, 0), good)
		step("second", sent(c, d, 1), good)
		step("again", sent(c, d, 1), repeated)
		step("after a loop of the material", sent(c, d, 205), good)
		altered := sent(c, d, 206)
		altered[rtpHeader+100] ^= 1
		step("one bit altered", altered, wrong)
		step("of another call", sent(other, d, 207), wrong)
		future := sent(c, d, 300)
		c.out[d].count = 300
		step("never sent", future, wrong)
		step("cut short", sent(c, d, 301)[:100], wrong)
		step("no RTP", make([]byte, 200)[:188], map[Direction]verdict{Up: wrong, Down: aside}[d])
		pt := sent(c, d, 302)
		pt[1] = 0
		step("another payload type", pt, wrong)
		step("and on", sent(c, d, 303), good)
	}
}

func TestDelayIsThatOfThePacket(t *testing.T) {
	c := &call{plain: true, material: material}
	b := sent(c, Up, 70)
	c.out[Up].sent[70%len(c.out[Up].sent)] = 1000
	if v, delay := c.receive(Up, b, 3500); v != good || delay != 2500 {
		t.Errorf("verdict %d, delay %d", v, delay)
	}
	old := sent(c, Up, 71)
	c.out[Up].count = 71 + 65 // its time has been written over
	if v, delay := c.receive(Up, old, 3500); v != good || delay != 0 {
		t.Errorf("verdict %d, delay %d", v, delay)
	}
}

func TestTranscodedPacketsAreHeard(t *testing.T) {
	for _, m := range []Media{OpusPCMA, OpusAMRWB} {
		transcodedIsHeard(t, m)
	}
}

func transcodedIsHeard(t *testing.T, m Media) {
	c := &call{index: 0, media: m, plain: true, material: material}
	f := &Fleet{o: Options{Media: m, Material: material}, calls: []*call{c}}
	f.listen(0, 4*frameTime*50)
	for k := range uint32(180) {
		for _, d := range []Direction{Up, Down} {
			if v, _ := c.receive(d, sent(c, d, k), 0); v != good {
				t.Fatalf("%s, packet %d: verdict %d", d, k, v)
			}
		}
	}
	for _, d := range []Direction{Up, Down} {
		if v, _ := c.receive(d, sent(c, d, 179), 0); v != repeated {
			t.Errorf("%s: a repeated sequence number: verdict %d", d, v)
		}
	}
	l, _, err := f.heard()
	if err != nil || l.Heard != 2 || l.Of != 2 || l.Worst < speech.Same || l.TOC != material.Opus[179][0] || l.Octets < 40 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestOtherAudioIsNotTakenForTheMaterial(t *testing.T) {
	c := &call{index: 0, media: OpusPCMA, plain: true, material: material}
	f := &Fleet{o: Options{Media: OpusPCMA, Material: material}, calls: []*call{c}}
	f.listen(0, 4*frameTime*50)
	for k := range uint32(180) {
		b := sent(c, Up, k)
		for i := range b[rtpHeader:] {
			b[rtpHeader+i] = 0xd5 // silence of the right form
		}
		c.receive(Up, b, 0)
		c.receive(Down, sent(c, Down, k*7), 0) // frames of the material, but shuffled
	}
	if l, _, err := f.heard(); err != nil || l.Heard != 0 || l.Of != 2 {
		t.Errorf("%+v, %v", l, err)
	}
}
