package flow

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// What is made is what can be made of the codec and is not longer than what is asked for.
func TestRFC8866_6_4_COD07_PtimeIsWhatCanBeMadeAndIsNotLonger(t *testing.T) {
	opusMS := map[time.Duration]time.Duration{0: 10, 5: 10, 10: 10, 19: 10, 20: 20, 30: 20, 40: 40, 50: 40, 60: 60, 70: 60, 120: 120, 200: 120, 240: 120}
	pcmMS := map[time.Duration]time.Duration{0: 10, 5: 10, 10: 10, 19: 10, 20: 20, 30: 30, 40: 40, 50: 50, 60: 60, 75: 70, 150: 150, 200: 150, 240: 150}
	amrMS := map[time.Duration]time.Duration{0: 20, 10: 20, 20: 20, 30: 20, 40: 40, 59: 40, 60: 60, 80: 80, 200: 200, 239: 220, 240: 240, 500: 240}
	for _, x := range []struct {
		c    codec.Codec
		want map[time.Duration]time.Duration
	}{{opus, opusMS}, {pcma, pcmMS}, {g722, pcmMS}, {amrWB(97, ""), amrMS}, {codec.Codec{Name: codec.AMR, ClockRate: 8000}, amrMS}} {
		if !transcode.Supported(x.c) {
			continue
		}
		for asked, want := range x.want {
			s := Settings{Ptime: Ptime(asked * time.Millisecond), Send: x.c}
			if err := s.check(); err != nil {
				t.Error(err)
			}
			got := s.framing()
			if got != want*time.Millisecond {
				t.Errorf("%s, %d ms: %v, want %d ms", x.c.Name, asked, got, want)
			}
			if asked >= 20 && got > asked*time.Millisecond {
				t.Errorf("%s: %v are longer than the %d ms asked for", x.c.Name, got, asked)
			}
			enc, err := transcode.NewEncoder(x.c, transcode.EncoderConfig{Rate: transcode.Rates(x.c)[0], Ptime: got})
			if err != nil {
				t.Errorf("%s, %v: %v", x.c.Name, got, err)
				continue
			}
			enc.Close()
		}
	}
	for _, bad := range []time.Duration{5 * time.Millisecond, 15 * time.Millisecond, 250 * time.Millisecond} {
		if (&Settings{Ptime: bad}).check() == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
