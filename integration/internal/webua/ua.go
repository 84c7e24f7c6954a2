// Package webua is a browser-like caller without a browser: SIP over WebSocket (RFC 7118) with digest and a pion/webrtc
// peer. The self-test of `make run`, leak checks and load use it; real browsers are tested apart. Floor 1 of the
// integration module.
//
// Owner: UA owns the WebSocket's reader goroutine; each Call owns its media goroutines. Close ends all and waits.
package webua

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// Config describes a caller.
type Config struct {
	URL      string // ws://127.0.0.1:8080/sip
	Origin   string // Origin header; empty: none
	Domain   string // isthmus.example
	User     string
	Password string
	Token    string   // access token for REGISTER (RFC 8898); empty: digest with the password
	Codecs   []string // "opus", "PCMA", "PCMU"; the first is sent, so answers must hold it; empty: opus
	Pauses   bool     // nothing is sent once the source of a call has run dry, as by an encoder with DTX
	Events   bool     // telephone-event is offered and taken too
	// OnCall runs on its own goroutine for each incoming call; unset: incoming calls get 480.
	OnCall func(*Call)
	// Early takes the answer of a provisional response, as browsers do, to hear what comes before the final one.
	Early bool
	// NoRinging leaves the 180 of incoming calls to Call.Ring.
	NoRinging bool
	// OnMessage gets the body of each MESSAGE; it runs on the reader goroutine and must not block.
	OnMessage func(from, body string)
	// Trace gets each SIP message; may be nil.
	Trace func(direction, msg string)
	// Offer may change the description of an INVITE before it is sent; may be nil.
	Offer func(sdp string) string
	// Socket may wrap the media socket of each call, to see or to send datagrams; nil: pion opens its own sockets. The
	// call closes what it returns.
	Socket func(net.PacketConn) net.PacketConn
	// Sink gets the audio of each call, in order; it runs on the media goroutine and must not block. May be nil.
	Sink func(pcm []int16)
}

// StatusError is a final response that is no success.
type StatusError struct {
	Code   int
	Reason string
	Header map[string]string // Warning, Retry-After, Reason, WWW-Authenticate when present
}

// Error gives "486 Busy Here".
func (e *StatusError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Reason) }

// ErrClosed reports that the WebSocket is gone.
var ErrClosed = errors.New("webua: connection closed")

// UA is one registered or unregistered caller.
type UA struct {
	cfg    Config
	conn   *websocket.Conn
	host   string // our .invalid host (RFC 7118 §5)
	inst   string // +sip.instance
	parser *sip.Parser
	cancel context.CancelFunc
	done   chan struct{} // closed by the reader

	mu    sync.Mutex // guards what follows
	txs   map[string]chan *sip.Response
	calls map[string]*Call // by Call-ID
	wg    sync.WaitGroup
	cseq  uint32
}

// Dial opens the WebSocket. The caller closes the UA.
func Dial(ctx context.Context, cfg Config) (*UA, error) {
	return dial(ctx, cfg, token(6)+".invalid", "<urn:uuid:"+uuid()+">")
}

// Redial opens another WebSocket of the same browser, as one does whose network has changed: its Contact and instance stay. change may
// adapt the configuration; nil: it is that of u, which stays open. The caller closes the new UA too.
func (u *UA) Redial(ctx context.Context, change func(*Config)) (*UA, error) {
	cfg := u.cfg
	if change != nil {
		change(&cfg)
	}
	return dial(ctx, cfg, u.host, u.inst)
}

func dial(ctx context.Context, cfg Config, host, inst string) (*UA, error) {
	if len(cfg.Codecs) == 0 {
		cfg.Codecs = []string{"opus"}
	}
	h := http.Header{}
	if cfg.Origin != "" {
		h.Set("Origin", cfg.Origin)
	}
	conn, _, err := websocket.Dial(ctx, cfg.URL, &websocket.DialOptions{Subprotocols: []string{"sip"}, HTTPHeader: h})
	if err != nil {
		return nil, fmt.Errorf("webua: %w", err)
	}
	conn.SetReadLimit(64 << 10)
	rctx, cancel := context.WithCancel(context.Background())
	u := &UA{
		cfg: cfg, conn: conn, host: host, inst: inst, parser: sip.NewParser(),
		cancel: cancel, done: make(chan struct{}), txs: map[string]chan *sip.Response{}, calls: map[string]*Call{},
	}
	go u.read(rctx)
	return u, nil
}

// Close drops the WebSocket without de-registering, ends calls locally, and waits for all goroutines.
func (u *UA) Close() {
	u.cancel()
	_ = u.conn.CloseNow() // already being torn down
	<-u.done
	u.mu.Lock()
	calls := make([]*Call, 0, len(u.calls))
	for _, c := range u.calls {
		calls = append(calls, c)
	}
	u.mu.Unlock()
	for _, c := range calls {
		c.end("closed")
	}
	u.wg.Wait()
}

func token(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func uuid() string {
	t := token(16)
	return t[:8] + "-" + t[8:12] + "-4" + t[13:16] + "-a" + t[17:20] + "-" + t[20:]
}

func (u *UA) read(ctx context.Context) {
	defer close(u.done)
	for {
		_, data, err := u.conn.Read(ctx)
		if err != nil {
			return
		}
		if u.cfg.Trace != nil {
			u.cfg.Trace("in", string(data))
		}
		if strings.TrimSpace(string(data)) == "" {
			continue // keep-alive
		}
		msg, err := u.parser.ParseSIP(data)
		if err != nil {
			continue // the gateway's mistake would show as a time-out of the test that waits
		}
		switch m := msg.(type) {
		case *sip.Response:
			u.onResponse(m)
		case *sip.Request:
			u.onRequest(m)
		}
	}
}

func (u *UA) write(msg string) error {
	if u.cfg.Trace != nil {
		u.cfg.Trace("out", msg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := u.conn.Write(ctx, websocket.MessageText, []byte(msg)); err != nil {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return nil
}

func (u *UA) onResponse(r *sip.Response) {
	via := r.Via()
	if via == nil {
		return
	}
	branch, _ := via.Params.Get("branch")
	u.mu.Lock()
	ch := u.txs[branch]
	if r.CSeq() != nil && r.CSeq().MethodName == sip.CANCEL {
		ch = nil // it has the branch of its INVITE, whose end is what counts
	}
	u.mu.Unlock()
	if ch != nil {
		select {
		case ch <- r:
		default: // a flood of provisional responses; the transaction times out if the final one was among them
		}
	}
}

// request sends a request and returns its responses; forget releases the transaction.
func (u *UA) request(method, uri string, headers []string, body string) (branch string, responses chan *sip.Response, err error) {
	branch = "z9hG4bK" + token(8)
	return branch, u.expect(branch), u.write(u.compose(method, uri, branch, headers, body))
}

func (u *UA) expect(branch string) chan *sip.Response {
	ch := make(chan *sip.Response, 64)
	u.mu.Lock()
	u.txs[branch] = ch
	u.mu.Unlock()
	return ch
}

func (u *UA) forget(branch string) {
	u.mu.Lock()
	delete(u.txs, branch)
	u.mu.Unlock()
}

func (u *UA) compose(method, uri, branch string, headers []string, body string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/WS %s;branch=%s\r\nMax-Forwards: 69\r\n", method, uri, u.host, branch)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	fmt.Fprintf(&b, "User-Agent: isthmus-webua\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

func (u *UA) nextSeq() uint32 {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cseq++
	return u.cseq
}

func (u *UA) aor() string     { return "sip:" + u.cfg.User + "@" + u.cfg.Domain }
func (u *UA) contact() string { return "<sip:" + u.cfg.User + "@" + u.host + ";transport=ws>" }

// final waits for the final response of a transaction, feeding provisional ones to each (may be nil).
func (u *UA) final(ctx context.Context, ch chan *sip.Response, each func(*sip.Response)) (*sip.Response, error) {
	for {
		select {
		case r := <-ch:
			if r.StatusCode >= 200 {
				return r, nil
			}
			if each != nil {
				each(r)
			}
		case <-u.done:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func statusError(r *sip.Response) error {
	e := &StatusError{Code: r.StatusCode, Reason: r.Reason, Header: map[string]string{}}
	for _, name := range []string{"Warning", "Retry-After", "Reason", "WWW-Authenticate"} {
		if h := r.GetHeader(name); h != nil {
			e.Header[name] = h.Value()
		}
	}
	return e
}

// do sends a request outside a dialog and answers one digest challenge. A final response of 300 and above is a *StatusError.
func (u *UA) do(ctx context.Context, method, uri string, headers []string, body string) (*sip.Response, error) {
	callID, tag := token(10), token(5)
	auth := ""
	for attempt := range 2 {
		hs := append([]string{
			"From: <" + u.aor() + ">;tag=" + tag, "Call-ID: " + callID, fmt.Sprintf("CSeq: %d %s", u.nextSeq(), method),
			"Contact: " + u.contact() + ";+sip.instance=\"" + u.inst + "\";reg-id=1",
		}, headers...)
		if auth != "" {
			hs = append(hs, auth)
		}
		branch, ch, err := u.request(method, uri, hs, body)
		if err != nil {
			u.forget(branch)
			return nil, err
		}
		r, err := u.final(ctx, ch, nil)
		u.forget(branch)
		if err != nil {
			return nil, fmt.Errorf("webua: %s: %w", method, err)
		}
		if (r.StatusCode == 401 || r.StatusCode == 407) && attempt == 0 && u.cfg.Token == "" {
			if auth, err = u.authorize(r, method, uri); err != nil {
				return nil, fmt.Errorf("%w: %w", statusError(r), err)
			}
			continue
		}
		if r.StatusCode >= 300 {
			return r, statusError(r)
		}
		return r, nil
	}
	panic("unreachable")
}

// authorize answers a challenge (RFC 3261 §22.2).
func (u *UA) authorize(r *sip.Response, method, uri string) (string, error) {
	name, answer := "WWW-Authenticate", "Authorization"
	if r.StatusCode == 407 {
		name, answer = "Proxy-Authenticate", "Proxy-Authorization"
	}
	h := r.GetHeader(name)
	if h == nil {
		return "", fmt.Errorf("webua: %d without %s", r.StatusCode, name)
	}
	chal, err := digest.ParseChallenge(h.Value())
	if err != nil {
		return "", fmt.Errorf("webua: challenge: %w", err)
	}
	cred, err := digest.Digest(chal, digest.Options{Method: method, URI: uri, Username: u.cfg.User, Password: u.cfg.Password})
	if err != nil {
		return "", fmt.Errorf("webua: digest: %w", err)
	}
	return answer + ": " + cred.String(), nil
}

// Register registers for the time; 0 de-registers.
func (u *UA) Register(ctx context.Context, expires time.Duration) error {
	hs := []string{"To: <" + u.aor() + ">", fmt.Sprintf("Expires: %d", int(expires.Seconds())), "Supported: path, outbound, gruu"}
	if u.cfg.Token != "" {
		hs = append(hs, "Authorization: Bearer "+u.cfg.Token)
	}
	_, err := u.do(ctx, "REGISTER", "sip:"+u.cfg.Domain, hs, "")
	return err
}

// Message sends an instant message.
func (u *UA) Message(ctx context.Context, to, text string) error {
	_, err := u.do(ctx, "MESSAGE", to, []string{"To: <" + to + ">", "Content-Type: text/plain"}, text)
	return err
}

// Done is closed when the WebSocket is gone.
func (u *UA) Done() <-chan struct{} { return u.done }

// Raw writes bytes as one WebSocket message: for tests of bad input.
func (u *UA) Raw(data string) error { return u.write(data) }

// onRequest handles a request from the gateway.
func (u *UA) onRequest(r *sip.Request) {
	u.mu.Lock()
	call := u.calls[callID(r)]
	u.mu.Unlock()
	switch {
	case call != nil:
		call.onRequest(r)
	case r.Method == sip.INVITE:
		u.onInvite(r)
	case r.Method == sip.MESSAGE:
		if u.cfg.OnMessage != nil && r.From() != nil {
			u.cfg.OnMessage(r.From().Address.String(), string(r.Body()))
		}
		u.reply(r, 200, "OK", nil, "")
	case r.Method == sip.OPTIONS:
		u.reply(r, 200, "OK", nil, "")
	case r.Method == sip.ACK:
	default:
		u.reply(r, 481, "Call/Transaction Does Not Exist", nil, "")
	}
}

func callID(r *sip.Request) string {
	if h := r.CallID(); h != nil {
		return h.Value()
	}
	return ""
}

// reply answers a request; headers may hold a To with tag, else that of the request is repeated.
func (u *UA) reply(r *sip.Request, code int, reason string, headers []string, body string) {
	res := sip.NewResponseFromRequest(r, code, reason, []byte(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		res.RemoveHeader(name)
		res.AppendHeader(sip.NewHeader(name, value))
	}
	_ = u.write(res.String()) // a dead connection shows elsewhere
}
