package rtcp

import "time"

// Bandwidth is what a description allots to RTCP, bit/s (b=RS and b=RR, RFC 3556 §2). The zero value allots nothing in particular: then the minimum
// interval governs. What switches reports off, both 0 and said so, is Config.Off.
type Bandwidth struct {
	Senders, Receivers uint32
}

const (
	parties = 2         // of a call: each of the two has half of a share (RFC 3550 §6.3.1)
	headers = 28        // UDP and IPv4, which count (RFC 3550 §6.2)
	gain    = 1. / 16   // of the mean size (RFC 3550 §6.3.3)
	rarest  = time.Hour // a share of a few bits per second
)

// SetBandwidth changes the allotment; a report that is due already stays due.
func (l *Leg) SetBandwidth(b Bandwidth) { l.bandwidth = b }

// measure takes the size of a report that is sent.
func (l *Leg) measure(n int) {
	if s := float64(n + headers); l.size == 0 {
		l.size = s
	} else {
		l.size += gain * (s - l.size)
	}
}

// interval is the mean time between reports, ns: what the share of a sender, or of a receiver, lets through, and never less than the minimum. Without a share of
// their own senders have that of receivers (RFC 3556 §2).
func (l *Leg) interval(sender bool) int64 {
	share := l.bandwidth.Receivers
	if sender && l.bandwidth.Senders != 0 {
		share = l.bandwidth.Senders
	}
	least := int64(l.cfg.Interval)
	if share == 0 {
		return least
	}
	return max(least, min(int64(parties*8*l.size/float64(share)*1e9), int64(rarest)))
}
