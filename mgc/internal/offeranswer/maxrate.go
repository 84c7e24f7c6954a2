package offeranswer

import (
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Allowed is the bandwidth that a peer's description allows what is sent to it; the zero value sets no limit.
type Allowed struct {
	AS   uint64 `json:"as,omitempty"`   // kbit/s with IP, UDP and RTP headers (RFC 8866 §5.8)
	TIAS uint64 `json:"tias,omitempty"` // bit/s without (RFC 3890); rules where both are given
}

// allowed reads b=AS and b=TIAS of a media description, or else of the session. A value of 0 comes with streams that are switched off.
func allowed(d *sdp.Description, a *sdp.Media) (r Allowed) {
	for _, bs := range [][]sdp.Bandwidth{a.Bandwidth, d.Bandwidth} {
		for _, b := range bs {
			switch {
			case b.Value == 0 || b.Value > 1<<31:
			case b.Type == "AS":
				r.AS = b.Value
			case b.Type == "TIAS":
				r.TIAS = b.Value
			}
		}
		if r != (Allowed{}) {
			break
		}
	}
	return r
}

// payloads is what is left for payloads, bit/s; 0: no limit. headers: octets of a packet. A browser keeps a twentieth of b=AS for RTCP
// (RFC 8829 §5.9), a phone none (TS 26.114 annex A.15).
func (r Allowed) payloads(side Side, headers, ptime uint64) uint64 {
	switch total := r.AS * 1000; {
	case r.TIAS != 0:
		return r.TIAS
	case r.AS == 0:
		return 0
	default:
		if side == Access {
			total = total * 95 / 100
		}
		spent := headers * 8 * 1000 / ptime
		return max(total, spent+1) - spent
	}
}

// maxBitrate is the most that the MGW may send side's peer of c, bit/s of the codec; 0: no limit, or c has one rate only.
func (m *Media) maxBitrate(side Side, c codec.Codec) uint32 {
	l := m.Line(side)
	headers := uint64(20 + 8 + 12)
	if l.Remote.Addr().Is6() {
		headers += 20
	}
	left := l.Allowed.payloads(side, headers, l.packet(c))
	switch {
	case left == 0:
		return 0
	case c.IsAMR():
		return modeWithin(c, left)
	case c.Is(codec.Opus):
		return uint32(min(left, widest))
	}
	return 0
}

// packet is the length of the packets that the MGW makes of c for the peer, ms: whole frames, no longer than it asks for and takes.
func (l *Line) packet(c codec.Codec) uint64 {
	asked := uint64(l.Ptime)
	if asked == 0 {
		asked = 20
	}
	if l.MaxPtime != 0 {
		asked = min(asked, uint64(l.MaxPtime))
	}
	if asked < 20 && c.Is(codec.Opus) {
		return 10
	}
	return max(asked/20, 1) * 20
}

// modeWithin is the bit rate of the highest mode of an AMR codec whose frames need no more than rate, bit/s, in payloads of one; else of the lowest.
func modeWithin(c codec.Codec, rate uint64) uint32 {
	bits := modesAMR(c)
	best := bits[0]
	for _, n := range bits {
		if uint64(octetsAMR(c, n)*8*50) <= rate {
			best = n
		}
	}
	return uint32(best * 50)
}
