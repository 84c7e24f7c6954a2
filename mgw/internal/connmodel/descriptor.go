package connmodel

import (
	"cmp"
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// newTermination makes the value that an Add describes, without id and Local.
func newTermination(d *iqv1.TerminationDescriptor, env Env) (*Termination, *Error) {
	t := Termination{Realm: d.GetRealm()}
	switch d.GetKind() {
	case iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS:
		t.Kind = KindAccess
	case iqv1.TerminationDescriptor_KIND_RTP_CORE:
		t.Kind = KindCore
	case iqv1.TerminationDescriptor_KIND_UNSPECIFIED:
		return nil, Errorf(gwerr.SyntaxErrorInActionID, "kind is not given")
	default:
		return nil, Errorf(gwerr.UnsupportedValue, "kind %d", d.GetKind())
	}
	realm, ok := env.Realms[t.Realm]
	switch {
	case !ok:
		return nil, Errorf(gwerr.UnsupportedValue, "unknown realm %q", Clip(t.Realm))
	case realm.Kind != t.Kind:
		return nil, Errorf(gwerr.UnsupportedValue, "realm %q is for %s, not for %s", t.Realm, realm.Kind, t.Kind)
	case len(d.GetStreams()) == 0:
		return nil, Errorf(gwerr.MissingRemoteOrLocal, "no stream given")
	}
	if t.Kind == KindAccess {
		full, err := iceMode(d.GetTransport(), realm)
		if err != nil {
			return nil, err.at("transport")
		}
		t.FullICE, t.Component2 = full, realm.Component2
	}
	t.First = streamID(slices.MinFunc(d.GetStreams(), func(a, b *iqv1.Stream) int { return cmp.Compare(streamID(a), streamID(b)) }))
	if err := t.apply(d, env); err != nil {
		return nil, err
	}
	return &t, nil
}

// modified is t with the parts that d has.
func modified(t Termination, d *iqv1.TerminationDescriptor, env Env) (*Termination, *Error) {
	if d == nil {
		return nil, Errorf(gwerr.SyntaxErrorInActionID, "no descriptor")
	}
	if k := d.GetKind(); k != iqv1.TerminationDescriptor_KIND_UNSPECIFIED && k != t.Kind.message() {
		return nil, Errorf(gwerr.UnsupportedValue, "kind is fixed at Add")
	}
	if d.GetRealm() != "" && d.GetRealm() != t.Realm {
		return nil, Errorf(gwerr.UnsupportedValue, "realm is fixed at Add: %q, not %q", t.Realm, Clip(d.GetRealm()))
	}
	if m := d.GetTransport().GetIceMode(); m == iqv1.TransportGroup_ICE_MODE_FULL && !t.FullICE || m == iqv1.TransportGroup_ICE_MODE_LITE && t.FullICE {
		return nil, Errorf(gwerr.UnsupportedValue, "ice_mode is fixed at Add")
	}
	if ice := d.GetTransport().GetLocalIce(); ice != nil && ice.GetUfrag() == "" && t.Kind == KindAccess {
		t.Restarts++
	}
	t.Streams = slices.Clone(t.Streams)
	if err := t.apply(d, env); err != nil {
		return nil, err
	}
	return &t, nil
}

// apply puts the present parts of d into t (field-mask semantics by presence), whose streams are nobody else's.
func (t *Termination) apply(d *iqv1.TerminationDescriptor, env Env) *Error {
	if err := t.applyStreams(d.GetStreams()); err != nil {
		return err
	}
	if d.GetTransport() != nil {
		if t.Kind != KindAccess {
			return Errorf(gwerr.UnsupportedProperty, "transport on a %s termination", t.Kind)
		}
		if err := t.applyTransport(d.GetTransport()); err != nil {
			return err.at("transport")
		}
	}
	if d.GetEvents() != nil {
		ev, err := parseEvents(d.GetEvents(), t)
		if err != nil {
			return err.at("events")
		}
		t.Events = ev
	}
	if d.GetSignals() != nil {
		if err := t.applySignals(d.GetSignals(), env); err != nil {
			return err.at("signals")
		}
	}
	return nil
}

// message is the kind on Iq.
func (k Kind) message() iqv1.TerminationDescriptor_Kind {
	if k == KindAccess {
		return iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS
	}
	return iqv1.TerminationDescriptor_KIND_RTP_CORE
}
