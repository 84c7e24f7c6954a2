package flow

import "time"

// The pace of a worker. Waking up costs as much as a few packets, so a busy worker sleeps a little and then finds more to do at once.
//
//	traffic of the last 10 ms           rounds
//	none, or few relayed datagrams      with each datagram
//	relayed                             every relayBeat, more often when that would make more than a good batch; at once when the round has taken
//	                                    as long as a good batch takes to come: after a stall nothing waits on purpose
//	for frame clocks only               every frameBeat: a datagram that goes to a jitter buffer can wait
const (
	loadWindow = int64(10 * time.Millisecond)
	relayBeat  = int64(time.Millisecond)
	// frameBeat is the grid on which all frame clocks of a worker tick: ptimes are multiples of it, so that a stream keeps its pace.
	frameBeat = int64(5 * time.Millisecond)
	goodBatch = 48
	// leastNap is the shortest sleep that is worth its cost.
	leastNap = int64(200 * time.Microsecond)
	// leastRest is the same for what is left until a good batch has come, when part of that has come during the round.
	leastRest = int64(50 * time.Microsecond)
)

// onBeat is the first beat at or after t.
func onBeat(t int64) int64 { return (t + frameBeat - 1) / frameBeat * frameBeat }

// rest counts the round and, under load, waits a little: fewer and larger batches for about a millisecond of delay.
func (w *worker) rest(got int) {
	w.count.wakeups.Add(1)
	if got > 0 {
		w.count.received.Add(uint64(got))
	}
	w.load.add(w.now, got)
	due, ok := w.clock.next()
	now := w.monotonic()
	w.shares.add(w.began, now)
	d := w.load.nap(now, now-w.began, w.cfg.Timers.Coalesce, ok)
	if ok {
		d = min(d, time.Duration(due-now))
	}
	if d > 0 && !w.pending.Load() {
		w.poll.Nap(d, w.load.busy)
	}
}

// loadMeter measures datagrams over short windows.
type loadMeter struct {
	from   int64
	count  int
	urgent int  // of those, relayed ones
	rate   int  // datagrams per ms, in the last window
	busy   bool // there were some: the next wait will be short
	hurry  bool // some of them were relayed
}

func (l *loadMeter) add(now int64, n int) {
	l.count += n
	if d := now - l.from; d >= loadWindow {
		l.rate = int(int64(l.count) * int64(time.Millisecond) / d)
		l.busy, l.hurry = l.count > 0, l.urgent > 0
		l.from, l.count, l.urgent = now, 0, 0
	}
}

// relaying reports whether packets were relayed in the last window or since.
func (l *loadMeter) relaying() bool { return l.hurry || l.urgent > 0 }

// nap is the wait that fits the load. spent: how long the round has taken, in which datagrams came, too. longest: for relayed datagrams; 0: never
// wait. coding: there are frame clocks.
func (l *loadMeter) nap(now, spent int64, longest time.Duration, coding bool) time.Duration {
	switch {
	case longest == 0 || !l.busy:
		return 0
	case l.hurry && l.rate >= 2:
		d := relayBeat - now%relayBeat
		if d < leastNap {
			d += relayBeat
		}
		rest := goodBatch*int64(time.Millisecond)/int64(l.rate) - spent
		if rest < leastRest {
			return 0
		}
		return min(longest, time.Duration(min(d, rest)))
	case !l.hurry && coding:
		return time.Duration(frameBeat - now%frameBeat)
	}
	return 0
}
