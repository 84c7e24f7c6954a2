package flow

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/emodel"
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
	if l := t.out.leg; l != nil && s.PacketsSent >= rateable {
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
