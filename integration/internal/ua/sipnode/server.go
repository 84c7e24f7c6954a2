package sipnode

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/emiago/sipgo/sip"
)

type serverState int

const (
	svTrying    serverState = iota // nothing final sent
	svAccepted                     // INVITE answered 2xx (RFC 6026 §7.1)
	svCompleted                    // other final response sent
	svConfirmed                    // and acknowledged
	svDead
)

// ServerTx is a server transaction (RFC 3261 §17.2). Its state is guarded by the Node's lock.
type ServerTx struct {
	n        *Node
	key      string
	req      *sip.Request
	source   Target
	dest     Target // where responses go (RFC 3261 §18.2.2)
	conn     *tcpConn
	state    serverState
	last     []byte // last response, repeated on retransmission
	ackKey   string
	interval time.Duration
	retrans  *time.Timer
	life     *time.Timer
	aborted  bool
	onAbort  func()
	onNoAck  func()
}

// Request is the request that opened the transaction. Read only: clone before changing.
func (tx *ServerTx) Request() *sip.Request { return tx.req }

// Source is the transport address the request came from.
func (tx *ServerTx) Source() Target { return tx.source }

// OnCancel sets what runs when the peer cancels the INVITE. The owner must still answer, with 487 if
// nothing better is known. Call it inside Handler.ServeRequest; f must not block.
func (tx *ServerTx) OnCancel(f func()) {
	tx.n.mu.Lock()
	tx.onAbort = f
	tx.n.mu.Unlock()
}

// OnNoAck sets what runs when a 2xx given to Respond is never acknowledged (RFC 3261 §13.3.1.4).
func (tx *ServerTx) OnNoAck(f func()) {
	tx.n.mu.Lock()
	tx.onNoAck = f
	tx.n.mu.Unlock()
}

// Respond sends res. A 2xx to INVITE is repeated here until its ACK comes, as a UA must.
// It returns an error when a final response was sent before or the transport failed.
func (tx *ServerTx) Respond(res *sip.Response) error { return tx.respond(res, false) }

// Forward sends a response that another element made, as a proxy does: a 2xx is not repeated here and
// may be forwarded again.
func (tx *ServerTx) Forward(res *sip.Response) error { return tx.respond(res, true) }

// Reply builds a response with the To tag given (empty: a random one) and sends it.
func (tx *ServerTx) Reply(code int, reason string, more ...sip.Header) error {
	res := NewResponse(tx.req, code, reason)
	for _, h := range more {
		res.AppendHeader(h)
	}
	return tx.Respond(res)
}

func (tx *ServerTx) respond(res *sip.Response, forwarded bool) error {
	n := tx.n
	if n.cfg.UserAgent != "" && !forwarded {
		res.AppendHeader(sip.NewHeader("Server", n.cfg.UserAgent))
	}
	wire := []byte(res.String())
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	again := forwarded && tx.state == svAccepted && res.StatusCode/100 == 2
	if tx.state != svTrying && !again {
		return fmt.Errorf("sipnode: %s already answered", tx.req.Method)
	}
	tx.last = wire
	err := n.transmit(wire, tx.dest, tx.conn)
	if res.StatusCode < 200 || again {
		return err
	}
	tx.finalLocked(res, forwarded)
	return err
}

// finalLocked moves on after a final response and arms timers G/H, L or J.
func (tx *ServerTx) finalLocked(res *sip.Response, forwarded bool) {
	t := tx.n.timers
	reliable := tx.conn != nil
	switch {
	case tx.req.Method != sip.INVITE:
		tx.state = svCompleted
		if reliable {
			tx.dieLocked()
			return
		}
		tx.lifeLocked(64*t.T1, nil)
	case res.StatusCode < 300:
		tx.state = svAccepted
		if forwarded {
			tx.lifeLocked(64*t.T1, nil)
			return
		}
		tx.ackKey = ackKey(res.CallID().Value(), res.CSeq().SeqNo, tag(res.To().Params))
		tx.n.awaiting[tx.ackKey] = tx
		tx.interval = t.T1
		tx.armRetransLocked() // on TCP too: another hop may be UDP
		tx.lifeLocked(64*t.T1, func() func() { return tx.onNoAck })
	default:
		tx.state = svCompleted
		if !reliable {
			tx.interval = t.T1
			tx.armRetransLocked()
		}
		tx.lifeLocked(64*t.T1, nil)
	}
}

func ackKey(callID string, cseq uint32, toTag string) string {
	return callID + "|" + strconv.FormatUint(uint64(cseq), 10) + "|" + toTag
}

func tag(p sip.HeaderParams) string { v, _ := p.Get("tag"); return v }

func (tx *ServerTx) armRetransLocked() {
	tx.retrans = tx.n.later(tx.interval, func() func() {
		if tx.state != svAccepted && tx.state != svCompleted {
			return nil
		}
		if err := tx.n.transmit(tx.last, tx.dest, tx.conn); err != nil {
			return nil
		}
		tx.interval = min(2*tx.interval, tx.n.timers.T2)
		tx.armRetransLocked()
		return nil
	})
}

// lifeLocked ends the transaction after d; atEnd, when set, may return what to run then.
func (tx *ServerTx) lifeLocked(d time.Duration, atEnd func() func()) {
	if tx.life != nil {
		tx.life.Stop()
	}
	tx.life = tx.n.later(d, func() func() {
		var after func()
		if atEnd != nil && tx.ackKey != "" && tx.n.awaiting[tx.ackKey] == tx {
			after = atEnd()
		}
		tx.dieLocked()
		return after
	})
}

func (tx *ServerTx) dieLocked() {
	tx.stopTimersLocked()
	tx.state = svDead
	delete(tx.n.servers, tx.key)
	if tx.ackKey != "" && tx.n.awaiting[tx.ackKey] == tx {
		delete(tx.n.awaiting, tx.ackKey)
	}
}

func (tx *ServerTx) stopTimersLocked() {
	if tx.retrans != nil {
		tx.retrans.Stop()
	}
	if tx.life != nil {
		tx.life.Stop()
	}
}

func serverKey(via *sip.ViaHeader, m sip.RequestMethod) string {
	branch, _ := via.Params.Get("branch")
	return branch + "|" + via.Host + ":" + strconv.Itoa(via.Port) + "|" + string(m)
}

func (n *Node) receiveRequest(req *sip.Request, from Target, conn *tcpConn) {
	switch req.Method {
	case sip.ACK:
		n.receiveAck(req, from)
		return
	case sip.CANCEL:
		n.receiveCancel(req, from, conn)
		return
	}
	key := serverKey(req.Via(), req.Method)
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	if tx := n.servers[key]; tx != nil {
		if tx.last != nil && tx.state != svAccepted {
			n.transmit(tx.last, tx.dest, tx.conn)
		}
		n.mu.Unlock()
		return
	}
	if len(n.servers) >= maxTx {
		n.mu.Unlock()
		n.stateless(req, from, conn, 503, "Overloaded")
		return
	}
	tx := &ServerTx{n: n, key: key, req: req, source: from, dest: replyTarget(req, from), conn: conn}
	n.servers[key] = tx
	n.mu.Unlock()
	if req.Method == sip.INVITE {
		tx.Respond(NewResponse(req, 100, "Trying"))
	}
	n.handler.ServeRequest(tx)
}

// receiveAck matches an ACK: by branch for a non-2xx, by dialog for a 2xx sent from here.
func (n *Node) receiveAck(req *sip.Request, from Target) {
	n.mu.Lock()
	if tx := n.servers[serverKey(req.Via(), sip.INVITE)]; tx != nil && tx.state != svAccepted {
		if tx.state == svCompleted {
			tx.state = svConfirmed
			tx.stopTimersLocked()
			if tx.conn != nil {
				tx.dieLocked()
			} else {
				tx.lifeLocked(n.timers.T4, nil)
			}
		}
		n.mu.Unlock()
		return
	}
	k := ackKey(req.CallID().Value(), req.CSeq().SeqNo, tag(req.To().Params))
	if tx := n.awaiting[k]; tx != nil {
		delete(n.awaiting, k)
		tx.retrans.Stop()
	}
	closed := n.closed
	n.mu.Unlock()
	if !closed {
		n.handler.ServeAck(req, from)
	}
}

func (n *Node) receiveCancel(req *sip.Request, from Target, conn *tcpConn) {
	n.mu.Lock()
	tx := n.servers[serverKey(req.Via(), sip.INVITE)]
	var run func()
	if tx != nil && tx.state == svTrying && !tx.aborted {
		tx.aborted = true
		run = tx.onAbort
	}
	n.mu.Unlock()
	if tx == nil {
		n.stateless(req, from, conn, 481, "Call/Transaction Does Not Exist")
		return
	}
	n.stateless(req, from, conn, 200, "OK")
	if run != nil {
		run()
	}
}

// stateless answers without keeping anything; used for CANCEL, whose answer is idempotent.
func (n *Node) stateless(req *sip.Request, from Target, conn *tcpConn, code int, reason string) {
	res := NewResponse(req, code, reason)
	if err := n.transmit([]byte(res.String()), replyTarget(req, from), conn); err != nil {
		n.warnf("response to %s: %q", from, err.Error())
	}
}

// replyTarget is RFC 3261 §18.2.2 with RFC 3581 §4: the source port only if rport was asked for.
func replyTarget(req *sip.Request, from Target) Target {
	if from.Network == TCP {
		return from
	}
	via := req.Via()
	if _, ok := via.Params.Get("rport"); ok {
		return from
	}
	port := uint16(5060)
	if via.Port > 0 && via.Port < 65536 {
		port = uint16(via.Port)
	}
	return Target{Network: UDP, Addr: netip.AddrPortFrom(from.Addr.Addr(), port)}
}
