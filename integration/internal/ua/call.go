package ua

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/emiago/sipgo/sip"
	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// State is where a call stands.
type State int

// The states of a call, in order.
const (
	Calling     State = iota // INVITE sent or received, nothing else
	Proceeding               // ringing or early media
	Established              // answered
	Ended
)

// EndReason tells how a call ended.
type EndReason struct {
	Code     int    // final response of an INVITE that failed, 0 otherwise
	Text     string // reason phrase or what happened
	ByRemote bool   // the peer ended it
}

// String gives "486 Busy Here" or "hung up".
func (r EndReason) String() string {
	if r.Code != 0 {
		return fmt.Sprintf("%d %s", r.Code, r.Text)
	}
	return r.Text
}

// Errors of call operations.
var (
	ErrCallEnded = errors.New("ua: call has ended")
	ErrWrongCall = errors.New("ua: not possible in this state of the call")
	ErrNoCodec   = errors.New("ua: no shared codec")
)

// Call is one dialog with its media. Methods may be called from any goroutine.
type Call struct {
	a        *Agent
	outgoing bool
	callID   string
	localTag string
	user     string // our user part: what the caller dialled, or whom we call as
	peer     string // the peer's address of record
	media    *rtpua.Endpoint
	ringing  chan struct{} // closed at the first 18x
	early    chan struct{} // closed at the first SDP before the answer
	answered chan struct{} // closed when answered, and acknowledged if incoming
	done     chan struct{} // closed at the end

	mu        sync.Mutex // guards the fields below
	state     State
	reason    EndReason
	dialog    dialog
	local     localMedia
	formats   []Format // of our last description: offer, or the chosen ones
	sent      Direction
	wish      Direction // what we want: sendrecv, or less on hold
	remote    *Description
	offerOut  bool // our offer awaits its answer
	inviteTx  *sipnode.ClientTx
	invite    *sip.Request
	serverTx  *sipnode.ServerTx
	aborting  bool
	acks      map[uint32]*sip.Request // ACK by CSeq number, for retransmitted 2xx
	infos     []Info
	onDigit   func(byte)
	authTries int
	fired     [3]bool
}

// dialog is RFC 3261 §12's state. From and To are as in our requests.
type dialog struct {
	localURI, remoteURI sip.Uri
	localName           string
	remoteTag           string
	remoteTarget        sip.Uri
	route               []sip.Uri
	localSeq, remoteSeq uint32
}

// Info is a received INFO (RFC 6086, or the older DTMF habit).
type Info struct{ ContentType, Body string }

func (a *Agent) newCall(outgoing bool, callID, user, peer string) (*Call, error) {
	c := &Call{
		a: a, outgoing: outgoing, callID: callID, localTag: sipnode.NewTag(), user: user, peer: peer,
		ringing: make(chan struct{}), early: make(chan struct{}), answered: make(chan struct{}), done: make(chan struct{}),
		wish: SendRecv, acks: map[uint32]*sip.Request{},
	}
	m, err := rtpua.Open(rtpua.Config{
		IP: a.ip, CNAME: user + "@" + a.cfg.Domain, RTCPInterval: a.cfg.RTCPInterval,
		OnDigit: c.digit,
	})
	if err != nil {
		return nil, err
	}
	c.media = m
	c.local = localMedia{id: randomID(), ip: a.ip, port: m.Port()}
	a.mu.Lock()
	closed := a.closed
	if !closed {
		a.calls[c.key()] = c
	}
	a.mu.Unlock()
	if closed {
		m.Close()
		return nil, ErrClosed
	}
	return c, nil
}

func (c *Call) key() string { return c.callID + "|" + c.localTag }

func (c *Call) digit(d byte) {
	c.mu.Lock()
	f := c.onDigit
	c.mu.Unlock()
	if f != nil {
		f(d)
	}
}

// OnDigit sets what gets each received telephone event once. It must not block.
func (c *Call) OnDigit(f func(byte)) {
	c.mu.Lock()
	c.onDigit = f
	c.mu.Unlock()
}

// ID is the Call-ID.
func (c *Call) ID() string { return c.callID }

// User is our user part in this call: what was dialled, or whom we call as.
func (c *Call) User() string { return c.user }

// Peer is the other side's address of record.
func (c *Call) Peer() string { return c.peer }

// Outgoing reports whether we placed the call.
func (c *Call) Outgoing() bool { return c.outgoing }

// Media is the call's RTP endpoint, owned by the call; its statistics stay readable after the end.
func (c *Call) Media() *rtpua.Endpoint { return c.media }

// Ringing is closed at the first 180 or 183.
func (c *Call) Ringing() <-chan struct{} { return c.ringing }

// Early is closed when the peer sent a description before answering.
func (c *Call) Early() <-chan struct{} { return c.early }

// Answered is closed when the call stands.
func (c *Call) Answered() <-chan struct{} { return c.answered }

// Done is closed when the call has ended.
func (c *Call) Done() <-chan struct{} { return c.done }

// State tells where the call stands.
func (c *Call) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Reason tells how the call ended, once Done is closed.
func (c *Call) Reason() EndReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason
}

// Remote is the peer's newest description, nil before the first. Read only.
func (c *Call) Remote() *Description {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// Directions gives the direction we described last and the one the peer did.
func (c *Call) Directions() (local, remote Direction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.remote != nil && c.remote.Audio() != nil {
		remote = c.remote.Audio().Direction
	}
	return c.sent, remote
}

// Infos returns the INFO requests received so far.
func (c *Call) Infos() []Info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Info(nil), c.infos...)
}

// WaitAnswered waits until the call stands; a refusal is a *StatusError.
func (c *Call) WaitAnswered(ctx context.Context) error {
	select {
	case <-c.answered:
		return nil
	case <-c.done:
		if r := c.Reason(); r.Code != 0 {
			return &StatusError{Code: r.Code, Reason: r.Text}
		}
		return fmt.Errorf("%w: %s", ErrCallEnded, c.Reason())
	case <-ctx.Done():
		return fmt.Errorf("ua: waiting for an answer: %w", ctx.Err())
	}
}

func (c *Call) fire(i int, ch chan struct{}) {
	if !c.fired[i] {
		c.fired[i] = true
		close(ch)
	}
}

func (c *Call) fireRingingLocked()  { c.fire(0, c.ringing) }
func (c *Call) fireEarlyLocked()    { c.fire(1, c.early) }
func (c *Call) fireAnsweredLocked() { c.fire(2, c.answered) }

// end finishes the call once: state, registry, media. It does not signal.
func (c *Call) end(r EndReason) {
	c.mu.Lock()
	if c.state == Ended {
		c.mu.Unlock()
		return
	}
	c.state, c.reason = Ended, r
	close(c.done)
	c.mu.Unlock()
	c.a.mu.Lock()
	delete(c.a.calls, c.key())
	c.a.mu.Unlock()
	// Closing waits for the media's reader, which may be what called us.
	if !c.a.spawn(func() { c.media.Close() }) {
		c.media.Close()
	}
}

// describeLocked renders our description for an offer (offer nil) or as the answer to offer.
func (c *Call) describeLocked(offer *Description) (string, error) {
	if offer == nil {
		c.formats, c.sent, c.offerOut = c.a.cfg.offerFormats(), c.wish, true
		return c.translateLocked(Translation{Ours: true, SDP: c.local.render(c.formats, c.sent, nil)})
	}
	m := offer.Audio()
	if m == nil || m.Proto != "RTP/AVP" {
		return "", ErrNoCodec
	}
	codec, event, ok := c.a.cfg.choose(m.Formats)
	if !ok {
		return "", ErrNoCodec
	}
	c.formats = []Format{codec}
	if event.Name != "" {
		c.formats = append(c.formats, event)
	}
	// RFC 3264 §6.1: the answer's direction is ours, cut down by what the offer allows.
	c.sent = directionOf(c.wish.sends() && m.Direction.receives(), c.wish.receives() && m.Direction.sends())
	return c.translateLocked(Translation{Ours: true, Answer: true, SDP: c.local.render(c.formats, c.sent, offer)})
}

func (c *Call) translateLocked(t Translation) (string, error) {
	if c.a.cfg.Translate == nil {
		return t.SDP, nil
	}
	t.CallID = c.callID
	return c.a.cfg.Translate(t)
}

// acceptLocked checks a received description and remembers it; applyLocked puts it into force.
func (c *Call) acceptLocked(body []byte) (*Description, error) {
	for _, l := range WebRTCLines(body) {
		c.a.violate(fmt.Sprintf("call %s: WebRTC line on the core side: %s", c.callID, l))
	}
	text, err := c.translateLocked(Translation{Answer: c.offerOut, SDP: string(body)})
	if err != nil {
		return nil, err
	}
	d, err := ParseSDP([]byte(text))
	if err != nil {
		c.a.violate(fmt.Sprintf("call %s: %v", c.callID, err))
		return nil, err
	}
	if r := c.remote; r != nil && r.OriginID != d.OriginID && !c.outgoing {
		// An outgoing call may meet another fork; an incoming one keeps its origin (RFC 3264 §8).
		c.a.violate(fmt.Sprintf("call %s: o= identifier changed from %s to %s", c.callID, r.OriginID, d.OriginID))
	}
	c.remote = d
	return d, nil
}

// applyLocked sets the media to the current pair of descriptions.
func (c *Call) applyLocked() error {
	m := c.remote.Audio()
	if m == nil {
		return ErrNoCodec
	}
	codec, event, ok := c.a.cfg.choose(m.Formats)
	if !ok {
		return ErrNoCodec
	}
	law, _ := codec.Law()
	c.media.SetParams(rtpua.Params{
		Remote: netip.AddrPortFrom(m.Addr, uint16(m.Port)), RemoteRTCP: m.RTCP,
		Law: law, PT: codec.PT, EventPT: event.PT,
		Send: c.sent.sends() && m.Direction.receives(),
		Recv: c.sent.receives(),
	})
	return nil
}
