package callcore

import (
	"errors"
	"fmt"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// mgwWorld is the MGW as the call sees it.
type mgwWorld struct {
	peertest.Gateway
	out      *Transact // the transaction that waits for its reply
	since    time.Time // when it left
	last     string    // id of the one before
	up       bool      // the context exists
	subtract int
	dead     bool                           // nothing can be subtracted
	state    [2]*iqv1.TerminationDescriptor // as it was told last, by leg
	sounding
}

func (w *world) takeTransact(e Transact) error {
	w.note("    -> mgw: %s %s", kinds(e.Req), e.Req.GetTransactionId())
	g := &w.mgw
	a := e.Req.GetActions()[0]
	if g.out != nil {
		return errors.New("two transactions are out")
	}
	if e.Req.GetTransactionId() == g.last || e.Pick == g.up {
		return fmt.Errorf("transaction %s, pick %v, context up %v", e.Req.GetTransactionId(), e.Pick, g.up)
	}
	g.out, g.last, g.since = &e, e.Req.GetTransactionId(), w.now
	if err := w.gated(a); err != nil {
		return err
	}
	for _, c := range a.GetCommands() {
		if c.GetAdd() == nil && (!g.up || a.GetContext().GetId() != "cx1") {
			return fmt.Errorf("%s for context %q", kinds(e.Req), a.GetContext().GetId())
		}
		if c.GetSubtract() != nil {
			g.subtract++
		} else if g.subtract > 0 {
			return errors.New("a command after Subtract")
		}
	}
	return nil
}

// execute performs the transaction that is out and makes its reply.
func (w *world) execute() (IqReply, error) {
	g := &w.mgw
	req := g.out.Req
	reply := &iqv1.ActionReply{ContextId: "cx1", Revision: 1}
	for i, c := range req.GetActions()[0].GetCommands() {
		r := &iqv1.CommandReply{TerminationId: fmt.Sprintf("ip/%d", i)}
		switch {
		case c.GetAdd() != nil:
			g.up, g.state[i] = true, c.GetAdd().GetDescriptor_()
			if err := w.hearsOrders(Leg(i), g.state[i]); err != nil {
				return IqReply{}, err
			}
			r.Resolved = g.Add(i == 1)
			further(&g.Gateway, c, i, r)
		case c.GetModify() != nil:
			l := int(c.GetModify().GetTermination().GetId()[3] - '0')
			d := c.GetModify().GetDescriptor_()
			if err := w.hearsOrders(Leg(l), d); err != nil {
				return IqReply{}, err
			}
			r.TerminationId = fmt.Sprintf("ip/%d", l)
			if len(d.GetStreams()) == 0 {
				break // signals
			}
			if d.GetStreams()[0].GetStreamId() > 1 { // new ones
				further(&g.Gateway, c, i, r)
				break
			}
			g.state[l] = d
			if l == 0 {
				r.Resolved = &iqv1.TerminationDescriptor{}
				if d.GetTransport().GetLocalIce() == nil {
					r.Resolved.Transport = g.Restart()
				} else if d.GetTransport().GetLocalIce().GetUfrag() != g.ICE.Ufrag {
					return IqReply{}, errors.New("Modify with credentials that the gateway has not chosen")
				}
			}
		case c.GetSubtract() != nil:
			g.up = false
			r.Statistics = []*iqv1.Statistics{{TerminationId: "ip/0"}}
		}
		reply.Commands = append(reply.Commands, r)
	}
	out := IqReply{ID: req.GetTransactionId(), MGW: "g1", BootID: "b1",
		Reply: &iqv1.TransactionReply{TransactionId: req.GetTransactionId(), BootId: "b1", Actions: []*iqv1.ActionReply{reply}}}
	g.out = nil
	return out, nil
}

// refuse is a transaction that is not performed.
func (w *world) refuse() IqReply {
	g := &w.mgw
	id := g.out.Req.GetTransactionId()
	w.refusesDigits(g.out.Req)
	if g.out.Req.GetActions()[0].GetCommands()[0].GetSubtract() != nil {
		g.dead = true // left to the clean-up of hanging terminations
	}
	g.out = nil
	code := peertest.Pick[uint32](w.r, 0, 510, 515, 433)
	switch w.r.IntN(3) {
	case 0:
		return IqReply{ID: id, Err: &IqError{Code: code}}
	case 1:
		return IqReply{ID: id, Reply: &iqv1.TransactionReply{TransactionId: id, Error: &iqv1.ErrorDescriptor{Code: 500}}}
	}
	return IqReply{ID: id, Reply: &iqv1.TransactionReply{TransactionId: id, Actions: []*iqv1.ActionReply{{Error: &iqv1.ErrorDescriptor{Code: 510}}}}}
}

// checkEnd: each context is subtracted exactly once, or its node is dead.
func (g *mgwWorld) checkEnd() error {
	if g.subtract > 1 || g.up && !g.dead {
		return fmt.Errorf("context up %v, %d Subtracts", g.up, g.subtract)
	}
	return nil
}
