package connmodel

import (
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
)

// view is what media has to know of a context: derived from the values, compared to get the steps.
type view struct {
	terms []termView
	pairs []pair
	ways  []way
	err   *Error // the topology is not supported
}

// termView is one termination as media sees it.
type termView struct {
	t       *Termination
	access  *AccessRemote // nil: peer not known
	streams []streamView  // in order of number
}

// streamView is one stream of it.
type streamView struct {
	*Stream
	settings Settings
	core     CoreRemote // zero: peer not known
}

// pair is a stream of an access and a core termination that is connected.
type pair struct {
	access, core gwid.TerminationID
	stream       gwid.StreamID
}

func (v *view) term(id gwid.TerminationID) *termView {
	i := slices.IndexFunc(v.terms, func(t termView) bool { return t.t.ID == id })
	if i < 0 {
		return nil
	}
	return &v.terms[i]
}

// told is what media is told of the peer of an access termination: as long as that is not known, whether RTCP has a component of its own.
func (t *termView) told() AccessRemote {
	if t.access != nil {
		return *t.access
	}
	return AccessRemote{Mux: !t.t.Component2}
}

func (t *termView) stream(id gwid.StreamID) *streamView {
	i := slices.IndexFunc(t.streams, func(s streamView) bool { return s.ID == id })
	if i < 0 {
		return nil
	}
	return &t.streams[i]
}

// viewOf derives the view of terminations under a topology. Streams with equal numbers are connected (H.248.1 §7.1.6).
func viewOf(env Env, terms []*Termination, topology []Triple) view {
	var v view
	for i, a := range terms {
		for _, b := range terms[i+1:] {
			for _, s := range a.Streams {
				ab, ba := hears(topology, a.ID, b.ID, s.ID)
				if b.Stream(s.ID) == nil || !ab && !ba {
					continue
				}
				if err := v.pairable(a, b, s.ID); err != nil {
					v.err = err.of(s.ID, a, b)
					return v
				}
				v.join(a, b, s.ID, ab, ba)
			}
		}
	}
	for _, t := range terms {
		tv := termView{t: t, access: accessRemote(t)}
		for i := range t.Streams {
			tv.streams = append(tv.streams, streamViewOf(env, t, &t.Streams[i], v.mask(t.ID, t.Streams[i].ID)))
		}
		v.terms = append(v.terms, tv)
	}
	return v
}

// join connects two terminations in a stream: b hears a, a hears b.
func (v *view) join(a, b *Termination, stream gwid.StreamID, ab, ba bool) {
	if ab {
		v.ways = append(v.ways, way{from: a.ID, to: b.ID, stream: stream})
	}
	if ba {
		v.ways = append(v.ways, way{from: b.ID, to: a.ID, stream: stream})
	}
	p := pair{access: a.ID, core: b.ID, stream: stream}
	if a.Kind == KindCore {
		p.access, p.core = p.core, p.access
	}
	v.pairs = append(v.pairs, p)
}

// mask is what a stream may do besides its own mode: receive when it is heard, send when it hears. What is connected to nothing may both.
func (v *view) mask(id gwid.TerminationID, stream gwid.StreamID) Mode {
	m := ModeInactive
	for _, w := range v.ways {
		switch {
		case w.stream != stream:
		case w.from == id:
			m |= modeRecv
		case w.to == id:
			m |= modeSend
		}
	}
	if m == ModeInactive {
		return ModeSendRecv
	}
	return m
}

// pairable tells why two terminations cannot be connected in a stream: mixing, and media between two of a kind, are not implemented.
func (v *view) pairable(a, b *Termination, stream gwid.StreamID) *Error {
	if a.Kind == b.Kind {
		return Errorf(codeTopology, "media between two %s terminations is not implemented; isolate %s and %s", a.Kind, a.ID, b.ID)
	}
	for _, t := range []*Termination{a, b} {
		for _, p := range v.pairs {
			switch {
			case p.stream != stream:
			case p.access == t.ID:
				return mixing(t.ID, p.core)
			case p.core == t.ID:
				return mixing(t.ID, p.access)
			}
		}
	}
	return nil
}

func mixing(id, partner gwid.TerminationID) *Error {
	return Errorf(codeTopology, "mixing is not implemented: %s is connected to %s; isolate one", id, partner)
}

func streamViewOf(env Env, t *Termination, s *Stream, mask Mode) streamView {
	specs := t.Events.of(s.ID, t.First)
	v := streamView{Stream: s, settings: Settings{
		Mode: s.Mode & mask, Recv: s.Local.Codecs, DSCP: s.DSCP, Policing: s.Policing, RTCPOff: s.RTCP.Off, Senders: s.RTCP.Senders, Receivers: s.RTCP.Receivers,
		XRMetrics: s.RTCP.XRMetrics, XRReference: s.RTCP.XRReference, DTX: s.DTX,
		Ptime:         ptime(s.Remote),
		MaxPtime:      time.Duration(s.Remote.MaxMs) * time.Millisecond,
		MaxBitrate:    s.Remote.MaxBps,
		DropDigits:    s.DropDigits,
		InactiveAfter: detection(specs, eventMediaInactive, env.InactiveAfter),
		ConsentAfter:  detection(specs, eventConsentLost, env.ConsentAfter),
	}}
	v.settings.watch(specs)
	for _, spec := range specs {
		v.settings.Armed |= 1 << spec.Type
		if spec.MOS != 0 {
			v.settings.QualityLimit, v.settings.QualityEvery = spec.MOS, spec.Timer
		}
		v.settings.DetectTones = v.settings.DetectTones || spec.Tones
	}
	if s.HasRemote {
		v.settings.Send, v.settings.SendDTMF, v.settings.SendCN = sendFormats(s.Remote.Codecs)
	}
	switch t.Kind {
	case KindAccess:
		v.settings.Source = s.Remote.SSRC
		if v.settings.MIDExt = s.Remote.midExtension(); v.settings.MIDExt != 0 {
			v.settings.MID = s.Mid
		}
	case KindCore:
		if s.HasRemote && s.Remote.Port == 0 && s.Latch == LatchOff {
			v.settings.Mode = ModeInactive // the stream is disabled
		}
		v.core = coreRemote(s)
	}
	return v
}

// sendFormats picks from what the peer accepts: the first that is audio, and the telephone-event and comfort noise of its clock rate.
func sendFormats(remote []codec.Codec) (audio, dtmf, noise codec.Codec) {
	for _, c := range remote {
		if !c.Is(codec.TelephoneEvent) && !c.Is(codec.ComfortNoise) {
			audio = c
			break
		}
	}
	for _, c := range remote {
		if c.Is(codec.TelephoneEvent) && (dtmf.IsZero() || c.ClockRate == audio.ClockRate && dtmf.ClockRate != audio.ClockRate) {
			dtmf = c
		}
		if c.Is(codec.ComfortNoise) && c.ClockRate == audio.ClockRate && noise.IsZero() {
			noise = c
		}
	}
	return audio, dtmf, noise
}

// ptime is the packet duration that the peer asks for, 20 ms when it does not, at most what it takes (RFC 8866 §6.4, §6.5).
func ptime(remote Description) time.Duration {
	ms := remote.PtimeMs
	if ms == 0 {
		ms = 20
	}
	if remote.MaxMs != 0 {
		ms = min(ms, remote.MaxMs)
	}
	return time.Duration(ms) * time.Millisecond
}

// detection is the detection time of an event: armed with one, else the default.
func detection(specs []EventSpec, typ int32, def time.Duration) time.Duration {
	for _, s := range specs {
		if s.Type == typ && s.Timer > 0 {
			return s.Timer
		}
	}
	if def > 0 {
		return def
	}
	return defaultDetection
}
