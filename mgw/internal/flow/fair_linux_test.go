package flow

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

// coder stands for a transcoder: it notes what waits to be sent when a frame is coded.
type coder struct {
	w       *worker
	pulse   pulse
	coded   int
	waiting int // datagrams, the most
}

func (c *coder) tick(now int64) {
	c.coded++
	c.waiting = max(c.waiting, udpio.MaxQueue-c.w.writer.Room())
	c.w.clock.set(&c.pulse, now+int64(20*time.Millisecond))
}

// TestRelayedPacketsGoBeforeCoding: what was relayed in a round is with its receiver before the first frame is coded, and while there is relayed
// traffic few frames are coded before the sockets have their turn; without it more are. Every frame has its turn in the end.
func TestRelayedPacketsGoBeforeCoding(t *testing.T) {
	for _, relayed := range []bool{true, false} {
		cfg := Config{Logger: zap.NewNop()}
		cfg.defaults()
		w, err := newWorker(&cfg, time.Now(), cfg.Logger)
		if err != nil {
			t.Fatal(err)
		}
		loop := netip.MustParseAddrPort("127.0.0.1:0")
		var ends [2]*udpio.Socket
		for i := range ends {
			if ends[i], err = udpio.Open(loop, udpio.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		w.now = w.monotonic()
		coders := make([]coder, 3*maxTicks)
		for i := range coders {
			coders[i].w, coders[i].pulse.of = w, &coders[i]
			w.clock.set(&coders[i].pulse, w.now)
		}
		coded := func() (n, waiting int) {
			for _, c := range coders {
				n, waiting = n+c.coded, max(waiting, c.waiting)
			}
			return n, waiting
		}
		rounds, last := 0, 0
		for n := 0; n < len(coders); rounds++ {
			to := ends[0].Addr(ends[1].Local())
			if relayed {
				w.load.urgent++ // as corePacket does
				w.send(&term{out: outbound{sock: ends[0], addr: to}}, []byte("relayed"))
			}
			w.runClock()
			var most int
			n, most = coded()
			if relayed {
				var m udpio.Message
				if !w.reader.ReadOne(ends[1], make([]byte, 100), &m) {
					t.Fatal("the relayed packet waits for the end of the round")
				}
				if most > 0 || n-last > sliceTicks {
					t.Errorf("round %d: %d datagrams waited while %d frames were coded", rounds, most, n-last)
				}
			} else if want := min(maxTicks, len(coders)-last); n-last != want {
				t.Errorf("round %d: %d frames coded, want %d", rounds, n-last, want)
			}
			if w.load.frames != n {
				t.Errorf("%d frames counted for the beat, want %d", w.load.frames, n)
			}
			if n == last || rounds > len(coders) {
				t.Fatal("coding starves")
			}
			last = n
		}
		for _, s := range ends {
			_ = s.Close()
		}
		_ = w.poll.Close()
	}
}
