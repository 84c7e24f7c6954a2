package badinput

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/democore"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

// users are the accounts of the demo core; alice is for the witness alone.
var users = []string{"alice", "bob", "carol", "dave", "erin", "mallory"}

func password(user string) string { return "secret-of-" + user }

// tape keeps messages in order for those who wait for one.
type tape struct {
	mu   sync.Mutex // guards what follows
	msgs []string
	more chan struct{} // closed at the next message
}

func newTape() *tape { return &tape{more: make(chan struct{})} }

func (t *tape) put(m string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.msgs = append(t.msgs, m)
	close(t.more)
	t.more = make(chan struct{})
}

func (t *tape) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.msgs...)
}

// wait returns the first message that matches, "" when none comes in time.
func (t *tape) wait(within time.Duration, match func(string) bool) string {
	end := time.NewTimer(within)
	defer end.Stop()
	for from := 0; ; {
		t.mu.Lock()
		msgs, more := t.msgs[from:], t.more
		t.mu.Unlock()
		for _, m := range msgs {
			if match(m) {
				return m
			}
		}
		from += len(msgs)
		select {
		case <-more:
		case <-end.C:
			return ""
		}
	}
}

// browser is one WebSocket with a caller on it that may also send what it likes.
type browser struct {
	*webua.UA
	bed     *bed
	user    string
	in, out *tape           // SIP messages
	over    map[string]bool // calls hung up, by Call-ID
}

var serial atomic.Int64

// unique is a new identifier.
func unique() string { return fmt.Sprintf("u%d-%d", time.Now().UnixNano(), serial.Add(1)) }

// newBrowser opens a WebSocket without registering. edit may change the configuration.
func (b *bed) newBrowser(t *testing.T, user string, edit func(*webua.Config)) *browser {
	t.Helper()
	br := &browser{bed: b, user: user, in: newTape(), out: newTape(), over: map[string]bool{}}
	cfg := webua.Config{
		URL: "ws://" + b.At(scenario.PortWS) + wsPath, Origin: allowedOrigin, Domain: domain, User: user, Password: password(user), Codecs: []string{"PCMA"},
		Trace: func(direction, msg string) {
			if direction == "in" {
				br.in.put(msg)
			} else {
				br.out.put(msg)
			}
		},
	}
	if edit != nil {
		edit(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ua, err := webua.Dial(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	br.UA = ua
	secrets.watch(br)
	t.Cleanup(ua.Close)
	return br
}

// register opens a WebSocket and registers the user over it; the end of the test de-registers.
func (b *bed) register(t *testing.T, user string, edit func(*webua.Config)) *browser {
	t.Helper()
	br := b.newBrowser(t, user, edit)
	b.mustRegister(t, br)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		if err := br.Register(ctx, 0); err != nil {
			t.Errorf("de-register %s: %v", user, err)
		}
	})
	return br
}

func (b *bed) mustRegister(t *testing.T, br *browser) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := br.Register(ctx, 10*time.Minute); err != nil {
		t.Fatalf("register %s: %v", br.user, err)
	}
}

// call places a call that must be answered; the end of the test hangs up.
func (br *browser) call(t *testing.T, target string, source tone.Source) *webua.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, err := br.Call(ctx, target, source)
	if err != nil {
		t.Fatalf("call of %s: %v", br.user, err)
	}
	d := dialogOf(t, br)
	t.Cleanup(func() { br.hangup(t, c, d) })
	return c
}

// hears requires that the browser hears the far end's tone.
func hears(t *testing.T, c *webua.Call) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if err := c.WaitAudio(ctx, democore.ToneHz); err != nil {
		t.Error(err)
	}
}

// hangup ends a call that has not ended, by a BYE beyond every CSeq that a test has used.
func (br *browser) hangup(t *testing.T, c *webua.Call, d dialog) {
	select {
	case <-c.Ended():
		return
	default:
	}
	if br.over[d.callID] {
		return
	}
	br.over[d.callID] = true
	if r := br.ask(t, d.request("BYE").set("CSeq", "1000000 BYE")); r.status != 200 {
		t.Errorf("hang up of %s: %d %s", br.user, r.status, r.reason)
	}
}

func (br *browser) aor() string { return "sip:" + br.user + "@" + domain }

// field is one header line.
type field struct{ name, value string }

// message is a SIP message that may be as wrong as its maker wants.
type message struct {
	start  string
	fields []field
	body   string
}

// compose makes a correct request of the browser.
func (br *browser) compose(method, uri string) *message {
	return compose(method, uri, br.aor(), "WS "+unique()+".invalid")
}

// compose makes a correct request outside a dialog.
func compose(method, uri, from, sentBy string) *message {
	return &message{start: method + " " + uri + " SIP/2.0", fields: []field{
		{"Via", "SIP/2.0/" + sentBy + ";branch=z9hG4bK" + unique()}, {"Max-Forwards", "70"},
		{"From", "<" + from + ">;tag=" + unique()}, {"To", "<" + uri + ">"}, {"Call-ID", unique()}, {"CSeq", "1 " + method},
		{"Contact", "<sip:x@" + unique() + ".invalid;transport=ws>"},
	}}
}

func (m *message) get(name string) string {
	for _, f := range m.fields {
		if f.name == name {
			return f.value
		}
	}
	return ""
}

func (m *message) set(name, value string) *message {
	for i := range m.fields {
		if m.fields[i].name == name {
			m.fields[i].value = value
			return m
		}
	}
	return m.add(name, value)
}

func (m *message) add(name, value string) *message {
	m.fields = append(m.fields, field{name, value})
	return m
}

func (m *message) del(name string) *message {
	for i := range m.fields {
		if m.fields[i].name == name {
			m.fields = append(m.fields[:i], m.fields[i+1:]...)
			return m
		}
	}
	return m
}

func (m *message) sdp(body string) *message {
	m.body = body
	return m.set("Content-Type", "application/sdp")
}

// String is the message on the wire; Content-Length is added unless there is one.
func (m *message) String() string {
	var b strings.Builder
	b.WriteString(m.start + "\r\n")
	for _, f := range m.fields {
		b.WriteString(f.name + ": " + f.value + "\r\n")
	}
	if m.get("Content-Length") == "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(m.body))
	}
	b.WriteString("\r\n" + m.body)
	return b.String()
}

// method is that of the request line.
func (m *message) method() string { name, _, _ := strings.Cut(m.start, " "); return name }

// reply is a response.
type reply struct {
	status int
	reason string
	fields []field
	raw    string
}

func parseReply(raw string) reply {
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	r := reply{raw: raw}
	parts := strings.SplitN(lines[0], " ", 3)
	if len(parts) == 3 && parts[0] == "SIP/2.0" {
		r.status, _ = strconv.Atoi(parts[1]) // 0: no response
		r.reason = parts[2]
	}
	for _, l := range lines[1:] {
		n, v, _ := strings.Cut(l, ":")
		r.fields = append(r.fields, field{n, strings.TrimSpace(v)})
	}
	return r
}

// get returns the values of a header field, as one list.
func (r reply) get(name string) string {
	var all []string
	for _, f := range r.fields {
		if strings.EqualFold(f.name, name) {
			all = append(all, f.value)
		}
	}
	return strings.Join(all, ", ")
}

// finalTo matches the final response to m: by branch and method (RFC 3261 §17.1.3).
func finalTo(m *message) func(string) bool {
	return func(raw string) bool {
		r := parseReply(raw)
		return r.status >= 200 && branch(r.get("Via")) == branch(m.get("Via")) && r.get("CSeq") == m.get("CSeq")
	}
}

func branch(via string) string {
	_, rest, _ := strings.Cut(via, "branch=")
	b, _, _ := strings.Cut(rest, ";")
	return b
}

// ask sends a request and returns its final response, acknowledged when it refuses an INVITE.
func (br *browser) ask(t *testing.T, m *message) reply {
	t.Helper()
	if err := br.Raw(m.String()); err != nil {
		t.Fatal(err)
	}
	raw := br.in.wait(deadline, finalTo(m))
	if raw == "" {
		t.Errorf("no answer to %q", m.start)
		return reply{}
	}
	r := parseReply(raw)
	if m.method() == "INVITE" && r.status >= 300 {
		_ = br.Raw(ackOf(m, r).String()) // its loss would show as a transaction that lingers
	}
	return r
}

// ackOf is the ACK for a refusal (RFC 3261 §17.1.1.3).
func ackOf(m *message, r reply) *message {
	_, rest, _ := strings.Cut(m.start, " ")
	seq, _, _ := strings.Cut(m.get("CSeq"), " ")
	return &message{start: "ACK " + rest, fields: []field{
		{"Via", m.get("Via")}, {"Max-Forwards", "70"}, {"From", m.get("From")}, {"To", r.get("To")}, {"Call-ID", m.get("Call-ID")}, {"CSeq", seq + " ACK"},
	}}
}
