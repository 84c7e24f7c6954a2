package ua

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

func randomID() uint64 { return uint64(rand.Uint32()) }

func tagOf(p sip.HeaderParams) string { v, _ := p.Get("tag"); return v }

// requestLocked builds an in-dialog request (RFC 3261 §12.2.1.1). ACK takes cseq of its INVITE, all
// others count up.
func (c *Call) requestLocked(m sip.RequestMethod, cseq uint32) *sip.Request {
	d := &c.dialog
	if m != sip.ACK {
		d.localSeq++
		cseq = d.localSeq
	}
	req := sip.NewRequest(m, *d.remoteTarget.Clone())
	for i := range d.route {
		req.AppendHeader(&sip.RouteHeader{Address: *d.route[i].Clone()})
	}
	sipnode.SetMaxForwards(req, 70)
	from := &sip.FromHeader{DisplayName: d.localName, Address: *d.localURI.Clone(), Params: sip.NewParams()}
	from.Params.Add("tag", c.localTag)
	to := &sip.ToHeader{Address: *d.remoteURI.Clone(), Params: sip.NewParams()}
	if d.remoteTag != "" {
		to.Params.Add("tag", d.remoteTag)
	}
	req.AppendHeader(from)
	req.AppendHeader(to)
	id := sip.CallIDHeader(c.callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: cseq, MethodName: m})
	req.AppendHeader(sip.NewHeader("User-Agent", c.a.cfg.Name))
	if m == sip.INVITE || m == sip.UPDATE {
		req.AppendHeader(c.a.contact(c.user))
		req.AppendHeader(sip.NewHeader("Allow", allow))
	}
	req.SetBody(nil)
	return req
}

// recordRoutes lists the Record-Route URIs of m in order.
func recordRoutes(m interface{ GetHeaders(string) []sip.Header }) []sip.Uri {
	var out []sip.Uri
	for _, h := range m.GetHeaders("Record-Route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			out = append(out, *rr.Address.Clone())
		}
	}
	return out
}

// ackLocked sends, and keeps for retransmissions, the ACK of a 2xx to our INVITE.
func (c *Call) ackLocked(cseq uint32, body string) {
	ack := c.acks[cseq]
	if ack == nil {
		ack = c.requestLocked(sip.ACK, cseq)
		setBody(ack, "application/sdp", body)
		c.acks[cseq] = ack
	}
	t, err := sipnode.NextHop(ack)
	if err == nil {
		err = c.a.node.Send(ack.Clone(), t)
	}
	if err != nil && c.a.cfg.Warn != nil {
		c.a.cfg.Warn(fmt.Sprintf("ACK of call %q: %v", c.callID, err))
	}
}

// inDialog sends a request other than INVITE in the dialog and waits for the final response.
func (c *Call) inDialog(ctx context.Context, m sip.RequestMethod, contentType, body string) (*sip.Response, error) {
	c.mu.Lock()
	if c.state == Ended || c.dialog.remoteTag == "" {
		c.mu.Unlock()
		return nil, ErrCallEnded
	}
	req := c.requestLocked(m, 0)
	c.mu.Unlock()
	setBody(req, contentType, body)
	return c.a.roundTrip(ctx, req, c.nextSeq)
}

func (c *Call) nextSeq() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dialog.localSeq++
	return c.dialog.localSeq
}

// Hangup ends the call from our side in whatever state it is: BYE when answered, CANCEL or a 603
// before. It waits for the peer's response, at most until ctx ends; the call is over in any case.
func (c *Call) Hangup(ctx context.Context) error {
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	switch {
	case state == Ended:
		return nil
	case state == Established:
		return c.Bye(ctx)
	case c.outgoing:
		return c.Cancel(ctx)
	default:
		return c.Reject(603, "Decline")
	}
}

// Bye hangs up an answered call and waits for the response; other than 2xx is a *StatusError. The
// call ends here at once.
func (c *Call) Bye(ctx context.Context, extra ...sip.Header) error {
	c.mu.Lock()
	if c.state != Established {
		c.mu.Unlock()
		return ErrWrongCall
	}
	req := c.requestLocked(sip.BYE, 0)
	c.mu.Unlock()
	for _, h := range extra {
		req.AppendHeader(h)
	}
	c.end(EndReason{Text: "hung up"})
	res, err := c.a.roundTrip(ctx, req, c.nextSeq)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return &StatusError{res.StatusCode, res.Reason, res}
	}
	return nil
}

// Info sends an INFO and waits for its response.
func (c *Call) Info(ctx context.Context, contentType, body string) error {
	return c.expectOK(c.inDialog(ctx, sip.INFO, contentType, body))
}

// Ping sends an OPTIONS in the dialog and waits for its response.
func (c *Call) Ping(ctx context.Context) error {
	return c.expectOK(c.inDialog(ctx, sip.OPTIONS, "", ""))
}

func (c *Call) expectOK(res *sip.Response, err error) error {
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return &StatusError{res.StatusCode, res.Reason, res}
	}
	return nil
}

// SendDigits plays DTMF digits as telephone events and returns when they have been sent.
func (c *Call) SendDigits(ctx context.Context, digits string) error {
	return c.media.SendDigits(ctx, digits)
}

// Hold re-INVITEs with sendonly, so that the peer stops sending (RFC 3264 §8.4).
func (c *Call) Hold(ctx context.Context) error { return c.Reinvite(ctx, SendOnly) }

// Resume re-INVITEs with sendrecv.
func (c *Call) Resume(ctx context.Context) error { return c.Reinvite(ctx, SendRecv) }

// Reinvite offers our media again with direction dir and waits until the answer is in force. A 491
// is retried after RFC 3261 §14.1's pause.
func (c *Call) Reinvite(ctx context.Context, dir Direction) error {
	for {
		err := c.reinviteOnce(ctx, dir)
		se, ok := err.(*StatusError)
		if !ok || se.Code != 491 {
			return err
		}
		lo, span := 0, 200 // not the Call-ID's owner: 0 to 2 s in steps of 10 ms
		if c.outgoing {
			lo, span = 210, 190 // owner: 2.1 to 4 s
		}
		select {
		case <-time.After(time.Duration(lo+rand.IntN(span)) * 10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("ua: re-INVITE: %w", ctx.Err())
		case <-c.done:
			return ErrCallEnded
		}
	}
}

func (c *Call) reinviteOnce(ctx context.Context, dir Direction) error {
	c.mu.Lock()
	if c.state != Established || c.offerOut {
		c.mu.Unlock()
		return ErrWrongCall
	}
	before := c.wish
	c.wish = dir
	body, _ := c.describeLocked(nil)
	req := c.requestLocked(sip.INVITE, 0)
	setBody(req, "application/sdp", body)
	c.mu.Unlock()
	final := make(chan error, 1) // writer: the first final response; later ones only re-send the ACK
	t, err := sipnode.NextHop(req)
	if err != nil {
		return err
	}
	cseq := req.CSeq().SeqNo
	c.a.node.Request(req, t, func(res *sip.Response) {
		if res.StatusCode < 200 {
			return
		}
		err := c.reinviteAnswered(res, cseq, before)
		select {
		case final <- err:
		default:
		}
	})
	select {
	case err := <-final:
		return err
	case <-c.done:
		return ErrCallEnded
	case <-ctx.Done():
		return fmt.Errorf("ua: re-INVITE: %w", ctx.Err())
	}
}

func (c *Call) reinviteAnswered(res *sip.Response, cseq uint32, before Direction) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if res.StatusCode >= 300 {
		c.offerOut, c.wish, c.sent = false, before, before
		return &StatusError{res.StatusCode, res.Reason, res}
	}
	again := c.acks[cseq] != nil
	if ct := res.Contact(); ct != nil {
		c.dialog.remoteTarget = *ct.Address.Clone()
	}
	c.ackLocked(cseq, "")
	if again || c.state == Ended {
		return nil
	}
	c.offerOut = false
	if _, err := c.acceptLocked(res.Body()); err != nil {
		return err
	}
	return c.applyLocked()
}
