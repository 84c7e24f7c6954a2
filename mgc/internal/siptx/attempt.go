package siptx

import (
	"strconv"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// attempt is one RFC 3261 client transaction: one branch over one link. It is stepped under the lock of its ClientTx. Only
// the results of tx.cur reach the user; an attempt that failed over, and a CANCEL, run to their end silently.
type attempt struct {
	tx       *ClientTx
	hop      siptransport.Hop
	link     siptransport.Link
	branch   string
	key      string
	via      string
	req      headers.Msg // without Via
	raw      []byte
	invite   bool
	reliable bool

	st       state
	interval time.Duration
	repeat   timer // A or E
	life     timer // B, F, D, K, M, C
	ack      []byte
	heard    bool // a response that is no 503 has come
}

func newAttempt(tx *ClientTx, link siptransport.Link, req *headers.Msg, branch string) *attempt {
	return &attempt{
		tx: tx, link: link, branch: branch, key: clientKey(branch, req.Method), via: viaFor(link, branch), req: *req,
		invite: req.Method == "INVITE", reliable: siptransport.Reliable(link.Flow().Transport),
	}
}

// start sends the request and sets timers A/E and B/F. On an error nothing of the attempt is left.
func (a *attempt) start() error {
	var err error
	if a.raw, err = a.tx.l.onWire(&a.req, a.via, a.link.Flow()); err != nil {
		return err
	}
	l := a.tx.l
	if err = l.addClient(a); err != nil {
		return err
	}
	if err = a.link.Send(a.raw); err != nil {
		a.terminate()
		return err
	}
	if !a.reliable {
		a.interval = l.cfg.T1
		a.repeat.set(l, &a.tx.mu, a.interval, a.retransmit, nil)
	}
	patience := 64 * l.cfg.T1
	if a.tx.hasAlternative() && a.req.Method != "CANCEL" {
		patience = min(patience, l.cfg.Failover)
	}
	a.life.set(l, &a.tx.mu, patience, func() { a.failed(Timeout, ErrTimeout) }, a.tx.deliver)
	return nil
}

// retransmit is timer A (doubling without bound) or E (doubling up to T2; T2 in Proceeding).
func (a *attempt) retransmit() {
	a.interval *= 2
	if !a.invite {
		a.interval = min(a.interval, a.tx.l.cfg.T2)
	}
	a.tx.l.metrics.repeats.WithLabelValues("out").Inc()
	_ = a.link.Send(a.raw) // B or F ends it if nothing gets through
	a.repeat.set(a.tx.l, &a.tx.mu, a.interval, a.retransmit, nil)
}

// response is the FSM of RFC 3261 figures 5 and 6 with RFC 6026 §7.2.
func (a *attempt) response(m headers.Msg, from siptransport.Flow) {
	if m.Status != 503 && !a.heard {
		a.heard = true
		a.tx.l.net.Reached(a.hop)
	}
	switch {
	case a.st == stTerminated:
	case a.st == stAccepted:
		if m.Status >= 200 && m.Status < 300 {
			a.report(ClientResult{Kind: Final, Msg: m, Retransmission: true, From: from})
		}
	case a.st == stCompleted:
		a.tx.l.metrics.repeats.WithLabelValues("in").Inc()
		if a.invite && m.Status >= 300 {
			_ = a.link.Send(a.ack) // the final comes again if this is lost
		}
	case m.Status < 200:
		a.provisional(m, from)
	case a.invite && m.Status < 300:
		a.accepted(m, from)
	default:
		a.completed(m, from)
	}
}

func (a *attempt) provisional(m headers.Msg, from siptransport.Flow) {
	l, first := a.tx.l, a.st == stTrying
	a.st = stProceeding
	if a.invite {
		a.repeat.stop()
		if a.tx.cancel != cancelSent { // then life is the wait for the effect of the CANCEL
			a.life.set(l, &a.tx.mu, l.cfg.TimerC, func() { a.failed(Timeout, ErrTimeout) }, a.tx.deliver)
		}
	} else if first && !a.reliable {
		a.interval = l.cfg.T2
		a.repeat.set(l, &a.tx.mu, a.interval, a.retransmit, nil)
	}
	a.report(ClientResult{Kind: Provisional, Msg: m, From: from})
	if a.invite && a.tx.cur == a && a.tx.cancel == cancelWanted {
		a.tx.sendCancel()
	}
}

func (a *attempt) accepted(m headers.Msg, from siptransport.Flow) {
	a.st = stAccepted
	a.repeat.stop()
	a.life.set(a.tx.l, &a.tx.mu, 64*a.tx.l.cfg.T1, a.terminate, nil) // timer M
	a.report(ClientResult{Kind: Final, Msg: m, From: from})
}

// completed takes a final that ends the attempt: ACK for an INVITE, timers D or K, then result or failover.
func (a *attempt) completed(m headers.Msg, from siptransport.Flow) {
	l := a.tx.l
	a.st = stCompleted
	a.repeat.stop()
	wait := l.cfg.T4 // timer K
	if a.invite {
		wait = 64 * l.cfg.T1 // timer D: at least 32 s with default timers
		a.buildAck(&m)
		_ = a.link.Send(a.ack) // the final comes again if this is lost
	}
	if a.reliable {
		a.terminate()
	} else {
		a.life.set(l, &a.tx.mu, wait, a.terminate, nil)
	}
	if m.Status == 503 && a.tx.cur == a && a.tx.mayFailOver(false) {
		l.metrics.failed.WithLabelValues("failover_503").Inc()
		l.net.Failed(a.hop, retryAfter(&m))
		a.tx.next()
		return
	}
	a.report(ClientResult{Kind: Final, Msg: m, From: from})
}

// retryAfter is how long the sender of a 503 wants no requests (RFC 3261 §21.5.4), 0 when it does not say.
func retryAfter(m *headers.Msg) time.Duration {
	v := m.Get("Retry-After")
	if i := strings.IndexAny(v, "(; \t"); i >= 0 {
		v = v[:i]
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}

// buildAck makes the ACK for a non-2xx (RFC 3261 §17.1.1.3): same branch, To of the response.
func (a *attempt) buildAck(resp *headers.Msg) {
	ack := headers.Msg{Method: "ACK", RequestURI: a.req.RequestURI}
	ack.Add("Max-Forwards", "70")
	copyFields(&ack, &a.req, "Route", "From")
	ack.Add("To", resp.Get("To"))
	copyFields(&ack, &a.req, "Call-ID")
	c, _ := headers.ParseCSeq(a.req.Get("CSeq")) // was written by us
	ack.Add("CSeq", headers.CSeq{Seq: c.Seq, Method: "ACK"}.String())
	a.ack, _ = withViaLine(&ack, a.via) // of validated parts; nil is sent as nothing
}

// failed ends an attempt that got no final response: by timeout, or because its connection is gone.
func (a *attempt) failed(kind ResultKind, err error) {
	if a.st == stTerminated {
		return
	}
	waiting := a.st == stTrying || a.st == stProceeding
	silent := a.st == stTrying
	a.terminate()
	if a.tx.cur != a || !waiting {
		return
	}
	if silent {
		a.tx.l.net.Failed(a.hop, 0)
	}
	if silent && a.tx.mayFailOver(kind == TransportError) {
		a.tx.lastErr = err
		a.tx.l.metrics.failed.WithLabelValues("failover").Inc()
		a.tx.next()
		return
	}
	if kind == Timeout {
		a.tx.l.metrics.failed.WithLabelValues("timeout").Inc()
	} else {
		a.tx.l.metrics.failed.WithLabelValues("transport").Inc()
	}
	a.tx.finish(ClientResult{Kind: kind, Err: err})
}

// report hands a result to the user when this is the attempt that counts.
func (a *attempt) report(r ClientResult) {
	if a.tx.cur != a {
		return
	}
	if r.Kind == Final && !r.Retransmission {
		a.tx.finish(r)
		return
	}
	if r.Kind == Provisional && a.tx.ended {
		return
	}
	a.tx.queue = append(a.tx.queue, r)
}

func (a *attempt) terminate() {
	if a.st == stTerminated {
		return
	}
	a.st = stTerminated
	a.repeat.stop()
	a.life.stop()
	a.tx.l.removeClient(a)
}
