package connmodel

import (
	"reflect"
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
	t        *Termination
	settings Settings
	access   *AccessRemote // nil: peer not known
	core     CoreRemote    // zero: peer not known
}

// pair is an access and a core termination that are connected.
type pair struct{ access, core gwid.TerminationID }

// step is one effect and its inverse; undo nil: nothing to undo.
type step struct{ do, undo Effect }

// become makes media follow from what it was told to next, and on success makes next the context's terminations. On
// failure the caller undoes; what was performed is in r.undo.
func (r *run) become(next []*Termination) *Error {
	want := viewOf(r.env, next, r.Attr.Topology)
	if want.err != nil {
		return want.err
	}
	for _, st := range steps(r.now, want) {
		res := r.do(st.do)
		if res.Err != nil {
			return res.Err
		}
		if st.undo != nil {
			r.undo = append(r.undo, st.undo)
		}
		next = keepLocal(next, st.do, res.Local)
	}
	r.terms = next
	r.now = viewOf(r.env, next, r.Attr.Topology)
	return nil
}

// keepLocal stores what media chose into a copy of the termination that the effect was about.
func keepLocal(terms []*Termination, e Effect, local Local) []*Termination {
	var id gwid.TerminationID
	switch x := e.(type) {
	case NewAccess:
		id = x.Term
	case NewCore:
		id = x.Term
	case SetAccessRemote:
		id = x.Term
	case RestartICE:
		id = x.Term
	default:
		return terms
	}
	out := slices.Clone(terms)
	for i, t := range out {
		if t.ID == id {
			changed := *t
			changed.Local = local
			out[i] = &changed
		}
	}
	return out
}

// viewOf derives the view of terminations under a topology.
func viewOf(env Env, terms []*Termination, topology []Triple) view {
	var v view
	partner := map[gwid.TerminationID]gwid.TerminationID{}
	mask := map[gwid.TerminationID]Mode{}
	for i, a := range terms {
		for _, b := range terms[i+1:] {
			ab, ba := hears(topology, a.ID, b.ID, a.Stream.ID)
			if a.Stream.ID != b.Stream.ID || !ab && !ba {
				continue
			}
			if err := pairable(a, b, partner); err != nil {
				v.err = err
				return v
			}
			partner[a.ID], partner[b.ID] = b.ID, a.ID
			mask[a.ID], mask[b.ID] = modeMask(ab, ba), modeMask(ba, ab)
			if ab {
				v.ways = append(v.ways, way{from: a.ID, to: b.ID})
			}
			if ba {
				v.ways = append(v.ways, way{from: b.ID, to: a.ID})
			}
			if a.Kind == KindAccess {
				v.pairs = append(v.pairs, pair{access: a.ID, core: b.ID})
			} else {
				v.pairs = append(v.pairs, pair{access: b.ID, core: a.ID})
			}
		}
	}
	for _, t := range terms {
		m, connected := mask[t.ID]
		if !connected {
			m = ModeSendRecv
		}
		v.terms = append(v.terms, termViewOf(env, t, m))
	}
	return v
}

// modeMask is what a termination may do when its media is heard (out) and when it hears (in).
func modeMask(out, in bool) Mode {
	m := ModeInactive
	if out {
		m |= modeRecv
	}
	if in {
		m |= modeSend
	}
	return m
}

// pairable tells why two terminations cannot be connected: mixing, and media between two of a kind, are not implemented.
func pairable(a, b *Termination, partner map[gwid.TerminationID]gwid.TerminationID) *Error {
	if a.Kind == b.Kind {
		return Errorf(codeTopology, "media between two %s terminations is not implemented; isolate %s and %s", a.Kind, a.ID, b.ID)
	}
	for _, t := range []*Termination{a, b} {
		if p, taken := partner[t.ID]; taken {
			return Errorf(codeTopology, "mixing is not implemented: %s is connected to %s; isolate one", t.ID, p)
		}
	}
	return nil
}

func termViewOf(env Env, t *Termination, mask Mode) termView {
	s := t.Stream
	v := termView{t: t, settings: Settings{
		Mode: s.Mode & mask, Recv: s.Local.Codecs, DSCP: s.DSCP, Policing: s.Policing, RTCPOff: s.RTCP.Off, Senders: s.RTCP.Senders, Receivers: s.RTCP.Receivers,
		XRMetrics: s.RTCP.XRMetrics, XRReference: s.RTCP.XRReference, DTX: s.DTX,
		Ptime:         ptime(s.Remote),
		MaxBitrate:    s.Remote.MaxBps,
		DropDigits:    s.DropDigits,
		InactiveAfter: detection(t.Events, eventMediaInactive, env.InactiveAfter),
		ConsentAfter:  detection(t.Events, eventConsentLost, env.ConsentAfter),
	}}
	v.settings.watch(t.Events)
	for _, spec := range t.Events.Specs {
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
		if t.RemoteUfrag != "" {
			v.access = &AccessRemote{
				Ufrag: t.RemoteUfrag, Pwd: t.RemotePwd, Candidates: t.RemoteCandidates, Controlling: t.Controlling, Mux: s.RTCP.Mux,
				Role: t.Role, Fingerprints: t.RemoteFingerprints, TLSID: t.RemoteTLSID,
			}
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
func detection(ev Events, typ int32, def time.Duration) time.Duration {
	for _, s := range ev.Specs {
		if s.Type == typ && s.Timer > 0 {
			return s.Timer
		}
	}
	if def > 0 {
		return def
	}
	return defaultDetection
}

// steps is the order of effects that leads from one view to another. Closing what has left is not among them.
func steps(from, to view) []step {
	var out []step
	for _, p := range from.pairs {
		if !slices.Contains(to.pairs, p) {
			out = append(out, step{do: Disconnect{Access: p.access, Core: p.core}, undo: Connect{Access: p.access, Core: p.core}})
		}
	}
	for _, n := range to.terms {
		i := slices.IndexFunc(from.terms, func(o termView) bool { return o.t.ID == n.t.ID })
		if i < 0 {
			out = append(out, creation(n, to)...)
			continue
		}
		out = append(out, change(from.terms[i], n)...)
	}
	for _, p := range to.pairs {
		if !slices.Contains(from.pairs, p) {
			out = append(out, step{do: Connect{Access: p.access, Core: p.core}, undo: Disconnect{Access: p.access, Core: p.core}})
		}
	}
	return append(out, plays(from, to)...)
}

// plays is the steps for signals, last as they may be for a termination that is connected with this action. Undone, those before begin anew.
func plays(from, to view) (out []step) {
	for _, n := range to.terms {
		var before Signals
		if i := slices.IndexFunc(from.terms, func(o termView) bool { return o.t.ID == n.t.ID }); i >= 0 {
			before = from.terms[i].t.Signals
		}
		if n.t.Signals.Generation != before.Generation {
			out = append(out, step{do: Play{Term: n.t.ID, Signals: n.t.Signals}, undo: Play{Term: n.t.ID, Signals: before}})
		}
	}
	return out
}

// creation is the steps for a termination that is new. The inverse of them all is closing it.
func creation(n termView, to view) []step {
	id := n.t.ID
	var near gwid.TerminationID
	for _, p := range to.pairs {
		switch id {
		case p.access:
			near = p.core
		case p.core:
			near = p.access
		}
	}
	for _, o := range to.terms {
		if near == "" && o.t.ID != id && o.t.Kind != n.t.Kind {
			near = o.t.ID // not connected yet, may be later
		}
	}
	var open Effect = NewAccess{Term: id, Realm: n.t.Realm, Near: near, Full: n.t.FullICE, Component2: n.t.Component2}
	if n.t.Kind == KindCore {
		open = NewCore{Term: id, Realm: n.t.Realm, Near: near}
	}
	out := []step{{do: open, undo: Close{Term: id}}, {do: Configure{Term: id, Settings: n.settings}}}
	if n.access != nil {
		out = append(out, step{do: SetAccessRemote{Term: id, Remote: *n.access}})
	}
	if !reflect.DeepEqual(n.core, CoreRemote{}) {
		out = append(out, step{do: SetCoreRemote{Term: id, Remote: n.core}})
	}
	return out
}

// change is the steps for a termination that stays.
func change(o, n termView) []step {
	id := n.t.ID
	var out []step
	if !reflect.DeepEqual(o.settings, n.settings) {
		out = append(out, step{do: Configure{Term: id, Settings: n.settings}, undo: Configure{Term: id, Settings: o.settings}})
	}
	if n.t.Restarts != o.t.Restarts {
		out = append(out, step{do: RestartICE{Term: id}})
	}
	if n.access != nil && !reflect.DeepEqual(o.access, n.access) {
		st := step{do: SetAccessRemote{Term: id, Remote: *n.access}}
		if o.access != nil {
			st.undo = SetAccessRemote{Term: id, Remote: *o.access}
		}
		out = append(out, st)
	}
	if !reflect.DeepEqual(o.core, n.core) {
		out = append(out, step{do: SetCoreRemote{Term: id, Remote: n.core}, undo: SetCoreRemote{Term: id, Remote: o.core}})
	}
	return out
}
