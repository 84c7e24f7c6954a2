package siptransport

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// keepRig is a connection that we opened to a peer, who sees it as conn and r.
type keepRig struct {
	t    *testing.T
	s    *sink
	link Link
	conn net.Conn
	r    *bufio.Reader
}

func newKeepRig(t *testing.T, k KeepAlive) *keepRig {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	x := &keepRig{t: t, s: newSink()}
	tr, _ := newTCP(t, TCPConfig{KeepAlive: k}, x.s, nil)
	if x.link, err = tr.LinkTo(netip.MustParseAddrPort(ln.Addr().String()), ""); err != nil {
		t.Fatal(err)
	}
	if x.conn, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.conn.Close() })
	_ = x.conn.SetDeadline(time.Now().Add(10 * time.Second))
	x.r = bufio.NewReader(x.conn)
	return x
}

// ping waits for a keep-alive.
func (x *keepRig) ping() {
	x.t.Helper()
	b := make([]byte, 4)
	if _, err := io.ReadFull(x.r, b); err != nil || string(b) != "\r\n\r\n" {
		x.t.Fatalf("read %q, %v", b, err)
	}
}

// respond sends a response with the Via that a peer would return.
func (x *keepRig) respond(via string) {
	x.t.Helper()
	write(x.t, x.conn, "SIP/2.0 200 OK\r\nVia: "+via+"\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: k\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")
	x.s.next(x.t)
}

// dead waits for the end of the connection and its cause.
func (x *keepRig) dead() {
	x.t.Helper()
	wantClosed(x.t, x.r)
	if f := wait.Receive(x.t, x.s.closed); f.ID != x.link.Flow().ID {
		x.t.Errorf("closed %+v", f)
	}
	if err := x.link.Send([]byte("x")); !errors.Is(err, ErrFlowGone) {
		x.t.Errorf("send over a dead connection: %v", err)
	}
}

const soon = 20 * time.Millisecond

// TestR5626_4_4_1_KeepAlives: each double CRLF that is answered brings the next; one that is not ends the connection.
func TestR5626_4_4_1_KeepAlives(t *testing.T) {
	x := newKeepRig(t, KeepAlive{Mode: KeepAlways, Interval: soon, Patience: wait.Limit})
	for i := range 5 {
		x.ping()
		if i%2 == 0 {
			write(t, x.conn, "\r\n")
		} else {
			x.respond("SIP/2.0/TCP h.invalid;branch=z9hG4bKx") // a message shows life as well
		}
	}
	x.ping()
	x = newKeepRig(t, KeepAlive{Mode: KeepAlways, Interval: soon, Patience: 10 * soon})
	x.ping()
	x.dead()
}

// TestR6223_KeepAlivesAreNegotiated: our Via asks, nothing is sent before the peer has agreed, then at its pace or ours.
func TestR6223_KeepAlivesAreNegotiated(t *testing.T) {
	x := newKeepRig(t, KeepAlive{Interval: soon, Patience: 2 * time.Second}) // the test answers within it
	if k, ok := x.link.(KeepAsker); !ok || !k.AsksKeep() {
		t.Error("our Via does not ask")
	}
	x.respond("SIP/2.0/TCP h.invalid;branch=z9hG4bKx;keep") // no value: it does not know of keep
	_ = x.conn.SetReadDeadline(time.Now().Add(10 * soon))
	if b, err := x.r.ReadByte(); err == nil {
		t.Fatalf("%q came before the peer agreed", b)
	}
	_ = x.conn.SetDeadline(time.Now().Add(10 * time.Second))
	x.respond("SIP/2.0/TCP h.invalid;branch=z9hG4bKx;keep=0") // agreed, our interval
	x.ping()
	write(t, x.conn, "\r\n")
	x.ping()
	x.dead()
}

func TestR6223_IntervalOfThePeer(t *testing.T) {
	p := newPinger(KeepAlive{}.withDefaults(), newKeeper(), false)
	defer p.stop()
	p.agree(30 * time.Second)
	if p.every != 30*time.Second {
		t.Errorf("every %s", p.every)
	}
	p.agree(0)
	if p.every != 95*time.Second {
		t.Errorf("without an interval of the peer: every %s", p.every)
	}
	p.agree(time.Millisecond)
	if p.every != time.Second {
		t.Errorf("a peer makes us send every %s", p.every)
	}
}

// TestNoKeepAlivesWhereTheyAreNotOurs: not when they are switched off, and never over what the peer opened.
func TestNoKeepAlivesWhereTheyAreNotOurs(t *testing.T) {
	x := newKeepRig(t, KeepAlive{Mode: KeepNever, Interval: soon})
	x.respond("SIP/2.0/TCP h.invalid;branch=z9hG4bKx;keep=0")
	tr, flows := newTCP(t, TCPConfig{KeepAlive: KeepAlive{Mode: KeepAlways, Interval: soon}}, x.s, nil)
	c := dial(t, tr.Local().String())
	write(t, c, options("TCP", "h.invalid", "", "k1"))
	g := x.s.next(t)
	in, err := flows.Get(g.from.ID)
	if err != nil {
		t.Fatal(err)
	}
	asks, more := newTCP(t, TCPConfig{}, x.s, nil)
	write(t, dial(t, asks.Local().String()), options("TCP", "h.invalid", "", "k2"))
	other, err := more.Get(x.s.next(t).from.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []Link{x.link, in, other} {
		if l.(KeepAsker).AsksKeep() {
			t.Errorf("our Via to %s asks for keep-alives", l.Flow().Remote)
		}
	}
	for _, c := range []net.Conn{x.conn, c} {
		_ = c.SetReadDeadline(time.Now().Add(10 * soon))
		b := make([]byte, 10)
		if n, err := c.Read(b); err == nil {
			t.Errorf("read %q", b[:n])
		}
	}
}

// TestR3581_StampOfIPv6: received and rport of a request over IPv6, and the way back.
func TestR3581_StampOfIPv6(t *testing.T) {
	m, err := headers.Read([]byte(options("UDP", "[2001:db8::9]:5062", ";rport", "v6")), headers.Datagram)
	if err != nil {
		t.Fatal(err)
	}
	from := netip.MustParseAddrPort("[2001:db8::1]:40000")
	StampReceived(&m, from)
	if via := m.Get("Via"); !strings.Contains(via, ";rport=40000") || !strings.Contains(via, ";received=2001:db8::1") {
		t.Errorf("Via %s", via)
	}
	via, err := headers.TopVia(&m)
	if err != nil {
		t.Fatal(err)
	}
	if got := ReplyAddr(via, from); got != from {
		t.Errorf("the answer goes to %s", got)
	}
}
