package siptransport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func newTCP(t *testing.T, cfg TCPConfig, s *sink, admit Admission) (*TCP, *Flows) {
	t.Helper()
	flows := NewFlows()
	tr, err := ListenTCP(cfg, Socket{Addr: loopback, SentBy: "", Edge: EdgeCore}, flows)
	if err != nil {
		t.Fatal(err)
	}
	tr.Serve(ingress(s, admit))
	t.Cleanup(func() {
		_ = tr.Close()
		if flows.Len() != 0 {
			t.Errorf("%d flows left", flows.Len())
		}
	})
	return tr, flows
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * wait.Limit))
	return c
}

// readStream reads one message without body.
func readStream(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), "\r\n\r\n") {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			t.Fatalf("%v after %q", err, b.String())
		}
	}
	return b.String()
}

func wantClosed(t *testing.T, r *bufio.Reader) {
	t.Helper()
	if b, err := io.ReadAll(r); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("connection was not closed: %q %v", b, err)
	}
}

func TestRFC3261_18_3_TCPFramingAndOrder(t *testing.T) {
	s := newSink()
	tr, _ := newTCP(t, TCPConfig{}, s, nil)
	c := dial(t, tr.Local().String())
	var all bytes.Buffer
	const n = 200
	for i := range n {
		all.WriteString("\r\n") // before a start line it is ignored (RFC 3261 §7.5)
		m := options("TCP", "h.invalid", "", fmt.Sprintf("m%d", i))
		body := strings.Repeat("b", i*7)
		m = strings.Replace(m, "Content-Length: 0", fmt.Sprintf("Content-Type: text/plain\r\nl :\r\n %d", len(body)), 1)
		all.WriteString(m + body)
	}
	data := all.Bytes()
	for i := 1; len(data) > 0; i++ { // pieces of 1, 2, 3 ... bytes
		k := min(i%977+1, len(data))
		write(t, c, string(data[:k]))
		data = data[k:]
	}
	for i := range n {
		g := s.next(t)
		if g.m.Get("Call-ID") != fmt.Sprintf("m%d", i) || len(g.m.Body) != i*7 {
			t.Fatalf("message %d: %s with %d bytes", i, g.m.Get("Call-ID"), len(g.m.Body))
		}
	}
}

func TestTCPKeepAliveAndReply(t *testing.T) {
	s := newSink()
	tr, flows := newTCP(t, TCPConfig{}, s, nil)
	c := dial(t, tr.Local().String())
	r := bufio.NewReader(c)
	write(t, c, "\r\n\r\n")
	if line, err := r.ReadString('\n'); err != nil || line != "\r\n" {
		t.Fatalf("pong %q, %v (RFC 5626 §3.5.1)", line, err)
	}
	write(t, c, options("TCP", "h.invalid", "", "k1"))
	g := s.next(t)
	link, err := flows.Get(g.from.ID)
	if err != nil {
		t.Fatal(err)
	}
	resp := headers.NewResponse(&g.m, 200, "")
	raw, _ := resp.Bytes()
	if err := link.Send(raw); err != nil {
		t.Fatal(err)
	}
	if m := readStream(t, r); !strings.HasPrefix(m, "SIP/2.0 200 OK\r\n") {
		t.Errorf("read %q", m)
	}
	again, err := tr.LinkTo(g.from.Remote, "") // the open connection is used again
	if err != nil || again.Flow().ID != g.from.ID {
		t.Errorf("LinkTo gave %v, %v", again, err)
	}
	_ = c.Close()
	if f := wait.Receive(t, s.closed); f.ID != g.from.ID {
		t.Errorf("closed %+v", f)
	}
	if _, err := flows.Get(g.from.ID); !errors.Is(err, ErrFlowGone) {
		t.Errorf("flow of a closed connection: %v", err)
	}
	if err := link.Send(raw); !errors.Is(err, ErrFlowGone) {
		t.Errorf("send on a closed connection: %v", err)
	}
}

func TestTCPDial(t *testing.T) {
	s := newSink()
	tr, _ := newTCP(t, TCPConfig{}, s, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	to := netip.MustParseAddrPort(ln.Addr().String())
	link, err := tr.LinkTo(to, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Send([]byte(options("TCP", "us", "", "out"))); err != nil { // waits in the queue for the dial
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait.Limit))
	if m := readStream(t, bufio.NewReader(c)); !strings.Contains(m, "Call-ID: out\r\n") {
		t.Errorf("read %q", m)
	}
	write(t, c, options("TCP", "peer", "", "back"))
	if g := s.next(t); g.from.ID != link.Flow().ID || g.m.Get("Call-ID") != "back" {
		t.Errorf("got %+v", g)
	}
}

// A burst of requests to a peer shares one connection, and Close ends it.
func TestTCPDialsOnceForABurst(t *testing.T) {
	s := newSink()
	tr, _ := newTCP(t, TCPConfig{}, s, nil)
	for n := range 20 { // peers of which each meets a burst
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", 2+n)) // it takes connections; one that is refused would be made again
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		to := netip.MustParseAddrPort(ln.Addr().String())
		begin := make(chan struct{})
		var all sync.WaitGroup
		flows := make([]string, 8)
		for i := range flows {
			all.Go(func() {
				<-begin
				if link, err := tr.LinkTo(to, ""); err != nil {
					t.Error(err)
				} else {
					flows[i] = link.Flow().ID
				}
			})
		}
		close(begin)
		all.Wait()
		for _, f := range flows {
			if f != flows[0] {
				t.Fatalf("several connections to one peer: %v", flows)
			}
		}
	}
}

func TestTCPDialRefused(t *testing.T) {
	s := newSink()
	tr, _ := newTCP(t, TCPConfig{}, s, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(ln.Addr().String())
	_ = ln.Close()
	link, err := tr.LinkTo(to, "")
	if err != nil {
		t.Fatal(err)
	}
	if f := wait.Receive(t, s.closed); f.ID != link.Flow().ID {
		t.Errorf("closed %+v", f)
	}
}

func TestTCPBadInput(t *testing.T) {
	good := options("TCP", "h.invalid", "", "g")
	for _, c := range []struct{ name, send, want string }{
		{"no length", strings.Replace(good, "Content-Length: 0\r\n", "", 1), "SIP/2.0 400 Missing Content-Length"},
		{"two lengths", strings.Replace(good, "Content-Length: 0", "Content-Length: 0\r\nl: 0", 1), "SIP/2.0 400 Multiple Content-Length"},
		{"negative", strings.Replace(good, "Content-Length: 0", "Content-Length: -1", 1), "SIP/2.0 400 Malformed Content-Length"},
		{"huge body", strings.Replace(good, "Content-Length: 0", "Content-Length: 99999999", 1), "SIP/2.0 400 Content-Length Does Not Match Body"},
		{"endless header", strings.Repeat("A: b\r\n", 20000), ""},
		{"endless line", strings.Repeat("x", 200000), ""},
		{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSink()
			soon := 300 * time.Millisecond
			if c.want != "" { // told, not waited for
				soon = wait.Limit
			}
			tr, _ := newTCP(t, TCPConfig{FirstTimeout: soon, MessageTimeout: soon}, s, nil)
			conn := dial(t, tr.Local().String())
			go func() { _, _ = io.WriteString(conn, c.send) }() // the far side may close in the middle
			r := bufio.NewReader(conn)
			if c.want != "" {
				if m := readStream(t, r); !strings.HasPrefix(m, c.want+"\r\n") {
					t.Errorf("answer %q", m)
				}
			}
			wantClosed(t, r)
			wait.Receive(t, s.closed)
			if len(s.got) != 0 {
				t.Error("the sink got it")
			}
		})
	}
}

func TestTCPMalformedStaysThenCloses(t *testing.T) {
	s := newSink()
	tr, _ := newTCP(t, TCPConfig{MaxBad: 3}, s, nil)
	c := dial(t, tr.Local().String())
	r := bufio.NewReader(c)
	bad := strings.Replace(options("TCP", "h.invalid", "", "bad"), "Max-Forwards: 70", "Max-Forwards: 999", 1)
	for range 2 {
		write(t, c, bad)
		if m := readStream(t, r); !strings.HasPrefix(m, "SIP/2.0 400 Malformed Max-Forwards\r\n") {
			t.Fatalf("answer %q", m)
		}
	}
	write(t, c, options("TCP", "h.invalid", "", "fine"))
	s.next(t)
	write(t, c, bad)
	readStream(t, r) // the third is answered, too, and is the last
	wantClosed(t, r)
}

func TestTCPStrangerIsRefusedAndClosed(t *testing.T) {
	s := newSink()
	tr, _ := newTCP(t, TCPConfig{}, s, func(*headers.Msg, Flow) Verdict { return Refuse })
	c := dial(t, tr.Local().String())
	r := bufio.NewReader(c)
	write(t, c, options("TCP", "h.invalid", "", "x"))
	if m := readStream(t, r); !strings.HasPrefix(m, "SIP/2.0 403 Forbidden\r\n") {
		t.Errorf("answer %q", m)
	}
	wantClosed(t, r)
}

// Nothing that a stranger can send keeps its connection, of which there are not many, beyond the time for the first message.
func TestTCPStrangerCannotStay(t *testing.T) {
	response := "SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP us;branch=z9hG4bKx\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\nCall-ID: x\r\n" +
		"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
	bad := strings.Replace(options("TCP", "h.invalid", "", "bad"), "Max-Forwards: 70", "Max-Forwards: 999", 1)
	for name, text := range map[string]string{"response": response, "keep-alive": "\r\n\r\n", "malformed": bad} {
		t.Run(name, func(t *testing.T) {
			s := newSink()
			tr, _ := newTCP(t, TCPConfig{FirstTimeout: 200 * time.Millisecond, MaxBad: 1000}, s, func(*headers.Msg, Flow) Verdict { return Refuse })
			c := dial(t, tr.Local().String())
			begun := time.Now()
			for {
				if _, err := io.WriteString(c, text); err != nil {
					return // closed
				}
				select {
				case <-s.closed:
					return
				case <-time.After(20 * time.Millisecond):
				}
				if time.Since(begun) > wait.Limit {
					t.Fatal("still open")
				}
			}
		})
	}
}

func TestTCPSlowlorisEnds(t *testing.T) {
	s := newSink()
	tr, _ := newTCP(t, TCPConfig{FirstTimeout: 200 * time.Millisecond, MessageTimeout: 200 * time.Millisecond}, s, nil)
	silent := dial(t, tr.Local().String())
	slow := dial(t, tr.Local().String())
	stop := make(chan struct{})
	var drip sync.WaitGroup
	drip.Go(func() {
		for _, b := range []byte(options("TCP", "h.invalid", "", "slow")) { // a byte each 20 ms, never idle
			if _, err := slow.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	wantClosed(t, bufio.NewReader(silent))
	wantClosed(t, bufio.NewReader(slow))
	close(stop)
	drip.Wait()
	if len(s.got) != 0 {
		t.Error("a message came through")
	}
}

func TestTCPConnectionLimit(t *testing.T) {
	s := newSink()
	tr, _ := newTCP(t, TCPConfig{MaxConns: 2}, s, nil)
	a, b := dial(t, tr.Local().String()), dial(t, tr.Local().String())
	write(t, a, options("TCP", "h.invalid", "", "a"))
	write(t, b, options("TCP", "h.invalid", "", "b"))
	s.next(t)
	s.next(t)
	wantClosed(t, bufio.NewReader(dial(t, tr.Local().String())))
	write(t, a, options("TCP", "h.invalid", "", "a2"))
	s.next(t)
}

func TestTCPSlowReaderFillsOnlyItsQueue(t *testing.T) {
	s := newSink()
	tr, flows := newTCP(t, TCPConfig{Queue: 4, WriteTimeout: 200 * time.Millisecond}, s, nil)
	c := dial(t, tr.Local().String())
	write(t, c, options("TCP", "h.invalid", "", "a"))
	link, err := flows.Get(s.next(t).from.ID)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), 1<<20)
	full := false
	for range 1000 {
		if err := link.Send(big); err != nil {
			full = errors.Is(err, ErrQueueFull) || errors.Is(err, ErrFlowGone)
			break
		}
	}
	if !full {
		t.Error("a peer that does not read took 1000 MiB")
	}
	wait.Receive(t, s.closed) // and its connection ends by the write deadline
}

func TestNextFrame(t *testing.T) {
	for _, c := range []struct {
		in   string
		want frame
		err  error
	}{
		{"", frame{}, nil},
		{"\r\n", frame{skip: 2}, nil},
		{"\r\n\r\n", frame{skip: 4, ping: true}, nil},
		{"A b", frame{}, nil},
		{"A\r\nl: 2\r\n\r\nx", frame{head: 11}, nil},
		{"A\r\nl: 2\r\n\r\nxyz", frame{head: 11, size: 13}, nil},
		{"A\r\nContent-Length :\r\n\t3\r\n\r\nxyz", frame{head: 27, size: 30}, nil},
		{"A\r\nX: y\r\n\r\n", frame{head: 11}, errNoLength},
		{"A\r\nl: 9\r\nl: 9\r\n\r\n", frame{head: 17}, errNoLength},
		{"A\r\nl: 4000\r\n\r\n", frame{head: 14}, errTooLarge},
		{strings.Repeat("a", 1001), frame{}, errTooLarge},
	} {
		got, err := nextFrame([]byte(c.in), 1000)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%.40q: %+v, %v; want %+v, %v", c.in, got, err, c.want, c.err)
		}
	}
}

func FuzzNextFrame(f *testing.F) {
	f.Add([]byte("A\r\nl: 2\r\n\r\nxyz"))
	f.Add([]byte("\r\n\r\nA\r\nl:\r\n 1\r\n\r\n"))
	f.Add([]byte("a\r\nContent-Length: 99999999999\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		fr, err := nextFrame(in, 4096)
		if fr.skip+fr.size > len(in) || fr.skip+fr.head > len(in) || fr.size > 4096 {
			t.Fatalf("%+v of %d bytes", fr, len(in))
		}
		if err != nil || fr.size == 0 {
			return
		}
		if _, err := headers.Read(in[fr.skip:fr.skip+fr.size], headers.Stream); err != nil {
			return // malformed, but framed
		}
	})
}
