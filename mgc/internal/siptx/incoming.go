package siptx

import (
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// OnMessage implements siptransport.Sink.
func (l *Layer) OnMessage(m headers.Msg, from siptransport.Flow) {
	if !l.enter() {
		return
	}
	defer l.running.Done()
	via, err := headers.TopVia(&m)
	if err != nil {
		l.metrics.unmatched.Inc() // the transports validate; nothing can be answered
		return
	}
	switch {
	case !m.IsRequest():
		l.onResponse(m, via, from)
	case m.Method == "ACK":
		l.onAck(m, via, from)
	case m.Method == "CANCEL":
		l.onCancel(m, via, from)
	default:
		l.onRequest(m, via, from)
	}
}

// OnClosed implements siptransport.Sink: requests that wait for a response over the connection fail.
func (l *Layer) OnClosed(flow siptransport.Flow, err error) {
	if !l.enter() {
		return
	}
	defer l.running.Done()
	l.mu.Lock()
	waiting := make([]*attempt, 0, len(l.byFlow[flow.ID]))
	for a := range l.byFlow[flow.ID] {
		waiting = append(waiting, a)
	}
	l.mu.Unlock()
	if err == nil {
		err = siptransport.ErrFlowGone
	}
	for _, a := range waiting {
		a.tx.transportFailed(a, err)
	}
}

func (l *Layer) onResponse(m headers.Msg, via headers.Via, from siptransport.Flow) {
	c, err := headers.ParseCSeq(m.Get("CSeq"))
	if err != nil {
		l.metrics.unmatched.Inc()
		return
	}
	l.mu.Lock()
	a := l.clients[clientKey(via.Branch(), c.Method)]
	l.mu.Unlock()
	if a == nil || !sameEdge(a, from) {
		l.metrics.unmatched.Inc() // RFC 3261 §18.1.2 lets a stray response go
		return
	}
	a.tx.response(a, m, from)
}

// sameEdge keeps a browser from answering requests that went to the core, and one browser from answering another's.
func sameEdge(a *attempt, from siptransport.Flow) bool {
	to := a.link.Flow()
	return to.Edge == from.Edge && (from.Edge != siptransport.EdgeAccess || to.ID == from.ID)
}

func (l *Layer) onRequest(m headers.Msg, via headers.Via, from siptransport.Flow) {
	key := serverKey(&m, via, from, m.Method)
	l.mu.Lock()
	if tx := l.servers[key]; tx != nil {
		l.mu.Unlock()
		tx.retransmitted()
		return
	}
	if reason := l.refuse(&m, from); reason != "" {
		l.mu.Unlock()
		l.stateless(&m, via, from, reason)
		return
	}
	tx := l.newServer(key, m, via, from)
	l.mu.Unlock()
	tx.start()
	h := l.handler.Load()
	if h == nil {
		_ = tx.Respond(headers.NewResponse(&m, 503, "")) // nobody is there to be told
		return
	}
	(*h).OnRequest(tx, m.Clone(), from)
}

// refuse says why a new request is not taken, "" when it is. In-dialog requests pass a drain: their calls are being moved or ended.
func (l *Layer) refuse(m *headers.Msg, from siptransport.Flow) string {
	switch {
	case l.full(from):
		return "overload"
	case l.draining && headers.ToTag(m) == "":
		return "drain"
	}
	return ""
}

// full is called with l.mu held.
func (l *Layer) full(from siptransport.Flow) bool {
	return len(l.servers)+len(l.clients) >= l.cfg.MaxTransactions ||
		from.Edge == siptransport.EdgeAccess && l.perFlow[from.ID] >= l.cfg.MaxPerFlow
}

// stateless answers 503 without a transaction.
func (l *Layer) stateless(m *headers.Msg, via headers.Via, from siptransport.Flow, reason string) {
	l.metrics.refused.WithLabelValues(reason).Inc()
	resp := headers.NewResponse(m, 503, "")
	resp.Add("Retry-After", strconv.Itoa(int(l.cfg.RetryAfter/time.Second)))
	if headers.ToTag(&resp) == "" {
		_ = headers.SetTag(&resp, "To", siptransport.NewFlowID()) // To was validated
	}
	link, err := l.net.Reply(from, via)
	if err != nil {
		return
	}
	if raw, err := resp.Bytes(); err == nil {
		_ = link.Send(raw) // a lost refusal is asked for again by the retransmission
	}
}

func (l *Layer) onAck(m headers.Msg, via headers.Via, from siptransport.Flow) {
	l.mu.Lock()
	tx := l.servers[serverKey(&m, via, from, "INVITE")]
	l.mu.Unlock()
	if tx != nil && tx.absorbAck() {
		return
	}
	if h := l.handler.Load(); h != nil {
		(*h).OnAck(m, from)
	}
}

// onCancel answers the CANCEL by itself and tells the owner of the INVITE (RFC 3261 §9.2).
func (l *Layer) onCancel(m headers.Msg, via headers.Via, from siptransport.Flow) {
	l.mu.Lock()
	key := serverKey(&m, via, from, "CANCEL")
	if tx := l.servers[key]; tx != nil {
		l.mu.Unlock()
		tx.retransmitted()
		return
	}
	if l.full(from) {
		l.mu.Unlock()
		l.stateless(&m, via, from, "overload")
		return
	}
	invite := l.servers[serverKey(&m, via, from, "INVITE")]
	tx := l.newServer(key, m, via, from)
	l.mu.Unlock()
	tx.start()
	status, tag := 481, siptransport.NewFlowID()
	if invite != nil {
		status, tag = 200, invite.toTag()
	}
	resp := headers.NewResponse(&m, status, "")
	if headers.ToTag(&resp) == "" {
		_ = headers.SetTag(&resp, "To", tag) // To was validated
	}
	_ = tx.Respond(resp) // on an error the peer repeats the CANCEL
	if h := l.handler.Load(); h != nil && invite != nil && invite.pending() {
		(*h).OnCancel(invite, m)
	}
}
