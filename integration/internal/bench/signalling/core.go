package signalling

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// core is the registrar and the users behind one system: one UDP socket and its reader.
type core struct {
	conn   *net.UDPConn
	self   string         // host:port
	system netip.AddrPort // set before the first call
	ledger *ledger
	hold   time.Duration
	digest atomic.Bool // challenge REGISTER
	done   sync.WaitGroup

	mu       sync.Mutex // guards below
	bindings map[string]binding
	calls    map[string]*coreCall // by Call-ID
	closed   bool
}

// binding is where a browser is: what the system's REGISTER said.
type binding struct {
	contact string
	path    []string
}

// coreCall is a call at the core.
type coreCall struct {
	id      string // in the ledger
	dialog  dialog
	invite  []byte // ours, for the ACK of a refusal
	answer  []byte // 200 to the INVITE; nil: the core called
	up      bool   // ACK sent or received
	ended   bool
	pending *time.Timer // repeats the last message until it has had its effect
}

// Timers of RFC 3261 for the core's messages.
const (
	t1      = 500 * time.Millisecond
	repeats = 6
)

// readBuffer is what the socket may hold, in bytes.
const readBuffer = 4 << 20

func newCore(l *ledger, hold time.Duration) (*core, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("signalling: %w", err)
	}
	_ = conn.SetReadBuffer(readBuffer) // as much as the system allows
	c := &core{conn: conn, self: conn.LocalAddr().String(), ledger: l, hold: hold, bindings: map[string]binding{}, calls: map[string]*coreCall{}}
	c.done.Add(1)
	go c.read()
	return c, nil
}

func (c *core) close() {
	c.mu.Lock()
	c.closed = true
	for _, k := range c.calls {
		k.stop()
	}
	c.mu.Unlock()
	_ = c.conn.Close()
	c.done.Wait()
}

func (c *core) read() {
	defer c.done.Done()
	buf := make([]byte, maxFrame)
	for {
		n, from, err := c.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 20 {
			continue // a refused datagram or a keep-alive
		}
		m, err := parse(buf[:n])
		if err != nil {
			c.ledger.fail("core", err.Error())
			continue
		}
		c.take(&m, from)
	}
}

func (c *core) take(m *message, from netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
	case m.status != 0:
		c.response(m)
	case m.method == "REGISTER":
		c.register(m, from)
	case m.method == "INVITE":
		c.invited(m, from)
	case m.method == "ACK":
		c.acknowledged(m)
	case m.method == "BYE":
		c.bye(m, from)
	default:
		c.ledger.fail("core", "unexpected "+m.method)
	}
}

// write sends; a lost datagram is repeated, one that is not taken shows as a failure in the end.
func (c *core) write(raw []byte, to netip.AddrPort) { _, _ = c.conn.WriteToUDPAddrPort(raw, to) }

// register keeps Path and Contact and grants what was asked (RFC 3327).
func (c *core) register(m *message, from netip.AddrPort) {
	aor := user(address(m.get("To")))
	if auth := m.get("Authorization"); c.digest.Load() && auth == "" {
		c.write(response(m, 401, "Unauthorized", "r").add("WWW-Authenticate", challenge).end(""), from)
		return
	} else if auth != "" && auth != credentials(aor, m.method, "sip:"+domain) {
		c.write(response(m, 403, "Forbidden", "r").end(""), from)
		return
	}
	contact, expires := m.get("Contact"), m.get("Expires")
	w := response(m, 200, "OK", "r")
	if expires == "0" {
		delete(c.bindings, aor)
	} else {
		c.bindings[aor] = binding{address(contact), m.list("Path")}
		w.add("Contact", contact+";expires="+expires)
	}
	for _, p := range m.list("Path") {
		w.add("Path", p)
	}
	c.write(w.add("Supported", "path, outbound").end(""), from)
}

// invited answers an INVITE by 180 and 200.
func (c *core) invited(m *message, from netip.AddrPort) {
	callID := m.get("Call-ID")
	if k := c.calls[callID]; k != nil {
		c.write(k.answer, from)
		return
	}
	k := &coreCall{id: user(address(m.get("To"))), dialog: asCalled(m, "k"+callID)}
	c.calls[callID] = k
	contact := "<sip:" + k.id + "@" + c.self + ">"
	c.write(response(m, 180, "Ringing", "k"+callID).add("Contact", contact).end(""), from)
	k.answer = response(m, 200, "OK", "k"+callID).add("Contact", contact).add("Allow", "INVITE, ACK, CANCEL, BYE").end(coreSDP)
	c.persist(k, k.answer, from)
}

// persist sends and repeats until stop.
func (c *core) persist(k *coreCall, raw []byte, to netip.AddrPort) {
	k.stop()
	c.write(raw, to)
	n, wait := 0, t1
	var again func()
	timer := (*time.Timer)(nil)
	again = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if k.pending != timer || c.closed {
			return
		}
		if n++; n > repeats {
			return // the ledger finds it open
		}
		c.write(raw, to)
		wait *= 2
		timer.Reset(wait)
	}
	timer = time.AfterFunc(wait, again)
	k.pending = timer
}

func (k *coreCall) stop() {
	if k.pending != nil {
		k.pending.Stop()
		k.pending = nil
	}
}

// acknowledged takes the ACK for our 200; the core then ends the call after a while.
func (c *core) acknowledged(m *message) {
	k := c.calls[m.get("Call-ID")]
	if k == nil || k.up {
		return // for a repeated 200
	}
	k.up = true
	k.stop()
	k.pending = time.AfterFunc(c.hold, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.closed {
			c.persist(k, k.dialog.request("BYE", c.via("b"+k.id)), c.system)
		}
	})
}

func (c *core) bye(m *message, from netip.AddrPort) {
	c.write(response(m, 200, "OK", "").end(""), from)
	if k := c.calls[m.get("Call-ID")]; k != nil {
		c.finish(k)
	}
}

// finish ends a call once; it is forgotten after repetitions can no longer come.
func (c *core) finish(k *coreCall) {
	if k.ended {
		return
	}
	k.ended = true
	k.stop()
	c.ledger.end(k.id, atCore)
	k.pending = time.AfterFunc(64*t1, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.calls, k.dialog.callID)
	})
}

func (c *core) via(branch string) string {
	return "SIP/2.0/UDP " + c.self + ";branch=z9hG4bK" + branch + ";rport"
}

// call begins a call to a browser.
func (c *core) call(id, to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b, ok := c.bindings[to]
	if !ok || c.closed {
		c.ledger.fail(id, to+" has no binding")
		return
	}
	w := request("INVITE", b.contact).add("Via", c.via("i"+id)).add("Max-Forwards", "70")
	for _, p := range b.path {
		w.add("Route", p)
	}
	callID := id + "@core"
	raw := w.add("From", "<sip:"+id+"@"+domain+">;tag=f"+id).add("To", "<sip:"+to+"@"+domain+">").add("Call-ID", callID).
		add("CSeq", "1 INVITE").add("Contact", "<sip:"+id+"@"+c.self+">").add("Allow", "INVITE, ACK, CANCEL, BYE").end(coreSDP)
	k := &coreCall{id: id, invite: raw}
	k.dialog.callID = callID
	c.calls[callID] = k
	c.persist(k, raw, c.system)
}

func (c *core) response(m *message) {
	k := c.calls[m.get("Call-ID")]
	switch {
	case k == nil || m.method != "INVITE" && m.method != "BYE":
	case m.method == "BYE" && m.status >= 200:
		if m.status != 200 {
			c.ledger.fail(k.id, "BYE of the core was answered "+strconv.Itoa(m.status))
		}
		c.finish(k)
	case m.method == "BYE" || k.answer != nil:
	case m.status < 200:
		if !k.up {
			k.stop()
		}
	case m.status < 300:
		c.accepted(k, m)
	default:
		c.write(refusalAck(k, m, c.via("i"+k.id)), c.system)
		c.ledger.fail(k.id, "INVITE of the core was answered "+strconv.Itoa(m.status))
		c.finish(k)
	}
}

// accepted acknowledges the 200, again when it is repeated.
func (c *core) accepted(k *coreCall, m *message) {
	if !k.up {
		k.up = true
		k.stop()
		k.dialog = asCaller(m, 1)
		c.ledger.answered(k.id)
	}
	if strings.Contains(m.body, "m=audio") {
		c.write(k.dialog.request("ACK", c.via("a"+k.id)), c.system)
	} else {
		c.ledger.fail(k.id, "200 without description")
	}
}

// refusalAck is the ACK for a final response that is no 2xx (RFC 3261 §17.1.1.3).
func refusalAck(k *coreCall, m *message, via string) []byte {
	inv, err := parse(k.invite)
	if err != nil {
		return nil // was written by us
	}
	w := request("ACK", inv.uri).add("Via", via).add("Max-Forwards", "70")
	for _, r := range inv.list("Route") {
		w.add("Route", r)
	}
	return w.add("From", inv.get("From")).add("To", m.get("To")).add("Call-ID", inv.get("Call-ID")).add("CSeq", "1 ACK").end("")
}
