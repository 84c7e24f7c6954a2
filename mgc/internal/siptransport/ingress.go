package siptransport

import (
	"errors"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Verdict is what an Admission says of a request.
type Verdict uint8

// The verdicts.
const (
	Admit  Verdict = iota
	Refuse         // answer 403
	Drop           // no answer, only the counter
)

// Admission decides whether a well-formed request from the flow may enter. It must not block.
type Admission func(m *headers.Msg, from Flow) Verdict

// Errors of Take, for the connection's own count of bad messages.
var (
	ErrMalformed = errors.New("siptransport: malformed message")
	ErrStranger  = errors.New("siptransport: source is not admitted")
)

// Ingress turns received bytes into messages for a Sink. One value serves all sockets of an edge; its fields are set once.
type Ingress struct {
	Sink    Sink
	Metrics *Metrics
	Log     *zap.Logger
	Admit   Admission // nil admits everything
	// Arrived may change an admitted request before the Sink sees it; nil: nothing is changed.
	Arrived func(m *headers.Msg, from Flow)
}

// Take reads one message that came over a link and hands it to the Sink. raw may be reused after. A refused message is
// counted and, when there is enough of it, answered over reply. Errors: ErrMalformed, ErrStranger.
func (in *Ingress) Take(raw []byte, framing headers.Framing, from Flow, reply func(headers.Via) (Link, error)) error {
	return in.take(raw, framing, from, reply, nil)
}

// take is Take; seen, when not nil, gets every response before the Sink.
func (in *Ingress) take(raw []byte, framing headers.Framing, from Flow, reply func(headers.Via) (Link, error), seen func(*headers.Msg)) error {
	m, err := headers.Read(raw, framing)
	if err != nil {
		in.refuse(&m, err, from, reply)
		return ErrMalformed
	}
	in.Metrics.received(from.Transport, m.IsRequest())
	if m.IsRequest() {
		StampReceived(&m, from.Remote)
		if in.Admit != nil {
			if v := in.Admit(&m, from); v != Admit {
				in.stranger(&m, v, from, reply)
				return ErrStranger
			}
		}
		if in.Arrived != nil {
			in.Arrived(&m, from)
		}
	} else if seen != nil {
		seen(&m)
	}
	in.Sink.OnMessage(m, from)
	return nil
}

// refuse answers a malformed request by 400 with the reason, statelessly (RFC 3261 §8.2.7), or counts it.
func (in *Ingress) refuse(m *headers.Msg, err error, from Flow, reply func(headers.Via) (Link, error)) {
	var bad *headers.BadMessage
	if !errors.As(err, &bad) {
		bad = &headers.BadMessage{Status: 400, Reason: headers.ReasonPhrase(400), Err: err}
	}
	in.Log.Debug("malformed SIP message", zap.String("transport", from.Transport), zap.Stringer("remote", from.Remote), zap.Error(err))
	StampReceived(m, from.Remote)
	if in.Admit != nil && m.IsRequest() && in.Admit(m, from) != Admit {
		in.Metrics.Refused(from.Transport, reasonStranger) // noise from strangers is not answered: no reflection
		return
	}
	resp, ok := headers.Reject(m, bad, NewFlowID())
	if !ok || !in.send(&resp, from, reply) {
		in.Metrics.Refused(from.Transport, reasonUnanswerable)
		return
	}
	in.Metrics.Refused(from.Transport, reasonMalformed)
}

// stranger answers a request that was not admitted.
func (in *Ingress) stranger(m *headers.Msg, v Verdict, from Flow, reply func(headers.Via) (Link, error)) {
	in.Metrics.Refused(from.Transport, reasonStranger)
	if v == Drop {
		return
	}
	if resp, ok := headers.Reject(m, &headers.BadMessage{Status: 403, Reason: headers.ReasonPhrase(403)}, NewFlowID()); ok {
		in.send(&resp, from, reply)
	}
}

// send writes a stateless response and reports whether it went out.
func (in *Ingress) send(resp *headers.Msg, from Flow, reply func(headers.Via) (Link, error)) bool {
	via, err := headers.TopVia(resp)
	if err != nil {
		return false
	}
	link, err := reply(via)
	if err != nil {
		return false
	}
	raw, err := resp.Bytes()
	if err != nil || link.Send(raw) != nil {
		return false
	}
	in.Metrics.Sent(from.Transport)
	return true
}
