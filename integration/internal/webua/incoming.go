package webua

import (
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// onInvite begins an incoming call: 100 at once, 180 unless the configuration leaves that to Ring.
func (u *UA) onInvite(r *sip.Request) {
	if u.cfg.OnCall == nil {
		u.reply(r, 480, "Temporarily Unavailable", []string{"To: " + r.To().Value() + ";tag=" + token(5)}, "")
		return
	}
	c := &Call{ua: u, id: callID(r), local: r.To().Value() + ";tag=" + token(5), remote: r.From().Value(), incoming: r, ended: make(chan struct{}), inviteSent: time.Now()}
	if h := r.Contact(); h != nil {
		c.target = h.Address.String()
	}
	u.mu.Lock()
	u.calls[c.id] = c
	u.mu.Unlock()
	u.reply(r, 100, "Trying", nil, "")
	if !u.cfg.NoRinging {
		c.Ring()
	}
	u.wg.Add(1)
	go func() {
		defer u.wg.Done()
		u.cfg.OnCall(c)
	}()
}

// Ring answers an incoming call 180.
func (c *Call) Ring() {
	c.ua.reply(c.incoming, 180, "Ringing", []string{"To: " + c.local, "Contact: " + c.ua.contact()}, "")
}

// Answer answers an incoming call. source is what the far end shall hear.
func (c *Call) Answer(source tone.Source) error {
	p, err := newPeer(&c.ua.cfg, source)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.over {
		c.mu.Unlock()
		p.close()
		return fmt.Errorf("answer: %w", ErrEnded)
	}
	c.peer, c.answered = p, time.Now()
	c.mu.Unlock()
	sdp, err := p.answer(string(c.incoming.Body()))
	if err != nil {
		return err
	}
	c.ua.reply(c.incoming, 200, "OK", []string{"To: " + c.local, "Contact: " + c.ua.contact(), "Content-Type: application/sdp"}, sdp)
	return nil
}

// Reject refuses an incoming call. headers are further lines, "Name: value".
func (c *Call) Reject(code int, reason string, headers ...string) {
	c.ua.reply(c.incoming, code, reason, append([]string{"To: " + c.local}, headers...), "")
	c.end("rejected")
}

// onRequest handles an in-dialog request, or the CANCEL of the INVITE.
func (c *Call) onRequest(r *sip.Request) {
	switch r.Method {
	case sip.BYE:
		c.ua.reply(r, 200, "OK", nil, "")
		cause := "far end hung up"
		if h := r.GetHeader("Reason"); h != nil {
			cause += ": " + h.Value()
		}
		c.finish(cause)
	case sip.CANCEL:
		c.onCancel(r)
	case sip.INVITE:
		c.onReoffer(r)
	case sip.ACK:
	case sip.OPTIONS, sip.INFO, sip.MESSAGE:
		c.ua.reply(r, 200, "OK", nil, "")
	default:
		c.ua.reply(r, 501, "Not Implemented", nil, "")
	}
}

func (c *Call) onCancel(r *sip.Request) {
	c.mu.Lock()
	late := c.incoming == nil || !c.answered.IsZero() || c.over
	c.mu.Unlock()
	if late {
		c.ua.reply(r, 200, "OK", nil, "") // no effect any more (RFC 3261 §9.2)
		return
	}
	c.ua.reply(r, 200, "OK", nil, "")
	c.ua.reply(c.incoming, 487, "Request Terminated", []string{"To: " + c.local}, "")
	c.finish("cancelled")
}

// onReoffer answers an offer in the dialog.
func (c *Call) onReoffer(r *sip.Request) {
	p := c.media()
	if p == nil {
		c.ua.reply(r, 491, "Request Pending", nil, "")
		return
	}
	sdp, err := p.answer(string(r.Body()))
	if err != nil {
		c.ua.reply(r, 488, "Not Acceptable Here", nil, "")
		return
	}
	c.ua.reply(r, 200, "OK", []string{"Contact: " + c.ua.contact(), "Content-Type: application/sdp"}, sdp)
}
