package signalling

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// relay is the simplest edge there is: it passes messages between one browser and the core, and adds a Path.
type relay struct {
	ws   *websocket.Conn
	udp  *net.UDPConn
	core netip.AddrPort
}

// TestBrowserAndCoreAgree: the load's own ends complete registrations with and without digest and calls both ways over a WebSocket
// library that is not ours.
func TestBrowserAndCoreAgree(t *testing.T) {
	l := newLedger()
	k, err := newCore(l, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	k.digest.Store(true)
	addr, stop := startRelay(t, netip.MustParseAddrPort(k.self), k)
	defer stop()
	b, err := connect("u1", net.IPv4(127, 0, 0, 1), addr, false, l, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	b.register("r1", 600)
	l.settle(patience)
	if c := l.read(); c.done[registration] != 1 || c.bad != 0 {
		t.Fatalf("%+v", c)
	}
	l.begin("k1", call)
	k.call("k1", "u1")
	l.begin("c1", call)
	b.call("c1")
	l.settle(patience)
	if c := l.read(); c.done[call] != 2 || c.bad != 0 {
		t.Errorf("%+v", c)
	}
	if l.setUpTime(1) <= 0 {
		t.Error("no set-up time")
	}
}

func startRelay(t *testing.T, to netip.AddrPort, k *core) (addr string, stop func()) {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	k.system = udp.LocalAddr().(*net.UDPAddr).AddrPort()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"sip"}})
		if err != nil {
			return
		}
		x := &relay{ws, udp, to}
		wg.Go(x.down)
		x.up()
	})}
	wg.Go(func() { _ = srv.Serve(lis) }) // closed below
	return lis.Addr().String(), func() { _ = srv.Close(); _ = udp.Close(); wg.Wait() }
}

func (x *relay) up() {
	for {
		_, b, err := x.ws.Read(context.Background())
		if err != nil {
			return
		}
		_, _ = x.udp.WriteToUDPAddrPort(b, x.core)
	}
}

func (x *relay) down() {
	buf := make([]byte, maxFrame)
	for {
		n, err := x.udp.Read(buf)
		if err != nil {
			return
		}
		_ = x.ws.Write(context.Background(), websocket.MessageText, buf[:n])
	}
}

// TestPingsAreAnsweredAndLongMessagesArrive: what edges send beside SIP.
func TestPingsAreAnsweredAndLongMessagesArrive(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	long := make([]byte, 40000)
	for i := range long {
		long[i] = 'a'
	}
	result := make(chan error, 1)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"sip"}})
		if err != nil {
			result <- err
			return
		}
		ctx := ws.CloseRead(context.Background())
		err = ws.Ping(ctx)
		if err == nil {
			err = ws.Write(ctx, websocket.MessageText, long)
		}
		result <- err
		_ = ws.Close(websocket.StatusNormalClosure, "")
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }() // closed below
	defer func() { _ = srv.Close(); <-done }()
	s, err := dial(net.IPv4(127, 0, 0, 1), lis.Addr().String(), "/", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	got, err := s.read(nil)
	if err != nil || string(got) != string(long) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	if _, err := s.read(nil); err == nil {
		t.Error("the close was not seen")
	}
}

// TestBothSystemsCarryTheLoad runs each system with a little of the load, WS and WSS: nothing fails and nothing stays.
func TestBothSystemsCarryTheLoad(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	mgc := filepath.Join(t.TempDir(), "mgc")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", mgc, "../../../../mgc/cmd/mgc").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := Default()
	c.Controller, c.Out, c.Hold, c.Browsers = mgc, testWriter{t}, 100*time.Millisecond, 100
	r := &runner{c: &c, out: &Results{Config: c}}
	for _, name := range []string{isthmus, kamailio} {
		s, err := r.start(ctx, name)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := r.prepare(ctx, s); err != nil {
			t.Error(err)
		}
		c.Window, c.Warm, c.Registrations, c.Calls = time.Second, 100*time.Millisecond, 50, 20
		for w := range works {
			if err := r.window(ctx, 0, w, s); err != nil {
				t.Error(err)
			}
		}
		for i := range s.row.Samples {
			if x := &s.row.Samples[i]; x.bad > 0 {
				t.Errorf("%s: %s: %s", name, x.Work, x.fault())
			}
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) { w.t.Logf("%s", p); return len(p), nil }
