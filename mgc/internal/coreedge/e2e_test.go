package coreedge_test

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/coreedge"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
	"github.com/isthmus-gateway/isthmus/mgc/internal/wsedge"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// relay is the smallest transaction user: every request of a browser goes to the core and back, and the other way to the
// browser that spoke last.
type relay struct {
	l    *siptx.Layer
	core siptransport.Target
	fail chan error

	mu      sync.Mutex // guards what follows
	browser string
	pending map[string]*siptx.ClientTx // by server transaction
}

func (r *relay) OnRequest(tx *siptx.ServerTx, req headers.Msg, from siptransport.Flow) {
	to := r.core
	r.mu.Lock()
	if from.Edge == siptransport.EdgeAccess {
		r.browser = from.ID
	} else {
		to = siptransport.Target{FlowID: r.browser}
	}
	r.mu.Unlock()
	headers.DecrementMaxForwards(&req)
	req.Del("Via")
	client, err := r.l.Request(req, to, func(res siptx.ClientResult) {
		status, reason := res.Msg.Status, res.Msg.Reason
		switch res.Kind {
		case siptx.Timeout:
			status, reason = 408, ""
		case siptx.TransportError:
			status, reason = 503, ""
			if errors.Is(res.Err, siptransport.ErrFlowGone) {
				status = 430
			}
		}
		if status == 100 || res.Retransmission {
			return
		}
		resp := headers.NewResponse(&req, status, reason)
		if res.Msg.Status != 0 {
			resp = res.Msg
			resp.Del("Via")
		}
		if err := tx.Respond(resp); err != nil {
			r.fail <- err
		}
	})
	if err != nil {
		r.fail <- err
		return
	}
	r.mu.Lock()
	r.pending[tx.ID()] = client
	r.mu.Unlock()
}

func (r *relay) OnCancel(tx *siptx.ServerTx, _ headers.Msg) {
	r.mu.Lock()
	client := r.pending[tx.ID()]
	r.mu.Unlock()
	if err := client.Cancel([]headers.Field{{Name: "Reason", Value: "SIP;cause=487"}}); err != nil {
		r.fail <- err
	}
}

func (r *relay) OnAck(ack headers.Msg, from siptransport.Flow) {
	ack.Del("Via")
	if from.Edge == siptransport.EdgeAccess {
		if err := r.l.Send(ack, r.core); err != nil {
			r.fail <- err
		}
	}
}

// stack is gateway, browser and a foreign SIP core (sipgo) on loopback sockets.
type stack struct {
	t      *testing.T
	ua     *sipgo.UserAgent
	uas    *sipgo.Server
	uasUDP string
	edge   *coreedge.Edge
	layer  *siptx.Layer
	relay  *relay
	ws     *websocket.Conn
}

// newStack starts all of it; handlers says what the core does, before it serves.
func newStack(t *testing.T, handlers func(*sipgo.Server)) *stack {
	t.Helper()
	s := &stack{t: t}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	if s.ua, err = sipgo.NewUA(); err != nil {
		t.Fatal(err)
	}
	if s.uas, err = sipgo.NewServer(s.ua, sipgo.WithServerLogger(quiet)); err != nil {
		t.Fatal(err)
	}
	handlers(s.uas)
	pc, ln := samePort(t)
	s.uasUDP = pc.LocalAddr().String()
	var served sync.WaitGroup
	served.Go(func() { _ = s.uas.ServeUDP(pc) })
	served.Go(func() { _ = s.uas.ServeTCP(ln) })
	t.Cleanup(func() {
		_, _ = pc.Close(), ln.Close()
		wait.Until(t, "sipgo to end", func() bool {
			_ = s.ua.Close() // again: for a request that it has in hand when it is closed it opens a socket, which nobody closes
			return !sipgoWorks()
		})
		served.Wait()
	})

	flows, metrics := siptransport.NewFlows(), siptransport.NewMetrics(nil)
	loop := netip.MustParseAddrPort("127.0.0.1:0")
	if s.edge, err = coreedge.New(coreedge.Config{
		Listen:  []coreedge.Listen{{Transport: "UDP", Addr: loop}, {Transport: "TCP", Addr: loop}},
		NextHop: "sip:" + s.uasUDP, DNS: []string{"127.0.0.1:1"},
	}, flows, metrics, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	s.layer = siptx.New(siptx.Config{}, s.edge, siptx.NewMetrics(nil), zap.NewNop())
	s.relay = &relay{l: s.layer, fail: make(chan error, 100), pending: make(map[string]*siptx.ClientTx)}
	s.layer.SetHandler(s.relay)
	s.edge.Start(s.layer)
	access, err := wsedge.New(wsedge.Config{}, flows, s.layer, metrics, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := wsedge.NewHTTPServer(access, nil, log.New(io.Discard, "", 0))
	served.Go(func() { _ = srv.Serve(web) })
	client := &http.Transport{}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.ws, _, err = websocket.Dial(ctx, "ws://"+web.Addr().String(), &websocket.DialOptions{Subprotocols: []string{"sip"}, HTTPClient: &http.Client{Transport: client}}); err != nil {
		t.Fatal(err)
	}
	s.ws.SetReadLimit(1 << 20)
	t.Cleanup(func() {
		_ = s.ws.CloseNow()
		client.CloseIdleConnections()
		_ = srv.Close()
		for _, c := range []io.Closer{access, s.layer, s.edge} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		select {
		case err := <-s.relay.fail:
			t.Errorf("relay: %v", err)
		default:
		}
	})
	return s
}

// sipgoWorks reports whether a goroutine of sipgo reads from a socket or has a request in hand.
func sipgoWorks() bool {
	buf := make([]byte, 1<<20)
	stacks := string(buf[:runtime.Stack(buf, true)])
	return strings.Contains(stacks, "sipgo/sip.(*TransactionLayer).handle") || strings.Contains(stacks, "sipgo/sip.(*Transport")
}

// samePort opens UDP and TCP on one port, as a SIP server has it.
func samePort(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return pc, ln
		}
		_ = ln.Close()
	}
	t.Fatal("no port free on both transports")
	return nil, nil
}

func (s *stack) send(m headers.Msg) {
	s.t.Helper()
	raw, err := m.Bytes()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.ws.Write(ctx, websocket.MessageText, raw); err != nil {
		s.t.Fatal(err)
	}
}

// read returns the next message to the browser that is no 100.
func (s *stack) read() headers.Msg {
	s.t.Helper()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, raw, err := s.ws.Read(ctx)
		cancel()
		if err != nil {
			s.t.Fatal(err)
		}
		m, err := headers.Read(raw, headers.Framed)
		if err != nil {
			s.t.Fatalf("%v: %q", err, raw)
		}
		if m.Status != 100 {
			return m
		}
	}
}

func browserRequest(method, branch string, cseq string) headers.Msg {
	m := headers.Msg{Method: method, RequestURI: "sip:bob@ims.example"}
	m.Add("Via", "SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK"+branch)
	m.Add("Max-Forwards", "70")
	m.Add("From", `"Alice; \"A\"" <sip:alice@ims.example>;tag=a1`)
	m.Add("To", "<sip:bob@ims.example>")
	m.Add("Call-ID", "e2e-1")
	m.Add("CSeq", cseq)
	m.Add("Contact", `<sip:alice@df7jal23ls0d.invalid;transport=ws>;+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>";reg-id=1`)
	return m
}

func TestRegisterFromBrowserOverUDPToSipgo(t *testing.T) {
	seen := make(chan string, 10)
	s := newStack(t, func(uas *sipgo.Server) {
		uas.OnRegister(func(req *sip.Request, tx sip.ServerTransaction) {
			seen <- req.Transport() + " " + req.Via().Host + " " + req.GetHeader("Max-Forwards").Value() + " " + req.GetHeader("From").Value()
			if req.GetHeader("Authorization") == nil {
				res := sip.NewResponseFromRequest(req, 401, "Unauthorized", nil)
				res.AppendHeader(sip.NewHeader("WWW-Authenticate", `Digest realm="ims,x", nonce="1"`))
				_ = tx.Respond(res)
				return
			}
			_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
		})
	})
	reg := browserRequest("REGISTER", "r1", "1 REGISTER")
	s.send(reg)
	m := s.read()
	if m.Status != 401 || m.Get("WWW-Authenticate") != `Digest realm="ims,x", nonce="1"` {
		t.Fatalf("answer %d %q", m.Status, m.Get("WWW-Authenticate"))
	}
	if via := m.Values("Via"); len(via) != 1 || via[0] != "SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKr1;received=127.0.0.1" {
		t.Errorf("Via %q", via)
	}
	if got := wait.Receive(t, seen); !strings.HasPrefix(got, "UDP 127.0.0.1 69 ") {
		t.Errorf("the core saw %s", got)
	}
	reg.Set("Via", "SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bKr2")
	reg.Set("CSeq", "2 REGISTER")
	reg.Add("Authorization", `Digest username="alice", realm="ims,x", nonce="1", uri="sip:ims.example", response="0"`)
	s.send(reg)
	if m := s.read(); m.Status != 200 || m.Get("CSeq") != "2 REGISTER" {
		t.Errorf("answer %d %s", m.Status, m.Get("CSeq"))
	}
}

func TestBigInviteGoesOverTCPToSipgo(t *testing.T) {
	type seen struct {
		transport string
		body      int
	}
	invites, acks := make(chan seen, 10), make(chan string, 10)
	s := newStack(t, func(uas *sipgo.Server) {
		uas.OnInvite(func(req *sip.Request, tx sip.ServerTransaction) {
			invites <- seen{req.Transport(), len(req.Body())}
			_ = tx.Respond(sip.NewResponseFromRequest(req, 180, "Ringing", nil))
			res := sip.NewResponseFromRequest(req, 200, "OK", nil)
			res.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "bob", Host: "127.0.0.1"}})
			_ = tx.Respond(res)
			<-tx.Done()
		})
		uas.OnAck(func(req *sip.Request, _ sip.ServerTransaction) { acks <- req.Transport() })
	})
	inv := browserRequest("INVITE", "i1", "1 INVITE")
	inv.Add("Content-Type", "application/sdp")
	inv.Body = []byte(strings.Repeat("a=candidate:1 1 UDP 1 192.0.2.1 1 typ host\r\n", 80))
	s.send(inv)
	if m := s.read(); m.Status != 180 {
		t.Fatalf("first answer %d", m.Status)
	}
	m := s.read()
	if m.Status != 200 || headers.ToTag(&m) == "" {
		t.Fatalf("second answer %d", m.Status)
	}
	if got := wait.Receive(t, invites); got != (seen{"TCP", len(inv.Body)}) {
		t.Errorf("the core saw %+v: a request above 1300 bytes goes over TCP (RFC 3261 §18.1.1)", got)
	}
	ack := browserRequest("ACK", "a1", "1 ACK")
	ack.Set("To", m.Get("To"))
	s.send(ack)
	wait.Receive(t, acks)
}

func TestCancelFromBrowser(t *testing.T) {
	canceled := make(chan struct{}, 1)
	s := newStack(t, func(uas *sipgo.Server) {
		uas.OnInvite(func(req *sip.Request, tx sip.ServerTransaction) {
			tx.OnCancel(func(*sip.Request) { canceled <- struct{}{} })
			_ = tx.Respond(sip.NewResponseFromRequest(req, 180, "Ringing", nil))
			<-tx.Done()
		})
	})
	s.send(browserRequest("INVITE", "c1", "1 INVITE"))
	if m := s.read(); m.Status != 180 {
		t.Fatalf("first answer %d", m.Status)
	}
	s.send(browserRequest("CANCEL", "c1", "1 CANCEL"))
	got := map[string]int{}
	for range 2 {
		m := s.read()
		got[m.Get("CSeq")] = m.Status
	}
	if got["1 CANCEL"] != 200 || got["1 INVITE"] != 487 {
		t.Errorf("answers %v", got)
	}
	wait.Receive(t, canceled)
	ack := browserRequest("ACK", "c1", "1 ACK")
	s.send(ack)
}

func TestRequestFromCoreToBrowser(t *testing.T) {
	s := newStack(t, func(uas *sipgo.Server) {
		uas.OnRegister(func(req *sip.Request, tx sip.ServerTransaction) {
			_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
		})
	})
	s.send(browserRequest("REGISTER", "r1", "1 REGISTER"))
	s.read()
	core, err := net.Dial("udp", s.edge.Local("UDP").String())
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	message := func(id string) {
		m := headers.Msg{Method: "MESSAGE", RequestURI: "sip:alice@" + s.edge.SentBy("UDP"), Body: []byte("hello")}
		m.Add("Via", "SIP/2.0/UDP core.ims.example:5060;rport;branch=z9hG4bK"+id)
		m.Add("Max-Forwards", "10")
		m.Add("From", "<sip:bob@ims.example>;tag=b1")
		m.Add("To", "<sip:alice@ims.example>")
		m.Add("Call-ID", id)
		m.Add("CSeq", "1 MESSAGE")
		m.Add("Content-Type", "text/plain")
		raw, err := m.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := core.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	answer := func() headers.Msg {
		buf := make([]byte, 65536)
		_ = core.SetReadDeadline(time.Now().Add(wait.Limit))
		n, err := core.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		m, err := headers.Read(buf[:n], headers.Datagram)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	message("m1")
	m := s.read()
	if m.Method != "MESSAGE" || string(m.Body) != "hello" || !strings.HasPrefix(m.Get("Via"), "SIP/2.0/WS 127.0.0.1:") || m.Get("Max-Forwards") != "9" {
		t.Fatalf("the browser got %+v", m)
	}
	s.send(headers.NewResponse(&m, 202, ""))
	if m := answer(); m.Status != 202 || m.Get("Call-ID") != "m1" || len(m.Values("Via")) != 1 {
		t.Errorf("the core got %+v", m)
	}
	// The browser goes away: the next request fails with 430, nothing is dialled (RFC 5626 §5.3.1).
	_ = s.ws.Close(websocket.StatusNormalClosure, "")
	message("m2")
	if m := answer(); m.Status != 430 || m.Reason != "Flow Failed" {
		t.Errorf("after the flow's end: %d %s", m.Status, m.Reason)
	}
}
