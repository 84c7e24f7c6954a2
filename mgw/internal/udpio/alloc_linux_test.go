//go:build linux && !portable

package udpio

import (
	"testing"
	"time"
)

func TestQueueReadFlushDoNotAllocate(t *testing.T) {
	rx, tx := open(t, loopback), open(t, loopback)
	w, r := NewWriter(), NewReader()
	to := tx.Addr(rx.Local())
	bufs, msgs := make([][]byte, MaxBatch), make([]Message, MaxBatch)
	for i := range bufs {
		bufs[i] = make([]byte, 64)
	}
	out := []byte("0123456789")
	p := poller(t)
	if err := p.Add(rx, 1); err != nil {
		t.Fatal(err)
	}
	rx.StampArrivals(true)
	n := testing.AllocsPerRun(50, func() {
		for range 8 {
			w.Queue(tx, &to, out, 0x2e<<2)
		}
		w.Flush()
		if _, _, err := p.Wait(time.Second, false); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadBatch(rx, bufs, msgs); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
