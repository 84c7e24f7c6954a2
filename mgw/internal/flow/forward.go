package flow

import (
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/stamp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Flow is the one-way packet path from one termination to its partner. Owned by their worker.
type Flow struct {
	src, dst *term
	routes   []route // by index of src.in.formats
	active   *transcoder
	beeped   int64 // newest telephone event that was played as a tone
	relayed  bool  // the newest audio was relayed
	replaced bool  // a signal is played to the partner's peer in place of this flow
	resting  bool  // the source has been silent for so long that active was given up
	spoke    uint8 // payload type of the audio that was relayed, or that active had, at last

	switched int64             // when the source last changed between routes
	loss     int               // percent the partner's peer loses, for the encoder
	asked    transcode.Request // codec mode that the partner's peer wants, for the encoder
	made     uint32
	gone     transcoded // figures of transcoders that have ended
}

// transcoded are figures of transcoders.
type transcoded struct{ concealed, recovered, late uint64 }

// route says what happens to one payload type of the source.
type route struct {
	kind  routeKind
	pt    uint8       // towards the partner
	noise bool        // routeNoise: the partner takes it
	stamp stamp.Kind  // routeEvent
	relay *eventRoute // routeEvent: one per format
	pack  *repacker   // routeRepack
	via   audio.Config
}

// eventRoute carries telephone events of one format to the partner's.
type eventRoute struct {
	*dtmf.Relay
	from, to codec.Codec
}

type routeKind uint8

const (
	routeNone routeKind = iota
	routeRelay
	routeRepack // AMR: the same frames in payloads packed the other way
	routeTranscode
	routeEvent // telephone event, packet by packet
	routeTones // telephone event for a partner that has none: played
	routeNoise
	routeSignalled // telephone event that reaches the partner's peer by signalling
)

// dwell is the least time between two changes of route by the source: a codec change is rare, and each makes new codecs.
const dwell = int64(200 * time.Millisecond)

// linger is how long audio that could be relayed stays with the transcoder that has played a tone: digits come in rows.
const linger = int64(2 * time.Second)

// rebuild computes the routes anew after a change of settings on either side. A transcoder whose configuration stays lives on.
func (f *Flow) rebuild() {
	old := f.routes
	f.routes = make([]route, len(f.src.in.formats))
	for i := range f.src.in.formats {
		f.routes[i] = f.route(f.src.in.formats[i].codec, f.src.in.formats[i].class)
		for _, o := range old {
			if r := &f.routes[i]; o.kind == routeEvent && r.kind == routeEvent && o.relay.from == r.relay.from && o.relay.to == r.relay.to {
				r.relay = o.relay
			}
		}
	}
	switch t := f.active; {
	case t == nil:
	case f.asks(t, routeTranscode, routeTones, routeNoise):
		t.hushed = t.hushed && f.asks(t, routeNoise)
	default:
		f.endTranscoder(true)
	}
	f.relayed = f.relayed && f.relays(f.spoke)
	f.switched = 0
	f.timeSource()
}

// asks reports whether a route of one of the kinds asks for what t does.
func (f *Flow) asks(t *transcoder, kinds ...routeKind) bool {
	return slices.ContainsFunc(f.routes, func(r route) bool { return slices.Contains(kinds, r.kind) && sameConfig(&r.via, &t.cfg) })
}

func sameConfig(a, b *audio.Config) bool {
	return a.Src == b.Src && a.Dst == b.Dst && a.Ptime == b.Ptime && a.Bitrate == b.Bitrate && a.MaxBitrate == b.MaxBitrate && same(a.SrcDTMF, b.SrcDTMF) && same(a.DstDTMF, b.DstDTMF) && same(a.SrcCN, b.SrcCN) &&
		a.Tones == b.Tones && a.Silent == b.Silent && a.DTX == b.DTX && same(a.DstCN, b.DstCN)
}

func same(a, b *codec.Codec) bool { return a == b || a != nil && b != nil && *a == *b }

func (f *Flow) route(c codec.Codec, k class) route {
	send, to := f.dst.set.Send, f.dst.set.SendDTMF
	if send.IsZero() {
		return route{}
	}
	switch k {
	case classEvent:
		if f.dst.set.DropDigits {
			return route{kind: routeSignalled}
		}
		if to.IsZero() {
			return f.tonesRoute(c)
		}
		kind := stamp.ForeignEvent
		if c.ClockRate == send.ClockRate {
			kind = stamp.Event
		}
		return route{kind: routeEvent, pt: to.PT, stamp: kind, relay: &eventRoute{dtmf.NewRelay(c.ClockRate, to.ClockRate), c, to}}
	case classNoise:
		// It replaces audio of its own clock rate, and only for a peer that has agreed to it (RFC 3389 §5).
		cn := f.dst.set.SendCN
		if !cn.IsZero() && cn.ClockRate == c.ClockRate && c.ClockRate == send.ClockRate {
			return route{kind: routeNoise, pt: cn.PT, noise: true}
		}
		return f.noiseRoute(c)
	}
	listen := f.src.listens() && transcode.Supported(c) && transcode.Supported(send)
	if !listen && !f.dst.set.shortens(c) && (f.throughBothWays(c) || !transcode.Supported(c)) {
		if c.SameFormat(send) {
			return route{kind: routeRelay, pt: send.PT}
		}
		if pack := newRepacker(c, send); pack != nil {
			return route{kind: routeRepack, pt: send.PT, pack: pack}
		}
	}
	if transcode.Supported(c) && transcode.Supported(send) {
		return route{kind: routeTranscode, via: f.config(c)}
	}
	return route{}
}

// tonesRoute plays the events c of the source in the audio that they belong to, if we can make that.
func (f *Flow) tonesRoute(c codec.Codec) route {
	for _, g := range f.src.in.formats {
		if g.class != classAudio || !transcode.Supported(g.codec) || !transcode.Supported(f.dst.set.Send) {
			continue
		}
		if cfg := f.config(g.codec); cfg.SrcDTMF != nil && cfg.SrcDTMF.PT == c.PT {
			return route{kind: routeTones, via: cfg}
		}
	}
	return route{}
}

// leaving lets what is on its way be heard before the partner gets settings under which it cannot be: hold, another codec or packet length.
func (f *Flow) leaving(s *Settings) {
	if t := f.active; t != nil && (s.Mode != SendOnly && s.Mode != SendRecv || s.Send != t.cfg.Dst || s.framing() != t.cfg.Ptime) {
		f.endTranscoder(true)
		f.switched = 0
	}
}

// framing is the length of coded packets to a peer, 0 for the usual one.
func (s *Settings) framing() time.Duration {
	if s.Ptime == 0 {
		return 0
	}
	return transcode.Ptime(s.Send, s.Ptime)
}

// usualPtime is how long packets are that nobody has asked to be otherwise (RFC 3551 §4.2, RFC 7874 §3).
const usualPtime = 20 * time.Millisecond

// shortens reports whether packets of c would be too long for the peer, and can be made short enough.
func (s *Settings) shortens(c codec.Codec) bool {
	return s.MaxPtime != 0 && s.MaxPtime < usualPtime && transcode.Supported(c) && transcode.Supported(s.Send) && s.framing() <= s.MaxPtime
}

// config is that of the transcoder for source codec c.
func (f *Flow) config(c codec.Codec) audio.Config {
	cfg := audio.Config{Src: c, Dst: f.dst.set.Send, Ptime: f.dst.set.framing(), DTX: f.dst.set.DTX, MaxBitrate: f.dst.set.MaxBitrate}
	cfg.Bitrate = f.src.w.cfg.Bitrates.of(cfg.Dst, cfg.EncoderRate())
	for i := range f.src.in.formats {
		g := &f.src.in.formats[i]
		switch g.class {
		case classEvent:
			// Several rates may be negotiated; the one of the audio clock is the one that belongs to it (RFC 4733 §2.1).
			if cfg.SrcDTMF == nil || g.codec.ClockRate == c.ClockRate {
				cc := g.codec
				cfg.SrcDTMF = &cc
			}
		case classNoise:
			if g.codec.ClockRate == c.ClockRate { // it replaces audio of its own clock (RFC 3389 §5)
				cc := g.codec
				cfg.SrcCN = &cc
			}
		}
	}
	if cn := f.dst.set.SendCN; cfg.DTX && !cn.IsZero() && cn.ClockRate == cfg.Dst.ClockRate && !cfg.Dst.IsAMR() && !cfg.Dst.Is(codec.Opus) { // those have pauses of their own
		cfg.DstCN = &cn
	}
	if cfg.Tones, cfg.Silent = f.src.listens(), f.dst.set.DropDigits; cfg.Tones {
		cfg.SrcDTMF = nil // beside events tones would be what a gateway lets through
	}
	if ev := f.dst.set.SendDTMF; !ev.IsZero() && (cfg.SrcDTMF != nil || cfg.Tones) {
		cfg.DstDTMF = &ev
	}
	return cfg
}

// pass forwards an admitted packet of the source's i-th format and returns what leaves now; transcoded audio leaves by Tick instead.
func (f *Flow) pass(now int64, p rtp.Packet, i uint8) []byte {
	r := &f.routes[i]
	if f.replaced {
		return f.displaced(now, p, r)
	}
	if no := f.dst.refusal(); no != gate.Pass {
		if no == gate.NoRemote && f.dst.out.secure && r.kind == routeTranscode {
			// Only the peer's keys are missing yet: the pipeline fills meanwhile, so that its delay is over when they come.
			f.transcode(now, p, r)
		}
		f.dst.out.stamp.Switch() // what nobody was to hear leaves no gap in the numbers
		return f.src.drop(no)
	}
	switch r.kind {
	case routeRelay, routeRepack:
		if a := f.active; a != nil && a.cfg.Src.PT == p.PT() && (a.hushed || f.beeped != 0 && now-f.beeped < linger) {
			f.push(now, p)
			return nil
		}
		if !f.relayed && !f.turn(now, p.PT()) {
			return f.src.drop(gate.PayloadType)
		}
		if r.kind == routeRepack {
			if p = r.pack.repack(p); p == nil {
				return f.src.drop(gate.Malformed)
			}
		}
		p.SetPT(r.pt)
		return f.stamped(now, p, stamp.Audio)
	case routeTranscode:
		return f.transcode(now, p, r)
	case routeEvent:
		return f.event(now, p, r)
	case routeTones:
		return f.tones(now, p, r)
	case routeNoise:
		return f.noise(now, p, r)
	case routeSignalled:
		if f.active == nil {
			f.dst.out.stamp.Switch() // what is left out must not look like a loss
		}
		return nil
	}
	return f.src.drop(gate.PayloadType)
}

// displaced takes what comes while a signal is played in the flow's place: the transcoder listens on, so that it is in step when the signal
// is over.
func (f *Flow) displaced(now int64, p rtp.Packet, r *route) []byte {
	if r.kind == routeTranscode {
		return f.transcode(now, p, r)
	}
	if a := f.active; a != nil && (r.kind == routeNoise || a.hushed && a.cfg.Src.PT == p.PT()) {
		f.push(now, p)
		return nil
	}
	return f.src.drop(gate.Displaced)
}

func (f *Flow) stamped(now int64, p rtp.Packet, k stamp.Kind) []byte {
	if f.dst.out.stamp.Apply(now, p, k) != stamp.Pass {
		return f.src.drop(gate.Duplicate)
	}
	return f.dst.seal(p)
}

// turn lets the source change from transcoding to relaying of payload type pt, not too often.
func (f *Flow) turn(now int64, pt uint8) bool {
	if f.active != nil {
		if f.switched != 0 && now-f.switched < dwell {
			return false
		}
		f.endTranscoder(false) // the source goes on
	}
	f.relayed, f.resting, f.spoke, f.switched = true, false, pt, now
	return true
}

// event forwards a telephone event: by the transcoder when that speaks for the source and knows events on both sides, else packet by packet.
func (f *Flow) event(now int64, p rtp.Packet, r *route) []byte {
	f.revive(now, p.PT())
	if a := f.active; a != nil && a.cfg.DstDTMF != nil && a.cfg.SrcDTMF != nil && a.cfg.SrcDTMF.PT == p.PT() {
		f.push(now, p)
		return nil
	}
	out, v := r.relay.Push(now, dtmf.Packet{SSRC: p.SSRC(), TS: p.TS(), Marker: p.Marker(), Payload: p.Payload()})
	if v != dtmf.Accepted {
		return f.src.drop(gate.Malformed)
	}
	p.SetTS(out.TS)
	p.SetMarker(out.Marker)
	p.SetPT(r.pt)
	return f.stamped(now, p, r.stamp)
}

// figures of the flow's transcoders, past and present.
func (f *Flow) figures() transcoded {
	g := f.gone
	if f.active != nil {
		g.add(f.active.dir.Stats())
	}
	return g
}

func (g *transcoded) add(s audio.Stats) {
	g.merge(transcoded{concealed: s.Concealed, recovered: s.Recovered, late: s.Jitter.Late})
}

func (g *transcoded) merge(o transcoded) {
	g.concealed += o.concealed
	g.recovered += o.recovered
	g.late += o.late
}

// end releases the flow's transcoder and returns the flow's figures; the flow is not used any more.
func (f *Flow) end() transcoded {
	if f.active != nil {
		f.endTranscoder(true)
	}
	f.src.setTimed(false)
	f.src.weigh(costUnknown)
	return f.gone
}

// tones hands a telephone event to the transcoder, which plays it.
func (f *Flow) tones(now int64, p rtp.Packet, r *route) []byte {
	if f.active == nil {
		if !f.newTranscoder(r) { // one in linger at most
			return f.src.drop(gate.PayloadType)
		}
		f.relayed, f.switched = false, now
	}
	if ev := f.active.cfg.SrcDTMF; ev == nil || ev.PT != p.PT() || f.active.cfg.DstDTMF != nil {
		return f.src.drop(gate.PayloadType)
	}
	f.beeped = now
	f.push(now, p)
	return nil
}
