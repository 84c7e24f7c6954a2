package flow

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

const milli = int64(time.Millisecond)

// TestArrivalsWhateverTheWallClockDoes: what a stamp says is believed to a millisecond of the wall clock's movement, and never more than that
// the datagram came since the last round.
func TestArrivalsWhateverTheWallClockDoes(t *testing.T) {
	const (
		wall  = int64(1_800_000_000) * 1e9
		round = 20 * milli
	)
	for _, tc := range []struct {
		name  string
		step  int64 // of the wall clock in the round
		stamp int64 // before the wall clock's time at the look; 0: none
		want  int64
	}{
		{"waited", 0, 7 * milli, 7 * milli},
		{"none", 0, 0, 0},
		{"came after the look", 0, -milli, 0},
		{"longer than since the last round", 0, 35 * milli, round},
		{"from another age", 0, wall, round},
		{"slewed", milli / 2, 7 * milli, 7 * milli},
		{"stepped forward by an hour: looks old", int64(time.Hour), int64(time.Hour) + 7*milli, 0},
		{"stepped back by an hour: looks new", -int64(time.Hour), 7*milli - int64(time.Hour), 0},
		{"stepped forward by 10 ms", 10 * milli, 17 * milli, 0},
		{"stepped back by 10 ms", -10 * milli, 7 * milli, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var a arrivals
			stamp := func(at int64) int64 {
				if tc.stamp == 0 {
					return 0
				}
				return at - tc.stamp
			}
			a.look(1000, wall)
			if got := a.waited(wall - 7*milli); got != 0 {
				t.Errorf("waited %v in the first round, which has no one before it", time.Duration(got))
			}
			a.look(1000+round, wall+round)
			if got := a.waited(wall + round - 7*milli); got != 7*milli {
				t.Errorf("waited %v before the step", time.Duration(got))
			}
			at := wall + 2*round + tc.step
			a.look(1000+2*round, at)
			if got := a.waited(stamp(at)); got != tc.want {
				t.Errorf("waited %v, want %v", time.Duration(got), time.Duration(tc.want))
			}
			a.look(1000+3*round, at+round)
			if got := a.waited(at + round - 5*milli); got != 5*milli {
				t.Errorf("waited %v after the step", time.Duration(got))
			}
			a.forget()
			a.look(1000+4*round, at+2*round)
			if got := a.waited(at + 2*round - 5*milli); got != 0 {
				t.Errorf("waited %v when nobody had looked", time.Duration(got))
			}
		})
	}
}

// TestRFC3550_A8_OwnLatenessIsNoJitter: a worker that gathers datagrams for 5 ms and is late by up to 90 ms again and again, while its peers are in
// step. Its jitter buffers wait as long as those of a worker that is always on time, nothing is cut, stretched or concealed, and the jitter that
// RTCP reports is the network's (RFC 3550 §A.8), which has none. In order of a round: read what has come, then play.
func TestRFC3550_A8_OwnLatenessIsNoJitter(t *testing.T) {
	transcodetest.Need(t, opus)
	for _, tc := range []struct {
		name string
		from codec.Codec
		to   codec.Codec
	}{{"Opus to PCMA", opus, pcma}, {"PCMA to Opus", pcma, opus}} {
		t.Run(tc.name, func(t *testing.T) {
			punctual, calm := lateWorker(t, tc.from, tc.to, 0)
			late, jitter := lateWorker(t, tc.from, tc.to, 90*milli)
			if calm > time.Millisecond || jitter > time.Millisecond {
				t.Errorf("RTCP jitter %v, of a punctual worker %v", jitter, calm)
			}
			if p, l := punctual.Jitter, late.Jitter; l.Target > p.Target || l.Delay > p.Delay+time.Duration(frameBeat) || l.Late > 0 || l.Lost > 0 {
				t.Errorf("%+v, of a punctual worker %+v", l, p)
			}
			if late.Stretched+late.Shortened+late.Concealed > 0 || late.Resynced > 0 {
				t.Errorf("%+v", late)
			}
		})
	}
}

// lateWorker has a talker send for 20 s to a worker whose rounds begin on the beat and up to most late, and returns the figures of its
// transcoder and the jitter of its RTCP.
func lateWorker(t *testing.T, from, to codec.Codec, most int64) (figures audio.Stats, jitter time.Duration) {
	t.Helper()
	r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{from}, from, codec.Codec{}), both(SendRecv, []codec.Codec{to}, to, codec.Codec{}))
	if err := r.c.core.setRemote(0, CoreRemote{RTP: sipAddr}); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(4, 7))
	x := newTone(t, from, 500, 9)
	next := int64(time.Second) + 3*milli // when the next packet comes
	for beat := int64(time.Second); beat < 21*int64(time.Second); {
		now := beat
		if rnd.IntN(10) == 0 {
			now += rnd.Int64N(most + 1)
		}
		r.w.now = now
		for ; next <= now; next += 20 * milli {
			r.w.waited = now - next
			r.a.media(now, x.next())
		}
		r.w.waited = 0
		for range maxTicks {
			if due, ok := r.w.clock.next(); !ok || due > now {
				break
			}
			r.w.clock.heap[0].of.tick(now)
		}
		r.w.flush()
		beat = r.w.load.onBeat(now + 1)
	}
	s := r.a.to.active.dir.Stats()
	if s.Frames < 990 {
		t.Errorf("%d frames in 20 s", s.Frames)
	}
	return s, r.a.leg.Statistics().Jitter
}

// TestTranscodedSourcesAreTimed: sockets are asked for stamps as long as what they bring is transcoded; a shared one as long as anything is.
func TestTranscodedSourcesAreTimed(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	buf := make([]byte, bufferSize)
	wants := func(what string, a, c bool, shared, worker int) {
		t.Helper()
		if as := r.a.access.sock; r.a.in.timed != a || r.c.in.timed != c || as.timed != shared || r.w.timed != worker {
			t.Errorf("%s: access %v of %d, core %v, %d in all", what, r.a.in.timed, as.timed, r.c.in.timed, r.w.timed)
		}
	}
	speak := func(now int64, pt uint8, x *term) {
		rtp.PutHeader(buf, rtp.Header{PT: pt, Seq: uint16(now / milli), TS: uint32(now / milli * 8), SSRC: 5})
		x.media(now, buf[:rtp.HeaderLen+160])
	}
	configure := func(now int64, x *term, s Settings) {
		t.Helper()
		if err := x.configure(now, s); err != nil {
			t.Fatal(err)
		}
	}
	speak(milli, 8, r.a)
	speak(milli, 8, r.c)
	wants("relayed", false, false, 0, 0)
	configure(2*milli, r.c, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}))
	wants("to be transcoded", true, true, 1, 2)
	speak(3*milli, 8, r.a)
	speak(3*milli, 0, r.c)
	wants("transcoded", true, true, 1, 2)
	configure(4*milli, r.c, core)
	wants("to be relayed", false, false, 0, 0)
	configure(5*milli, r.a, both(SendRecv, []codec.Codec{pcma, pcmu}, pcma, codec.Codec{}))
	wants("may be transcoded", false, false, 0, 0)
	speak(300*milli, 0, r.a)
	wants("transcoded from one side", true, false, 1, 1)
	speak(600*milli, 8, r.a)
	wants("relayed again", false, false, 0, 0)
	configure(601*milli, r.c, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}))
	wants("and to be transcoded", true, true, 1, 2)
	r.c.disconnect()
	wants("disconnected", false, false, 0, 0)
}

// TestWorkerThatStoodStillGivesTheTimeUp: frames that are late by more than their receiver waits for are not made up for, whatever has come
// meanwhile and whenever.
func TestWorkerThatStoodStillGivesTheTimeUp(t *testing.T) {
	r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
	x := newTone(t, pcmu, 500, 9)
	next := int64(time.Second)
	round := func(now int64) (frames uint64) {
		before := r.c.out.packets
		r.w.now = now
		for ; next <= now; next += 20 * milli {
			r.w.waited = now - next
			r.a.media(now, x.next())
		}
		r.w.waited = 0
		for due, ok := r.w.clock.next(); ok && due <= now; due, ok = r.w.clock.next() {
			r.w.clock.heap[0].of.tick(now)
		}
		r.w.flush()
		return r.c.out.packets - before
	}
	now := next
	for ; now < 2*int64(time.Second); now += 5 * milli {
		if n := round(now); n > 1 {
			t.Fatalf("%d frames at once", n)
		}
	}
	if n := round(now + 80*milli); n < 3 {
		t.Errorf("%d frames after 80 ms: the time was given up", n)
	}
	if n := round(now + 480*milli); n > 2 {
		t.Errorf("%d frames at once after 400 ms", n)
	}
	if s := r.a.to.active.dir.Stats(); s.Resynced != 1 {
		t.Errorf("the frame clock was set anew %d times", s.Resynced)
	}
}
