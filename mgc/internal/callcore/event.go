package callcore

import (
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Leg names one of the two legs of a call: one dialog with its offer/answer state.
type Leg uint8

// The legs.
const (
	LegAccess Leg = iota // the browser
	LegCore              // the SIP user
)

// String returns "access" or "core".
func (l Leg) String() string {
	if l == LegCore {
		return "core"
	}
	return "access"
}

// Other returns the opposite leg.
func (l Leg) Other() Leg { return 1 - l }

// Event is something that happened to the call; the types below are the only ones.
type Event interface{ isEvent() }

// RequestIn is a new request, not ACK and not CANCEL. The first event of a call is the RequestIn of its initial INVITE.
type RequestIn struct {
	Leg Leg
	Tx  string // id of the server transaction; SendResponse repeats it
	Msg headers.Msg
}

// CancelIn is a CANCEL of a server INVITE transaction that matched; the CANCEL itself is already answered, the INVITE is not.
type CancelIn struct {
	Leg Leg
	Tx  string       // the INVITE's server transaction
	Msg *headers.Msg // the CANCEL, for its Reason; may be nil
}

// AckIn is an ACK for a 2xx; ACKs for other finals never leave the transaction layer.
type AckIn struct {
	Leg Leg
	Msg headers.Msg
}

// ResponseIn is a response to a request of ours. 100 may be left out. A 2xx to INVITE may come again (retransmission or a
// further fork) after the final one.
type ResponseIn struct {
	Leg            Leg
	Tx             string // as in SendRequest
	Msg            headers.Msg
	Retransmission bool // informative; the core tells forks from repetitions by the To tag
}

// TxFailed ends a client transaction without a final response.
type TxFailed struct {
	Leg     Leg
	Tx      string
	Timeout bool // timer B or F; false: transport error, dead flow, nothing resolved
}

// IqError is a transaction that got no reply, or was refused as a whole.
type IqError struct {
	Code uint32 // H.248.8; 0: no reply (unreachable, no MGW available)
	Text string
}

// IqReply is the outcome of a Transact. Exactly one of Reply and Err is set.
type IqReply struct {
	ID     string // transaction_id
	Reply  *iqv1.TransactionReply
	Err    *IqError
	MGW    string // the MGW that executed it; set when the effect had Pick
	BootID string // its boot_id; empty: that of Reply
}

// IqNotify carries events that an MGW observed in the call's context. Repetitions are harmless.
type IqNotify struct{ Req *iqv1.NotifyRequest }

// TimerFired tells that the named timer's time has come. A timer that was stopped meanwhile is ignored.
type TimerFired struct{ Name string }

// FlowLost tells that the browser's WebSocket is gone.
type FlowLost struct{}

// FlowBack tells that the browser is reachable again (it registered anew over another flow).
type FlowBack struct{}

// Play plays signals to the peer of a leg, or stops those that are playing when there are none: an operator wants it. Played answers.
type Play struct {
	ID      string // repeated in Played
	Leg     Leg
	Signals []*iqv1.Signal
}

// Release ends the call from outside: operator, de-registration, death of the MGW, drain.
type Release struct {
	Status int    // final response to a caller that has none yet, 400..699; 0: 503
	Reason string // text of the Reason header field
	Dead   bool   // the MGW is gone: nothing is subtracted

	Fields []headers.Field // added to that final response, e.g. Retry-After
	Body   []byte          // session description in it (RFC 3261 §21.4.26); nil: none
}

// Rehomed tells where peers reach the instance that the call is at now, host:port of our Contacts towards browser and core. A core that was told another
// place is told the new one (RFC 3261 §12.2: a target refresh).
type Rehomed struct{ AccessHost, CoreHost string }

// RealmsLost tells that IP realms on the call's MGW have failed: their terminations are out of service (TS 23.334 §6.1.15).
type RealmsLost struct{ Realms []string }

func (RealmsLost) isEvent() {}
func (Rehomed) isEvent()    {}
func (RequestIn) isEvent()  {}
func (CancelIn) isEvent()   {}
func (AckIn) isEvent()      {}
func (ResponseIn) isEvent() {}
func (TxFailed) isEvent()   {}
func (IqReply) isEvent()    {}
func (IqNotify) isEvent()   {}
func (TimerFired) isEvent() {}
func (FlowLost) isEvent()   {}
func (FlowBack) isEvent()   {}
func (Play) isEvent()       {}
func (Release) isEvent()    {}
