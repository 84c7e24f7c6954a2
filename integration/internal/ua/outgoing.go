package ua

import (
	"context"
	"fmt"

	"github.com/emiago/sipgo/sip"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// CallOptions varies an outgoing call; the zero value is an ordinary one.
type CallOptions struct {
	User      string       // call as this user of our domain, default the agent's
	Direction Direction    // offered, default sendrecv
	Headers   []sip.Header // added to the INVITE
	LateOffer bool         // send no description: the peer's 200 offers, our ACK answers
	Setup     func(*Call)  // runs before anything is sent, e.g. to set the media's source and sink
}

// Invite places a call to "bob", "bob@domain" or a SIP URI and returns at once; wait with
// WaitAnswered. The call ends with Hangup, by the peer, or with the Agent.
func (a *Agent) Invite(to string, opt CallOptions) (*Call, error) {
	u, err := a.uri(to)
	if err != nil {
		return nil, err
	}
	user := opt.User
	if user == "" {
		user = a.cfg.User
	}
	c, err := a.newCall(true, sipnode.NewTag()+"@ua", user, u.User+"@"+u.Host)
	if err != nil {
		return nil, err
	}
	if opt.Direction != "" {
		c.wish = opt.Direction
	}
	if opt.Setup != nil {
		opt.Setup(c)
	}
	req := a.newRequest(sip.INVITE, u, c.localTag, c.callID, 1)
	req.From().Address.User = user
	req.AppendHeader(a.contact(user))
	req.AppendHeader(sip.NewHeader("Allow", allow))
	for _, h := range opt.Headers {
		req.AppendHeader(h)
	}
	c.mu.Lock()
	body := ""
	if !opt.LateOffer {
		body, _ = c.describeLocked(nil)
	}
	c.dialog = dialog{localURI: *req.From().Address.Clone(), remoteURI: u, remoteTarget: u, localSeq: 1}
	setBody(req, "application/sdp", body)
	err = c.sendInviteLocked(req)
	c.mu.Unlock()
	if err != nil {
		c.end(EndReason{Text: err.Error()})
		return nil, err
	}
	return c, nil
}

func (c *Call) sendInviteLocked(req *sip.Request) error {
	t, err := c.a.target(req)
	if err != nil {
		return err
	}
	c.invite = req.Clone() // without the Via that the transaction adds
	c.inviteTx = c.a.node.Request(req, t, func(res *sip.Response) { c.inviteResponse(req, res) })
	if c.aborting {
		c.inviteTx.Cancel()
	}
	return nil
}

func (c *Call) inviteResponse(req *sip.Request, res *sip.Response) {
	switch {
	case res.StatusCode == 100:
	case res.StatusCode < 200:
		c.provisional(res)
	case res.StatusCode < 300:
		c.accepted(req, res)
	case (res.StatusCode == 401 || res.StatusCode == 407) && c.retryWithAuth(res):
	default:
		c.end(EndReason{Code: res.StatusCode, Text: res.Reason, ByRemote: true})
	}
}

func (c *Call) retryWithAuth(res *sip.Response) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.authTries > 0 || c.aborting || c.state == Ended {
		return false
	}
	c.authTries++
	again := c.invite
	c.dialog.localSeq++
	again.RemoveHeader("CSeq")
	again.AppendHeader(&sip.CSeqHeader{SeqNo: c.dialog.localSeq, MethodName: sip.INVITE})
	if c.a.authorize(again, res, 1) != nil {
		return false
	}
	return c.sendInviteLocked(again) == nil
}

func (c *Call) provisional(res *sip.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state >= Established {
		return
	}
	c.state = Proceeding
	c.dialog.remoteTag = tagOf(res.To().Params) // the newest fork's, until one answers
	if res.StatusCode >= 180 {
		defer c.fireRingingLocked()
	}
	if len(res.Body()) == 0 {
		return
	}
	if _, err := c.acceptLocked(res.Body()); err != nil {
		return
	}
	if err := c.applyLocked(); err == nil {
		c.fireEarlyLocked()
	}
}

// accepted handles a 2xx: the first makes the dialog, a repeated one gets its ACK again, one from
// another fork is acknowledged and hung up (RFC 3261 §13.2.2.4).
func (c *Call) accepted(req *sip.Request, res *sip.Response) {
	cseq, tag := req.CSeq().SeqNo, tagOf(res.To().Params)
	c.mu.Lock()
	if c.acks[cseq] != nil {
		if tag == c.dialog.remoteTag {
			c.ackLocked(cseq, "")
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.dropFork(req, res)
		return
	}
	late := c.state == Ended || c.aborting
	c.establishLocked(res, tag)
	ackBody, err := c.settleLocked(res.Body())
	c.ackLocked(cseq, ackBody)
	c.offerOut = false
	if c.state != Ended {
		c.state = Established
	}
	if err == nil && !late {
		c.fireRingingLocked()
		c.fireAnsweredLocked()
	}
	c.mu.Unlock()
	if err != nil || late {
		c.byeInBackground()
	}
}

// settleLocked puts the description of a 200 into force: the answer to our offer, an early one confirmed
// by silence, or the offer that our ACK answers with what is returned.
func (c *Call) settleLocked(body []byte) (string, error) {
	if len(body) > 0 {
		if _, err := c.acceptLocked(body); err != nil {
			return "", err
		}
	}
	if c.remote == nil {
		return "", fmt.Errorf("%w: 200 without a description", ErrSDP)
	}
	answer := ""
	if !c.offerOut {
		var err error
		if answer, err = c.describeLocked(c.remote); err != nil {
			return "", err
		}
	}
	return answer, c.applyLocked()
}

func (c *Call) establishLocked(res *sip.Response, tag string) {
	c.dialog.remoteTag = tag
	if ct := res.Contact(); ct != nil {
		c.dialog.remoteTarget = *ct.Address.Clone()
	}
	rr := recordRoutes(res)
	c.dialog.route = nil
	for i := len(rr) - 1; i >= 0; i-- {
		c.dialog.route = append(c.dialog.route, rr[i])
	}
}

// byeInBackground hangs up what was answered after we gave up, or what cannot be used.
func (c *Call) byeInBackground() {
	c.a.spawn(func() {
		ctx, cancel := context.WithTimeout(c.a.ctx, c.giveUp())
		defer cancel()
		if c.State() == Established {
			c.Bye(ctx)
			return
		}
		c.mu.Lock()
		req := c.requestLocked(sip.BYE, 0)
		c.mu.Unlock()
		c.a.roundTrip(ctx, req, c.nextSeq)
	})
}

func (c *Call) dropFork(req *sip.Request, res *sip.Response) {
	c.mu.Lock()
	keep := c.dialog
	c.establishLocked(res, tagOf(res.To().Params))
	ack := c.requestLocked(sip.ACK, req.CSeq().SeqNo)
	bye := c.requestLocked(sip.BYE, 0)
	keep.localSeq = c.dialog.localSeq
	c.dialog = keep
	c.mu.Unlock()
	if t, err := sipnode.NextHop(ack); err == nil {
		c.a.node.Send(ack, t)
	}
	c.a.spawn(func() {
		ctx, cancel := context.WithTimeout(c.a.ctx, c.giveUp())
		defer cancel()
		c.a.send(ctx, bye)
	})
}

// Cancel gives an unanswered outgoing call up and waits for its end (487 as a rule).
func (c *Call) Cancel(ctx context.Context) error {
	c.mu.Lock()
	if !c.outgoing || c.state >= Established {
		c.mu.Unlock()
		return ErrWrongCall
	}
	c.aborting = true
	tx := c.inviteTx
	c.mu.Unlock()
	tx.Cancel()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		c.end(EndReason{Text: "cancelled"})
		return fmt.Errorf("ua: cancel: %w", ctx.Err())
	}
}
