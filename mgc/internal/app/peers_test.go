package app

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// patience bounds every wait of these tests.
const patience = 15 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const browserSDP = "v=0\r\no=- 4611 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111 8 110 126\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
	"a=fingerprint:sha-256 D2:FA:0E:C3:22:59:5E:14:95:69:92:3D:13:B4:84:24:2C:C2:A2:C0:3E:FD:34:8E:5E:EA:6F:AF:52:CE:E6:0F\r\n" +
	"a=setup:%s\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:8 PCMA/8000\r\n" +
	"a=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n"

const coreSDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"

// site is a loopback network of the test's own, so that all can use their usual ports beside other tests.
type site struct {
	t   *testing.T
	net string // "127.x.y."
}

func newSite(t *testing.T) *site {
	return &site{t: t, net: fmt.Sprintf("127.%d.%d.", 1+rand.IntN(254), rand.IntN(256))}
}

func (s *site) addr(host, port int) string { return fmt.Sprintf("%s%d:%d", s.net, host, port) }

// controller is a running App.
type controller struct {
	*App
	s    *site
	host int
	stop func() error // ends it as SIGTERM does; once
}

// controller runs an instance; args are added to its flags.
func (s *site) controller(host int, args ...string) *controller {
	s.t.Helper()
	var cfg Config
	args = append([]string{
		fmt.Sprintf("--instance=mgc-%d", host), "--access.listen=" + s.addr(host, 8080), "--core.listen=" + s.addr(host, 5070),
		"--core.next_hop=sip:" + s.addr(1, 5060), "--iq.listen=" + s.addr(host, 7400), "--admin.listen=" + s.addr(host, 7401),
		"--admin.http=" + s.addr(host, 7402),
	}, args...)
	if err := conf.Load(&cfg, conf.Options{Name: "mgc", EnvPrefix: "ISTHMUS_MGC_TEST", Args: args, Env: []string{}}); err != nil {
		s.t.Fatal(err)
	}
	a, err := New(cfg, "test", zap.NewNop())
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, nil) }()
	c := &controller{App: a, s: s, host: host}
	c.stop = sync.OnceValue(func() error { cancel(); return <-done })
	s.t.Cleanup(func() {
		if err := c.stop(); err != nil {
			s.t.Error(err)
		}
	})
	return c
}

func (c *controller) dial(port int) *grpc.ClientConn {
	c.s.t.Helper()
	conn, err := grpc.NewClient(c.s.addr(c.host, port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.s.t.Fatal(err)
	}
	c.s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// mgw is a media gateway that does all it is asked, and has no media.
type mgw struct {
	iqv1.UnimplementedMediaGatewayServer
}

// gateway starts a media gateway that registers at c and keeps sending heartbeats.
func (s *site) gateway(c *controller) {
	s.t.Helper()
	addr := s.addr(2, 7420)
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	srv := grpc.NewServer()
	iqv1.RegisterMediaGatewayServer(srv, &mgw{})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(lis) }) // nil after Stop
	s.t.Cleanup(func() { cancel(); srv.Stop(); wg.Wait() })
	iq := iqv1.NewMediaGatewayControllerClient(c.dial(7400))
	reply, err := iq.ServiceChange(ctx, &iqv1.ServiceChangeRequest{MgwId: "mgw-1", BootId: "b1", Method: iqv1.ServiceChangeRequest_METHOD_RESTART, Address: addr,
		Capabilities: &iqv1.Capabilities{ProfileVersion: 1, MaxContexts: 10, Realms: []*iqv1.Realm{
			{Name: "access", Kind: iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS}, {Name: "core", Kind: iqv1.TerminationDescriptor_KIND_RTP_CORE}}}})
	if err != nil || reply.GetError() != nil {
		s.t.Fatalf("registration: %v, %v", reply, err)
	}
	wg.Go(func() {
		tick := time.NewTicker(3 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = iq.Heartbeat(ctx, &iqv1.HeartbeatRequest{MgwId: "mgw-1", BootId: "b1"}) // a lost one is made good by the next
			case <-ctx.Done():
				return
			}
		}
	})
}

// Transact implements the service.
func (*mgw) Transact(_ context.Context, req *iqv1.TransactionRequest) (*iqv1.TransactionReply, error) {
	a := &iqv1.ActionReply{ContextId: "cx1", Revision: 1}
	for i, c := range req.GetActions()[0].GetCommands() {
		r := &iqv1.CommandReply{TerminationId: fmt.Sprintf("ip/%d", i)}
		if c.GetAdd() != nil {
			r.Resolved = &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 1, Local: &iqv1.MediaDescription{
				Address: "127.0.0.1", Port: 20000, RtcpPort: 20001, Ssrc: 7, Cname: "c"}}}}
			if i == 0 {
				r.Resolved.Transport = &iqv1.TransportGroup{
					LocalIce: &iqv1.IceParameters{Ufrag: "mGw1", Pwd: "k3v0Qe9m2Jx7Zt5Wb8Rr4Yp6", Candidates: []*iqv1.Candidate{{
						Foundation: "1", Component: 1, Transport: "udp", Priority: 2130706431, Address: "127.0.0.1", Port: 7430, Type: "host"}}},
					LocalDtls: &iqv1.DtlsParameters{Fingerprints: []*iqv1.Fingerprint{{Hash: "sha-256", Value: strings.Repeat("AB:", 31) + "AB"}}},
				}
			}
		}
		a.Commands = append(a.Commands, r)
	}
	return &iqv1.TransactionReply{TransactionId: req.GetTransactionId(), BootId: "b1", Actions: []*iqv1.ActionReply{a}}, nil
}

// wire is a SIP peer's end: messages come by a channel, one by one; repetitions are left out.
type wire struct {
	t    *testing.T
	name string
	in   chan headers.Msg // cap 64
	seen map[string]bool  // owned by the reader
}

func newWire(t *testing.T, name string) *wire {
	return &wire{t: t, name: name, in: make(chan headers.Msg, 64), seen: map[string]bool{}}
}

// take brings a message to the test unless it is a repetition.
func (w *wire) take(m headers.Msg) {
	key := fmt.Sprint(m.Status, m.Method, m.Get("CSeq"), m.Get("Call-ID"), m.Values("Via"))
	if !w.seen[key] && m.Status != 100 {
		w.seen[key] = true
		w.in <- m
	}
}

// expect waits for the next message and checks that it is a request of the method, or a response of the status to it.
func (w *wire) expect(method string, status int) headers.Msg {
	w.t.Helper()
	select {
	case m := <-w.in:
		if m.Method != method || m.Status != status {
			w.t.Fatalf("%s got %d %s, want %d %s:\n%+v", w.name, m.Status, m.Method, status, method, m)
		}
		return m
	case <-time.After(patience):
		w.t.Fatalf("%s got no %d %s", w.name, status, method)
		return headers.Msg{}
	}
}

// core is the SIP core: one UDP socket. It registers whoever asks.
type core struct {
	*wire
	s          *site
	conn       *net.UDPConn
	path       chan string                   // Paths of REGISTERs; cap 16
	registered chan headers.Msg              // REGISTERs; cap 16
	dress      func(headers.Msg) headers.Msg // what becomes of their 200, when not nil
}

func (s *site) core() *core { return s.coreAt(s.addr(1, 5060)) }

func (s *site) coreAt(addr string) *core {
	s.t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
	if err != nil {
		s.t.Fatal(err)
	}
	c := &core{wire: newWire(s.t, "core"), s: s, conn: conn, path: make(chan string, 16), registered: make(chan headers.Msg, 16)}
	done := make(chan struct{})
	go func() { defer close(done); c.read() }()
	s.t.Cleanup(func() { _ = conn.Close(); <-done })
	return c
}

func (c *core) read() {
	buf := make([]byte, 65536)
	for {
		n, from, err := c.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		m, err := headers.Read(buf[:n], headers.Datagram)
		if err != nil {
			c.t.Errorf("the core got a bad message: %v", err)
			continue
		}
		if m.Method != "REGISTER" {
			c.take(m)
			continue
		}
		resp := headers.NewResponse(&m, 200, "")
		resp.Set("To", m.Get("To")+";tag=reg")
		exp, _ := headers.Expires(&m)
		if exp > 0 {
			resp.Add("Contact", m.Get("Contact")+fmt.Sprintf(";expires=%d", exp))
		}
		resp.Add("Service-Route", "<sip:orig@"+c.addr().String()+";lr>")
		if c.dress != nil {
			resp = c.dress(resp)
		}
		c.path <- m.Get("Path")
		c.registered <- m
		c.write(resp, from)
	}
}

// addr is where the core listens.
func (c *core) addr() netip.AddrPort { return c.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// coreAddr is where the controller listens for the core.
func (c *controller) coreAddr() netip.AddrPort {
	return netip.MustParseAddrPort(c.s.addr(c.host, 5070))
}

func (c *core) write(m headers.Msg, to netip.AddrPort) {
	raw, err := m.Bytes()
	if err != nil {
		c.t.Error(err)
		return
	}
	if _, err := c.conn.WriteToUDPAddrPort(raw, to); err != nil {
		c.t.Error(err)
	}
}

// send sends a request to the controller, with our Via.
func (c *core) send(to *controller, branch string, m headers.Msg) {
	m.Fields = append([]headers.Field{{Name: "Via", Value: "SIP/2.0/UDP " + c.s.addr(1, 5060) + ";rport;branch=z9hG4bK" + branch}}, m.Fields...)
	c.write(m, netip.MustParseAddrPort(c.s.addr(to.host, 5070)))
}

// answer responds to a request that came from the controller.
func (c *core) answer(from *controller, req *headers.Msg, status int, body string) headers.Msg {
	m := reply(req, status, body, "<sip:carol@"+c.s.addr(1, 5060)+">")
	c.write(m, netip.MustParseAddrPort(c.s.addr(from.host, 5070)))
	return m
}

func reply(req *headers.Msg, status int, body, contact string) headers.Msg {
	m := headers.NewResponse(req, status, "")
	if headers.ToTag(&m) == "" {
		m.Set("To", m.Get("To")+";tag=peer")
	}
	m.Add("Contact", contact)
	if body != "" {
		m.Add("Content-Type", "application/sdp")
		m.Body = []byte(body)
	}
	return m
}

// browser is a SIP user over WebSocket.
type browser struct {
	*wire
	conn   *websocket.Conn
	n      int
	closed chan error // why the connection ended; cap 1
}

func (c *controller) browser(name string) *browser {
	c.s.t.Helper()
	return c.browserOver(name, &websocket.DialOptions{Subprotocols: []string{"sip"}})
}

// browserOver is browser with options of the connection.
func (c *controller) browserOver(name string, how *websocket.DialOptions) *browser {
	c.s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+c.s.addr(c.host, 8080)+"/sip", how)
	if err != nil {
		c.s.t.Fatal(err)
	}
	b := &browser{wire: newWire(c.s.t, name), conn: conn, closed: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, raw, err := conn.Read(context.Background())
			if err != nil {
				b.closed <- err
				return
			}
			m, err := headers.Read(raw, headers.Framed)
			if err != nil {
				b.t.Errorf("%s got a bad message: %v", name, err)
				return
			}
			b.take(m)
		}
	}()
	c.s.t.Cleanup(func() { _ = conn.CloseNow(); <-done })
	return b
}

func (b *browser) write(m headers.Msg) {
	b.t.Helper()
	raw, err := m.Bytes()
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.conn.Write(ctx, websocket.MessageText, raw); err != nil {
		b.t.Fatal(err)
	}
}

// send sends a request of alice with what every one needs and is not there yet.
func (b *browser) send(m headers.Msg) {
	b.t.Helper()
	b.n++
	for _, f := range [][2]string{{"Via", fmt.Sprintf("SIP/2.0/WS df7.invalid;branch=z9hG4bK%s%d", b.name, b.n)}, {"Max-Forwards", "70"}, {"From", "<sip:alice@isthmus.example>;tag=f1"},
		{"To", "<sip:carol@isthmus.example>"}, {"Call-ID", "c-" + b.name}, {"CSeq", fmt.Sprintf("%d %s", b.n, m.Method)}} {
		if !m.Has(f[0]) {
			m.Add(f[0], f[1])
		}
	}
	b.write(m)
}

// register makes the binding of alice's one device.
func (b *browser) register(expires int) {
	b.t.Helper()
	m := headers.Msg{Method: "REGISTER", RequestURI: "sip:isthmus.example"}
	m.Add("To", "<sip:alice@isthmus.example>")
	m.Add("Contact", `<sip:alice@df7.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1`)
	m.Add("Expires", fmt.Sprint(expires))
	b.send(m)
	b.expect("REGISTER", 200)
}
