package connmodel

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Plan tells how audio of one format leaves as another. The error says why it cannot, naming both.
type Plan func(from, to codec.Codec) (*iqv1.MediaPath, error)

// way is one direction between two terminations that are connected: to hears from.
type way struct{ from, to gwid.TerminationID }

// path is how media of a termination's peer leaves along w: with the first format that it may send and that can be had. nil: not known yet.
func (v *view) path(plan Plan, w way) (*iqv1.MediaPath, *Error) {
	from, to := v.term(w.from), v.term(w.to)
	if plan == nil || from == nil || to == nil || to.settings.Send.IsZero() {
		return nil, nil
	}
	var why error
	for _, c := range from.settings.Recv {
		if c.Is(codec.TelephoneEvent) || c.Is(codec.ComfortNoise) {
			continue
		}
		p, err := plan(c, to.settings.Send)
		if err == nil {
			return p, nil
		}
		if why == nil {
			why = err
		}
	}
	if why == nil {
		return nil, nil // it sends no audio at all
	}
	return nil, Errorf(gwerr.UnsupportedValue, "nothing that %s may send can leave to %s: %s", w.from, w.to, why)
}

func (v *view) term(id gwid.TerminationID) *termView {
	i := slices.IndexFunc(v.terms, func(t termView) bool { return t.t.ID == id })
	if i < 0 {
		return nil
	}
	return &v.terms[i]
}

// passable refuses a context of which one termination hears another and could get nothing that this may send.
func (r *run) passable() *Error {
	for _, w := range r.now.ways {
		if _, err := r.now.path(r.env.Plan, w); err != nil {
			return err
		}
	}
	return nil
}

// tellPaths completes the replies to Add and Modify.
func (r *run) tellPaths(act *iqv1.Action, rep *iqv1.ActionReply) {
	for i, reply := range rep.GetCommands() {
		cmd := act.GetCommands()[i]
		if reply.GetError() != nil || cmd.GetAdd() == nil && cmd.GetModify() == nil {
			continue
		}
		for _, w := range r.now.ways {
			if string(w.from) == reply.GetTerminationId() {
				reply.Path, _ = r.now.path(r.env.Plan, w)
			}
		}
	}
}
