package webua

import (
	"context"
	"errors"
	"fmt"

	"github.com/emiago/sipgo/sip"
)

// allow lists the methods taken inside a call.
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE"

// Hangup sends BYE and waits for its answer.
func (c *Call) Hangup(ctx context.Context) error {
	_, err := c.Request(ctx, "BYE", nil, "")
	c.end("hung up")
	return err
}

// Request sends a request other than INVITE in the dialog and returns its final response. headers are further lines,
// "Name: value". A final response of 300 and above is a *StatusError too.
func (c *Call) Request(ctx context.Context, method string, headers []string, body string) (*sip.Response, error) {
	branch, ch, err := c.ua.request(method, c.remoteTarget(), append(c.headers(c.nextSeq(), method), headers...), body)
	defer c.ua.forget(branch)
	if err != nil {
		return nil, err
	}
	r, err := c.ua.final(ctx, ch, nil)
	if err != nil {
		return nil, fmt.Errorf("webua: %s: %w", method, err)
	}
	if r.StatusCode >= 300 {
		return r, statusError(r)
	}
	return r, nil
}

// Reoffer sends a re-INVITE with the direction ("sendonly", "inactive", "recvonly", "sendrecv") and takes the answer
// (RFC 3264 §8.4). It returns the answer's text. After a refusal, a *StatusError, everything is as before.
func (c *Call) Reoffer(ctx context.Context, direction string) (string, error) {
	p := c.media()
	if p == nil {
		return "", fmt.Errorf("re-offer: %w", ErrEnded)
	}
	sdp, err := p.reoffer(direction)
	if err != nil {
		return "", err
	}
	seq, target := c.nextSeq(), c.remoteTarget()
	hs := append(c.headers(seq, "INVITE"), "Contact: "+c.ua.contact(), "Allow: "+allow, "Content-Type: application/sdp")
	branch, ch, err := c.ua.request("INVITE", target, hs, sdp)
	defer c.ua.forget(branch)
	if err != nil {
		return "", err
	}
	r, err := c.ua.final(ctx, ch, nil)
	if err != nil {
		return "", fmt.Errorf("webua: re-INVITE: %w", err)
	}
	c.ack(r, target, branch, seq)
	if r.StatusCode >= 300 {
		return "", errors.Join(statusError(r), p.rollback())
	}
	return string(r.Body()), p.accept(string(r.Body()))
}
