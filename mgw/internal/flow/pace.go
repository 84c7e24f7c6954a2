package flow

import "time"

// The pace of a worker. Waking up costs as much as a few packets, so a busy worker sleeps a little and then finds more to do at once.
//
//	traffic of the last 10 ms           rounds
//	none, or few relayed datagrams      with each datagram
//	relayed                             every relayBeat, more often when that would make more than a good batch; at once when the round has taken
//	                                    as long as a good batch takes to come: after a stall nothing waits on purpose
//	for frame clocks only               every beat of theirs, frameBeat or part of it: a datagram that goes to a jitter buffer can wait
const (
	loadWindow = int64(10 * time.Millisecond)
	relayBeat  = int64(time.Millisecond)
	// frameBeat is the grid on which all frame clocks of a worker tick: ptimes and steps of jitter.Buffer.Shift are multiples of it, so that a
	// stream keeps its pace. Many frames on one beat wait for each other, so under load it is halved, maxHalved times at most.
	frameBeat = int64(5 * time.Millisecond)
	maxHalved = 2
	// goodFrames make a beat worth waking up for: it is halved when each half has so many, and doubled when both halves together have fewer.
	goodFrames = 12
	goodBatch  = 48
	// leastNap is the shortest sleep that is worth its cost.
	leastNap = int64(200 * time.Microsecond)
	// leastRest is the same for what is left until a good batch has come, when part of that has come during the round.
	leastRest = int64(50 * time.Microsecond)
)

// beat is the grid of the frame clocks, ns.
func (l *loadMeter) beat() int64 { return frameBeat >> l.halved }

// onBeat is the first beat at or after t.
func (l *loadMeter) onBeat(t int64) int64 {
	b := l.beat()
	return (t + b - 1) / b * b
}

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
	// Of frames that were coded: in this window, per ns over the last third of a second, and how often the beat is halved for them.
	frames int
	coded  float32
	halved uint8
}

func (l *loadMeter) add(now int64, n int) {
	l.count += n
	if d := now - l.from; d >= loadWindow {
		l.rate = int(int64(l.count) * int64(time.Millisecond) / d)
		l.busy, l.hurry = l.count > 0, l.urgent > 0
		l.tune(float32(l.frames) / float32(d))
		l.from, l.count, l.urgent, l.frames = now, 0, 0, 0
	}
}

// tune fits the beat to the frames per ns of a window. Slowly: a beat that moves makes frames come earlier or later once.
func (l *loadMeter) tune(frames float32) {
	const memory = 32 // windows
	l.coded += (frames - l.coded) / memory
	switch each := l.coded * float32(l.beat()); {
	case each >= 2*goodFrames && l.halved < maxHalved:
		l.halved++
	case each < goodFrames/2 && l.halved > 0:
		l.halved--
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
		return time.Duration(l.beat() - now%l.beat())
	}
	return 0
}
