package sipnode

import (
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

type clientState int

const (
	clCalling clientState = iota
	clProceeding
	clAccepted  // INVITE answered 2xx (RFC 6026 §7.2)
	clCompleted // final response seen, absorbing its retransmissions
	clDead
)

// ClientTx is a client transaction (RFC 3261 §17.1). Its state is guarded by the Node's lock.
type ClientTx struct {
	n         *Node
	key       string
	req       *sip.Request
	wire      []byte
	target    Target
	conn      *tcpConn // nil on UDP
	onResp    func(*sip.Response)
	state     clientState
	interval  time.Duration
	retrans   *time.Timer
	life      *time.Timer
	wantAbort bool // Cancel was called
	sentAbort bool
}

// Request starts a client transaction. It adds the top Via to req, which belongs to the transaction
// from then on. onResp gets every provisional response, the final one, and for INVITE each
// retransmitted 2xx, in order, and runs on internal goroutines: it must not block. A timeout comes as
// 408, a transport failure as 503, both made here (RFC 3261 §8.1.3.1) and then without a Via.
// Request itself never blocks: a TCP connection is opened in the background.
func (n *Node) Request(req *sip.Request, t Target, onResp func(*sip.Response)) *ClientTx {
	branch := sip.GenerateBranchN(24)
	n.addVia(req, t, branch)
	tx := &ClientTx{
		n: n, key: clientKey(branch, req.Method), req: req, wire: []byte(req.String()),
		target: t, onResp: onResp,
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		tx.state = clDead
		return tx
	}
	n.clients[tx.key] = tx
	if t.Network != TCP {
		tx.startLocked()
		return tx
	}
	n.wg.Add(1)
	go tx.dialAndStart()
	return tx
}

func (tx *ClientTx) dialAndStart() {
	defer tx.n.wg.Done()
	conn, err := tx.n.dial(tx.target)
	tx.n.mu.Lock()
	if tx.n.closed || tx.state == clDead {
		tx.n.mu.Unlock()
		return
	}
	if err != nil {
		after := tx.failLocked(503, "Transport Failure")
		tx.n.mu.Unlock()
		tx.n.warnf("%v", err)
		after()
		return
	}
	tx.conn = conn
	tx.startLocked()
	tx.n.mu.Unlock()
}

func (n *Node) addVia(req *sip.Request, t Target, branch string) {
	via := &sip.ViaHeader{
		ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: strings.ToUpper(t.Network),
		Host: n.addr.Addr().String(), Port: int(n.addr.Port()), Params: sip.NewParams(),
	}
	via.Params.Add("branch", branch)
	via.Params.Add("rport", "")
	req.PrependHeader(via)
}

func clientKey(branch string, m sip.RequestMethod) string { return branch + "|" + string(m) }

// startLocked sends for the first time and arms timers A/B or E/F.
func (tx *ClientTx) startLocked() {
	t := tx.n.timers
	if err := tx.n.transmit(tx.wire, tx.target, tx.conn); err != nil {
		after := tx.failLocked(503, "Transport Failure")
		tx.n.wg.Add(1)
		go func() { defer tx.n.wg.Done(); after() }()
		return
	}
	if tx.conn == nil {
		tx.interval = t.T1
		tx.armRetransLocked()
	}
	tx.life = tx.n.later(64*t.T1, func() func() {
		if tx.state > clProceeding {
			return nil
		}
		return tx.failLocked(408, "Request Timeout")
	})
}

func (tx *ClientTx) armRetransLocked() {
	tx.retrans = tx.n.later(tx.interval, func() func() {
		if tx.state > clProceeding || (tx.invite() && tx.state != clCalling) {
			return nil
		}
		if err := tx.n.transmit(tx.wire, tx.target, tx.conn); err != nil {
			return tx.failLocked(503, "Transport Failure")
		}
		tx.interval *= 2
		if !tx.invite() {
			tx.interval = min(tx.interval, tx.n.timers.T2)
		}
		tx.armRetransLocked()
		return nil
	})
}

func (tx *ClientTx) invite() bool { return tx.req.Method == sip.INVITE }

// failLocked ends the transaction with a made-up final response; the returned func delivers it.
func (tx *ClientTx) failLocked(code int, reason string) func() {
	tx.dieLocked()
	res := sip.NewResponseFromRequest(tx.req, code, reason, nil)
	for res.RemoveHeader("Via") {
	}
	return func() { tx.onResp(res) }
}

func (tx *ClientTx) dieLocked() {
	tx.stopTimersLocked()
	tx.state = clDead
	delete(tx.n.clients, tx.key)
}

func (tx *ClientTx) stopTimersLocked() {
	if tx.retrans != nil {
		tx.retrans.Stop()
	}
	if tx.life != nil {
		tx.life.Stop()
	}
}

func (n *Node) receiveResponse(res *sip.Response) {
	branch, _ := res.Via().Params.Get("branch")
	n.mu.Lock()
	tx := n.clients[clientKey(branch, res.CSeq().MethodName)]
	if tx == nil || n.closed {
		n.mu.Unlock()
		return // late retransmission: dropped (RFC 6026 §8.3)
	}
	deliver := tx.stepLocked(res)
	n.mu.Unlock()
	if deliver {
		tx.onResp(res)
	}
}

// stepLocked advances the state by one response and says whether the owner is to see it.
func (tx *ClientTx) stepLocked(res *sip.Response) bool {
	switch {
	case tx.state == clDead:
		return false
	case res.StatusCode < 200:
		return tx.provisionalLocked()
	case tx.state == clCompleted:
		if tx.invite() {
			tx.sendAckLocked(res)
		}
		return false
	case !tx.invite():
		tx.state = clCompleted
		tx.lingerLocked(tx.n.timers.T4)
		return true
	case res.StatusCode < 300:
		if tx.state != clAccepted {
			tx.state = clAccepted
			tx.lifeLocked(64 * tx.n.timers.T1)
		}
		return true
	case tx.state == clAccepted:
		return false
	}
	tx.state = clCompleted
	tx.sendAckLocked(res)
	tx.lingerLocked(64 * tx.n.timers.T1)
	return true
}

func (tx *ClientTx) provisionalLocked() bool {
	if tx.state > clProceeding {
		return false
	}
	if tx.state == clCalling {
		tx.state = clProceeding
		if tx.invite() {
			tx.stopTimersLocked() // the callee may ring for as long as its owner likes
		}
		if tx.wantAbort {
			tx.abortLocked()
		}
	}
	return true
}

// lingerLocked keeps an unreliable transaction for late retransmissions, ends a reliable one.
func (tx *ClientTx) lingerLocked(d time.Duration) {
	if tx.conn != nil {
		tx.dieLocked()
		return
	}
	tx.lifeLocked(d)
}

func (tx *ClientTx) lifeLocked(d time.Duration) {
	tx.stopTimersLocked()
	tx.life = tx.n.later(d, func() func() { tx.dieLocked(); return nil })
}

// sendAckLocked acknowledges a non-2xx final response (RFC 3261 §17.1.1.3).
func (tx *ClientTx) sendAckLocked(res *sip.Response) {
	ack := hopRequest(tx.req, sip.ACK)
	if to := res.To(); to != nil {
		ack.RemoveHeader("To")
		ack.AppendHeader(&sip.ToHeader{DisplayName: to.DisplayName, Address: to.Address, Params: to.Params.Clone()})
	}
	if err := tx.n.transmit([]byte(ack.String()), tx.target, tx.conn); err != nil {
		tx.n.warnf("ACK to %s: %q", tx.target, err.Error())
	}
}

// Cancel asks the far end to give the INVITE up (RFC 3261 §9.1). Before the first provisional
// response it waits for one; after a final response it does nothing. The INVITE still ends by its own
// final response, at the latest by a 408 made 64*T1 later.
func (tx *ClientTx) Cancel() {
	tx.n.mu.Lock()
	defer tx.n.mu.Unlock()
	if tx.n.closed || !tx.invite() || tx.state > clProceeding {
		return
	}
	tx.wantAbort = true
	if tx.state == clProceeding {
		tx.abortLocked()
	}
}

func (tx *ClientTx) abortLocked() {
	if tx.sentAbort {
		return
	}
	tx.sentAbort = true
	req := hopRequest(tx.req, sip.CANCEL)
	branch, _ := req.Via().Params.Get("branch")
	c := &ClientTx{
		n: tx.n, key: clientKey(branch, sip.CANCEL), req: req, wire: []byte(req.String()),
		target: tx.target, conn: tx.conn, onResp: func(*sip.Response) {},
	}
	tx.n.clients[c.key] = c
	c.startLocked()
	tx.stopTimersLocked()
	tx.life = tx.n.later(64*tx.n.timers.T1, func() func() {
		if tx.state > clProceeding {
			return nil
		}
		return tx.failLocked(408, "Request Timeout")
	})
}

// hopRequest builds the ACK or CANCEL of an INVITE: same Request-URI, top Via, Route, From, To,
// Call-ID and CSeq number (RFC 3261 §9.1, §17.1.1.3).
func hopRequest(inv *sip.Request, m sip.RequestMethod) *sip.Request {
	r := sip.NewRequest(m, *inv.Recipient.Clone())
	r.AppendHeader(inv.Via().Clone())
	for _, h := range inv.GetHeaders("Route") {
		r.AppendHeader(sip.HeaderClone(h))
	}
	r.AppendHeader(newMaxForwards(70))
	r.AppendHeader(sip.HeaderClone(inv.From()))
	r.AppendHeader(sip.HeaderClone(inv.To()))
	r.AppendHeader(sip.HeaderClone(inv.CallID()))
	r.AppendHeader(&sip.CSeqHeader{SeqNo: inv.CSeq().SeqNo, MethodName: m})
	r.SetBody(nil)
	return r
}

// Send sends a request that has no transaction: the ACK of a 2xx. It adds a Via of its own. On TCP it
// uses the open connection and opens one in the background otherwise.
func (n *Node) Send(req *sip.Request, t Target) error {
	n.addVia(req, t, sip.GenerateBranchN(24))
	wire := []byte(req.String())
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	if t.Network != TCP {
		return n.transmit(wire, t, nil)
	}
	if c := n.conns[t.Addr]; c != nil {
		return n.transmit(wire, t, c)
	}
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		c, err := n.dial(t)
		if err == nil {
			err = n.transmit(wire, t, c)
		}
		if err != nil {
			n.warnf("send to %s: %q", t, err.Error())
		}
	}()
	return nil
}

// String names the transaction for diagnostics.
func (tx *ClientTx) String() string { return fmt.Sprintf("%s to %s", tx.req.Method, tx.target) }
