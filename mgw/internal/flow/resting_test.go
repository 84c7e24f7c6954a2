package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// restingSource is a stage whose core peer has spoken and been silent since, until its codecs were given up.
func restingSource(t *testing.T, m *mouth, extra ...codec.Codec) *stage {
	t.Helper()
	s := newStage(t, both(SendRecv, []codec.Codec{opus, ev48}, opus, ev48), both(SendRecv, append([]codec.Codec{pcma}, extra...), pcma, ev8))
	for range 50 {
		s.speak(s.c, m.frame())
		s.step()
	}
	begin := s.now
	for s.c.to.active != nil && s.now-begin < int64(time.Minute) {
		s.step()
		s.c.sweep(s.now)
		m.ts += m.c.ClockRate / 50
	}
	if s.c.to.active != nil {
		t.Fatal("the source does not rest")
	}
	return s
}

// A key before the source speaks, or that ends its long silence, is one key for the hearer, also when the source, whose microphone hears the key's
// click, speaks in its midst.
func TestKeyOfASilentSource(t *testing.T) {
	transcodetest.Need(t, opus)
	from, to := form{audio: pcma, events: ev8}, form{audio: opus, events: ev48}
	for name, begin := range map[string]func(*testing.T, *mouth) *stage{
		"before it speaks": func(t *testing.T, _ *mouth) *stage {
			return newStage(t, both(SendRecv, []codec.Codec{opus, ev48}, opus, ev48), both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8))
		},
		"resting": func(t *testing.T, m *mouth) *stage { return restingSource(t, m, ev8) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMouth(t, pcma)
			keyAndVoice(t, begin(t, m), m, from, to)
		})
	}
}

func keyAndVoice(t *testing.T, s *stage, m *mouth, from, to form) {
	t.Helper()
	const frames = 10
	start := m.ts
	for i := range frames {
		m.ts += 160
		s.speak(s.c, m.event(from, start, i+1, 7, i == frames-1))
		if i >= 4 {
			m.ts -= 160
			s.speak(s.c, m.frame())
		}
		s.step()
	}
	for range 20 {
		s.speak(s.c, m.frame())
		s.step()
	}
	if events, _ := to.heard(t, s.all[browserEnd]); keysOf(events) != "7" {
		t.Errorf("keys %q heard, want one 7", keysOf(events))
	}
}

// Comfort noise of a source whose codecs were given up is heard, as it was before.
func TestNoiseOfARestingSource(t *testing.T) {
	transcodetest.Need(t, opus)
	m := newMouth(t, pcma)
	s := restingSource(t, m, cn8)
	before := len(s.all[browserEnd])
	m.seq++
	s.speak(s.c, packet(cn8.PT, 0x77, m.seq, m.ts, []byte{50}))
	for range 50 {
		s.step()
	}
	if n := s.c.in.drops[gate.PayloadType]; n != 0 {
		t.Errorf("%d packets refused", n)
	}
	if n := len(s.all[browserEnd]) - before; n < 40 {
		t.Errorf("%d packets of noise in a second", n)
	}
}
