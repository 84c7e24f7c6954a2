package offeranswer

import (
	"strconv"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Police says how closely the MGW holds peers to the rate of the codecs that they may send (TS 23.334 §5.6, H.248.53).
type Police struct {
	Percent uint32        `json:"percent,omitempty"` // of the agreed rate that is admitted for long, 100 or more; 0: everything
	Burst   time.Duration `json:"burst,omitempty"`   // how much of that rate may come at once
}

// leastBurst is the least bucket, octets: two packets of any kind.
const leastBurst = 3000

// widest is the rate of codecs whose own is not known here, and of Opus in stereo without maxaveragebitrate (RFC 7587 §3.1.1), bit/s.
const widest = 128000

// policing is the token bucket for what side's peer may send: the sustained rate is that of b=AS in our description, which counts IP and UDP too, so
// that shorter packets than 20 ms are within it.
func (m *Media) policing(side Side) *iqv1.Policing {
	p := m.Policy.Police
	if p.Percent == 0 {
		return nil
	}
	cs := m.receivable(side)
	rate := bandwidth(cs, m.Line(side).Local.Addr()) * 1000 / 8
	for _, c := range cs {
		rate = max(rate, (uint64(bitrate(c))+100*12*8)/8) // 100 packets a second with RTP headers
	}
	rate = rate * uint64(p.Percent) / 100
	burst := max(rate*uint64(p.Burst/time.Millisecond)/1000, leastBurst)
	return &iqv1.Policing{SustainableDataRate: uint32(rate), MaximumBurstSize: uint32(burst)}
}

// bitrate is what a codec may need that b=AS does not tell, bit/s; 0: b=AS does.
func bitrate(c codec.Codec) int {
	switch {
	case c.Is(codec.Opus):
		for _, p := range strings.Split(c.Fmtp, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
			if n, err := strconv.Atoi(value); err == nil && strings.EqualFold(name, "maxaveragebitrate") && n >= 6000 && n <= 510000 {
				return max(n, 64000) // a peer that has not read it stays within what browsers choose
			}
		}
		return widest
	case c.Is(codec.TelephoneEvent), c.Is(codec.ComfortNoise), payload(c) > 0:
		return 0
	}
	return widest
}
