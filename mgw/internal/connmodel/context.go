package connmodel

import (
	"slices"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Realm is an IP realm that terminations can be placed in (H.248.41).
type Realm struct {
	Kind        Kind
	InterfaceID string // network interface, e.g. "eth0"; may be empty
	Component2  bool   // access: RTCP may have a component of its own
	FullICE     bool   // access: terminations may be full agents, and are when that is left to us
}

// Env is what a command may refer to outside its context. It is read only.
type Env struct {
	Realms map[string]Realm
	// Elsewhere reports whether the termination exists in another context: error 435 instead of 430. Nil: no.
	Elsewhere func(gwid.TerminationID) bool
	// Announcement reports whether there is one of that name. Nil: there is none.
	Announcement func(name string) bool
	// Plan tells how media passes between two formats. Nil: nothing is known of formats, and nothing refused for them.
	Plan Plan
	// InactiveAfter and ConsentAfter are the default detection times; 0: 30 s.
	InactiveAfter, ConsentAfter time.Duration
}

const defaultDetection = 30 * time.Second

// Attributes are the properties of a context (H.248.1 §6.1.1).
type Attributes struct {
	Priority      uint32
	Emergency     bool
	CorrelationID string
	OwnerHint     string
	OrphanTTL     time.Duration // 0: the MGW's default
	Topology      []Triple
}

// Context is an association of terminations (H.248.1 §6.1). It is a value owned by one goroutine at a time.
type Context struct {
	ID       gwid.ContextID
	Number   uint64 // makes termination ids unique on the MGW
	Revision uint64 // 0 before the first action succeeded
	Attr     Attributes
	// Broken is why an effect that undoes another failed: media and values differ since. Nil: they agree. The owner tells
	// (it corresponds to reason 915, state loss) and may reset it.
	Broken *Error

	terms []*Termination // in order of Add; elements are replaced, never mutated
	added uint64         // terminations ever added
}

// New makes an empty context; it exists once an action added a termination to it.
func New(id gwid.ContextID, number uint64) *Context { return &Context{ID: id, Number: number} }

// Empty reports whether the context has no termination: it does not exist, or exists no longer (H.248.1 §6.1).
func (c *Context) Empty() bool { return len(c.terms) == 0 }

// Terminations are the terminations in order of Add. The slice is the caller's, the elements are shared and immutable.
func (c *Context) Terminations() []*Termination { return slices.Clone(c.terms) }

// Termination finds one by id; nil when there is none.
func (c *Context) Termination(id gwid.TerminationID) *Termination { return find(c.terms, id) }

func find(terms []*Termination, id gwid.TerminationID) *Termination {
	for _, t := range terms {
		if t.ID == id {
			return t
		}
	}
	return nil
}

// state is what rollback puts back.
type state struct {
	attr  Attributes
	terms []*Termination
}

func (c *Context) save() state { return state{attr: c.Attr, terms: c.terms} }

func (c *Context) restore(s state) { c.Attr, c.terms = s.attr, s.terms }

// run is one action being applied.
type run struct {
	*Context
	env    Env
	do     Perform
	now    view                 // what media has been told
	undo   []Effect             // inverses of what was performed, in order of performing
	closes []*closing           // kept to the end of the action
	fresh  []gwid.TerminationID // added by this action
	choose []Triple             // triples with "$", instantiated by each Add of this action
	dirty  bool                 // something changed
}

// closing is a termination that leaves the context with this action.
type closing struct {
	term  *Termination
	reply *iqv1.CommandReply // gets the statistics; nil: nobody asked
}

// Apply performs one action on the context: expect_revision, attributes, commands in order, first failure stops unless the
// command is optional, whole rollback when atomic (H.248.1 §8). The context selector is the caller's business. The reply
// is complete but for statistics of other contexts; Empty tells afterwards whether the context has ended.
func (c *Context) Apply(env Env, act *iqv1.Action, do Perform) *iqv1.ActionReply {
	rep := &iqv1.ActionReply{ContextId: string(c.ID), Revision: c.Revision}
	if want := act.GetExpectRevision(); want != 0 && want != c.Revision {
		rep.Error = Errorf(gwerr.RevisionMismatch, "context %s has revision %d, not %d", c.ID, c.Revision, want).Descriptor()
		return rep
	}
	if n := len(act.GetCommands()); n > maxCommands {
		rep.Error = Errorf(gwerr.SyntaxErrorInActionID, "%d commands in an action, at most %d", n, maxCommands).Descriptor()
		return rep
	}
	r := &run{Context: c, env: env, do: do, now: viewOf(env, c.terms, c.Attr.Topology)}
	before := c.save()
	failed := r.attributes(act)
	if failed == nil {
		failed = r.commands(act, rep)
	}
	if failed == nil && act.GetAtomic() {
		if failed = r.passable(); failed != nil && len(rep.Commands) > 0 {
			rep.Commands[len(rep.Commands)-1].Error = failed.Descriptor()
		}
	}
	if failed != nil {
		rep.Error = failed.Descriptor()
		if act.GetAtomic() {
			r.rollBack(before)
			voidReplies(rep.Commands)
		}
	}
	r.finish(act, rep)
	if rep.Error == nil {
		r.tellPaths(act, rep)
	}
	return rep
}

// commands performs the commands of an action in order and returns the failure that stopped them.
func (r *run) commands(act *iqv1.Action, rep *iqv1.ActionReply) *Error {
	for i, cmd := range act.GetCommands() {
		before, mark, closes, fresh := r.save(), len(r.undo), len(r.closes), len(r.fresh)
		reply := &iqv1.CommandReply{}
		rep.Commands = append(rep.Commands, reply)
		err := r.command(cmd, reply)
		if err == nil && !act.GetAtomic() { // several commands that belong together may pass through what cannot stay
			err = r.passable()
		}
		if err == nil {
			r.dirty = true
			continue
		}
		r.undoTo(mark)
		r.putBack(before)
		r.closes, r.fresh = r.closes[:closes], r.fresh[:fresh]
		reply.Resolved, reply.InterfaceId, reply.Statistics = nil, "", nil
		reply.Error = err.Descriptor()
		if !cmd.GetOptional() {
			return err.at("command %d", i+1)
		}
	}
	return nil
}

func (r *run) command(cmd *iqv1.Command, reply *iqv1.CommandReply) *Error {
	switch x := cmd.GetCmd().(type) {
	case *iqv1.Command_Add:
		return r.add(x.Add, reply)
	case *iqv1.Command_Modify:
		return r.modify(x.Modify, reply)
	case *iqv1.Command_Subtract:
		return r.subtract(x.Subtract, reply)
	case *iqv1.Command_Move:
		return Errorf(gwerr.NotImplemented, "Move")
	}
	return Errorf(gwerr.UnsupportedCommand, "command not given")
}

// finish closes what left the context and what terminations gave up, counts the revision and completes the reply.
func (r *run) finish(act *iqv1.Action, rep *iqv1.ActionReply) {
	for _, t := range r.terms {
		if t.Apart && !t.Component2 {
			e := GiveUpComponent2{t.ID}
			if res := r.do(e); res.Err == nil {
				r.terms = keep(r.terms, e, res)
			}
		}
	}
	for _, cl := range r.closes {
		stats := r.close(cl.term)
		if cl.reply != nil {
			cl.reply.Statistics = append(cl.reply.Statistics, stats...)
		}
	}
	if r.dirty {
		r.Revision++
	}
	rep.Revision = r.Revision
	if r.Revision == 0 {
		rep.ContextId = "" // creation failed
	}
	if act.GetAuditAttributes() && r.Revision != 0 {
		rep.Attributes = r.AttributesMessage()
	}
}

// close ends the streams of a termination, the first one last, and returns their statistics in order of number.
func (r *run) close(t *Termination) []*iqv1.Statistics {
	stats := make([]*iqv1.Statistics, len(t.Streams))
	first, _ := t.place(t.First)
	for i, s := range t.Streams {
		if i != first {
			stats[i] = r.do(Close{t.ID, s.ID}).Statistics
		}
	}
	stats[first] = r.do(Close{t.ID, t.First}).Statistics
	return slices.DeleteFunc(stats, func(s *iqv1.Statistics) bool { return s == nil })
}

// rollBack puts everything back that the action did.
func (r *run) rollBack(before state) {
	r.undoTo(0)
	r.putBack(before)
	r.closes, r.fresh, r.dirty = nil, nil, false
}

// putBack makes the values those from before; media has been put back already.
func (r *run) putBack(s state) {
	r.restore(s)
	r.now = viewOf(r.env, r.terms, r.Attr.Topology)
}

// undoTo performs the inverses beyond mark in reverse order.
func (r *run) undoTo(mark int) {
	for i := len(r.undo) - 1; i >= mark; i-- {
		if res := r.do(r.undo[i]); res.Err != nil && r.Broken == nil {
			r.Broken = res.Err
		}
	}
	r.undo = r.undo[:mark]
}

// voidReplies takes back what was told of commands that were rolled back; the place of the failed one is kept.
func voidReplies(replies []*iqv1.CommandReply) {
	for _, rep := range replies {
		rep.TerminationId, rep.Resolved, rep.InterfaceId, rep.Statistics = "", nil, "", nil
	}
}

// attributes sets the context's attributes; a present message replaces them whole.
func (r *run) attributes(act *iqv1.Action) *Error {
	if act.GetAttributes() == nil {
		return nil
	}
	attr, err := r.parseAttributes(act.GetAttributes())
	if err != nil {
		return err.at("attributes")
	}
	before, mark := r.save(), len(r.undo)
	r.Attr = attr
	err = r.become(slices.Clone(r.terms))
	if err == nil && !act.GetAtomic() {
		err = r.passable()
	}
	if err != nil {
		r.undoTo(mark)
		r.putBack(before)
		return err.at("attributes")
	}
	r.dirty = r.dirty || len(r.terms) > 0
	return nil
}
