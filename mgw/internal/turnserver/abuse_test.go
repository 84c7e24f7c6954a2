package turnserver

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v4"
)

func TestRequestsOfOneSourceAreLimited(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Quota.Requests = 1 })
	at := time.Now()
	b.now.Store(&at)
	raw := b.raw()
	request := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport)
	for range 20 {
		raw.send(request.Raw)
	}
	b.until("16 to be refused", func() bool { return b.count(refusedRate) == 16 })
	next := at.Add(time.Second)
	b.now.Store(&next)
	raw.send(request.Raw)
	for range 5 { // 4 of the burst, and this one
		raw.receive()
	}
}

// What is no request and belongs to no allocation is neither answered nor given on.
func TestStrayMessages(t *testing.T) {
	b := newBed(t)
	raw := b.raw()
	for _, p := range [][]byte{
		{}, {0}, []byte("GET / HTTP/1.1"), bytes.Repeat([]byte{0}, 19), {0x40, 1, 0, 4, 1, 2, 3, 4}, {0x80, 0, 0, 0}, {20, 0xfe, 0xfd, 0}, make([]byte, 3000),
		stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication)).Raw,
		stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassSuccessResponse)).Raw,
	} {
		raw.send(p)
	}
	b.until("all to be counted", func() bool { return b.count(refusedStray) == 10 })
	if m := raw.transact(stun.BindingRequest); m.Type.Class != stun.ClassSuccessResponse { // the first answer
		t.Errorf("%v", m)
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Quota.Connections = 2 })
	_, tcp, _ := b.Addresses()
	for range 2 {
		conn, err := net.Dial("tcp", tcp[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	b.until("both to be there", func() bool { return b.Connections() == 2 })
	conn, err := net.Dial("tcp", tcp[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a third one is served")
	}
	if b.count(refusedConnections) != 1 {
		t.Errorf("counted %d", b.count(refusedConnections))
	}
}

// Garbage over TCP, and something else than TLS, end the connection at once.
func TestGarbageEndsAConnection(t *testing.T) {
	b := newBed(t)
	_, tcp, secure := b.Addresses()
	for reason, at := range map[string]netip.AddrPort{refusedFraming: tcp[0], refusedHandshake: secure[0]} {
		conn, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		if _, err := io.ReadAll(conn); err != nil && errors.Is(err, io.EOF) {
			t.Error(err)
		}
		_ = conn.Close()
		b.until(reason, func() bool { return b.count(reason) == 1 })
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	b := newBed(t)
	_, _, secure := b.Addresses()
	if c, err := tls.Dial("tcp", secure[0].String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 is taken")
	}
}

// pipe is one end of a connection whose deadlines run on the bubble's clock.
type pipe struct{ net.Conn }

func (pipe) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3478} }
func (pipe) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 4711} }

// A client that begins no message, begins one and stops, goes on without an allocation, or does not read is closed in time.
func TestSlowClients(t *testing.T) {
	binding := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	for name, x := range map[string]struct {
		within time.Duration
		act    func(far net.Conn)
	}{
		"silent":        {idleTime, func(net.Conn) {}},
		"half message":  {frameTime, func(far net.Conn) { _, _ = far.Write(binding[:7]) }},
		"does not read": {writeTime, func(far net.Conn) { _, _ = far.Write(binding) }},
		"no allocation": {idleTime, func(far net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, far) }()
			for {
				if _, err := far.Write(binding); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := New(Config{Realm: "isthmus", Secrets: func() []string { return nil }, Relay: Relay{Listen: loopback, PortMin: 1, PortMax: 1}})
				if err != nil {
					t.Fatal(err)
				}
				near, far := net.Pipe()
				defer far.Close()
				begun := time.Now()
				c := newClient(s, "tcp", newStream(pipe{near}))
				if !s.enter(c) {
					t.Fatal("no room")
				}
				s.begin(c, near)
				acted := make(chan struct{})
				go func() { defer close(acted); x.act(far) }()
				s.open.Wait()
				if took := time.Since(begun); took > x.within || s.Connections() != 0 {
					t.Errorf("after %v", took)
				}
				s.Close()
				_ = far.Close()
				<-acted
			})
		})
	}
}

func TestFraming(t *testing.T) {
	message := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewSoftware("test")).Raw
	all := append(append([]byte{}, message...), 0x40, 1, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0)
	all = append(append(all, message...), 0x7f, 0xff, 0, 0)
	r := iotest.OneByteReader(bytes.NewReader(all))
	buf, begun := make([]byte, maxMessage), 0
	for i, want := range [][]byte{message, {0x40, 1, 0, 5, 'h', 'e', 'l', 'l', 'o'}, message, {0x7f, 0xff, 0, 0}} {
		if n, err := readFrame(r, buf, func() { begun++ }); err != nil || !bytes.Equal(buf[:n], want) || begun != i+1 {
			t.Errorf("message %d: %x %v, %d begun", i, buf[:n], err, begun)
		}
	}
	for _, x := range []struct {
		in   []byte
		want error
	}{
		{nil, io.EOF}, {message[:10], io.ErrUnexpectedEOF}, {[]byte("GET "), errLong}, {[]byte("POST"), errLong}, {[]byte{0x80, 0, 0, 0}, errFraming}, {[]byte{0, 1, 0, 2}, errFraming},
		{[]byte{0, 1, 0xff, 0xfc}, errLong}, {[]byte{0x40, 0, 0xff, 0xff}, errLong}, {make([]byte, 20), errFraming},
	} {
		if _, err := readFrame(bytes.NewReader(x.in), buf, func() {}); !errors.Is(err, x.want) {
			t.Errorf("%x: %v, want %v", x.in, err, x.want)
		}
	}
}

// Whatever comes, a message that is taken is whole, fits, and leaves the stream where the next one begins.
func FuzzFraming(f *testing.F) {
	f.Add([]byte{0x40, 1, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 0x40, 1, 0, 0})
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.Fingerprint).Raw)
	f.Add([]byte{0x40, 1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		r, buf, at := bytes.NewReader(in), make([]byte, maxMessage), 0
		for {
			n, err := readFrame(r, buf, func() {})
			if err != nil {
				return
			}
			if n < 4 || n >= maxMessage || !bytes.Equal(buf[:n], in[at:at+n]) {
				t.Fatalf("%d bytes at %d: %x of %x", n, at, buf[:n], in)
			}
			if at = len(in) - r.Len(); at%4 != 0 {
				t.Fatalf("the next message begins at %d", at)
			}
		}
	})
}
