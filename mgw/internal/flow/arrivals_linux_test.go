//go:build linux && !portable

package flow

import (
	"net/netip"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestWorkerThatStandsStillSeesNoJitter: with real sockets, packets that found the worker busy for 30 ms count as having come when the kernel took
// them. The peers say by their timestamps when they sent, so that what the jitter of RTCP holds is the worker's lateness or nothing.
func TestWorkerThatStandsStillSeesNoJitter(t *testing.T) {
	t.Run("UDP", func(t *testing.T) {
		transcodetest.Need(t, opus)
		standStill(t, newCall(t, transcodeSpec()), opus, pcma)
	})
	t.Run("TCP", func(t *testing.T) {
		b, _ := tcpBed(t, 1)
		for _, id := range []string{"a", "b"} { // the second connection finds a port that is timed already
			x := tcpCall(t, b, id)
			b.configure(x.c, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}))
			standStill(t, x, pcma, pcmu)
		}
	})
}

// standStill has the worker of a transcoded call stand still and checks the jitter on both sides.
func standStill(t *testing.T, x *call, browser, core codec.Codec) {
	w, base := x.a.w, time.Now()
	up, down := newTone(t, browser, 1000, 0xbb), newTone(t, core, 600, 0xcc)
	at := func(p rtp.Packet, c codec.Codec) rtp.Packet {
		p.SetTS(uint32(int64(time.Since(base)) * int64(c.ClockRate) / int64(time.Second)))
		return p
	}
	send := func() {
		u, d := rtp.Packet(up.next()), rtp.Packet(down.next())
		x.b.send(at(u, browser))
		x.s.send(x.c.Local().RTP, at(d, core))
	}
	received := func(n uint64) {
		t.Helper()
		eventually(t, "the packets", func() bool { return x.a.Stats().PacketsReceived == n && x.c.Stats().PacketsReceived == n })
	}
	n := uint64(0)
	stall := func(d time.Duration) {
		held, release := make(chan struct{}), make(chan struct{})
		w.post(func() { close(held); <-release })
		<-held
		send()
		n++
		<-time.After(d) // that long the packets wait in the kernel
		close(release)
		received(n)
	}
	for range 20 { // the kernel begins to stamp a moment after it is asked to
		stall(0)
	}
	before := [2]time.Duration{x.a.Stats().Jitter, x.c.Stats().Jitter}
	for range 12 {
		stall(0)
		stall(30 * time.Millisecond)
	}
	for i, s := range [2]Stats{x.a.Stats(), x.c.Stats()} {
		if s.Jitter > before[i]+5*time.Millisecond {
			t.Errorf("%s: jitter %v, was %v", []string{"browser", "core"}[i], s.Jitter, before[i])
		}
	}
}

// TestFramesArePlayedAfterAllHasBeenRead: in a round that plays frames every socket is read, and to its end, so that no frame lacks a packet that
// the kernel has; in another round others have their turn first.
func TestFramesArePlayedAfterAllHasBeenRead(t *testing.T) {
	const crowd = maxBursts*udpio.MaxBatch + 100
	for _, tc := range []struct {
		name    string
		sockets int
		each    int // datagrams that wait
		playing bool
		want    int
	}{
		{"more sockets than are reported at once", 200, 1, true, 200},
		{"more datagrams than are taken at once", 1, crowd, true, crowd},
		{"more sockets, nothing to play", 200, 1, false, 128},
		{"more datagrams, nothing to play", 1, crowd, false, maxBursts * udpio.MaxBatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			one := both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{})
			w := newRig(t, srtp.AES128GCM, one, one).w
			from := socket(t)
			for range tc.sockets {
				s := socket(t)
				if _, err := w.watch(s, sockRef{access: &accessSock{sock: s, w: w}}); err != nil {
					t.Fatal(err)
				}
				for range tc.each {
					if err := from.SendTo(packet(8, 1, 1, 1, []byte("x")), s.Local()); err != nil {
						t.Fatal(err)
					}
				}
			}
			w.begin()
			c := coder{w: w}
			if c.pulse.of = &c; tc.playing {
				w.clock.set(&c.pulse, w.now)
			}
			n, _, err := w.poll.Wait(0, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.readAll(n); got != tc.want {
				t.Errorf("%d datagrams read, want %d", got, tc.want)
			}
		})
	}
}

// socket is one that is closed with the test.
func socket(t testing.TB) *udpio.Socket {
	t.Helper()
	s, err := udpio.Open(netip.AddrPortFrom(loopback, 0), udpio.Options{ReceiveBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestCorePeerIsReadToTheEndBeforeItsFrame: what has gathered of one peer is read in the round in which its frame is played.
func TestCorePeerIsReadToTheEndBeforeItsFrame(t *testing.T) {
	r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
	from := socket(t)
	if err := r.c.core.setRemote(0, CoreRemote{RTP: from.Local()}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.w.watch(r.c.core.rtp, sockRef{core: r.c.core}); err != nil {
		t.Fatal(err)
	}
	seq := uint16(0)
	for _, n := range []int{1, 3, 9, 25} {
		for range n {
			seq++
			if err := from.SendTo(packet(8, 5, seq, uint32(seq)*160, make([]byte, 160)), r.c.core.rtp.Local()); err != nil {
				t.Fatal(err)
			}
		}
		ready, _, err := r.w.poll.Wait(0, false)
		if err != nil {
			t.Fatal(err)
		}
		r.w.begin()
		if due, ok := r.w.clock.next(); ok {
			r.w.now = due
		}
		if got := r.w.readAll(ready); got != n || r.c.in.packets != uint64(seq) {
			t.Errorf("%d of %d datagrams, %d admitted of %d: %v", got, n, r.c.in.packets, seq, r.c.in.drops.Map())
		}
		if r.w.used != 0 {
			t.Errorf("%d buffers kept for what nobody sends", r.w.used)
		}
	}
}
