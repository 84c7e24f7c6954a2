package wsedge

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(idleClientEnv); spec != "" {
		if err := idleClient(spec); err != nil {
			log.Fatal(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

type got struct {
	m    headers.Msg
	from siptransport.Flow
}

type sink struct {
	got    chan got
	closed chan siptransport.Flow
}

func (s *sink) OnMessage(m headers.Msg, from siptransport.Flow) { s.got <- got{m, from} }
func (s *sink) OnClosed(f siptransport.Flow, _ error)           { s.closed <- f }

// rig is a server on a real socket.
type rig struct {
	t     *testing.T
	s     *Server
	flows *siptransport.Flows
	sink  *sink
	http  *http.Server
	addr  string
	tls   bool
	reg   *prometheus.Registry
}

// refused is the counter of refusals for the reason over plain WebSocket.
func (r *rig) refused(reason string) (n float64) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "isthmus_mgc_sip_refused_total" && l.GetName() == "reason" && l.GetValue() == reason {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

func newRig(t *testing.T, cfg Config, tlsConfig *tls.Config, change ...func(*http.Server)) *rig {
	t.Helper()
	r := &rig{t: t, tls: tlsConfig != nil, flows: siptransport.NewFlows(), sink: &sink{make(chan got, 1000), make(chan siptransport.Flow, 1000)}, reg: prometheus.NewRegistry()}
	var err error
	if r.s, err = New(cfg, r.flows, r.sink, siptransport.NewMetrics(r.reg), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/sip", r.s)
	r.http = NewHTTPServer(mux, tlsConfig, log.New(io.Discard, "", 0))
	for _, f := range change {
		f(r.http)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if tlsConfig != nil {
			_ = r.http.ServeTLS(ln, "", "")
		} else {
			_ = r.http.Serve(ln)
		}
	}()
	t.Cleanup(func() {
		_ = r.http.Close()
		<-served
		if err := r.s.Close(); err != nil {
			t.Error(err)
		}
		if r.flows.Len() != 0 || r.s.Len() != 0 || len(r.s.perIP) != 0 || r.s.total != 0 {
			t.Errorf("left: %d flows, %d connections, %v per IP, total %d", r.flows.Len(), r.s.Len(), r.s.perIP, r.s.total)
		}
	})
	return r
}

func ctx5(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// dial connects as a browser does. The client's own connections are closed with the test.
func (r *rig) dial(header http.Header) (*websocket.Conn, *http.Response, error) {
	r.t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	scheme := "ws"
	if r.tls {
		scheme = "wss"
	}
	c, resp, err := websocket.Dial(ctx5(r.t), scheme+"://"+r.addr+"/sip", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{"sip"}, HTTPHeader: header,
	})
	r.t.Cleanup(func() {
		if c != nil {
			_ = c.CloseNow()
		}
		tr.CloseIdleConnections()
	})
	return c, resp, err
}

func (r *rig) mustDial() *websocket.Conn {
	r.t.Helper()
	c, _, err := r.dial(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if c.Subprotocol() != "sip" {
		r.t.Fatalf("subprotocol %q", c.Subprotocol())
	}
	return c
}

func send(t *testing.T, c *websocket.Conn, kind websocket.MessageType, s string) {
	t.Helper()
	if err := c.Write(ctx5(t), kind, []byte(s)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c *websocket.Conn) (websocket.MessageType, string) {
	t.Helper()
	kind, b, err := c.Read(ctx5(t))
	if err != nil {
		t.Fatal(err)
	}
	return kind, string(b)
}

func register(callID string) string {
	return "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK" + callID +
		"\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\nCall-ID: " + callID +
		"\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
}

func TestR7118_2_R7118_3_MessagesBothWays(t *testing.T) {
	r := newRig(t, Config{SentBy: "gw.example.com"}, nil)
	c := r.mustDial()
	send(t, c, websocket.MessageText, register("m1"))
	g := wait.Receive(t, r.sink.got)
	if g.from.Transport != "WS" || g.from.Edge != siptransport.EdgeAccess || g.from.ID == "" || g.from.Local.String() != r.addr {
		t.Errorf("flow %+v", g.from)
	}
	if via := g.m.Get("Via"); via != "SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKm1;received=127.0.0.1" {
		t.Errorf("Via %s", via)
	}
	link, err := r.flows.Get(g.from.ID)
	if err != nil {
		t.Fatal(err)
	}
	if link.SentBy() != "gw.example.com" {
		t.Errorf("sent-by %s", link.SentBy())
	}
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} { // reply in kind
		send(t, c, kind, register("kind"))
		m := wait.Receive(t, r.sink.got).m
		resp := headers.NewResponse(&m, 200, "")
		raw, err := resp.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if err := link.Send(raw); err != nil {
			t.Fatal(err)
		}
		if k, s := read(t, c); k != kind || !strings.HasPrefix(s, "SIP/2.0 200 OK\r\n") {
			t.Errorf("answer of kind %v to %v: %q", k, kind, s)
		}
	}
}

func TestRFC6455_FragmentsPingsAndBigMessages(t *testing.T) {
	r := newRig(t, Config{}, nil)
	c := r.mustDial()
	// A SIP message of 60 kB in fragments with a ping between them.
	m := strings.Replace(register("frag"), "Content-Length: 0\r\n\r\n", fmt.Sprintf("Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n", 60000), 1) + strings.Repeat("x", 60000)
	w, err := c.Writer(ctx5(t), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	readErr := make(chan error, 1)
	go func() { // pongs are read here
		_, _, err := c.Read(context.Background())
		readErr <- err
	}()
	for b := []byte(m); len(b) > 0; {
		n := min(9000, len(b))
		if _, err := w.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
		if err := c.Ping(ctx5(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if g := wait.Receive(t, r.sink.got); len(g.m.Body) != 60000 {
		t.Errorf("body of %d bytes", len(g.m.Body))
	}
	_ = c.CloseNow()
	<-readErr
}

// TestR7118_2_OneMessagePerFrame: Content-Length may be left out, and a second SIP message in a WebSocket message is no body.
func TestR7118_2_OneMessagePerFrame(t *testing.T) {
	r := newRig(t, Config{}, nil)
	c := r.mustDial()
	bare := strings.Replace(register("bare"), "Content-Length: 0\r\n", "", 1)
	send(t, c, websocket.MessageText, bare)
	if g := wait.Receive(t, r.sink.got); g.m.Get("Call-ID") != "bare" || len(g.m.Body) != 0 {
		t.Errorf("got %+v", g.m)
	}
	send(t, c, websocket.MessageText, register("first")+register("second"))
	if _, s := read(t, c); !strings.HasPrefix(s, "SIP/2.0 400 Content-Length Does Not Match Body\r\n") {
		t.Errorf("answer %q", s)
	}
	send(t, c, websocket.MessageText, register("third"))
	if g := wait.Receive(t, r.sink.got); g.m.Get("Call-ID") != "third" {
		t.Errorf("got %+v", g.m)
	}
}

func TestMalformedSIPIsAnsweredAndTheConnectionStays(t *testing.T) {
	r := newRig(t, Config{MaxBad: 3}, nil)
	c := r.mustDial()
	bad := strings.Replace(register("bad"), "CSeq: 1 REGISTER", "CSeq: 1 INVITE", 1)
	send(t, c, websocket.MessageText, bad)
	if _, s := read(t, c); !strings.HasPrefix(s, "SIP/2.0 400 CSeq Method Does Not Match\r\n") {
		t.Errorf("answer %q", s)
	}
	send(t, c, websocket.MessageText, "no SIP at all")
	send(t, c, websocket.MessageText, register("fine"))
	if g := wait.Receive(t, r.sink.got); g.m.Get("Call-ID") != "fine" {
		t.Errorf("got %q", g.m.Get("Call-ID"))
	}
	send(t, c, websocket.MessageText, bad) // the third
	read(t, c)                             // is answered before the close
	if _, _, err := c.Read(ctx5(t)); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("after too many: %v", err)
	}
	if f := wait.Receive(t, r.sink.closed); f.ID == "" {
		t.Error("no flow id")
	}
}

func TestR7118_2_BadFrames(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, c *websocket.Conn)
		want websocket.StatusCode
	}{
		{"oversize", func(t *testing.T, c *websocket.Conn) {
			_ = c.Write(ctx5(t), websocket.MessageText, bytes.Repeat([]byte("x"), 65537))
		}, websocket.StatusMessageTooBig},
		{"text that is no UTF-8", func(t *testing.T, c *websocket.Conn) { send(t, c, websocket.MessageText, "\xff\xfe") }, websocket.StatusInvalidFramePayloadData},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, Config{}, nil)
			other := r.mustDial()
			conn := r.mustDial()
			conn.SetReadLimit(1 << 20)
			c.do(t, conn)
			if _, _, err := conn.Read(ctx5(t)); websocket.CloseStatus(err) != c.want {
				t.Errorf("close: %v, want status %d", err, c.want)
			}
			wait.Receive(t, r.sink.closed)
			send(t, other, websocket.MessageText, register("other"))
			wait.Receive(t, r.sink.got)
		})
	}
}
