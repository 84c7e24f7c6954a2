package flow

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// amrWB is AMR-WB of some payload type and parameters.
func amrWB(pt uint8, fmtp string) codec.Codec {
	return codec.Codec{Name: codec.AMRWB, PT: pt, ClockRate: 16000, Channels: 1, Fmtp: fmtp}
}

// frames writes an AMR-WB packet with made-up speech bits into buf: a frame of each type, after a codec mode request.
func (r *rig) frames(buf []byte, pt uint8, f amr.Format, cmr uint8, fts ...uint8) []byte {
	r.t.Helper()
	var p amr.Packet
	p.Reset(f.Codec, cmr)
	for i, ft := range fts {
		speech := bytes.Repeat([]byte{byte(r.seq) + byte(i)}, amr.FrameSize)
		speech[0] = ft<<3 | 4
		if err := p.Add(speech); err != nil {
			r.t.Fatal(err)
		}
	}
	r.seq++
	rtp.PutHeader(buf, rtp.Header{PT: pt, Seq: r.seq, TS: uint32(r.seq) * 320, SSRC: 77})
	n, err := p.Build(f, buf[rtp.HeaderLen:])
	if err != nil {
		r.t.Fatal(err)
	}
	return buf[: rtp.HeaderLen+n : bufferSize]
}

var (
	wideBE = amr.Format{Codec: amr.Wide}
	wideOA = amr.Format{Codec: amr.Wide, OctetAligned: true}
)

// Peers that pack the same codec in two ways hear each other without a codec between, modes and their requests included.
func TestCOD04_RepackedWithoutCodec(t *testing.T) {
	be, oa := amrWB(96, ""), amrWB(104, "octet-align=1")
	access := both(SendRecv, []codec.Codec{be, ev48}, be, ev48)
	core := both(SendRecv, []codec.Codec{oa}, oa, codec.Codec{})
	r := newRig(t, srtp.AES128GCM, access, core)
	buf := make([]byte, bufferSize)
	for i, fts := range [][]uint8{{2}, {8}, {9}, {15}, {2, 2, 2}, {14, 0}, {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8}} {
		now := int64(i+1) * int64(time.Second)
		var want, got amr.Packet
		in := r.frames(buf, 96, wideBE, uint8(i), fts...)
		if err := want.Parse(wideBE, rtp.Packet(in).Payload()); err != nil {
			t.Fatal(err)
		}
		out := rtp.Packet(r.a.media(now, in))
		if out == nil {
			t.Fatalf("dropped: %v", r.a.in.drops.Map())
		}
		if err := got.Parse(wideOA, out.Payload()); err != nil || out.PT() != 104 {
			t.Fatalf("pt %d, % x: %v", out.PT(), out.Payload(), err)
		}
		sameFrames(t, &want, &got)
		// And back, through SRTP.
		in = r.frames(buf, 104, wideOA, uint8(i), fts...)
		if err := want.Parse(wideOA, rtp.Packet(in).Payload()); err != nil {
			t.Fatal(err)
		}
		plain, err := r.peerRx.OpenRTP(r.c.core.media(now, sipAddr, in))
		if err != nil {
			t.Fatalf("%v, drops %v", err, r.c.in.drops.Map())
		}
		if err := got.Parse(wideBE, rtp.Packet(plain).Payload()); err != nil || rtp.Packet(plain).PT() != 96 {
			t.Fatalf("% x: %v", plain, err)
		}
		sameFrames(t, &want, &got)
	}
	for _, x := range []*term{r.a, r.c} {
		if s := x.stats(); s.Transcoding || x.to.made != 0 {
			t.Errorf("a codec was made: %+v", s)
		}
	}
	bad := r.frames(buf, 96, wideBE, 15, 2)
	if out := r.a.media(int64(time.Hour), bad[:len(bad)-1]); out != nil || r.a.in.drops[gate.Malformed] != 1 {
		t.Errorf("a short packet passed: % x, drops %v", out, r.a.in.drops.Map())
	}
}

func sameFrames(t *testing.T, want, got *amr.Packet) {
	t.Helper()
	if want.CMR != got.CMR || want.Len() != got.Len() {
		t.Fatalf("%d frames, request %d; want %d, %d", got.Len(), got.CMR, want.Len(), want.CMR)
	}
	for i := range want.Len() {
		if !bytes.Equal(want.Frame(i), got.Frame(i)) {
			t.Errorf("frame %d: % x, want % x", i, got.Frame(i), want.Frame(i))
		}
	}
}

func TestRepackedPacketDoesNotAllocate(t *testing.T) {
	be, oa := amrWB(96, ""), amrWB(104, "octet-align=1")
	r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{be}, be, codec.Codec{}), both(SendRecv, []codec.Codec{oa}, oa, codec.Codec{}))
	buf := make([]byte, bufferSize)
	now := int64(1)
	model := bytes.Clone(r.frames(buf, 104, wideOA, 15, 8, 8))
	if n := testing.AllocsPerRun(500, func() {
		now += int64(20 * time.Millisecond)
		r.seq++
		p := rtp.Packet(buf[:copy(buf, model)])
		p.SetSeq(r.seq)
		p.SetTS(uint32(r.seq) * 640)
		if r.c.core.media(now, sipAddr, p) == nil {
			t.Fatalf("drops %v", r.c.in.drops.Map())
		}
	}); n > race.Allocs(1) {
		t.Errorf("%v allocations per packet", n)
	}
}

// A source that may use modes that the peer does not take is coded anew, with the peer's modes. So is the way back, though its frames would
// do: the requests in them are for our encoder.
func TestCOD03_ModesThePeerDoesNotTakeAreTranscoded(t *testing.T) {
	if !transcode.Supported(amrWB(96, "")) {
		t.Log("build without AMR")
		return
	}
	access := both(SendRecv, []codec.Codec{amrWB(96, "")}, amrWB(96, ""), codec.Codec{})
	geran := amrWB(97, "mode-set=0,1,2; mode-change-period=2; mode-change-neighbor=1")
	r := newRig(t, srtp.AES128GCM, access, both(SendRecv, []codec.Codec{geran}, geran, codec.Codec{}))
	if k := r.a.to.routes[0].kind; k != routeTranscode {
		t.Errorf("to the core: route %d", k)
	}
	if k := r.c.to.routes[0].kind; k != routeTranscode {
		t.Errorf("to the browser: route %d", k)
	}
	// Once the browser is bound to the same modes, frames go through.
	access.Recv = []codec.Codec{amrWB(96, geran.Fmtp)}
	if err := r.a.configure(1, access); err != nil {
		t.Fatal(err)
	}
	if to, back := r.a.to.routes[0].kind, r.c.to.routes[0].kind; to != routeRelay || back != routeRelay {
		t.Errorf("same modes: routes %d and %d", to, back)
	}
}

// What a peer asks for in the payloads that it sends steers the encoder of what it receives, without an allocation.
func TestR4867_RequestReachesTheOtherDirectionsEncoder(t *testing.T) {
	oa := amrWB(104, "octet-align=1")
	if !transcode.Supported(oa) {
		t.Log("build without AMR")
		return
	}
	r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}), both(SendRecv, []codec.Codec{oa}, oa, codec.Codec{}))
	r.w.cfg.Bitrates.AMRWB = 12650
	r.a.to.rebuild()
	buf := make([]byte, bufferSize)
	model := bytes.Clone(r.frames(buf, 104, wideOA, 0, 2))
	now, law := int64(time.Second), uint16(0)
	var last uint8
	// step is 20 ms: the core says something and asks for a mode, the browser speaks G.711. last is the mode that leaves for the core.
	step := func(cmr uint8, browser bool) {
		now += int64(20 * time.Millisecond)
		p := rtp.Packet(buf[:copy(buf, model)])
		r.seq++
		p.SetSeq(r.seq)
		p.SetTS(uint32(r.seq) * 320)
		p.Payload()[0] = cmr << 4
		r.c.core.media(now, sipAddr, p)
		if browser {
			law++
			rtp.PutHeader(buf, rtp.Header{PT: 8, Seq: law, TS: uint32(law) * 160, SSRC: 78})
			r.a.media(now, buf[:rtp.HeaderLen+160])
		}
		for due, ok := r.w.clock.next(); ok && due <= now; due, ok = r.w.clock.next() {
			sent := r.c.out.packets
			r.w.clock.heap[0].of.tick(now)
			if r.c.out.packets > sent {
				last = r.w.own[r.w.ownUsed-1][rtp.HeaderLen+1] >> 3 & 15
			}
		}
		r.w.flush()
	}
	for range 10 {
		step(1, false) // asked before there is an encoder
	}
	if r.a.to.active != nil {
		t.Fatal("an encoder without audio")
	}
	for _, x := range []struct{ cmr, want uint8 }{{1, 1}, {0, 0}, {8, 8}, {15, 2}, {11, 2}, {4, 4}} {
		for range 12 {
			step(x.cmr, true)
		}
		if last != x.want {
			t.Errorf("asked for %d, mode %d is sent, want %d", x.cmr, last, x.want)
		}
	}
	r.c.set.MaxBitrate = 9000 // the peer has said with another description that it takes less
	r.a.to.rebuild()
	for _, x := range []struct{ cmr, want uint8 }{{15, 1}, {8, 1}, {0, 0}} {
		for range 12 {
			step(x.cmr, true)
		}
		if last != x.want {
			t.Errorf("asked for %d, mode %d is sent where the peer takes 9000 bit/s, want %d", x.cmr, last, x.want)
		}
	}
	cmr := uint8(0)
	if n := testing.AllocsPerRun(100, func() { cmr = (cmr + 1) % 9; step(cmr, true) }); n != 0 {
		t.Errorf("%v allocations per frame", n)
	}
}

func TestPlanOfAMR(t *testing.T) {
	for _, c := range []struct {
		from, to codec.Codec
		want     PathKind
		why      string
	}{
		{amrWB(96, ""), amrWB(97, "max-red=0"), PathRelay, whyShared}, {amrWB(96, ""), amrWB(97, "octet-align=1"), PathRepack, whyPacked},
		{amrWB(96, "crc=1"), amrWB(97, "crc=1"), PathRelay, whyShared}, {amrWB(96, ""), amrWB(97, "mode-set=0,1,2"), PathTranscode, whyModes},
	} {
		if !transcode.Supported(amrWB(96, "")) && c.want == PathTranscode {
			continue
		}
		if got, err := Plan(c.from, c.to); got.Kind != c.want || got.Reason != c.why || err != nil {
			t.Errorf("%q to %q: %+v, %v", c.from.Fmtp, c.to.Fmtp, got, err)
		}
	}
	_, err := Plan(amrWB(96, "crc=1"), pcma)
	if !errors.Is(err, ErrUnsupported) || transcode.Supported(amrWB(96, "")) && !strings.Contains(err.Error(), "crc") {
		t.Errorf("the reason is not told: %v", err)
	}
}

// A peer of AMR that wants packets shorter than a frame gets frames.
func TestAMRPacketsAreNoShorterThanAFrame(t *testing.T) {
	oa := amrWB(104, "octet-align=1")
	transcodetest.Need(t, oa)
	for asked, want := range map[time.Duration]time.Duration{0: 0, 10 * time.Millisecond: 20 * time.Millisecond, 60 * time.Millisecond: 60 * time.Millisecond} {
		core := both(SendRecv, []codec.Codec{oa}, oa, codec.Codec{})
		core.Ptime = asked
		r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}), core)
		if got := r.a.to.config(pcma).Ptime; got != want {
			t.Errorf("asked for %v: %v, want %v", asked, got, want)
		}
	}
}
