package load

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/cores"
)

const (
	slot         = time.Millisecond
	slots        = int64(frameTime / slot)
	consentEvery = 5 * time.Second // RFC 7675 §5.1
	restart      = 300 * time.Millisecond
	settleAtMost = 200 * time.Millisecond
)

// Count is what happened in one direction within a window.
type Count struct{ Sent, Unsent, Delivered, Repeated, Wrong int }

// Window is the result of Run.
type Window struct {
	Length    time.Duration // of the media that was sent
	Used      time.Duration // what meter says the system used
	Counts    [2]Count      // by Direction
	Delays    Delays        // of relayed packets; of transcoded ones in the sample calls, by what is heard
	Own       time.Duration // CPU time of the generator's thread
	Late      time.Duration // the worst delay of the generator's own clock
	Listening Listening     // transcoding only
}

// Delivered is the packets that arrived, both ways.
func (w *Window) Delivered() int { return w.Counts[Up].Delivered + w.Counts[Down].Delivered }

// Share is how much of what was sent arrived, 0 to 1, in the direction that did worse.
func (w *Window) Share() float64 {
	share := 1.0
	for _, c := range w.Counts {
		share = min(share, float64(c.Delivered)/float64(max(c.Sent, 1)))
	}
	return share
}

// Delays are percentiles of the one-way delay from the sender's system call until the kernel has the packet for the far end.
type Delays struct{ P50, P99 time.Duration }

// runner is the state of one Run.
type runner struct {
	f       *Fleet
	base    time.Time
	clock   uint32 // of the first slot, in frames since the fleet began
	w       Window
	open    bool // within the window
	delays  []int64
	buf     [2048]byte
	consent int   // checks sent
	due     int64 // time of the next
	warm    int64 // length of the warm-up
}

// Run lets media flow for warm, then measures for window. meter is read at both ends of the window, by the thread that sends. It blocks.
func (f *Fleet) Run(warm, window time.Duration, meter func() (time.Duration, error)) (Window, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if f.core != nil {
		defer first()()
		undo, err := cores.Stay(f.core)
		if err != nil {
			return Window{}, err
		}
		defer undo()
	}
	warm = max(warm, restart)
	f.listen(warm, window)
	base, clock := f.goOn(time.Now())
	r := &runner{f: f, base: base, clock: clock, delays: make([]int64, 0, int(window/frameTime+50)*(len(f.active())/f.stampEvery()+1)*2)}
	for _, c := range f.calls { // what came in a pause is of no interest
		for c.browser.receive(r.buf[:]) > 0 || c.core.receive(r.buf[:]) > 0 {
		}
	}
	r.warm = int64(warm)
	r.span(0, int64(warm/slot))
	used, err := meter()
	if err != nil {
		return Window{}, err
	}
	own := threadTime()
	for _, c := range f.calls {
		c.out[Up].first, c.out[Down].first = c.out[Up].count, c.out[Down].count
	}
	r.open, f.opened = true, r.now()
	r.span(int64(warm/slot), int64((warm+window)/slot))
	r.settle()
	r.open = false
	end, err := meter()
	if err != nil {
		return Window{}, err
	}
	r.w.Length, r.w.Used, r.w.Own = window, end-used, threadTime()-own
	if f.o.Media.Transcoded() {
		if r.w.Listening, r.delays, err = f.heard(); err != nil {
			return Window{}, err
		}
	}
	r.w.Delays = percentiles(r.delays)
	return r.w, nil
}

// goOn is when the next packets may leave at the earliest, and their place in frames since the fleet began. The streams go on where their clocks
// are, to the sample: one that comes back with a shift is taken for late until that is forgotten.
func (f *Fleet) goOn(now time.Time) (base time.Time, clock uint32) {
	n := (now.Sub(f.began) + frameTime - 1) / frameTime
	return f.began.Add(n * frameTime), uint32(n)
}

// span does the slots from first to the one before last.
func (r *runner) span(first, last int64) {
	for k := first; k < last; k++ {
		at := k * int64(slot)
		for now := r.now(); now < at; now = r.now() {
			r.drain(r.f.poll.wait(at - now))
		}
		r.w.Late = max(r.w.Late, time.Duration(r.now()-at))
		r.emit(k)
		r.drain(r.f.poll.wait(0))
	}
}

// settle receives what is still on its way when the last packet has been sent.
func (r *runner) settle() {
	for end := r.now() + int64(settleAtMost); r.w.Share() < 1 && r.now() < end; {
		r.drain(r.f.poll.wait(int64(slot)))
	}
}

func (r *runner) now() int64 { return int64(time.Since(r.base)) }

// emit sends what belongs to the k-th slot: each call's browser once in 20 slots and its core side ten slots later.
func (r *runner) emit(k int64) {
	calls := r.f.active()
	for d := range Direction(2) {
		turn := k + int64(d)*slots/2
		clock := r.clock + uint32(turn/slots)
		for i := turn % slots; i < int64(len(calls)); i += slots {
			ok := calls[i].send(d, clock, k < slots, r.now(), r.buf[:])
			if r.open {
				r.w.Counts[d].Sent++
				if !ok {
					r.w.Counts[d].Unsent++
				}
			}
		}
	}
	r.refresh()
}

// refresh keeps the consent of all calls fresh, one at a time: all once during the warm-up, for there may have been a long pause, then at
// the usual pace.
func (r *runner) refresh() {
	if r.f.o.Plain {
		return
	}
	for now, calls := r.now(), len(r.f.active()); r.due <= now; r.consent++ {
		_ = r.f.calls[r.consent%calls].browser.consent() // built from constants
		round := int64(consentEvery)
		if r.consent < calls {
			round = r.warm
		}
		r.due += round / int64(calls)
	}
}

// drain receives from the n sockets that are ready.
func (r *runner) drain(n int) {
	if n == 0 {
		return
	}
	g := r.glance()
	for i := range n {
		key := r.f.poll.events[i].Fd
		c := r.f.calls[key/2]
		d, s := Down, c.browser.socket
		if key%2 == 1 {
			d, s = Up, c.core
		}
		if size, at := s.receiveAt(r.buf[:], g); size > 0 {
			r.count(d, c, size, at)
		}
	}
}

func (r *runner) count(d Direction, c *call, size int, at int64) {
	v, delay := c.receive(d, r.buf[:size], at)
	if !r.open {
		return
	}
	n := &r.w.Counts[d]
	switch v {
	case good:
		n.Delivered++
		if delay > 0 && len(r.delays) < cap(r.delays) {
			r.delays = append(r.delays, delay)
		}
	case repeated:
		n.Repeated++
	case wrong:
		n.Wrong++
	}
}

func percentiles(d []int64) Delays {
	if len(d) == 0 {
		return Delays{}
	}
	slices.Sort(d)
	return Delays{time.Duration(d[len(d)/2]), time.Duration(d[len(d)*99/100])}
}

func threadTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		panic(fmt.Sprint("load: ", err)) // only for a wrong argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
