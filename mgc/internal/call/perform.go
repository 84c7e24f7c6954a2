package call

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
)

// transactTimeout bounds one Iq transaction with its repetitions.
const transactTimeout = 5 * time.Second

// perform carries out one effect. Failures come back to the core as events.
func (o *owner) perform(e callcore.Effect) {
	switch e := e.(type) {
	case callcore.SendRequest:
		o.sendRequest(e)
	case callcore.SendCancel:
		o.sendCancel(e)
	case callcore.SendResponse:
		o.sendResponse(e)
	case callcore.Transact:
		o.transact(e)
	case callcore.StartTimer:
		o.startTimer(e.Name, e.At)
	case callcore.StopTimer:
		o.stopTimer(e.Name)
	case callcore.Played:
		o.m.played(e)
	case callcore.DigitLost:
		o.digitLost(e.Leg)
	case callcore.Ended:
		o.finish(e)
	}
}

// digitLost counts a digit that found no place, and logs the first one of the call.
func (o *owner) digitLost(leg callcore.Leg) {
	o.m.deps.Metrics.digits.WithLabelValues(leg.String()).Inc()
	if !o.muted {
		o.muted = true
		o.log.Warn("digits are lost: too many wait for the peer's answers to INFO", zap.Stringer("leg", leg))
	}
}

// flow returns the connection for a leg; false when the browser has none now. A registration that has ended leaves its connection
// for a moment: the BYE that this causes goes there.
func (o *owner) flow(leg callcore.Leg) (string, bool) {
	if leg == callcore.LegCore {
		return "", true
	}
	if flow, anonymous := strings.CutPrefix(o.binding, anonymousPrefix); anonymous {
		return flow, true
	}
	b, ok := o.m.deps.Bindings.ByID(o.binding)
	if !ok {
		last := o.lastFlow.Load()
		return *last, *last != ""
	}
	o.lastFlow.Store(&b.FlowID)
	return b.FlowID, b.FlowID != ""
}

func (o *owner) sendRequest(e callcore.SendRequest) {
	flow, ok := o.flow(e.Leg)
	if e.Tx == "" {
		if !ok {
			return // the ACK is lost with its flow; the peer repeats its 2xx
		}
		if err := o.m.deps.Signalling.Send(e.Leg, flow, e.Msg); err != nil {
			o.log.Debug("ack not sent", zap.Stringer("leg", e.Leg), zap.Error(err))
		}
		return
	}
	if !ok {
		o.post(callcore.TxFailed{Leg: e.Leg, Tx: e.Tx})
		return
	}
	tx, err := o.m.deps.Signalling.Request(e.Leg, flow, e.Msg, func(out Outcome) { o.outcome(e.Leg, e.Tx, out) })
	if err != nil {
		o.log.Info("request not sent", zap.Stringer("leg", e.Leg), zap.String("method", e.Msg.Method), zap.Error(err))
		o.post(callcore.TxFailed{Leg: e.Leg, Tx: e.Tx})
		return
	}
	if e.Msg.Method == "INVITE" {
		o.client[e.Tx] = tx
	}
}

func (o *owner) outcome(leg callcore.Leg, tx string, out Outcome) {
	if out.Msg.Status == 0 {
		o.post(callcore.TxFailed{Leg: leg, Tx: tx, Timeout: out.Timeout})
		return
	}
	o.post(callcore.ResponseIn{Leg: leg, Tx: tx, Msg: out.Msg, Retransmission: out.Retransmission})
}

func (o *owner) sendCancel(e callcore.SendCancel) {
	tx := o.client[e.Tx]
	if tx == nil {
		// The INVITE was sent by an instance that is gone; its transaction cannot be cancelled from here. The no-answer guard and
		// the BYE to a late 2xx end it.
		return
	}
	var extra []headers.Field
	if e.Reason != "" {
		extra = []headers.Field{{Name: "Reason", Value: e.Reason}}
	}
	if err := tx.Cancel(extra); err != nil {
		o.log.Debug("cancel not sent", zap.Error(err))
	}
}

func (o *owner) sendResponse(e callcore.SendResponse) {
	o.txMu.Lock()
	s, ok := o.server[e.Tx]
	switch {
	case isInvite2xx(&e.Msg):
		if before := o.accepted[e.Leg]; before != e.Tx { // its ACK is long due
			delete(o.server, before)
			o.accepted[e.Leg] = e.Tx
		}
	case e.Msg.Status >= 200:
		delete(o.server, e.Tx)
	}
	o.txMu.Unlock()
	if !ok {
		return // its transaction died with the instance that received it
	}
	if e.Msg.Status >= 200 {
		o.m.answered(e.Tx)
	}
	if err := s.tx.Respond(e.Msg); err != nil {
		o.log.Debug("response not sent", zap.Stringer("leg", e.Leg), zap.Int("status", e.Msg.Status), zap.Error(err))
	}
}

// isInvite2xx reports whether m may have to be repeated until the ACK.
func isInvite2xx(m *headers.Msg) bool {
	return m.Status >= 200 && m.Status < 300 && m.Method == "INVITE"
}

// transact makes the intent durable and then performs it beside the owner; the reply comes back as an event.
func (o *owner) transact(e callcore.Transact) {
	id, node := e.Req.GetTransactionId(), Node{MGW: e.MGW, Boot: e.Boot}
	if e.Pick {
		if node = o.node(); node.MGW == "" {
			o.log.Warn("no media gateway", zap.Error(o.unpicked))
			o.post(callcore.IqReply{ID: id, Err: iqError(o.unpicked)})
			return
		}
	}
	ctx, cancel := context.WithTimeout(o.m.ctx, transactTimeout)
	if !o.durable(ctx, e) {
		cancel()
		return
	}
	o.calls.Add(1)
	go func() {
		defer o.calls.Done()
		defer cancel()
		reply, err := o.m.deps.Gateways.Transact(ctx, node, e.Req)
		ev := callcore.IqReply{ID: id, Reply: reply}
		if err != nil {
			ev.Reply, ev.Err = nil, iqError(err)
			o.log.Warn("media gateway transaction failed", zap.String("mgw", node.MGW), zap.Error(err))
		}
		if e.Pick {
			ev.MGW, ev.BootID = node.MGW, node.Boot
		}
		o.post(ev)
	}()
}

// durable waits until the intent is in the store; false: it must not be performed. A call that runs goes on without the store, a
// new one must not begin, and one that another instance has claimed is left alone.
func (o *owner) durable(ctx context.Context, e callcore.Transact) bool {
	if o.m.cfg.Alone {
		return true
	}
	err := o.journal.Sync(ctx)
	if err == nil {
		return true
	}
	if errors.Is(err, store.ErrConflict) {
		o.lost = true
		return false
	}
	o.m.deps.Metrics.storeErr.Inc()
	if e.Pick {
		o.log.Warn("call refused: its record cannot be written", zap.Error(err))
		o.post(callcore.IqReply{ID: e.Req.GetTransactionId(), Err: &callcore.IqError{Code: uint32(gwerr.ServiceUnavailable), Text: "store unavailable"}})
		return false
	}
	o.log.Warn("call goes on without its record", zap.Error(err))
	return true
}

func iqError(err error) *callcore.IqError {
	var e *gwerr.Error
	if !errors.As(err, &e) {
		return &callcore.IqError{Text: err.Error()}
	}
	switch e.Code {
	case gwerr.UnreachableGateway, gwerr.NoGateway:
		return &callcore.IqError{Text: e.Code.String()}
	}
	return &callcore.IqError{Code: uint32(e.Code), Text: e.Error()}
}

func (o *owner) startTimer(name string, at time.Time) {
	o.stopTimer(name)
	o.timers[name] = time.AfterFunc(time.Until(at), func() { o.post(callcore.TimerFired{Name: name}) })
}

func (o *owner) stopTimer(name string) {
	if t := o.timers[name]; t != nil {
		t.Stop()
		delete(o.timers, name)
	}
}
