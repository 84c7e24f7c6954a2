package badinput

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/democore"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

const (
	callerHz   = 620.0 // what the browser sends; the far end sends democore.ToneHz
	strangerHz = 2222.0
	level      = -12
)

// ear judges what one end hears, block by block: the far end's tone, and what is neither that nor silence.
type ear struct {
	want float64 // Hz

	mu      sync.Mutex // guards what follows
	meter   tone.Meter
	blocks  int // of 200 ms with the wanted tone
	foreign []tone.Detection
}

func (e *ear) take(pcm []int16) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.meter.Blocks()
	e.meter.Write(pcm)
	if e.meter.Blocks() != n {
		e.judge(e.meter.Last())
	}
}

// judge takes the newest block. A block in which the tone begins or ends is less pure; a foreign voice shows as a
// component of its own. Called with mu held.
func (e *ear) judge(d tone.Detection) {
	switch {
	case d.IsTone(e.want, 15):
		e.blocks++
	case d.Level > -45 && math.Abs(d.Freq-e.want) > 50:
		e.foreign = append(e.foreign, d)
	}
}

func (e *ear) read() (blocks int, foreign []tone.Detection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.blocks, e.foreign
}

// witness is a call that must stay up and clean while others misbehave.
type witness struct {
	bed    *bed
	caller *browser
	call   *webua.Call
	near   *ear // what the browser hears
	far    *ear // what the telephone hears
	stop   chan struct{}
	done   chan struct{}
	id     string // Call-ID on the core side

	breaks uint64 // disruptions that the far end saw at the beginning
}

// newWitness places the call and listens on both ends until close.
func newWitness(t *testing.T, b *bed, user string, edit func(*webua.Config)) *witness {
	t.Helper()
	w := &witness{bed: b, near: &ear{want: democore.ToneHz}, far: &ear{want: callerHz}, stop: make(chan struct{}), done: make(chan struct{})}
	w.caller = b.register(t, user, func(c *webua.Config) {
		c.Sink = w.near.take
		if edit != nil {
			edit(c)
		}
	})
	w.call = w.caller.call(t, "sip:tone@"+domain, tone.NewSine(callerHz, level))
	eventually(t, deadline, func() string {
		tel, err := b.telephone(user)
		if err != nil {
			return err.Error()
		}
		w.id, w.breaks = tel.ID, tel.Discontinue
		if !tel.Last.IsTone(callerHz, 15) {
			return fmt.Sprintf("the far end hears %+v", tel.Last)
		}
		return ""
	})
	go w.listen()
	t.Cleanup(func() { close(w.stop); <-w.done })
	w.check(t)
	return w
}

// listen asks the far end every 100 ms what it hears in blocks of 200 ms.
func (w *witness) listen() {
	defer close(w.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := uint64(0)
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		tel, err := w.telephone()
		if err != nil || tel.Samples/1600 == last {
			continue
		}
		last = tel.Samples / 1600
		w.far.mu.Lock()
		w.far.judge(tel.Last)
		w.far.mu.Unlock()
	}
}

// telephone is the far end's view of this call.
func (w *witness) telephone() (democore.MediaStatus, error) {
	s, err := w.bed.status()
	if err != nil {
		return democore.MediaStatus{}, err
	}
	for _, m := range s.Media {
		if m.ID == w.id {
			return m, nil
		}
	}
	return democore.MediaStatus{}, fmt.Errorf("the demo core has lost call %s", w.id)
}

// check requires that both ends have gone on hearing each other since the last look, and nobody else.
func (w *witness) check(t *testing.T) {
	t.Helper()
	select {
	case <-w.call.Ended():
		t.Fatalf("the call of %s has ended: %s", w.caller.user, w.call.Result().Cause)
	default:
	}
	for i, e := range []*ear{w.near, w.far} {
		end := []string{"browser", "telephone"}[i]
		start, _ := e.read()
		eventually(t, deadline, func() string {
			if n, _ := e.read(); n < start+3 {
				return fmt.Sprintf("the %s of %s heard %d blocks of %v Hz, then no more", end, w.caller.user, n, e.want)
			}
			return ""
		})
		if _, foreign := e.read(); len(foreign) > 0 {
			t.Errorf("the %s of %s heard something else: %+v", end, w.caller.user, foreign)
		}
	}
	if tel, err := w.telephone(); err != nil || tel.Discontinue != w.breaks || tel.RTP.Recv.Strangers != 0 {
		t.Errorf("the telephone of %s: %d disruptions (before: %d), %d packets of strangers, %v", w.caller.user, tel.Discontinue, w.breaks, tel.RTP.Recv.Strangers, err)
	}
}
