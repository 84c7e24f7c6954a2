package flow

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/stamp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// noiseRoute makes noise of the source's comfort noise c, beside audio that is relayed, if we can decode that. The partner has not agreed to comfort noise,
// as when a new description leaves it out, so must not get it (RFC 3264 §6.1, §8), and would hear the line go dead in each pause.
func (f *Flow) noiseRoute(c codec.Codec) route {
	for _, g := range f.src.in.formats {
		if g.class != classAudio || g.codec.IsAMR() || !transcode.Supported(g.codec) || f.route(g.codec, g.class).kind != routeRelay { // AMR pauses by itself
			continue
		}
		if cfg := f.config(g.codec); cfg.SrcCN != nil && cfg.SrcCN.PT == c.PT {
			return route{kind: routeNoise, via: cfg}
		}
	}
	return route{kind: routeNoise}
}

// relays reports whether audio of payload type pt is relayed.
func (f *Flow) relays(pt uint8) bool {
	i := slices.IndexFunc(f.src.in.formats, func(g format) bool { return g.codec.PT == pt })
	return i >= 0 && (f.routes[i].kind == routeRelay || f.routes[i].kind == routeRepack)
}

// noise takes comfort noise (RFC 3389): a transcoder makes noise of it, relayed audio is replaced by it. For a partner that does not take it relayed audio goes
// over to a transcoder at the first pause, where that is not heard, and stays there.
func (f *Flow) noise(now int64, p rtp.Packet, r *route) []byte {
	f.revive(now, p.PT())
	if f.active == nil && (f.relayed || f.resting) && !r.via.Src.IsZero() && f.newTranscoder(r) {
		f.relayed = false
	}
	switch {
	case f.active != nil:
		f.active.hushed = f.active.hushed || sameConfig(&f.active.cfg, &r.via)
		f.push(now, p)
		return nil
	case !r.noise || !f.relayed:
		f.dst.out.stamp.Switch() // what is left out must not look like a loss
		return f.src.drop(gate.PayloadType)
	}
	p.SetPT(r.pt)
	return f.stamped(now, p, stamp.Audio)
}
