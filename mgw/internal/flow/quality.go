package flow

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/emodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
)

const (
	rateable = 50                    // packets that an estimate needs: a second of speech
	framing  = 20 * time.Millisecond // delay of a packet's length, which every sender has
)

// rate estimates how both directions sound. The delay is half the round trip, the length of a packet and a playout buffer of twice the jitter.
func (t *term) rate(s *Stats) {
	if t.in.last != nil && s.PacketsReceived >= rateable {
		lost := int64(s.PacketsLost+s.PacketsLate) - int64(s.FramesRecovered)
		q := emodel.Quality{
			Codec: t.in.last.codec, Loss: share(lost, s.PacketsReceived+s.PacketsLost), Delay: s.RTT/2 + 2*s.Jitter + framing,
		}
		s.MOS = q.MOS()
	}
	if l := t.leg; l != nil && s.PacketsSent >= rateable {
		if r := l.Statistics(); r.Reported {
			q := emodel.Quality{
				Codec: t.set.Send, Loss: share(int64(r.RemoteLost), s.PacketsSent), Delay: s.RTT/2 + 2*r.RemoteJitter + framing,
			}
			s.RemoteMOS = q.MOS()
		}
	}
}

// share of n in all, 0..1; a peer may report more than was sent, or less than nothing (RFC 3550 §6.4.1).
func share(n int64, all uint64) float64 {
	if n <= 0 || all == 0 {
		return 0
	}
	return min(1, float64(n)/float64(all))
}

// playout is what VoIP metrics tell of this end (RFC 3611 §4.7): of the jitter buffer where the stream is decoded here, nothing where it is relayed;
// and the E-model's estimates.
func (t *term) playout() rtcp.Playout {
	g := t.past
	var p rtcp.Playout
	if t.to != nil {
		g.merge(t.to.figures())
		if a := t.to.active; a != nil {
			j := a.dir.Stats().Jitter
			p.Nominal, p.Maximum, p.Most = j.Delay, max(j.Delay, j.Target), longestDelay
			p.Delay, p.Config = j.Delay, rtcp.RXPlayout
		}
	}
	p.Discarded = g.late
	l := t.leg.Statistics()
	if t.in.last == nil || l.PacketsReceived < rateable {
		return p
	}
	q := emodel.Quality{
		Codec: t.in.last.codec, Loss: share(int64(l.PacketsLost+g.late)-int64(g.recovered), l.PacketsReceived+l.PacketsLost),
		Delay: l.RTT/2 + 2*l.Jitter + framing,
	}
	p.R, p.MOSCQ = q.R(), q.MOS()
	q.Delay = 0 // listening only
	p.MOSLQ = q.MOS()
	return p
}

// longestDelay is the most that a jitter buffer holds: the default of audio.Config.DelayMax.
const longestDelay = 200 * time.Millisecond

// QualityReport is what an event of kind Quality tells of one interval.
type QualityReport struct {
	Sent         bool // of what we send, by the peer's reports; else of what we receive
	Low          bool // below the limit; else at least that again
	MOS          float64
	LossPermille uint32
	Jitter, RTT  time.Duration
}

// watch looks at the quality of intervals. Owned by the worker.
type watch struct {
	next                           int64 // end of the interval; 0: nothing is looked at
	every                          int64
	received, lost, late, repaired uint64 // at its begin
	reports                        uint64
	low                            [2]bool // received, sent
}

const defaultQuality = int64(10 * time.Second)

// set begins an interval when the settings ask for others than before, and reports whether none was being watched until now.
func (w *watch) set(now int64, s *Settings) (begun bool) {
	every := int64(s.QualityEvery)
	switch {
	case s.QualityLimit == 0 || s.Armed&Quality.Bit() == 0:
		*w = watch{}
		return false
	case every == 0:
		every = defaultQuality
	}
	if begun = w.next == 0; begun || w.every != every {
		w.next, w.every = now+every, every
	}
	return begun
}

// observe begins or ends the watch as the settings ask. What was before it is not judged.
func (t *term) observe(now int64, s *Settings) {
	if t.watch.set(now, s) && t.leg != nil {
		t.watch.from(t.figures())
	}
}

// figures are those that intervals are the differences of.
func (t *term) figures() (rtcp.Statistics, transcoded) {
	g := t.past
	if t.to != nil {
		g.merge(t.to.figures())
	}
	return t.leg.Statistics(), g
}

// from makes these figures the begin of an interval.
func (w *watch) from(l rtcp.Statistics, g transcoded) {
	w.received, w.lost, w.late, w.repaired, w.reports = l.PacketsReceived, l.PacketsLost, g.late, g.recovered, l.ReportsReceived
}

func (w *watch) due(now int64) bool { return w.next != 0 && now >= w.next }

// judge estimates both directions in the interval that has ended, and tells when one has crossed the limit.
func (t *term) judge(now int64) {
	w := &t.watch
	w.next = now + w.every
	if t.leg == nil {
		return
	}
	l, g := t.figures()
	received, lost := l.PacketsReceived-w.received, l.PacketsLost-min(w.lost, l.PacketsLost)
	late, repaired, reports := g.late-w.late, g.recovered-w.repaired, l.ReportsReceived-w.reports
	w.from(l, g)
	if t.in.last != nil && received+lost >= rateable {
		gone := share(int64(lost+late)-int64(repaired), received+lost)
		t.crossed(0, emodel.Quality{Codec: t.in.last.codec, Loss: gone, Delay: l.RTT/2 + 2*l.Jitter + framing}, l.Jitter, l.RTT)
	}
	if l.Reported && reports > 0 && !t.set.Send.IsZero() {
		gone := float64(l.RemoteFraction) / 256
		t.crossed(1, emodel.Quality{Codec: t.set.Send, Loss: gone, Delay: l.RTT/2 + 2*l.RemoteJitter + framing}, l.RemoteJitter, l.RTT)
	}
}

// crossed tells when direction i, 0 received and 1 sent, is on the other side of the limit than before.
func (t *term) crossed(i int, q emodel.Quality, jitter, rtt time.Duration) {
	mos := q.MOS()
	low := mos < t.set.QualityLimit
	if low == t.watch.low[i] {
		return
	}
	t.watch.low[i] = low
	t.emit(Event{Kind: Quality, Quality: QualityReport{
		Sent: i == 1, Low: low, MOS: mos, LossPermille: uint32(1000*q.Loss + 0.5), Jitter: jitter, RTT: rtt,
	}})
}
