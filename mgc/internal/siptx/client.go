package siptx

import (
	"fmt"
	"slices"
	"sync"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// viaRoom is what our Via adds to a request at most, for the choice between UDP and TCP, in bytes.
const viaRoom = 160

// cancelState follows a wish to cancel (RFC 3261 §9.1: not before a provisional response).
type cancelState uint8

const (
	cancelNone cancelState = iota
	cancelWanted
	cancelSent
)

// ClientTx is a request on its way: one or, on failover, several attempts one after another, each an RFC 3261 client
// transaction with its own branch. Safe for concurrent use.
type ClientTx struct {
	l   *Layer
	id  string
	req headers.Msg // without our Via; never changed
	cb  func(ClientResult)

	mu      sync.Mutex // guards what follows
	hops    []siptransport.Hop
	cur     *attempt // the attempt whose results count; nil while resolving
	ended   bool     // the one final result is queued
	cancel  cancelState
	extra   []headers.Field // for the CANCEL
	lastErr error
	queue   []ClientResult
	busy    bool // someone is delivering the queue
}

// Request sends a request as a client transaction. cb gets its results: one at a time, in order, never under a lock, not from
// within Request, possibly before Request returns. The request needs no Via and is not changed; it must have all else.
//
// The target's hops are tried in order (RFC 3263 §4.3): the next when one cannot be reached, is silent for Config.Failover, or
// answers 503. Errors (cb is then never called): ErrClosed, ErrOverload, headers.ErrUnwritable.
func (l *Layer) Request(req headers.Msg, to siptransport.Target, cb func(ClientResult)) (*ClientTx, error) {
	raw, err := req.Bytes()
	if err != nil {
		return nil, fmt.Errorf("siptx: request %s: %w", req.Method, err)
	}
	if s, c := l.Len(); s+c >= l.cfg.MaxTransactions {
		return nil, fmt.Errorf("siptx: request %s: %w", req.Method, ErrOverload)
	}
	if !l.enter() {
		return nil, ErrClosed
	}
	tx := &ClientTx{l: l, id: l.newID(), req: req.Clone(), cb: cb}
	if hops, ok := l.net.Known(to); ok {
		tx.mu.Lock()
		tx.begin(hops, nil, len(raw))
		failed := len(tx.queue) > 0
		tx.mu.Unlock()
		if !failed {
			l.running.Done()
			return tx, nil
		}
		go func() { // results never come from within Request
			defer l.running.Done()
			tx.deliver()
		}()
		return tx, nil
	}
	go func() {
		defer l.running.Done()
		hops, err := l.net.Resolve(l.ctx, to)
		tx.mu.Lock()
		tx.begin(hops, err, len(raw))
		tx.mu.Unlock()
		tx.deliver()
	}()
	return tx, nil
}

// ID names the request, unique among all instances and time.
func (tx *ClientTx) ID() string { return tx.id }

// begin takes the resolved hops and makes the first attempt.
func (tx *ClientTx) begin(hops []siptransport.Hop, err error, size int) {
	for _, h := range hops {
		tx.hops = append(tx.hops, tx.l.net.Expand(h, size+viaRoom)...)
	}
	tx.lastErr = err
	if tx.cancel != cancelNone {
		tx.finish(ClientResult{Kind: Timeout, Err: ErrCanceled})
		return
	}
	tx.next()
}

// next makes the attempt of the next hop that takes the message, or gives up.
func (tx *ClientTx) next() {
	tx.cur = nil
	for len(tx.hops) > 0 {
		hop := tx.hops[0]
		tx.hops = tx.hops[1:]
		link, err := tx.l.net.Link(hop)
		if err != nil {
			tx.lastErr = err
			tx.l.net.Failed(hop, 0)
			continue
		}
		a := newAttempt(tx, link, &tx.req, newBranch())
		if err = a.start(); err != nil {
			tx.lastErr = err
			tx.l.net.Failed(hop, 0)
			continue
		}
		a.hop = hop
		tx.cur = a
		return
	}
	if tx.lastErr == nil {
		tx.lastErr = siptransport.ErrNoTransport
	}
	tx.l.metrics.failed.WithLabelValues("transport").Inc()
	tx.finish(ClientResult{Kind: TransportError, Err: tx.lastErr})
}

// mayFailOver reports whether another hop may be tried. A hop that only repeats the last one on another transport counts only
// after a transport failure (RFC 3261 §18.1.1).
func (tx *ClientTx) mayFailOver(transportFailed bool) bool {
	if tx.ended || tx.cancel != cancelNone {
		return false
	}
	if !transportFailed {
		for len(tx.hops) > 0 && tx.hops[0].Fallback {
			tx.hops = tx.hops[1:]
		}
	}
	return len(tx.hops) > 0
}

// hasAlternative looks without changing anything.
func (tx *ClientTx) hasAlternative() bool {
	return slices.ContainsFunc(tx.hops, func(h siptransport.Hop) bool { return !h.Fallback })
}

// finish queues the final result once.
func (tx *ClientTx) finish(r ClientResult) {
	if !tx.ended {
		tx.ended = true
		tx.queue = append(tx.queue, r)
	}
}

// deliver calls cb for queued results, one caller at a time; called without the lock.
func (tx *ClientTx) deliver() {
	tx.mu.Lock()
	if tx.busy {
		tx.mu.Unlock()
		return
	}
	tx.busy = true
	for len(tx.queue) > 0 {
		r := tx.queue[0]
		tx.queue = tx.queue[1:]
		tx.mu.Unlock()
		tx.cb(r)
		tx.mu.Lock()
	}
	tx.busy = false
	tx.mu.Unlock()
}

// response feeds a response to an attempt.
func (tx *ClientTx) response(a *attempt, m headers.Msg, from siptransport.Flow) {
	tx.mu.Lock()
	a.response(m, from)
	tx.mu.Unlock()
	tx.deliver()
}

// transportFailed tells that an attempt's connection is gone.
func (tx *ClientTx) transportFailed(a *attempt, err error) {
	tx.mu.Lock()
	a.failed(TransportError, err)
	tx.mu.Unlock()
	tx.deliver()
}

// Cancel cancels an INVITE: CANCEL goes out at once or, before any provisional response, with the first one (RFC 3261 §9.1);
// extra fields (Reason) go with it. After the final response nothing happens. The result still comes by cb: normally 487, a 2xx
// when that was faster, or Timeout when nothing comes for 64*T1.
func (tx *ClientTx) Cancel(extra []headers.Field) error {
	if !tx.l.enter() {
		return ErrClosed
	}
	defer tx.l.running.Done()
	tx.mu.Lock()
	if tx.req.Method != "INVITE" || tx.ended || tx.cancel != cancelNone {
		tx.mu.Unlock()
		return nil
	}
	tx.cancel, tx.extra = cancelWanted, slices.Clone(extra)
	if tx.cur != nil && tx.cur.st == stProceeding {
		tx.sendCancel()
	}
	tx.mu.Unlock()
	tx.deliver()
	return nil
}

// sendCancel sends the CANCEL of the current attempt as a transaction of its own, same branch, same link.
func (tx *ClientTx) sendCancel() {
	tx.cancel = cancelSent
	inv := tx.cur
	req := headers.Msg{Method: "CANCEL", RequestURI: tx.req.RequestURI}
	req.Add("Max-Forwards", "70")
	copyFields(&req, &tx.req, "Route", "From", "To", "Call-ID")
	c, _ := headers.ParseCSeq(tx.req.Get("CSeq")) // was written by us
	req.Add("CSeq", headers.CSeq{Seq: c.Seq, Method: "CANCEL"}.String())
	req.Fields = append(req.Fields, tx.extra...)
	a := newAttempt(tx, inv.link, &req, inv.branch)
	if err := a.start(); err != nil {
		inv.failed(TransportError, err)
		return
	}
	inv.life.set(tx.l, &tx.mu, 64*tx.l.cfg.T1, func() { inv.failed(Timeout, ErrTimeout) }, tx.deliver)
}

func copyFields(dst, src *headers.Msg, names ...string) {
	for _, n := range names {
		for _, v := range src.Values(n) {
			dst.Add(n, v)
		}
	}
}
