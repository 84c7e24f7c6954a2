package connmodel

import (
	"reflect"
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/gwid"
)

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
		next = keep(next, st.do, res)
	}
	r.terms = next
	r.now = viewOf(r.env, next, r.Attr.Topology)
	return nil
}

// keep stores what media chose into a copy of the termination that the effect was about.
func keep(terms []*Termination, e Effect, res Result) []*Termination {
	switch x := e.(type) {
	case NewAccess:
		return replace(terms, x.Term, func(t *Termination) {
			t.Local, t.Stream(x.Stream).Chosen, t.Apart = res.Local, res.Chosen, x.Component2
		})
	case NewStream:
		return replace(terms, x.Term, func(t *Termination) { t.Stream(x.Stream).Chosen = res.Chosen })
	case NewCore:
		return replace(terms, x.Term, func(t *Termination) { t.Stream(x.Stream).Chosen = res.Chosen })
	case SetAccessRemote:
		return replace(terms, x.Term, func(t *Termination) { t.Local = res.Local })
	case RestartICE:
		return replace(terms, x.Term, func(t *Termination) { t.Local = res.Local })
	case GiveUpComponent2:
		return replace(terms, x.Term, func(t *Termination) { t.Local, t.Apart = res.Local, false })
	}
	return terms
}

// replace is the terminations with one of them exchanged for a copy that change has changed.
func replace(terms []*Termination, id gwid.TerminationID, change func(*Termination)) []*Termination {
	out := slices.Clone(terms)
	for i, t := range out {
		if t.ID == id {
			changed := *t
			changed.Streams = slices.Clone(t.Streams)
			change(&changed)
			out[i] = &changed
		}
	}
	return out
}

// steps is the order of effects that leads from one view to another. Closing what has left is not among them.
func steps(from, to view) []step {
	var out []step
	for _, p := range from.pairs {
		if !slices.Contains(to.pairs, p) {
			out = append(out, step{do: Disconnect{p.access, p.core, p.stream}, undo: Connect{p.access, p.core, p.stream}})
		}
	}
	for _, n := range to.terms {
		if o := from.term(n.t.ID); o != nil {
			out = append(out, change(*o, n)...)
		} else {
			out = append(out, creation(n, to)...)
		}
	}
	for _, p := range to.pairs {
		if !slices.Contains(from.pairs, p) {
			out = append(out, step{do: Connect{p.access, p.core, p.stream}, undo: Disconnect{p.access, p.core, p.stream}})
		}
	}
	return append(out, plays(from, to)...)
}

// plays is the steps for signals, last as they may be for a termination that is connected with this action. Undone, those before begin anew.
func plays(from, to view) (out []step) {
	for _, n := range to.terms {
		o := from.term(n.t.ID)
		for _, s := range n.streams {
			var before Signals
			if o != nil && o.stream(s.ID) != nil {
				before = o.stream(s.ID).Signals
			}
			if s.Signals.Generation != before.Generation {
				out = append(out, step{do: Play{n.t.ID, s.ID, s.Signals}, undo: Play{n.t.ID, s.ID, before}})
			}
		}
	}
	return out
}

// creation is the steps for a termination that is new: all of a context are near each other, as any two of them may become connected.
func creation(n termView, to view) []step {
	var near gwid.TerminationID
	if first := to.terms[0].t.ID; first != n.t.ID {
		near = first
	}
	out := opening(n.t, *n.stream(n.t.First), near)
	if n.access != nil {
		out = append(out, step{do: SetAccessRemote{Term: n.t.ID, Remote: *n.access}})
	}
	for _, s := range n.streams {
		if s.ID != n.t.First {
			out = append(out, opening(n.t, s, n.t.ID)...)
		}
	}
	return out
}

// opening is the steps for a stream that is new. The inverse of them all is closing it.
func opening(t *Termination, s streamView, near gwid.TerminationID) []step {
	var open Effect
	switch {
	case t.Kind == KindCore:
		open = NewCore{Term: t.ID, Stream: s.ID, Realm: t.Realm, Near: near}
	case s.ID == t.First:
		open = NewAccess{Term: t.ID, Stream: s.ID, Realm: t.Realm, Near: near, Full: t.FullICE, Component2: t.Component2}
	default:
		open = NewStream{Term: t.ID, Stream: s.ID}
	}
	out := []step{{do: open, undo: Close{t.ID, s.ID}}, {do: Configure{t.ID, s.ID, s.settings}}}
	if !reflect.DeepEqual(s.core, CoreRemote{}) {
		out = append(out, step{do: SetCoreRemote{t.ID, s.ID, s.core}})
	}
	return out
}

// change is the steps for a termination that stays. Its transport comes before streams that are new, which may need what it gives up (component 2).
func change(o, n termView) []step {
	id := n.t.ID
	var out []step
	for _, s := range n.streams {
		if before := o.stream(s.ID); before != nil && !reflect.DeepEqual(before.settings, s.settings) {
			out = append(out, step{do: Configure{id, s.ID, s.settings}, undo: Configure{id, s.ID, before.settings}})
		}
	}
	if n.t.Restarts != o.t.Restarts {
		out = append(out, step{do: RestartICE{Term: id}})
	}
	if was, is := o.told(), n.told(); !reflect.DeepEqual(was, is) && (n.access != nil || was.Mux != is.Mux) {
		st := step{do: SetAccessRemote{Term: id, Remote: is}}
		if o.access != nil || was.Mux != is.Mux {
			st.undo = SetAccessRemote{Term: id, Remote: was}
		}
		out = append(out, st)
	}
	for _, s := range n.streams {
		before := o.stream(s.ID)
		switch {
		case before == nil:
			out = append(out, opening(n.t, s, id)...)
		case !reflect.DeepEqual(before.core, s.core):
			out = append(out, step{do: SetCoreRemote{id, s.ID, s.core}, undo: SetCoreRemote{id, s.ID, before.core}})
		}
	}
	return out
}
