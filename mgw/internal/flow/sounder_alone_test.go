package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestInternalSignalOutlivesItsListener: a signal is its termination's (H.248.1 §7.1.11). When the partner that heard it has left, nobody does; one with an
// end comes to that in its time, one without waits and costs no frame, and is heard again by the next partner. Each end is told by its cause (H.248.1 §E.1.2).
func TestInternalSignalOutlivesItsListener(t *testing.T) {
	begin := func(t *testing.T, items ...audio.Item) *stage {
		core := both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8)
		core.Armed = DTMF.Bit()
		s := newStage(t, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}), core)
		if err := s.c.play(s.now, Signals{Internal: true, List: items}); err != nil {
			t.Fatal(err)
		}
		s.steps(20)
		if n := len(s.all[browserEnd]); n < 19 {
			t.Fatalf("%d packets while there is a partner", n)
		}
		s.a.disconnect()
		s.steps(3)
		s.all = [2][]arrival{}
		return s
	}
	silent := func(t *testing.T, s *stage) {
		t.Helper()
		if n := len(s.all[browserEnd]) + len(s.all[coreEnd]); n != 0 {
			t.Errorf("%d packets of a signal that nobody is to hear", n)
		}
	}
	ended := func(t *testing.T, s *stage, how audio.Ending) {
		t.Helper()
		d := s.told(SignalDone)
		if len(d) != 1 || d[0].Endpoint != s.c.owner || d[0].Signal.How != how || !d[0].Signal.Last || s.c.sound != nil || len(s.w.clock.heap) != 0 {
			t.Errorf("told %+v, want ending %d; %d on the frame clock", d, how, len(s.w.clock.heap))
		}
	}
	endless := func() audio.Item { return sounding(signals.Dial, 0, 0) }
	t.Run("without end", func(t *testing.T) {
		s := begin(t, endless())
		s.steps(100)
		silent(t, s)
		if len(s.w.clock.heap) != 0 || len(s.told(SignalDone)) != 0 || s.c.sound == nil {
			t.Errorf("%d on the frame clock, told %+v, there is a signal: %v", len(s.w.clock.heap), s.told(SignalDone), s.c.sound != nil)
		}
		if err := connect(s.a, s.c); err != nil {
			t.Fatal(err)
		}
		s.steps(30)
		e := newEar(t, pcmu)
		for _, p := range s.all[browserEnd] {
			e.hear(p.Packet)
		}
		if n := len(s.all[browserEnd]); n < 29 || !s.all[browserEnd][0].Marker() || e.share(425, 4000) < 0.9 {
			t.Errorf("the next partner hears %d packets, the first marked: %v", n, n > 0 && s.all[browserEnd][0].Marker())
		}
	})
	t.Run("with an end", func(t *testing.T) {
		s := begin(t, sounding(signals.Dial, 0, time.Second))
		s.steps(26)
		if len(s.told(SignalDone)) != 0 {
			t.Error("ended before its time")
		}
		s.steps(3)
		silent(t, s)
		ended(t, s, audio.ByItself)
	})
	t.Run("command", func(t *testing.T) {
		s := begin(t, endless())
		if err := s.c.play(s.now, Signals{}); err != nil {
			t.Fatal(err)
		}
		s.steps(3)
		silent(t, s)
		ended(t, s, audio.ByCommand)
	})
	t.Run("digit", func(t *testing.T) {
		s := begin(t, endless())
		s.c.digit(dtmf.Detected{Digit: '1'})
		s.steps(3)
		silent(t, s)
		ended(t, s, audio.ByEvent)
	})
	t.Run("played alone", func(t *testing.T) {
		s := newStage(t, both(SendRecv, []codec.Codec{pcmu}, pcmu, codec.Codec{}), both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
		s.a.disconnect()
		if err := s.c.play(s.now, Signals{Internal: true, List: []audio.Item{endless()}}); err != nil {
			t.Fatal(err)
		}
		s.steps(3)
		silent(t, s)
		if len(s.w.clock.heap) != 0 {
			t.Error("it costs frames")
		}
	})
}

// TestInternalSignalEndsWithItsTermination: it is the partner that is subtracted first, and nothing is left of the signal.
func TestInternalSignalEndsWithItsTermination(t *testing.T) {
	x := newCall(t, relaySpec())
	if err := x.c.Play(Signals{Internal: true, List: []audio.Item{sounding(signals.Dial, 0, 0)}}); err != nil {
		t.Fatal(err)
	}
	x.b.read()
	w := x.a.w
	x.a.Close()
	eventually(t, "no frames are made", func() bool {
		var n int
		w.do(func() { n = len(w.clock.heap) })
		return n == 0
	})
	if n := x.c.Stats().PacketsSent; n != 0 {
		t.Errorf("%d packets to its own peer", n)
	}
	x.c.Close() // what newBed finds then is a leak
}

// steps lets n frames pass.
func (s *stage) steps(n int) {
	s.t.Helper()
	for range n {
		s.step()
	}
}
