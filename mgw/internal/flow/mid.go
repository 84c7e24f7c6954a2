package flow

import "github.com/isthmus-gateway/isthmus/mgw/internal/rtp"

// name begins or ends the naming of what is sent: packets carry the MID until the peer has reported on the stream, and so has found it (RFC 9143 §15).
func (o *outbound) name(s *Settings) {
	switch {
	case s.MIDExt == 0 || s.MID == "":
		o.mid, o.midExt = nil, 0
	case o.midExt != s.MIDExt || o.named != s.MID:
		o.mid, o.midExt, o.named = []byte(s.MID), s.MIDExt, s.MID
	}
}

// nameAgain names what is sent as at first: the peer is perhaps another.
func (o *outbound) nameAgain() {
	if o.midExt != 0 && o.mid == nil {
		o.mid = []byte(o.named)
	}
}

// withMID inserts the MID into a stamped packet, if there is room.
func (o *outbound) withMID(p rtp.Packet) rtp.Packet {
	if cap(p)-len(p) < rtp.ElementSize(len(o.mid))+overhead {
		return p
	}
	return p.PutElement(o.midExt, o.mid)
}
