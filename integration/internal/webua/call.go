package webua

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// ErrEnded reports that the call was over before the operation.
var ErrEnded = errors.New("webua: call has ended")

// Call is one call of a UA. Its methods are safe for concurrent use.
type Call struct {
	ua       *UA
	id       string       // Call-ID
	local    string       // From or To value with our tag
	incoming *sip.Request // its INVITE; nil for a call that we placed
	ended    chan struct{}
	once     sync.Once
	early    atomic.Bool // the answer came with a provisional response

	mu         sync.Mutex // guards what follows
	remote     string     // the peer's From or To value, with its tag once known
	target     string     // remote target
	peer       *peer      // nil before an incoming call is answered
	over       bool       // ended; no peer may be set any more
	seq        uint32
	cause      string
	inviteSent time.Time
	answered   time.Time
	provision  []int
}

// Result is what a call looked like from the caller's side.
type Result struct {
	InviteSent, Answered, Connected, FirstAudio time.Time // zero: did not happen
	Tone                                        tone.Detection
	Last                                        tone.Detection // newest 200 ms
	Seconds                                     float64        // how long Tone was steady
	Codec                                       string         // codec heard
	Packets                                     uint64
	Digits                                      string // telephone-events heard, one for each press
	Ended                                       bool   // the last of them
	Unended                                     int    // those before it whose end was never told
	DigitsClock                                 uint32 // Hz, of the last of them
	Provisional                                 []int  // 1xx seen
	Cause                                       string
}

// ID returns the Call-ID.
func (c *Call) ID() string { return c.id }

// Ended is closed when the call is over.
func (c *Call) Ended() <-chan struct{} { return c.ended }

// Result returns what happened so far.
func (c *Call) Result() Result {
	c.mu.Lock()
	r := Result{InviteSent: c.inviteSent, Answered: c.answered, Provisional: append([]int(nil), c.provision...), Cause: c.cause}
	p := c.peer
	c.mu.Unlock()
	if p != nil {
		p.mu.Lock()
		r.Connected, r.FirstAudio, r.Codec, r.Packets = p.connected, p.firstAudio, p.heardCodec, p.packets
		r.Tone, r.Seconds = p.meter.Heard()
		r.Last = p.meter.Last()
		r.Digits, r.Ended, r.Unended, r.DigitsClock = p.events.digits, p.events.ended, p.events.unended, p.events.clock
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

// Move takes the call to another UA of the same browser, as Redial makes it: its dialog goes on over that WebSocket. No other method may be under way.
func (c *Call) Move(to *UA) {
	c.ua.mu.Lock()
	delete(c.ua.calls, c.id)
	c.ua.mu.Unlock()
	c.ua = to
	to.mu.Lock()
	to.calls[c.id] = c
	to.mu.Unlock()
}

// media returns the WebRTC half, nil while there is none.
func (c *Call) media() *peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

func (c *Call) nextSeq() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	return c.seq
}

func (c *Call) remoteTarget() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.target
}

// headers are From, To, Call-ID and CSeq of a request of ours in the dialog.
func (c *Call) headers(seq uint32, method string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return []string{"From: " + c.local, "To: " + c.remote, "Call-ID: " + c.id, fmt.Sprintf("CSeq: %d %s", seq, method)}
}

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
		c.cause, c.over = cause, true
		p := c.peer
		c.mu.Unlock()
		if p != nil {
			p.close()
		}
		c.ua.mu.Lock()
		delete(c.ua.calls, c.id)
		c.ua.mu.Unlock()
		close(c.ended)
	})
}
