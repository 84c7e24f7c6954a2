package siptx

import (
	"fmt"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// state of a client or server transaction; each FSM uses those its figure has.
type state uint8

const (
	stTrying     state = iota // non-INVITE: no response yet (server), sent (client); INVITE client: Calling
	stProceeding              // INVITE server starts here
	stAccepted                // INVITE: 2xx (RFC 6026 §7)
	stCompleted
	stConfirmed // INVITE server: ACK for a non-2xx came
	stTerminated
)

// ServerTx is a server transaction (RFC 3261 §17.2, RFC 6026 §7.1). Safe for concurrent use.
type ServerTx struct {
	l      *Layer
	key    string
	id     string
	req    headers.Msg // never changed
	via    headers.Via
	from   siptransport.Flow
	invite bool
	done   chan struct{}

	mu       sync.Mutex // guards what follows
	st       state
	last     []byte // last response as sent
	tag      string // To tag of the responses; "" until the first one above 100
	interval time.Duration
	repeat   timer // Trying, then G
	life     timer // H, I, J, L, or the guard of a request nobody answers
}

// newServer is called with l.mu held.
func (l *Layer) newServer(key string, m headers.Msg, via headers.Via, from siptransport.Flow) *ServerTx {
	tx := &ServerTx{l: l, key: key, id: l.newID(), req: m, via: via, from: from, invite: m.Method == "INVITE", done: make(chan struct{})}
	if tx.invite {
		tx.st = stProceeding
	}
	l.servers[key] = tx
	if from.Edge == siptransport.EdgeAccess {
		l.perFlow[from.ID]++
	}
	l.metrics.live.WithLabelValues("server").Inc()
	return tx
}

// start sets the first timers: 100 Trying for an INVITE, and a guard, so that a handler that forgot the request does not keep
// it for ever. For requests other than INVITE it is the end of the client's patience, after which no answer is of use.
func (tx *ServerTx) start() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.st == stTerminated {
		return // closed meanwhile
	}
	if tx.invite {
		tx.repeat.set(tx.l, &tx.mu, tx.l.cfg.Trying, tx.trying, nil)
		tx.guard(2 * tx.l.cfg.TimerC)
		return
	}
	tx.guard(2 * 64 * tx.l.cfg.T1)
}

// guard ends a transaction that has no final response after d.
func (tx *ServerTx) guard(d time.Duration) {
	tx.life.set(tx.l, &tx.mu, d, func() {
		tx.l.metrics.failed.WithLabelValues("unanswered").Inc()
		tx.terminate()
	}, nil)
}

// ID names the transaction, unique among all instances and time.
func (tx *ServerTx) ID() string { return tx.id }

// Request returns the request. The caller must not change it.
func (tx *ServerTx) Request() headers.Msg { return tx.req }

// Flow returns where the request came from.
func (tx *ServerTx) Flow() siptransport.Flow { return tx.from }

// Done is closed when the transaction has ended.
func (tx *ServerTx) Done() <-chan struct{} { return tx.done }

// Respond sends a response. Via, From, To, Call-ID and CSeq are taken from the request where resp lacks them; a To tag is
// added when there is none, the same one for all responses of the transaction (RFC 3261 §8.2.6.2). One final response is taken; only a 2xx to an INVITE may be repeated, until 64*T1 have passed or the ACK came
// (RFC 6026 §7.1: its retransmission is the owner's). Errors: ErrFinalSent, ErrTerminated, headers.ErrUnwritable, and those of
// the transport, which end the transaction when the response was final.
func (tx *ServerTx) Respond(resp headers.Msg) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	headers.CompleteResponse(&tx.req, &resp)
	tx.l.net.Localize(&resp, &tx.req, tx.from)
	if resp.Status > 100 && headers.ToTag(&resp) == "" {
		_ = headers.SetTag(&resp, "To", tx.ownTag()) // To was validated
	}
	raw, err := resp.Bytes()
	if err != nil {
		return fmt.Errorf("siptx: respond %d to %s: %w", resp.Status, tx.id, err)
	}
	if err := tx.mayRespond(resp.Status); err != nil {
		return fmt.Errorf("siptx: respond %d to %s: %w", resp.Status, tx.id, err)
	}
	again := tx.st == stAccepted
	tx.last = raw
	if tag := headers.ToTag(&resp); tag != "" {
		tx.tag = tag
	}
	if !again {
		tx.advance(resp.Status)
	}
	if err := tx.send(); err != nil {
		if resp.Status >= 200 {
			tx.terminate()
		}
		return fmt.Errorf("siptx: respond %d to %s: %w", resp.Status, tx.id, err)
	}
	return nil
}

func (tx *ServerTx) mayRespond(status int) error {
	switch tx.st {
	case stTerminated:
		return ErrTerminated
	case stCompleted, stConfirmed:
		return ErrFinalSent
	case stAccepted:
		if status < 200 || status > 299 {
			return ErrFinalSent
		}
	}
	return nil
}

// advance moves to the state that a first response of the status leads to and sets its timers.
func (tx *ServerTx) advance(status int) {
	l, reliable := tx.l, siptransport.Reliable(tx.from.Transport)
	if status < 200 {
		tx.st = stProceeding
		if tx.invite {
			tx.repeat.stop() // no 100 of our own any more
			tx.guard(2 * l.cfg.TimerC)
		}
		return
	}
	tx.repeat.stop()
	switch {
	case !tx.invite: // timer J
		tx.st = stCompleted
		tx.lifeAfter(64*l.cfg.T1, reliable, tx.terminate)
	case status < 300: // timer L
		tx.st = stAccepted
		tx.life.set(l, &tx.mu, 64*l.cfg.T1, tx.terminate, nil)
	default: // timers G and H
		tx.st = stCompleted
		if !reliable {
			tx.interval = l.cfg.T1
			tx.repeat.set(l, &tx.mu, tx.interval, tx.timerG, nil)
		}
		tx.life.set(l, &tx.mu, 64*l.cfg.T1, func() {
			l.metrics.failed.WithLabelValues("no_ack").Inc()
			tx.terminate()
		}, nil)
	}
}

// lifeAfter ends the transaction after d, or at once on a reliable transport. At once means after the present step.
func (tx *ServerTx) lifeAfter(d time.Duration, reliable bool, f func()) {
	if reliable {
		d = 0
	}
	tx.life.set(tx.l, &tx.mu, d, f, nil)
}

func (tx *ServerTx) timerG() {
	tx.interval = min(2*tx.interval, tx.l.cfg.T2)
	tx.l.metrics.repeats.WithLabelValues("out").Inc()
	_ = tx.send() // the next one, or timer H, follows
	tx.repeat.set(tx.l, &tx.mu, tx.interval, tx.timerG, nil)
}

func (tx *ServerTx) trying() {
	if tx.st != stProceeding || tx.last != nil {
		return
	}
	resp := headers.NewResponse(&tx.req, 100, "")
	if raw, err := resp.Bytes(); err == nil {
		tx.last = raw
		_ = tx.send() // a lost 100 is made good by the next response
	}
}

func (tx *ServerTx) send() error {
	link, err := tx.l.net.Reply(tx.from, tx.via)
	if err != nil {
		return err
	}
	return link.Send(tx.last)
}

// retransmitted answers a repeated request by the last response (RFC 3261 §17.2.1, §17.2.2); in Accepted it is absorbed.
func (tx *ServerTx) retransmitted() {
	tx.l.metrics.repeats.WithLabelValues("in").Inc()
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.last != nil && (tx.st == stProceeding || tx.st == stCompleted) {
		_ = tx.send() // the peer will ask again
	}
}

// absorbAck reports whether an ACK with the INVITE's branch ends here: it does unless the final was a 2xx, to which only
// peers of RFC 2543 send such an ACK.
func (tx *ServerTx) absorbAck() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	switch tx.st {
	case stAccepted:
		return false
	case stCompleted:
		tx.st = stConfirmed
		tx.repeat.stop()
		tx.lifeAfter(tx.l.cfg.T4, siptransport.Reliable(tx.from.Transport), tx.terminate) // timer I
	}
	return true
}

// pending reports whether the INVITE has no final response.
func (tx *ServerTx) pending() bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.st == stProceeding
}

// toTag returns the To tag of the INVITE, so that the 200 to its CANCEL has the same (RFC 3261 §9.2).
func (tx *ServerTx) toTag() string {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.ownTag()
}

// ownTag returns the To tag of the last response, or makes one.
func (tx *ServerTx) ownTag() string {
	if tx.tag == "" {
		tx.tag = siptransport.NewFlowID()
	}
	return tx.tag
}

// end terminates from outside.
func (tx *ServerTx) end() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.terminate()
}

func (tx *ServerTx) terminate() {
	if tx.st == stTerminated {
		return
	}
	tx.st = stTerminated
	tx.repeat.stop()
	tx.life.stop()
	tx.last = nil
	tx.l.removeServer(tx)
	close(tx.done)
}
