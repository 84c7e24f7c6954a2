package webua

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// Call is one call of a UA.
type Call struct {
	ua       *UA
	id       string // Call-ID
	local    string // From or To value with our tag
	remote   string // the other one with the peer's tag
	target   string // remote target
	incoming *sip.Request
	peer     *peer
	ended    chan struct{}
	once     sync.Once

	mu         sync.Mutex // guards what follows
	seq        uint32
	cause      string
	inviteSent time.Time
	answered   time.Time
	provision  []int
	invite     string // branch of the pending INVITE
}

// Result is what a call looked like from the caller's side.
type Result struct {
	InviteSent, Answered, Connected, FirstAudio time.Time // zero: did not happen
	Tone                                        tone.Detection
	Last                                        tone.Detection // newest 200 ms
	Seconds                                     float64        // how long Tone was steady
	Codec                                       string         // codec heard
	Packets                                     uint64
	Provisional                                 []int // 1xx seen
	Cause                                       string
}

// Call invites the target and returns when it is answered. source is what the far end shall hear.
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
		return c.established(r)
	}
	return errors.New("webua: credentials refused")
}

// invited sends one INVITE and returns its final response, acknowledged unless 2xx.
func (c *Call) invited(ctx context.Context, target, sdp, auth string) (*sip.Response, error) {
	c.mu.Lock()
	c.seq++
	seq := c.seq
	c.mu.Unlock()
	hs := c.headers(seq, "INVITE")
	hs = append(hs, "Contact: "+c.ua.contact(), "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE", "Supported: outbound, gruu", "Content-Type: application/sdp")
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
	c.mu.Lock()
	c.invite = branch
	c.mu.Unlock()
	r, err := c.ua.final(ctx, ch, c.provisional)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		c.sendCancel(target, seq, branch)
		grace, stop := context.WithTimeout(context.Background(), 5*time.Second)
		defer stop()
		if r, ferr := c.ua.final(grace, ch, nil); ferr == nil {
			c.ack(r, target, branch, seq)
			return nil, fmt.Errorf("webua: cancelled, answered %d: %w", r.StatusCode, err)
		}
		return nil, fmt.Errorf("webua: cancelled, no final response: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("webua: INVITE: %w", err)
	}
	c.ack(r, target, branch, seq)
	return r, nil
}

func (c *Call) provisional(r *sip.Response) {
	c.mu.Lock()
	c.provision = append(c.provision, r.StatusCode)
	c.mu.Unlock()
}

func (c *Call) sendCancel(target string, seq uint32, branch string) {
	_ = c.ua.write(c.ua.compose("CANCEL", target, branch, c.headers(seq, "CANCEL"), "")) // its loss shows as a time-out
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
	hs := []string{"From: " + c.local, "To: " + to, "Call-ID: " + c.id, fmt.Sprintf("CSeq: %d ACK", seq)}
	_ = c.ua.write(c.ua.compose("ACK", uri, branch, hs, "")) // its loss shows as retransmission
}

func (c *Call) established(r *sip.Response) error {
	c.mu.Lock()
	c.remote = r.To().Value()
	if h := r.Contact(); h != nil {
		c.target = h.Address.String()
	}
	c.answered = time.Now()
	c.mu.Unlock()
	return c.peer.accept(string(r.Body()))
}

func (c *Call) headers(seq uint32, method string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return []string{"From: " + c.local, "To: " + c.remote, "Call-ID: " + c.id, fmt.Sprintf("CSeq: %d %s", seq, method)}
}

// onInvite begins an incoming call.
func (u *UA) onInvite(r *sip.Request) {
	if u.cfg.OnCall == nil {
		u.reply(r, 480, "Temporarily Unavailable", nil, "")
		return
	}
	c := &Call{ua: u, id: callID(r), local: r.To().Value() + ";tag=" + token(5), remote: r.From().Value(), incoming: r, ended: make(chan struct{}), inviteSent: time.Now()}
	if h := r.Contact(); h != nil {
		c.target = h.Address.String()
	}
	u.mu.Lock()
	u.calls[c.id] = c
	u.mu.Unlock()
	u.reply(r, 180, "Ringing", []string{"To: " + c.local, "Contact: " + u.contact()}, "")
	u.wg.Add(1)
	go func() {
		defer u.wg.Done()
		u.cfg.OnCall(c)
	}()
}

// Answer answers an incoming call.
func (c *Call) Answer(source tone.Source) error {
	p, err := newPeer(&c.ua.cfg, source)
	if err != nil {
		return err
	}
	c.peer = p
	sdp, err := p.answer(string(c.incoming.Body()))
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.answered = time.Now()
	c.mu.Unlock()
	c.ua.reply(c.incoming, 200, "OK", []string{"To: " + c.local, "Contact: " + c.ua.contact(), "Content-Type: application/sdp"}, sdp)
	return nil
}

// Reject refuses an incoming call.
func (c *Call) Reject(code int, reason string) {
	c.ua.reply(c.incoming, code, reason, []string{"To: " + c.local}, "")
	c.end("rejected")
}

// Hangup sends BYE and waits for its answer.
func (c *Call) Hangup(ctx context.Context) error {
	c.mu.Lock()
	c.seq++
	seq, target := c.seq, c.target
	c.mu.Unlock()
	branch, ch, err := c.ua.request("BYE", target, c.headers(seq, "BYE"), "")
	defer c.ua.forget(branch)
	if err != nil {
		return err
	}
	r, err := c.ua.final(ctx, ch, nil)
	c.end("hung up")
	if err != nil {
		return fmt.Errorf("webua: BYE: %w", err)
	}
	if r.StatusCode >= 300 {
		return statusError(r)
	}
	return nil
}

// onRequest handles an in-dialog request.
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
		c.ua.reply(r, 200, "OK", nil, "")
		c.ua.reply(c.incoming, 487, "Request Terminated", []string{"To: " + c.local}, "")
		c.finish("cancelled")
	case sip.INVITE:
		sdp, err := c.peer.answer(string(r.Body()))
		if err != nil {
			c.ua.reply(r, 488, "Not Acceptable Here", nil, "")
			return
		}
		c.ua.reply(r, 200, "OK", []string{"Contact: " + c.ua.contact(), "Content-Type: application/sdp"}, sdp)
	case sip.ACK:
	case sip.OPTIONS, sip.INFO, sip.MESSAGE:
		c.ua.reply(r, 200, "OK", nil, "")
	default:
		c.ua.reply(r, 501, "Not Implemented", nil, "")
	}
}

// Ended is closed when the call is over.
func (c *Call) Ended() <-chan struct{} { return c.ended }

// finish ends the call from the reader goroutine, which must not wait for media.
func (c *Call) finish(cause string) {
	c.ua.wg.Add(1)
	go func() {
		defer c.ua.wg.Done()
		c.end(cause)
	}()
}

// end releases the call; the first cause stays.
func (c *Call) end(cause string) {
	c.once.Do(func() {
		c.mu.Lock()
		c.cause = cause
		c.mu.Unlock()
		if c.peer != nil {
			c.peer.close()
		}
		c.ua.mu.Lock()
		delete(c.ua.calls, c.id)
		c.ua.mu.Unlock()
		close(c.ended)
	})
}

// Result returns what happened so far.
func (c *Call) Result() Result {
	c.mu.Lock()
	r := Result{InviteSent: c.inviteSent, Answered: c.answered, Provisional: append([]int(nil), c.provision...), Cause: c.cause}
	c.mu.Unlock()
	if c.peer != nil {
		p := c.peer
		p.mu.Lock()
		r.Connected, r.FirstAudio, r.Codec, r.Packets = p.connected, p.firstAudio, p.heardCodec, p.packets
		r.Tone, r.Seconds = p.meter.Heard()
		r.Last = p.meter.Last()
		p.mu.Unlock()
	}
	return r
}

// WaitAudio waits until a steady tone near freq (Hz) was heard, or ctx ends.
func (c *Call) WaitAudio(ctx context.Context, freq float64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if r := c.Result(); r.Tone.IsTone(freq, 15) {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.ended:
			return fmt.Errorf("webua: call ended (%s) before %v Hz was heard; heard %+v", c.Result().Cause, freq, c.Result().Tone)
		case <-ctx.Done():
			return fmt.Errorf("webua: %v Hz not heard: %w; heard %s", freq, ctx.Err(), describe(c.Result()))
		}
	}
}

func describe(r Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v, %d packets, codec %q, connected %v", r.Tone, r.Packets, r.Codec, !r.Connected.IsZero())
	return b.String()
}
