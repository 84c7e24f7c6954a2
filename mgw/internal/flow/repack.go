package flow

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/amr"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// repacker puts the frames of AMR or AMR-WB packets into payloads of the other packing (RFC 4867 §4.3, §4.4). Frames, quality bits and
// codec mode requests stay, so that both ends still speak with each other. Owned by the worker.
type repacker struct {
	from, to amr.Format
	pkt      amr.Packet
}

// newRepacker is nil when the frames of from are not good for to, or lie in a way that we do not implement.
func newRepacker(from, to codec.Codec) *repacker {
	if !from.IsAMR() || !from.SameFrames(to) {
		return nil
	}
	f, errFrom := amr.ParseParams(from)
	t, errTo := amr.ParseParams(to)
	if errFrom != nil || errTo != nil {
		return nil
	}
	return &repacker{from: f.Format, to: t.Format}
}

// throughBothWays reports whether frames of c may go through without a codec as far as the way back is concerned. The mode requests in
// AMR frames are for whoever codes what comes back (RFC 4867 §4.3.1): where that is an encoder of ours, a decoder of ours must read them.
func (f *Flow) throughBothWays(c codec.Codec) bool {
	back := f.src.set.Send
	if !c.IsAMR() || !back.SameCodec(c) {
		return true
	}
	for i := range f.dst.in.formats {
		if g := f.dst.in.formats[i].codec; g.SameCodec(back) && !g.SameFrames(back) {
			return false
		}
	}
	return true
}

// repack changes p in place, within its capacity less what its protection needs, and returns it at its new length; nil when it is malformed.
func (r *repacker) repack(p rtp.Packet) rtp.Packet {
	room := cap(p) - overhead
	if room < rtp.HeaderLen {
		return nil
	}
	n, err := r.pkt.Repack(r.from, r.to, p.Payload(), p[rtp.HeaderLen:room])
	if err != nil {
		return nil
	}
	return p[:rtp.HeaderLen+n]
}
