package callcore

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Effect is something that the executor has to do; the types below are the only ones.
type Effect interface{ isEffect() }

// SendRequest sends a request. Tx is the core's name for the client transaction, unique in the call; the executor maps it to
// its own. Tx "" means no transaction: an ACK for a 2xx.
type SendRequest struct {
	Leg Leg
	Tx  string
	Msg headers.Msg
}

// SendCancel cancels the INVITE that was sent as Tx (RFC 3261 §9.1); the transaction layer holds it back until the first 1xx.
type SendCancel struct {
	Leg    Leg
	Tx     string
	Reason string // value of a Reason header field; empty: none
}

// SendResponse answers a server transaction. Via is added from the request by the transaction layer.
type SendResponse struct {
	Leg            Leg
	Tx             string
	Msg            headers.Msg
	Retransmission bool // a repeated 2xx (RFC 3261 §13.3.1.4), whose transaction has had its final response, or reliable 1xx (RFC 3262 §3) to INVITE
}

// Transact performs an Iq transaction. At most one is outstanding per call.
type Transact struct {
	Req  *iqv1.TransactionRequest
	Pick bool   // no MGW is chosen yet
	MGW  string // else: the MGW of the call
	Boot string // its boot_id as far as known
}

// Played tells what became of a Play.
type Played struct {
	ID  string
	Err *IqError // nil: it is playing
}

// DigitLost tells that a digit for the peer of a leg is refused or lost: too many wait for its answers.
type DigitLost struct{ Leg Leg }

// StartTimer starts or restarts a timer.
type StartTimer struct {
	Name string
	At   time.Time
}

// StopTimer stops a timer.
type StopTimer struct{ Name string }

// Ended is the last effect of a call: both dialogs are over and the context is subtracted (or given up). The record may be deleted.
type Ended struct {
	Cause  Cause
	Record Record
}

func (SendRequest) isEffect()  {}
func (SendCancel) isEffect()   {}
func (SendResponse) isEffect() {}
func (Transact) isEffect()     {}
func (Played) isEffect()       {}
func (DigitLost) isEffect()    {}
func (StartTimer) isEffect()   {}
func (StopTimer) isEffect()    {}
func (Ended) isEffect()        {}

// Cause says why a call ended, in one word fit for a metric label.
type Cause string

// The causes.
const (
	CauseHangupAccess Cause = "hangup_access"    // BYE from the browser
	CauseHangupCore   Cause = "hangup_core"      // BYE from the SIP user
	CauseCancelled    Cause = "cancelled"        // the caller gave up
	CauseRefused      Cause = "refused"          // refused by us before anybody was called
	CauseRejected     Cause = "rejected"         // final non-2xx response of the callee
	CauseNoAnswer     Cause = "no_answer"        // no-answer guard
	CauseTimeout      Cause = "timeout"          // no final response, or no ACK
	CauseUnreachable  Cause = "unreachable"      // transport failure, flow lost
	CauseMediaGateway Cause = "media_gateway"    // Iq error
	CauseMedia        Cause = "media"            // no usable media
	CauseICE          Cause = "ice_failed"       // ICE failed or not connected in time
	CauseDTLS         Cause = "dtls_failed"      // DTLS failed or wrong fingerprint
	CauseConsent      Cause = "consent_lost"     // RFC 7675 consent lost and not regained
	CauseInactive     Cause = "media_inactive"   // no media
	CauseInterface    Cause = "interface_failed" // the MGW's interface under one side
	CauseReleased     Cause = "released"         // Release event
	CauseExpired      Cause = "expired"          // session timer (RFC 4028)
)

// Record is what is worth keeping of a call: for the log and the call data record.
type Record struct {
	Key             string             `json:"key"`
	Caller          string             `json:"caller"` // URI of From
	Callee          string             `json:"callee"` // URI of To
	FromAccess      bool               `json:"from_access"`
	CallIDs         [2]string          `json:"call_ids"` // access, core
	Start           time.Time          `json:"start"`
	Answer          time.Time          `json:"answer,omitzero"` // zero: never answered
	End             time.Time          `json:"end,omitzero"`
	Status          int                `json:"status"` // final status of the initial INVITE
	Cause           Cause              `json:"cause,omitempty"`
	Reason          string             `json:"reason,omitempty"`
	AccessCodec     string             `json:"access_codec,omitempty"` // e.g. "opus/48000/2"
	CoreCodec       string             `json:"core_codec,omitempty"`
	MediaPath       string             `json:"media_path,omitempty"`        // "relayed" or "transcoded"
	MediaPathReason string             `json:"media_path_reason,omitempty"` // why, for people
	Impaired        int                `json:"impaired,omitempty"`          // times that a direction fell below the limit of quality
	MGW             string             `json:"mgw,omitempty"`
	Context         string             `json:"context,omitempty"`
	Statistics      []*iqv1.Statistics `json:"-"` // from the Subtract reply; nil when it failed
}
