package coreedge

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// peer is a SIP server on real sockets that answers every request but ACK.
type peer struct {
	t      *testing.T
	got    chan headers.Msg // without what was repeated because the answer took its time; cap 1000
	status atomic.Int64     // of the answers; 0: silent
	extra  atomic.Value     // string: one more line of the answers
	conns  atomic.Int64     // accepted and agreed upon
	addr   netip.AddrPort
	stop   func()   // closes everything and waits; once
	vias   sync.Map // of what got has, with its method
}

// newPeer serves at addr over "UDP", "TCP" or "TLS".
func newPeer(t *testing.T, transport, addr string, conf *tls.Config) *peer {
	t.Helper()
	p := &peer{t: t, got: make(chan headers.Msg, 1000)}
	p.status.Store(200)
	p.extra.Store("")
	var wg sync.WaitGroup
	if transport == "UDP" {
		pc, err := net.ListenPacket("udp", addr)
		if err != nil {
			t.Fatal(err)
		}
		p.addr = netip.MustParseAddrPort(pc.LocalAddr().String())
		wg.Go(func() { p.datagrams(pc) })
		p.stop = sync.OnceFunc(func() { _ = pc.Close(); wg.Wait() })
	} else {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		p.addr = netip.MustParseAddrPort(ln.Addr().String())
		if transport == "TLS" {
			ln = tls.NewListener(ln, conf)
		}
		var mu sync.Mutex // guards open
		open := map[net.Conn]bool{}
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				open[c] = true
				mu.Unlock()
				wg.Go(func() { p.stream(c); _ = c.Close() })
			}
		})
		p.stop = sync.OnceFunc(func() {
			_ = ln.Close()
			mu.Lock()
			for c := range open {
				_ = c.Close()
			}
			mu.Unlock()
			wg.Wait()
		})
	}
	t.Cleanup(p.stop)
	return p
}

func (p *peer) datagrams(pc net.PacketConn) {
	buf := make([]byte, 65536)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		m, err := headers.Read(buf[:n], headers.Datagram)
		if err != nil {
			p.t.Errorf("the peer got %q: %v", buf[:n], err)
			continue
		}
		if a := p.answer(m); a != nil {
			_, _ = pc.WriteTo(a, from)
		}
	}
}

func (p *peer) stream(c net.Conn) {
	if s, ok := c.(*tls.Conn); ok && s.Handshake() != nil {
		return
	}
	p.conns.Add(1)
	r := bufio.NewReader(c)
	for {
		m, err := readMessage(r)
		if err != nil {
			return
		}
		if a := p.answer(m); a != nil {
			if _, err := c.Write(a); err != nil {
				return
			}
		}
	}
}

// readMessage reads one message from a stream.
func readMessage(r *bufio.Reader) (headers.Msg, error) {
	var text strings.Builder
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return headers.Msg{}, err
		}
		if line == "\r\n" && text.Len() == 0 {
			continue // a keep-alive
		}
		text.WriteString(line)
		if name, v, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
			length, _ = strconv.Atoi(textproto.TrimString(v))
		}
		if line == "\r\n" {
			break
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return headers.Msg{}, err
	}
	return headers.Read([]byte(text.String()+string(body)), headers.Stream)
}

// answer notes a message and returns what to send back, nil for nothing.
func (p *peer) answer(m headers.Msg) []byte {
	if _, again := p.vias.LoadOrStore(m.Method+" "+m.Get("Via"), nil); !again {
		p.got <- m
	}
	status := int(p.status.Load())
	if !m.IsRequest() || m.Method == "ACK" || status == 0 {
		return nil
	}
	resp := headers.NewResponse(&m, status, "")
	resp.Set("To", m.Get("To")+";tag=peer")
	if name, v, ok := strings.Cut(p.extra.Load().(string), ": "); ok {
		resp.Add(name, v)
	}
	raw, err := resp.Bytes()
	if err != nil {
		p.t.Error(err)
	}
	return raw
}

// gateway is an edge under a transaction layer.
type gateway struct {
	t *testing.T
	*Edge
	layer *siptx.Layer
	in    chan headers.Msg // requests that came; each is answered 200 with our Contact; cap 100
}

// newGateway runs both; Listen and DNS are taken as they are. A peer that takes its time is not passed over for another.
func newGateway(t *testing.T, cfg Config, change ...func(*siptx.Config)) *gateway {
	t.Helper()
	if cfg.DNS == nil {
		cfg.DNS = []string{"127.0.0.1:1"}
	}
	e, err := New(cfg, siptransport.NewFlows(), siptransport.NewMetrics(nil), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, Edge: e, in: make(chan headers.Msg, 100)}
	tx := siptx.Config{T1: 50 * time.Millisecond, Failover: wait.Limit}
	for _, f := range change {
		f(&tx)
	}
	g.layer = siptx.New(tx, e, siptx.NewMetrics(nil), zap.NewNop())
	g.layer.SetHandler(g)
	e.Probe(func(req headers.Msg, to siptransport.Target, done func(int)) error {
		_, err := g.layer.Request(req, to, func(r siptx.ClientResult) {
			if r.Kind != siptx.Provisional && !r.Retransmission {
				done(r.Msg.Status)
			}
		})
		return err
	})
	e.Start(g.layer)
	t.Cleanup(func() {
		if err := errors.Join(g.layer.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return g
}

// OnRequest implements siptx.Handler.
func (g *gateway) OnRequest(tx *siptx.ServerTx, req headers.Msg, _ siptransport.Flow) {
	g.in <- req
	resp := headers.NewResponse(&req, 200, "")
	resp.Add("Contact", "<sip:token@"+g.names.home.String()+">")
	if err := tx.Respond(resp); err != nil {
		g.t.Error(err)
	}
}

// OnCancel implements siptx.Handler.
func (g *gateway) OnCancel(*siptx.ServerTx, headers.Msg) {}

// OnAck implements siptx.Handler.
func (g *gateway) OnAck(headers.Msg, siptransport.Flow) {}

// message is a request of the gateway, with its name in Contact and Path; size pads its body.
func (g *gateway) message(uri string, size int) headers.Msg {
	m := headers.Msg{Method: "MESSAGE", RequestURI: uri, Body: []byte(strings.Repeat("x", size))}
	home := g.names.home.String()
	for _, f := range [][2]string{{"Max-Forwards", "70"}, {"From", "<sip:alice@example.com>;tag=1"}, {"To", "<" + uri + ">"}, {"Call-ID", siptransport.NewFlowID()},
		{"CSeq", "1 MESSAGE"}, {"Contact", "<sip:token@" + home + ">"}, {"Path", "<sip:path@" + home + ";lr;ob>"}, {"Content-Type", "text/plain"}} {
		m.Add(f[0], f[1])
	}
	return m
}

// ask sends a request and returns its one final result.
func (g *gateway) ask(req headers.Msg, to siptransport.Target) siptx.ClientResult {
	g.t.Helper()
	result := make(chan siptx.ClientResult, 10)
	if _, err := g.layer.Request(req, to, func(r siptx.ClientResult) {
		if r.Kind != siptx.Provisional && !r.Retransmission {
			result <- r
		}
	}); err != nil {
		g.t.Fatal(err)
	}
	return wait.Receive(g.t, result)
}

// must asks and wants a 200.
func (g *gateway) must(uri string) {
	g.t.Helper()
	if r := g.ask(g.message(uri, 1), siptransport.Target{URI: uri}); r.Msg.Status != 200 {
		g.t.Fatalf("%s: %d, %v", uri, r.Msg.Status, r.Err)
	}
}

// served waits for a request at p, and wants none at the others.
func served(t *testing.T, p *peer, others ...*peer) headers.Msg {
	t.Helper()
	m := wait.Receive(t, p.got)
	for i, o := range others {
		if len(o.got) != 0 {
			t.Fatalf("peer %d got %+v, too", i, <-o.got)
		}
	}
	return m
}

// place returns an address of a loopback network of the test's own with a port that nobody listens at.
func place(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return netip.MustParseAddrPort(ln.Addr().String())
}
