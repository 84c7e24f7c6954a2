// Package heap trades memory for processor time while there is load, and gives it back when there is none. Floor 0 of mgc. Owner: the
// function that Start returns ends its goroutine.
//
// A controller holds little for each user and makes much garbage for each message. With Go's rule, a collection whenever the heap has
// doubled, a small heap is collected many times a second, and the mark workers take every idle core for it: measured, more than a third
// of a call's CPU. So under load the heap may grow to a floor before it is collected; a heap above it follows Go's rule.
package heap

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Floor is the size in bytes that the heap may have under load whatever is live in it.
const Floor = 128 << 20

const (
	tick    = time.Second
	busy    = 4 << 20 // bytes allocated per second that are load; pings of ten thousand idle connections are below
	calm    = 6       // ticks without load before memory is given back: then the transactions have ended (T4, 5 s)
	garbage = 4 << 20 // least bytes allocated since the last time that make it worth while
	plain   = 100     // Go's own percentage
	most    = 1500    // highest percentage
	share   = 100     // giving back takes at most one part in so many of the time
)

// Start begins; the function returned ends it, restores the percentage and waits. It does nothing when the operator has set GOGC or
// GOMEMLIMIT.
func Start() (stop func()) {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		k := keeper{percent: debug.SetGCPercent(plain), set: func(p int) { debug.SetGCPercent(p) }, free: debug.FreeOSMemory}
		defer debug.SetGCPercent(k.percent)
		k.percent = plain
		t := time.NewTicker(tick)
		defer t.Stop()
		for {
			select {
			case now := <-t.C:
				k.look(now, read())
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// reading is what the runtime tells, bytes.
type reading struct {
	live   uint64 // marked by the last collection
	allocs uint64 // allocated since the start
}

func read() reading {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return reading{s[0].Value.Uint64(), s[1].Value.Uint64()}
}

// keeper decides once a tick.
type keeper struct {
	set  func(percent int)
	free func()

	percent  int
	last     uint64    // allocs at the last look
	released uint64    // allocs when memory was given back last
	quiet    int       // looks without load
	after    time.Time // memory is not given back before
}

func (k *keeper) look(now time.Time, r reading) {
	rate := r.allocs - k.last
	k.last = r.allocs
	if rate >= busy {
		k.quiet = 0
		k.change(percentage(r.live))
		return
	}
	if k.quiet++; k.quiet < calm {
		return
	}
	k.change(plain)
	if r.allocs-k.released < garbage+r.live/4 || now.Before(k.after) {
		return
	}
	begin := time.Now()
	k.free()
	k.released, k.after = r.allocs, now.Add(share*time.Since(begin))
}

// change sets the percentage when it differs by enough to stop the world for.
func (k *keeper) change(percent int) {
	if d := percent - k.percent; d > k.percent/8 || d < -k.percent/8 {
		k.percent = percent
		k.set(percent)
	}
}

// percentage lets a heap of so many live bytes grow to Floor, or to twice its size.
func percentage(live uint64) int {
	if live == 0 {
		return most
	}
	if live >= Floor/2 {
		return plain
	}
	return int(min(most, 100*(Floor-live)/live))
}
