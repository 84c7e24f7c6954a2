package signalling

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// browser is one user with one WebSocket.
type browser struct {
	name   string
	scheme string // WS or WSS
	sock   *socket
	ledger *ledger
	hold   time.Duration
	done   chan struct{} // closed when the reader has ended

	mu     sync.Mutex // guards below
	seq    int        // of REGISTER, and of branches
	reg    string     // id in the ledger of the registration under way; empty: none
	gone   int        // expires of it
	calls  map[string]*browserCall
	closed bool
}

// browserCall is a call at a browser.
type browserCall struct {
	id     string
	called bool // by the core
	up     bool
	dialog dialog
	timer  *time.Timer
}

func connect(name string, from net.IP, addr string, secure bool, l *ledger, hold time.Duration) (*browser, error) {
	s, err := dial(from, addr, "/sip", secure)
	if err != nil {
		return nil, err
	}
	b := &browser{name: name, scheme: "WS", sock: s, ledger: l, hold: hold, done: make(chan struct{}), calls: map[string]*browserCall{}}
	if secure {
		b.scheme = "WSS"
	}
	go b.read()
	return b, nil
}

func (b *browser) close() {
	b.mu.Lock()
	b.closed = true
	for _, k := range b.calls {
		k.stop()
	}
	b.mu.Unlock()
	_ = b.sock.close()
	<-b.done
}

func (k *browserCall) stop() {
	if k.timer != nil {
		k.timer.Stop()
	}
}

func (b *browser) read() {
	defer close(b.done)
	buf := make([]byte, 0, 2048)
	for {
		var err error
		if buf, err = b.sock.read(buf); err != nil {
			b.mu.Lock()
			if !b.closed {
				b.ledger.fail(b.name, "its connection ended: "+err.Error())
			}
			b.mu.Unlock()
			return
		}
		m, err := parse(buf)
		if err != nil {
			b.ledger.fail(b.name, err.Error())
			continue
		}
		b.take(&m)
	}
}

// write sends; an error ends the connection, which its reader tells.
func (b *browser) write(raw []byte) {
	if err := b.sock.send(raw); err != nil {
		_ = b.sock.close()
	}
}

func (b *browser) host() string { return b.name + ".invalid" }

func (b *browser) via() string {
	b.seq++
	return "SIP/2.0/" + b.scheme + " " + b.host() + ";branch=z9hG4bK" + b.name + "x" + strconv.Itoa(b.seq)
}

func (b *browser) contact() string { return "<sip:" + b.name + "@" + b.host() + ";transport=ws>" }

// register begins a registration; false when one is under way.
func (b *browser) register(id string, expires int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reg != "" || b.closed {
		return false
	}
	b.reg, b.gone = id, expires
	b.ledger.begin(id, registration)
	b.sendRegister("")
	return true
}

func (b *browser) sendRegister(auth string) {
	w := request("REGISTER", "sip:"+domain).add("Via", b.via()).add("Max-Forwards", "70").
		add("From", "<sip:"+b.name+"@"+domain+">;tag=r"+b.name).add("To", "<sip:"+b.name+"@"+domain+">").
		add("Call-ID", "reg-"+b.name).add("CSeq", strconv.Itoa(b.seq)+" REGISTER").
		add("Contact", b.contact()+`;+sip.instance="<urn:uuid:00000000-0000-4000-8000-`+fmt.Sprintf("%012s", b.name[1:])+`>";reg-id=1`).
		add("Expires", strconv.Itoa(b.gone)).add("Supported", "path, gruu, outbound").
		add("Allow", "INVITE, ACK, CANCEL, BYE, UPDATE, MESSAGE, OPTIONS, REFER, INFO, NOTIFY").add("User-Agent", "bench")
	if auth != "" {
		w.add("Authorization", auth)
	}
	b.write(w.end(""))
}

// call begins a call to the core.
func (b *browser) call(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	callID := id + "@" + b.name
	b.calls[callID] = &browserCall{id: id}
	b.write(request("INVITE", "sip:"+id+"@"+domain).add("Via", b.via()).add("Max-Forwards", "70").
		add("From", "<sip:"+b.name+"@"+domain+">;tag=f"+id).add("To", "<sip:"+id+"@"+domain+">").add("Call-ID", callID).
		add("CSeq", "1 INVITE").add("Contact", b.contact()).add("Allow", "INVITE, ACK, CANCEL, BYE, UPDATE, MESSAGE, OPTIONS, REFER, INFO, NOTIFY").
		add("Supported", "path, gruu, outbound").add("User-Agent", "bench").end(browserOffer))
}

func (b *browser) take(m *message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
	case m.status != 0 && m.method == "REGISTER":
		b.registered(m)
	case m.status != 0:
		b.response(m)
	case m.method == "INVITE":
		b.invited(m)
	case m.method == "ACK":
		b.acknowledged(m)
	case m.method == "BYE":
		b.bye(m)
	default:
		b.ledger.fail(b.name, "unexpected "+m.method)
	}
}

func (b *browser) registered(m *message) {
	auth := m.get("WWW-Authenticate")
	switch {
	case m.status < 200 || b.reg == "":
		return
	case m.status == 401 && auth == challenge:
		b.sendRegister(credentials(b.name, "REGISTER", "sip:"+domain))
		return
	case m.status != 200:
		b.ledger.fail(b.reg, "REGISTER was answered "+strconv.Itoa(m.status))
	case b.gone > 0 && !strings.Contains(m.get("Contact"), b.host()):
		b.ledger.fail(b.reg, "the 200 lacks our Contact")
	default:
		b.ledger.end(b.reg, atBrowser)
	}
	b.reg = ""
}

func (b *browser) response(m *message) {
	k := b.calls[m.get("Call-ID")]
	switch {
	case k == nil || m.status < 200:
	case m.method == "BYE":
		if m.status != 200 {
			b.ledger.fail(k.id, "BYE of the browser was answered "+strconv.Itoa(m.status))
		}
		b.finish(k)
	case m.status != 200:
		b.ledger.fail(k.id, "INVITE of the browser was answered "+strconv.Itoa(m.status))
		delete(b.calls, m.get("Call-ID"))
	default:
		if !k.up {
			k.up = true
			k.dialog = asCaller(m, 1)
			b.ledger.answered(k.id)
		}
		if !strings.Contains(m.body, "m=audio") {
			b.ledger.fail(k.id, "200 without description")
		}
		b.write(k.dialog.request("ACK", b.via()))
	}
}

func (b *browser) invited(m *message) {
	callID := m.get("Call-ID")
	if b.calls[callID] != nil {
		b.ledger.fail(callID, "INVITE repeated over a WebSocket")
		return
	}
	tag := "b" + strconv.Itoa(b.seq) + b.name
	k := &browserCall{id: user(address(m.get("From"))), called: true, dialog: asCalled(m, tag)}
	b.calls[callID] = k
	b.write(response(m, 180, "Ringing", tag).add("Contact", b.contact()).end(""))
	b.write(response(m, 200, "OK", tag).add("Contact", b.contact()).add("Allow", "INVITE, ACK, CANCEL, BYE, UPDATE").end(browserAnswer))
}

// acknowledged has the browser end the call after a while.
func (b *browser) acknowledged(m *message) {
	k := b.calls[m.get("Call-ID")]
	if k == nil || k.up {
		return
	}
	k.up = true
	k.timer = time.AfterFunc(b.hold, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.closed {
			b.write(k.dialog.request("BYE", b.via()))
		}
	})
}

func (b *browser) bye(m *message) {
	b.write(response(m, 200, "OK", "").end(""))
	if k := b.calls[m.get("Call-ID")]; k != nil {
		b.finish(k)
	}
}

func (b *browser) finish(k *browserCall) {
	delete(b.calls, k.dialog.callID)
	b.ledger.end(k.id, atBrowser)
}
