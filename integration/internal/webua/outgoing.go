package webua

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// cancelGrace bounds the wait for the outcome of a CANCEL.
const cancelGrace = 15 * time.Second

// Call invites the target and returns when it is answered. source is what the far end shall hear. The end of ctx cancels the
// call (RFC 3261 §9.1); the error then is that of ctx and, when the INVITE was refused for it, a *StatusError.
func (u *UA) Call(ctx context.Context, target string, source tone.Source) (*Call, error) {
	p, err := newPeer(&u.cfg, source)
	if err != nil {
		return nil, err
	}
	sdp, err := p.offer()
	if err != nil {
		p.close()
		return nil, err
	}
	if u.cfg.Offer != nil {
		sdp = u.cfg.Offer(sdp)
	}
	c := &Call{ua: u, id: token(10), local: "<" + u.aor() + ">;tag=" + token(5), remote: "<" + target + ">", target: target, peer: p, ended: make(chan struct{})}
	u.mu.Lock()
	u.calls[c.id] = c
	u.mu.Unlock()
	if err := c.place(ctx, target, sdp); err != nil {
		c.end(err.Error())
		return c, err
	}
	return c, nil
}

// place runs the INVITE transaction with one digest challenge.
func (c *Call) place(ctx context.Context, target, sdp string) error {
	auth := ""
	for range 2 {
		r, err := c.invited(ctx, target, sdp, auth)
		if err != nil {
			return err
		}
		if (r.StatusCode == 401 || r.StatusCode == 407) && auth == "" {
			if auth, err = c.ua.authorize(r, "INVITE", target); err != nil {
				return err
			}
			continue
		}
		if r.StatusCode >= 300 {
			return statusError(r)
		}
		c.confirm(r)
		if c.early.Load() {
			return nil // the answer came with a provisional response; another one is not to be looked at (RFC 3261 §13.2.1)
		}
		return c.media().accept(string(r.Body()))
	}
	return errors.New("webua: credentials refused")
}

// invited sends one INVITE and returns its final response, acknowledged.
func (c *Call) invited(ctx context.Context, target, sdp, auth string) (*sip.Response, error) {
	seq := c.nextSeq()
	hs := append(c.headers(seq, "INVITE"), "Contact: "+c.ua.contact(), "Allow: "+allow, "Supported: outbound, gruu", "Content-Type: application/sdp")
	if auth != "" {
		hs = append(hs, auth)
	}
	c.mu.Lock()
	c.inviteSent = time.Now()
	c.mu.Unlock()
	branch, ch, err := c.ua.request("INVITE", target, hs, sdp)
	defer c.ua.forget(branch)
	if err != nil {
		return nil, err
	}
	r, err := c.ua.final(ctx, ch, c.provisional)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil, c.cancelled(ch, target, branch, seq, err)
	}
	if err != nil {
		return nil, fmt.Errorf("webua: INVITE: %w", err)
	}
	c.ack(r, target, branch, seq)
	return r, nil
}

// cancelled cancels the INVITE, after a provisional response has come for it (RFC 3261 §9.1), and sees it to its end: a 2xx
// that was faster is acknowledged and hung up. It returns why the call ended.
func (c *Call) cancelled(ch chan *sip.Response, target, branch string, seq uint32, why error) error {
	ctx, stop := context.WithTimeout(context.Background(), cancelGrace)
	defer stop()
	sent := false
	cancel := func(*sip.Response) {
		if !sent {
			sent = true
			_ = c.ua.write(c.ua.compose("CANCEL", target, branch, c.headers(seq, "CANCEL"), "")) // its loss shows as a time-out
		}
	}
	c.mu.Lock()
	heard := len(c.provision) > 0
	c.mu.Unlock()
	if heard {
		cancel(nil)
	}
	r, err := c.ua.final(ctx, ch, cancel)
	if err != nil {
		return fmt.Errorf("webua: cancelled, no final response: %w", why)
	}
	c.ack(r, target, branch, seq)
	if r.StatusCode >= 300 {
		return fmt.Errorf("webua: cancelled: %w: %w", why, statusError(r))
	}
	c.confirm(r)
	if err := c.Hangup(ctx); err != nil {
		return fmt.Errorf("webua: cancelled too late: %w: %w", why, err)
	}
	return fmt.Errorf("webua: cancelled too late, hung up: %w", why)
}

func (c *Call) provisional(r *sip.Response) {
	c.mu.Lock()
	c.provision = append(c.provision, r.StatusCode)
	c.mu.Unlock()
	if len(r.Body()) > 0 && c.ua.cfg.Early && !c.early.Load() && c.media().accept(string(r.Body())) == nil {
		c.early.Store(true)
	}
}

// ack acknowledges a final response (RFC 3261 §17.1.1.3, §13.2.2.4).
func (c *Call) ack(r *sip.Response, target, branch string, seq uint32) {
	to := r.To().Value()
	uri := target
	if r.StatusCode < 300 {
		branch = "z9hG4bK" + token(8)
		if h := r.Contact(); h != nil {
			uri = h.Address.String()
		}
	}
	c.mu.Lock()
	local := c.local
	c.mu.Unlock()
	hs := []string{"From: " + local, "To: " + to, "Call-ID: " + c.id, fmt.Sprintf("CSeq: %d ACK", seq)}
	_ = c.ua.write(c.ua.compose("ACK", uri, branch, hs, "")) // its loss shows as retransmission
}

// confirm takes the dialog of a 2xx (RFC 3261 §12.1.2).
func (c *Call) confirm(r *sip.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remote = r.To().Value()
	if h := r.Contact(); h != nil {
		c.target = h.Address.String()
	}
	c.answered = time.Now()
}
