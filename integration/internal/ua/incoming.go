package ua

import (
	"fmt"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// giveUp is how long background requests wait: one transaction's time.
func (c *Call) giveUp() time.Duration {
	if t := c.a.cfg.Timers.T1; t > 0 {
		return 64 * t
	}
	return 32 * time.Second
}

// serve takes each new request. It runs on the reader goroutine.
func (a *Agent) serve(tx *sipnode.ServerTx) {
	req := tx.Request()
	if a.cfg.OnlyProxy && tx.Source() != a.cfg.Proxy {
		tx.Reply(403, "Forbidden")
		return
	}
	if bad := unsupported(req); bad != "" {
		tx.Reply(420, "Bad Extension", sip.NewHeader("Unsupported", bad))
		return
	}
	if tag := tagOf(req.To().Params); tag != "" {
		a.mu.Lock()
		c := a.calls[req.CallID().Value()+"|"+tag]
		a.mu.Unlock()
		if c == nil {
			tx.Reply(481, "Call/Transaction Does Not Exist")
			return
		}
		c.serve(tx)
		return
	}
	switch req.Method {
	case sip.INVITE:
		a.serveInvite(tx)
	case sip.MESSAGE:
		a.serveMessage(tx)
	case sip.OPTIONS:
		tx.Reply(200, "OK", sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp, text/plain"))
	case sip.BYE, sip.INFO, sip.UPDATE:
		tx.Reply(481, "Call/Transaction Does Not Exist")
	default:
		tx.Reply(405, "Method Not Allowed", sip.NewHeader("Allow", allow))
	}
}

// unsupported lists the option tags required that we do not have (RFC 3261 §8.2.2.3).
func unsupported(req *sip.Request) string {
	var tags []string
	for _, h := range req.GetHeaders("Require") {
		tags = append(tags, h.Value())
	}
	return strings.Join(tags, ", ")
}

func (a *Agent) serveMessage(tx *sipnode.ServerTx) {
	if a.cfg.OnMessage == nil {
		tx.Reply(405, "Method Not Allowed", sip.NewHeader("Allow", allow))
		return
	}
	req := tx.Request()
	m := Message{From: aor(&req.From().Address), To: aor(&req.To().Address), Body: string(req.Body())}
	if ct := req.ContentType(); ct != nil {
		m.ContentType = ct.Value()
	}
	code := a.cfg.OnMessage(m)
	tx.Reply(code, reasonOf(code))
}

func aor(u *sip.Uri) string { return u.User + "@" + u.Host }

func reasonOf(code int) string {
	switch code {
	case 200:
		return "OK"
	case 202:
		return "Accepted"
	case 404:
		return "Not Found"
	case 415:
		return "Unsupported Media Type"
	case 480:
		return "Temporarily Unavailable"
	case 486:
		return "Busy Here"
	case 603:
		return "Decline"
	}
	return "Refused"
}

func (a *Agent) serveInvite(tx *sipnode.ServerTx) {
	req := tx.Request()
	if a.cfg.OnCall == nil {
		tx.Reply(480, "Temporarily Unavailable")
		return
	}
	user := req.Recipient.User
	if user == "" {
		user = req.To().Address.User
	}
	c, err := a.newCall(false, req.CallID().Value(), user, aor(&req.From().Address))
	if err != nil {
		tx.Reply(500, "Server Internal Error")
		return
	}
	c.mu.Lock()
	c.serverTx, c.invite = tx, req
	c.dialog = dialog{
		localURI: *req.To().Address.Clone(), localName: req.To().DisplayName, remoteURI: *req.From().Address.Clone(),
		remoteTag: tagOf(req.From().Params), remoteSeq: req.CSeq().SeqNo, route: recordRoutes(req),
		remoteTarget: *req.From().Address.Clone(),
	}
	if ct := req.Contact(); ct != nil {
		c.dialog.remoteTarget = *ct.Address.Clone()
	}
	if len(req.Body()) > 0 {
		_, err = c.acceptLocked(req.Body())
	}
	c.mu.Unlock()
	if err != nil {
		c.Reject(488, "Not Acceptable Here")
		return
	}
	tx.OnCancel(func() { c.cancelled() })
	tx.OnNoAck(func() { c.byeInBackground() })
	a.spawn(func() { a.cfg.OnCall(c) })
}

func (c *Call) cancelled() {
	c.mu.Lock()
	tx, pending := c.serverTx, c.state < Established
	c.mu.Unlock()
	if !pending {
		return
	}
	c.respond(tx, 487, "Request Terminated", "")
	c.end(EndReason{Code: 487, Text: "Request Terminated", ByRemote: true})
}

// respond sends a response of the dialog: our tag, Contact, and a description if body is set.
func (c *Call) respond(tx *sipnode.ServerTx, code int, reason, body string, more ...sip.Header) error {
	res := sipnode.NewResponse(tx.Request(), code, reason)
	res.To().Params.Remove("tag")
	res.To().Params.Add("tag", c.localTag)
	if code < 300 {
		res.AppendHeader(c.a.contact(c.user))
		res.AppendHeader(sip.NewHeader("Allow", allow))
	}
	for _, h := range more {
		res.AppendHeader(h)
	}
	setBody(res, "application/sdp", body)
	return tx.Respond(res)
}

// AutoAnswer makes an OnCall that rings for the time given, then answers; prepare, when set, runs first,
// e.g. to set the media's source and sink.
func AutoAnswer(ring time.Duration, prepare func(*Call)) func(*Call) {
	return func(c *Call) {
		if prepare != nil {
			prepare(c)
		}
		c.Ring()
		t := time.NewTimer(ring)
		defer t.Stop()
		select {
		case <-c.done:
		case <-t.C:
			c.Answer()
		}
	}
}

// AutoReject makes an OnCall that refuses with code.
func AutoReject(code int) func(*Call) {
	return func(c *Call) { c.Reject(code, reasonOf(code)) }
}

// Ring sends 180.
func (c *Call) Ring() error {
	c.mu.Lock()
	if c.outgoing || c.state >= Established {
		c.mu.Unlock()
		return ErrWrongCall
	}
	c.state = Proceeding
	c.fireRingingLocked()
	tx := c.serverTx
	c.mu.Unlock()
	return c.respond(tx, 180, "Ringing", "")
}

// EarlyMedia sends 183 with our description: media flows from now on, before the answer. The
// description of Answer will be the same. A caller that knows P-Early-Media is told that this is
// authorised both ways (RFC 5009 §8).
func (c *Call) EarlyMedia() error {
	c.mu.Lock()
	if c.outgoing || c.state >= Established || c.remote == nil {
		c.mu.Unlock()
		return ErrWrongCall
	}
	body, err := c.describeLocked(c.remote)
	if err == nil {
		err = c.applyLocked()
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	c.state = Proceeding
	c.fireRingingLocked()
	c.fireEarlyLocked()
	tx := c.serverTx
	c.mu.Unlock()
	var more []sip.Header
	if tx.Request().GetHeader("P-Early-Media") != nil {
		more = append(more, sip.NewHeader("P-Early-Media", "sendrecv"))
	}
	return c.respond(tx, 183, "Session Progress", body, more...)
}

// Answer sends 200 with our description: the answer to the offer, or an offer when the INVITE had
// none. Without a shared codec it rejects with 488 and returns ErrNoCodec.
func (c *Call) Answer() error {
	c.mu.Lock()
	if c.outgoing || c.state >= Established {
		c.mu.Unlock()
		return ErrWrongCall
	}
	body, err := c.describeLocked(c.remote)
	if err == nil && c.remote != nil {
		err = c.applyLocked()
	}
	if err != nil {
		c.mu.Unlock()
		c.Reject(488, "Not Acceptable Here")
		return err
	}
	c.state = Established
	c.fireRingingLocked()
	tx := c.serverTx
	c.mu.Unlock()
	return c.respond(tx, 200, "OK", body)
}

// Reject refuses an incoming call.
func (c *Call) Reject(code int, reason string) error {
	c.mu.Lock()
	if c.outgoing || c.state >= Established {
		c.mu.Unlock()
		return ErrWrongCall
	}
	tx := c.serverTx
	c.mu.Unlock()
	err := c.respond(tx, code, reason, "")
	c.end(EndReason{Code: code, Text: reason})
	return err
}

// serveAck completes an INVITE from the peer.
func (a *Agent) serveAck(req *sip.Request) {
	a.mu.Lock()
	c := a.calls[req.CallID().Value()+"|"+tagOf(req.To().Params)]
	a.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offerOut && len(req.Body()) > 0 { // the answer to the offer in our 200
		c.offerOut = false
		if _, err := c.acceptLocked(req.Body()); err == nil {
			c.applyLocked()
		}
	}
	if c.state == Established {
		c.fireAnsweredLocked()
	}
}

// serve takes a request inside the dialog. It runs on the reader goroutine.
func (c *Call) serve(tx *sipnode.ServerTx) {
	req := tx.Request()
	c.mu.Lock()
	old := req.CSeq().SeqNo <= c.dialog.remoteSeq
	if !old {
		c.dialog.remoteSeq = req.CSeq().SeqNo
	}
	wrong := tagOf(req.From().Params) != c.dialog.remoteTag
	c.mu.Unlock()
	switch {
	case wrong:
		tx.Reply(481, "Call/Transaction Does Not Exist")
	case old:
		tx.Reply(500, "Server Internal Error") // RFC 3261 §12.2.2
	case req.Method == sip.BYE:
		c.respond(tx, 200, "OK", "")
		c.end(EndReason{Text: "hung up by the peer", ByRemote: true})
	case req.Method == sip.INVITE, req.Method == sip.UPDATE:
		c.serveOffer(tx)
	case req.Method == sip.INFO:
		i := Info{Body: string(req.Body())}
		if ct := req.ContentType(); ct != nil {
			i.ContentType = ct.Value()
		}
		c.mu.Lock()
		if len(c.infos) < 1000 {
			c.infos = append(c.infos, i)
		}
		c.mu.Unlock()
		c.respond(tx, 200, "OK", "")
	case req.Method == sip.OPTIONS:
		c.respond(tx, 200, "OK", "")
	case req.Method == sip.MESSAGE:
		c.a.serveMessage(tx)
	default:
		tx.Reply(405, "Method Not Allowed", sip.NewHeader("Allow", allow))
	}
}

// serveOffer answers a re-INVITE or UPDATE (RFC 3264 §8, RFC 3311).
func (c *Call) serveOffer(tx *sipnode.ServerTx) {
	req := tx.Request()
	c.mu.Lock()
	if c.offerOut || c.state != Established && req.Method == sip.INVITE {
		c.mu.Unlock()
		c.respond(tx, 491, "Request Pending", "")
		return
	}
	if ct := req.Contact(); ct != nil {
		c.dialog.remoteTarget = *ct.Address.Clone()
	}
	body, err := c.answerOfferLocked(req)
	c.mu.Unlock()
	if err != nil {
		c.respond(tx, 488, "Not Acceptable Here", "", sip.NewHeader("Warning", fmt.Sprintf("399 isthmus.example %q", err.Error())))
		return
	}
	if req.Method == sip.INVITE {
		tx.OnNoAck(func() { c.byeInBackground() })
	}
	c.respond(tx, 200, "OK", body)
}

func (c *Call) answerOfferLocked(req *sip.Request) (string, error) {
	if len(req.Body()) == 0 {
		if req.Method == sip.UPDATE {
			return "", nil
		}
		return c.describeLocked(nil)
	}
	before := c.remote
	d, err := c.acceptLocked(req.Body())
	if err != nil {
		return "", err
	}
	body, err := c.describeLocked(d)
	if err == nil {
		err = c.applyLocked()
	}
	if err != nil {
		c.remote = before
	}
	return body, err
}
