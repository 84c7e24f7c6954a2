package flow

import (
	"bytes"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

var g722 = codec.Codec{Name: codec.G722, PT: 9, ClockRate: 8000, Channels: 1}

// Codecs of RFC 3551 that both sides have pass as they are, at their clock of 8000 Hz, G.722 too (§4.5.2), under the payload type of the peer.
func TestR3551_IQ18_SharedCodecsAreRelayed(t *testing.T) {
	for _, c := range []codec.Codec{pcma, pcmu, g722} {
		other := c
		other.PT = 100
		r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{other}, other, codec.Codec{}), both(SendRecv, []codec.Codec{c}, c, codec.Codec{}))
		buf := make([]byte, bufferSize)
		var last rtp.Packet
		for i := range 5 {
			in := r.fill(buf, c.PT)
			for k := range in[rtp.HeaderLen:] {
				in[rtp.HeaderLen+k] = byte(i*31 + k*7)
			}
			payload := bytes.Clone(in[rtp.HeaderLen:])
			out := r.open(t, r.c.core.media(int64(i+1)*int64(20*time.Millisecond), sipAddr, in))
			if !bytes.Equal(out.Payload(), payload) || out.PT() != 100 || last != nil && out.TS() != last.TS()+160 {
				t.Fatalf("%s: packet %d: % x", c.Name, i, out[:rtp.HeaderLen])
			}
			last = out
		}
		if s := r.c.stats(); s.Transcoding || s.FramesConcealed != 0 {
			t.Errorf("%s: %+v", c.Name, s)
		}
	}
}

// A relayed stream keeps the timing that the network gave it: each packet leaves at once, whatever came before or is missing, and gaps and
// order stay visible for the receiver's own jitter buffer (TS 26.114 §8.2.2). Only what is decoded is buffered.
func TestCOD13_RelayLeavesTimingToTheReceiver(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	buf := make([]byte, bufferSize)
	send := func(at time.Duration, seq uint16) rtp.Packet {
		rtp.PutHeader(buf, rtp.Header{PT: 8, Seq: seq, TS: uint32(seq) * 160, SSRC: 77})
		return r.open(t, r.c.core.media(int64(at), sipAddr, buf[:rtp.HeaderLen+160]))
	}
	first := send(20*time.Millisecond, 10)
	for _, x := range []struct {
		at  time.Duration
		seq uint16
	}{{40 * time.Millisecond, 11}, {250 * time.Millisecond, 13}, {250 * time.Millisecond, 12}, {251 * time.Millisecond, 17}, {400 * time.Millisecond, 18}} {
		out := send(x.at, x.seq)
		if out.Seq()-first.Seq() != x.seq-10 || out.TS()-first.TS() != uint32(x.seq-10)*160 {
			t.Errorf("packet %d leaves as %d after the first, %d ticks", x.seq, out.Seq()-first.Seq(), out.TS()-first.TS())
		}
	}
	if _, ok := r.w.clock.next(); ok {
		t.Error("a frame clock runs")
	}

	transcodetest.Need(t, opus)
	access, core = transcodeSpec().access, transcodeSpec().core
	r = newRig(t, srtp.AES128GCM, access, core)
	for i := range 3 {
		if out := r.c.core.media(int64(i+1)*int64(20*time.Millisecond), sipAddr, r.fill(buf, 8)); out != nil {
			t.Error("transcoded audio leaves without its frame clock")
		}
	}
	if _, ok := r.w.clock.next(); !ok {
		t.Error("no frame clock")
	}
}

// Each side of a call has an SSRC and a name of its own, and nothing of the other side's numbers crosses: a peer that uses our own SSRC, or
// the one of the other peer, collides with nobody (RFC 8834 §4.8, RFC 3550 §8.2).
func TestR8834_SourcesOfTheLegsDoNotCollide(t *testing.T) {
	x := newCall(t, relaySpec())
	a, c := x.a.Local(), x.c.Local()
	if a.SSRC == c.SSRC || a.SSRC == 0 || c.SSRC == 0 || a.CName == c.CName || a.CName == "" || c.CName == "" {
		t.Errorf("access %x %q, core %x %q", a.SSRC, a.CName, c.SSRC, c.CName)
	}
	for i, ssrc := range []uint32{a.SSRC, c.SSRC, 0xbb} {
		x.s.send(c.RTP, packet(8, ssrc, uint16(100*i), uint32(i)*16000, make([]byte, 160)))
		if p := x.b.read(); p.SSRC() != a.SSRC {
			t.Errorf("source %x leaves as %x", ssrc, p.SSRC())
		}
		x.b.send(packet(8, ssrc, uint16(100*i), uint32(i)*16000, make([]byte, 160)))
		if p := x.s.read(); p.SSRC() != c.SSRC {
			t.Errorf("source %x leaves as %x", ssrc, p.SSRC())
		}
	}
}
