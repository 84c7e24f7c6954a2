package connmodel

import (
	"fmt"
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// add creates a termination (H.248.1 §7.2.1; TS 23.334 §8.2, §8.3).
func (r *run) add(cmd *iqv1.Add, reply *iqv1.CommandReply) *Error {
	switch ref := cmd.GetTermination().GetRef().(type) {
	case *iqv1.TerminationRef_Choose:
	case nil:
		return Errorf(gwerr.SyntaxErrorInActionID, "Add: termination reference is unset")
	default:
		return Errorf(gwerr.SyntaxErrorInActionID, "Add: termination must be CHOOSE, not %s", refName(ref))
	}
	if len(r.terms) >= maxTerminations {
		return Errorf(gwerr.TooManyTerminations, "Add: context has %d terminations already", len(r.terms))
	}
	t, err := newTermination(cmd.GetDescriptor_(), r.env)
	if err != nil {
		return err.at("Add")
	}
	r.added++ // not taken back on failure: ids are not used twice
	t.ID = gwid.TerminationID(fmt.Sprintf("ip/%s/%d.%d", t.Realm, r.Number, r.added))
	next := append(slices.Clone(r.terms), t)
	r.instantiateTopology(t.ID)
	if err := r.become(next); err != nil {
		return err.at("Add")
	}
	r.fresh = append(r.fresh, t.ID)
	done := find(r.terms, t.ID)
	reply.TerminationId = string(t.ID)
	reply.InterfaceId = r.env.Realms[t.Realm].InterfaceID
	reply.Resolved = resolvedOfAdd(cmd.GetDescriptor_(), done)
	return nil
}

// modify changes a termination (H.248.1 §7.2.2; TS 23.334 §8.4).
func (r *run) modify(cmd *iqv1.Modify, reply *iqv1.CommandReply) *Error {
	t, err := r.one("Modify", cmd.GetTermination())
	if err != nil {
		return err
	}
	reply.TerminationId = string(t.ID)
	changed, err := modified(*t, cmd.GetDescriptor_(), r.env)
	if err != nil {
		return err.at("Modify %s", t.ID)
	}
	next := slices.Clone(r.terms)
	next[slices.Index(next, t)] = changed
	if err := r.become(next); err != nil {
		return err.at("Modify %s", t.ID)
	}
	reply.Resolved = resolvedOfModify(cmd.GetDescriptor_(), t, find(r.terms, t.ID))
	return nil
}

// subtract removes terminations (H.248.1 §7.2.3; TS 23.334 §8.5). They are closed at the end of the action.
func (r *run) subtract(cmd *iqv1.Subtract, reply *iqv1.CommandReply) *Error {
	var gone []*Termination
	if _, all := cmd.GetTermination().GetRef().(*iqv1.TerminationRef_All); all {
		gone = r.terms
	} else {
		t, err := r.one("Subtract", cmd.GetTermination())
		if err != nil {
			return err
		}
		gone = []*Termination{t}
		reply.TerminationId = string(t.ID)
	}
	if len(gone) == 0 {
		return Errorf(gwerr.NoTerminationMatch, "Subtract: the context has no termination")
	}
	next := slices.DeleteFunc(slices.Clone(r.terms), func(t *Termination) bool { return slices.Contains(gone, t) })
	if err := r.become(next); err != nil {
		return err.at("Subtract")
	}
	r.forgetTopology(gone)
	for _, t := range gone {
		cl := &closing{term: t}
		if !cmd.GetOmitStatistics() {
			cl.reply = reply
		}
		r.closes = append(r.closes, cl)
	}
	return nil
}

// one finds the termination that a reference names.
func (r *run) one(op string, ref *iqv1.TerminationRef) (*Termination, *Error) {
	switch x := ref.GetRef().(type) {
	case nil:
		return nil, Errorf(gwerr.SyntaxErrorInActionID, "%s: termination reference is unset", op)
	case *iqv1.TerminationRef_Id:
		id := gwid.TerminationID(x.Id)
		if t := find(r.terms, id); t != nil {
			return t, nil
		}
		if r.env.Elsewhere != nil && r.env.Elsewhere(id) {
			return nil, Errorf(gwerr.TerminationNotInContext, "%s: termination %q is not in context %s", op, Clip(x.Id), r.ID)
		}
		return nil, Errorf(gwerr.UnknownTermination, "%s: unknown termination %q", op, Clip(x.Id))
	default:
		return nil, Errorf(gwerr.SyntaxErrorInActionID, "%s: termination must be an id, not %s", op, refName(x))
	}
}

// refName names a kind of reference in error texts.
func refName(ref any) string {
	switch ref.(type) {
	case *iqv1.TerminationRef_Root:
		return "root"
	case *iqv1.TerminationRef_Choose:
		return "CHOOSE"
	case *iqv1.TerminationRef_All:
		return "ALL"
	case *iqv1.TerminationRef_Id:
		return "an id"
	}
	return "unset"
}
