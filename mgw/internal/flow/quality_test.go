package flow

import (
	"math"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestG107_StatisticsHoldAnEstimate: of what arrives here, and of what the peer says that it gets; none before there is enough to judge.
func TestG107_StatisticsHoldAnEstimate(t *testing.T) {
	for _, c := range []struct {
		every int // one packet of so many is lost; 0: none
		want  float64
	}{{0, 4.41}, {20, 3.93}, {5, 2.64}} {
		r := newRig(t, srtp.AES128GCM, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
		for i := range 1000 {
			if i == 20 && r.a.stats().MOS != 0 {
				t.Error("judged by 20 packets")
			}
			if c.every > 0 && i%c.every == c.every-1 {
				continue
			}
			b := make([]byte, rtp.HeaderLen+160, bufferSize)
			rtp.PutHeader(b, rtp.Header{PT: 8, Seq: uint16(i), TS: uint32(i) * 160, SSRC: 77})
			r.a.media(int64(i)*int64(20*time.Millisecond), b)
		}
		s := r.a.stats()
		if math.Abs(s.MOS-c.want) > 0.03 || s.RemoteMOS != 0 {
			t.Errorf("one of %d lost: %.2f, want %.2f; remote %.2f", c.every, s.MOS, c.want, s.RemoteMOS)
		}
		report(t, r.c, 64) // a quarter of what the SIP user was sent
		if s := r.c.stats(); math.Abs(s.RemoteMOS-2.36) > 0.05 || s.MOS != 0 {
			t.Errorf("remote %.2f after a report of 25 %% loss, own %.2f", s.RemoteMOS, s.MOS)
		}
	}
}

// A watch that begins in mid-call judges what comes from then on, not the call until then.
func TestQualityIsJudgedFromWhenItIsAsked(t *testing.T) {
	set := both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{})
	s := newStage(t, set, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
	s.a.disconnect() // the stage takes no gaps
	mic := newTone(t, pcma, 700, 0xbb)
	speak := func(n int, all bool) {
		for i := range n {
			if p := mic.next(); all || i%2 == 0 {
				s.speak(s.a, p)
			}
			s.step()
		}
	}
	speak(1000, false)
	set.QualityLimit, set.Armed = 3, Quality.Bit()
	if err := s.a.configure(s.now, set); err != nil {
		t.Fatal(err)
	}
	speak(500, true)
	s.a.judge(s.now)
	if e := s.told(Quality); len(e) != 0 {
		t.Errorf("10 s without loss: %+v", e[0].Quality)
	}
	speak(500, false)
	s.a.judge(s.now)
	if e := s.told(Quality); len(e) != 1 || !e[0].Quality.Low {
		t.Errorf("half is lost: %+v", e)
	}
}

// report gives a termination a receiver report of its peer: fraction of 256 lost, of all that was sent.
func report(t *testing.T, x *term, fraction byte) {
	t.Helper()
	rr := lossReport(0xbb, x.out.stamp.SSRC(), 0)
	put32(rr[12:], uint32(x.out.packets)*uint32(fraction)/256)
	rr[12] = fraction
	if _, err := x.leg.Handle(int64(time.Hour), rr); err != nil {
		t.Fatal(err)
	}
}
