package connmodel

import (
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Plan tells how audio of one format leaves as another. The error says why it cannot, naming both.
type Plan func(from, to codec.Codec) (*iqv1.MediaPath, error)

// way is one direction between two terminations that are connected in a stream: to hears from.
type way struct {
	from, to gwid.TerminationID
	stream   gwid.StreamID
}

// path is how media of a termination's peer leaves along w: with the first format that it may send and that can be had. nil: not known yet.
func (v *view) path(plan Plan, w way) (*iqv1.MediaPath, *Error) {
	from, to := v.term(w.from).stream(w.stream), v.term(w.to).stream(w.stream)
	if plan == nil || to.settings.Send.IsZero() {
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
	err := Errorf(gwerr.UnsupportedValue, "nothing that %s may send can leave to %s: %s", w.from, w.to, why)
	return nil, err.of(w.stream, v.term(w.from).t, v.term(w.to).t)
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
		t := r.now.term(gwid.TerminationID(reply.GetTerminationId()))
		if reply.GetError() != nil || cmd.GetAdd() == nil && cmd.GetModify() == nil || t == nil {
			continue
		}
		for _, s := range t.streams {
			for _, w := range r.now.ways {
				if w.from != t.t.ID || w.stream != s.ID {
					continue
				}
				p, _ := r.now.path(r.env.Plan, w)
				if p == nil {
					continue
				}
				if len(t.streams) > 1 {
					p.StreamId = uint32(s.ID)
					reply.Paths = append(reply.Paths, p)
				}
				if reply.Path == nil {
					reply.Path = p
				}
			}
		}
	}
}
