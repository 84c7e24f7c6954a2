// Package siptx is the SIP transaction layer: client and server transactions of RFC 3261 §17 with the Accepted states of
// RFC 6026. Floor 2 of mgc. Owner: Layer; a transaction is stepped under its own lock by whoever brings an event (a
// connection's reader, a timer, the user), results leave in order and never under a lock.
//
// The FSMs are our own. Those of sipgo cannot serve a B2BUA: they answer the INVITE of a CANCEL by themselves (the 2xx that
// races it is lost), take their timers from package globals, block in their lock until a channel is read, and give every
// message a goroutine of its own, which loses the order of a dialog.
//
// Walk of a call from the browser:
//
//	Sink.OnMessage INVITE -> new ServerTx -> Handler.OnRequest (100 follows by itself after 200 ms)
//	Layer.Request INVITE  -> hops of Network -> attempt with branch 1 ... response -> cb(Provisional), cb(Final)
//	ServerTx.Respond 200  -> Accepted for 64*T1, the owner repeats the 200 until Handler.OnAck
package siptx

import (
	"errors"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Errors of this layer.
var (
	// ErrFinalSent: the transaction has its final response already.
	ErrFinalSent = errors.New("siptx: final response already sent")
	// ErrTerminated: the transaction has ended.
	ErrTerminated = errors.New("siptx: transaction has ended")
	// ErrClosed: the layer is shut.
	ErrClosed = errors.New("siptx: closed")
	// ErrOverload: Config.MaxTransactions is reached.
	ErrOverload = errors.New("siptx: too many transactions")
	// ErrCanceled: the request was cancelled before anything was heard of it.
	ErrCanceled = errors.New("siptx: cancelled")
	// ErrTimeout: timer B or F fired, or a CANCEL had no effect for 64*T1.
	ErrTimeout = errors.New("siptx: no response in time")
)

// Config holds the timers and bounds; a zero field takes its default.
type Config struct {
	T1 time.Duration // round-trip estimate, default 500 ms (RFC 3261 table 4)
	T2 time.Duration // cap of retransmission intervals, default 4 s
	T4 time.Duration // longest life of a message in the network, default 5 s
	// Trying is how long an INVITE may be without a response before 100 is sent for it, default 200 ms (RFC 3261 §17.2.1).
	Trying time.Duration
	// Failover is how long an attempt may be without a response while another hop is left, default 4 s. The last hop has 64*T1.
	Failover time.Duration
	// TimerC ends an INVITE client transaction that has had no response for that long after a provisional one, default 10 min.
	// A server transaction may be without a further response for twice as long. The owner's own ringing timer should be
	// shorter; this one only bounds memory.
	TimerC time.Duration
	// MaxTransactions bounds live transactions of both kinds, default 200000. Beyond it new requests get 503.
	MaxTransactions int
	// MaxPerFlow bounds the server transactions of one access connection, default 1000: one browser cannot use up the rest.
	MaxPerFlow int
	// RetryAfter is written into the 503 of overload and drain, default 5 s.
	RetryAfter time.Duration
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.T1, 500*time.Millisecond)
	def(&c.T2, 4*time.Second)
	def(&c.T4, 5*time.Second)
	def(&c.Trying, 200*time.Millisecond)
	def(&c.Failover, 4*time.Second)
	def(&c.TimerC, 10*time.Minute)
	def(&c.RetryAfter, 5*time.Second)
	if c.MaxTransactions == 0 {
		c.MaxTransactions = 200_000
	}
	if c.MaxPerFlow == 0 {
		c.MaxPerFlow = 1000
	}
	return c
}

// Handler is the transaction user for requests. Its methods are called from the reader of the connection the message came
// over, in order for one connection, concurrently for several; they must not block. They may call Respond and Request.
type Handler interface {
	// OnRequest brings every new request but ACK and CANCEL. The handler must answer tx finally, now or later.
	OnRequest(tx *ServerTx, req headers.Msg, from siptransport.Flow)
	// OnCancel brings a CANCEL that matches the INVITE of tx and finds it without a final response. The CANCEL has its 200
	// already; the INVITE is the owner's to answer, normally by 487.
	OnCancel(tx *ServerTx, cancel headers.Msg)
	// OnAck brings an ACK for a 2xx. ACKs for other finals are absorbed.
	OnAck(ack headers.Msg, from siptransport.Flow)
}

// ResultKind tells what a ClientResult brings.
type ResultKind uint8

// The kinds of result.
const (
	Provisional    ResultKind = iota + 1 // Msg is a 1xx; any number of them
	Final                                // Msg is a final response
	Timeout                              // nothing in time: treat as 408 (RFC 3261 §8.1.3.1)
	TransportError                       // could not be sent: treat as 503, as 430 when Err is siptransport.ErrFlowGone
)

// ClientResult is one event of a client transaction. After exactly one Final, Timeout or TransportError come only further
// 2xx to an INVITE, with Retransmission set: repeats, or those of other forks (another To tag). The owner sends ACK for each.
type ClientResult struct {
	Kind           ResultKind
	Msg            headers.Msg
	Retransmission bool
	Err            error             // Timeout and TransportError: why
	From           siptransport.Flow // responses: where it came from
}
