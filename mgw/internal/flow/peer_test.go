package flow

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	pionice "github.com/pion/ice/v4"
	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

var (
	pcma   = codec.Codec{Name: codec.PCMA, PT: 8, ClockRate: 8000, Channels: 1}
	pcmu   = codec.Codec{Name: codec.PCMU, PT: 0, ClockRate: 8000, Channels: 1}
	opus   = codec.Codec{Name: codec.Opus, PT: 111, ClockRate: 48000, Channels: 2, Fmtp: "minptime=10;useinbandfec=1"}
	ev48   = codec.Codec{Name: codec.TelephoneEvent, PT: 110, ClockRate: 48000, Fmtp: "0-16"}
	ev8    = codec.Codec{Name: codec.TelephoneEvent, PT: 101, ClockRate: 8000, Fmtp: "0-16"}
	evBrow = codec.Codec{Name: codec.TelephoneEvent, PT: 126, ClockRate: 8000, Fmtp: "0-16"}
)

// events collects what an engine reports.
type events struct {
	mu   sync.Mutex
	all  []Event
	more chan struct{}
}

func newEvents() *events { return &events{more: make(chan struct{}, 1)} }

func (e *events) add(v Event) {
	e.mu.Lock()
	e.all = append(e.all, v)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// find returns the n-th event (from 1) of a kind on ep.
func (e *events) find(ep Endpoint, k EventKind, n int) (Event, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.all {
		if v.Endpoint == ep && v.Kind == k {
			if n--; n == 0 {
				return v, true
			}
		}
	}
	return Event{}, false
}

// wait waits for the n-th event of a kind on ep.
func (e *events) wait(t *testing.T, ep Endpoint, k EventKind, n int) Event {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		if v, ok := e.find(ep, k, n); ok {
			return v
		}
		select {
		case <-e.more:
		case <-time.After(10 * time.Millisecond):
		case <-limit:
			t.Fatalf("event %d number %d of %s did not come; have %+v", k, n, ep.ID(), e.all)
		}
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	wait.Until(t, what, ok)
}

// bed is an engine with its events, closed and checked for leaks at the end of the test.
type bed struct {
	t  *testing.T
	e  *Engine
	ev *events
}

func newBed(t *testing.T, change func(*Config)) *bed {
	t.Helper()
	b := &bed{t: t, ev: newEvents()}
	low, high := freeports.UDPRange(t, 120)
	cfg := Config{
		Workers: 1,
		Access:  []AccessRealm{{Name: "access", Listen: loopback}},
		Core:    []CoreRealm{{Name: "core", Listen: loopback, PortMin: low, PortMax: high}},
		Events:  b.ev.add,
		Timers:  Timers{Quarantine: time.Millisecond},
	}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.e = e
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		c := e.Counters()
		if c.Accesses != 0 || c.Cores != 0 || c.PortPairs != 0 || c.Buffers != 0 {
			t.Errorf("left behind: %+v", c)
		}
		for _, l := range e.listeners {
			if unknown, addrs := l.Counts(); unknown != 0 || addrs != 0 {
				t.Errorf("listener counts %d unknown connections, %d addresses", unknown, addrs)
			}
		}
		for _, w := range e.workers {
			if len(w.terms) != 0 || len(w.clock.heap) != 0 || w.timed != 0 {
				t.Errorf("worker keeps %d terminations, %d transcoders, %d timed sources", len(w.terms), len(w.clock.heap), w.timed)
			}
			if c := w.shares.expected.Load(); c != 0 {
				t.Errorf("worker still expects %d millionths of a core", c)
			}
			for _, as := range w.access {
				if as.timed != 0 {
					t.Errorf("worker keeps %d timed sources of a port", as.timed)
				}
				if len(as.streams) != 0 || len(w.streams) != 0 {
					t.Errorf("worker keeps %d streams", len(w.streams))
				}
				if len(as.paths) != 0 || as.mux.Agents() != 0 {
					t.Errorf("worker keeps %d paths, %d agents", len(as.paths), as.mux.Agents())
				}
			}
		}
	})
	return b
}

func (b *bed) access(id string) *Access {
	b.t.Helper()
	a, err := b.e.NewAccess(AccessSpec{ID: id, Realm: "access"})
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b *bed) core(id string, near *Access) *Core {
	b.t.Helper()
	c, err := b.e.NewCore(CoreSpec{ID: id, Realm: "core", Near: near})
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bed) configure(ep Endpoint, s Settings) {
	b.t.Helper()
	s.Armed = AllEvents
	if err := ep.Configure(s); err != nil {
		b.t.Fatal(err)
	}
}

// sip is a plain RTP peer of the core side, with a pair of ports (RFC 3550 §11): reports that go to the next port, as where no other is signalled, reach it, and not
// a test of another process.
type sip struct {
	t    *testing.T
	rtp  *net.UDPConn
	rtcp *net.UDPConn
}

func newSIP(t *testing.T) *sip {
	t.Helper()
	s := &sip{t: t}
	for range 200 {
		media, err := openUDP(netip.AddrPortFrom(loopback, 0))
		if err != nil {
			t.Fatal(err)
		}
		if at := addrPortOf(media); at.Port()%2 == 0 {
			if s.rtcp, err = openUDP(netip.AddrPortFrom(loopback, at.Port()+1)); err == nil {
				s.rtp = media
				t.Cleanup(func() { _, _ = s.rtp.Close(), s.rtcp.Close() })
				return s
			}
		}
		_ = media.Close()
	}
	t.Fatal("no free pair of ports")
	return nil
}

// report reads from u until a report of ours comes that is as wanted.
func (s *sip) report(u *net.UDPConn, from uint32, wanted func(rtcp.Info) bool) (info rtcp.Info, src netip.AddrPort) {
	s.t.Helper()
	buf := make([]byte, 1500)
	_ = u.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		n, src, err := u.ReadFromUDPAddrPort(buf)
		if err != nil {
			s.t.Fatal("no report: ", err)
		}
		var info rtcp.Info
		if err := rtcp.Parse(buf[:n], 0xcc, false, &info); err != nil || info.Sender != from {
			s.t.Fatalf("report %+v, %v", info, err)
		}
		if wanted(info) {
			return info, src
		}
	}
}

func addrPortOf(c net.PacketConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (s *sip) addr() netip.AddrPort { return addrPortOf(s.rtp) }

func (s *sip) send(to netip.AddrPort, b []byte) {
	s.t.Helper()
	if _, err := s.rtp.WriteToUDPAddrPort(b, to); err != nil {
		s.t.Fatal(err)
	}
}

// read waits for one RTP packet.
func (s *sip) read() rtp.Packet {
	s.t.Helper()
	p, ok := s.tryRead(wait.Limit)
	if !ok {
		s.t.Fatal("no RTP on the core side")
	}
	return p
}

func (s *sip) tryRead(d time.Duration) (rtp.Packet, bool) {
	s.t.Helper()
	buf := make([]byte, 2048)
	_ = s.rtp.SetReadDeadline(time.Now().Add(d))
	n, err := s.rtp.Read(buf)
	if err != nil {
		return nil, false
	}
	p, err := rtp.Parse(buf[:n])
	if err != nil {
		s.t.Fatalf("not RTP: %x", buf[:n])
	}
	return p, true
}

// browser is a WebRTC peer made of pion's parts: full ICE, controlling, on its own socket.
type browser struct {
	t     *testing.T
	agent *pionice.Agent
	conn  *pionice.Conn
	cert  tls.Certificate
	print Fingerprint
	dtls  *piondtls.Conn
	tx    *srtp.Sender
	rx    *srtp.Receiver

	toDTLS   atomic.Pointer[dtls.Link] // takes what comes; another after renew
	former   []*piondtls.Conn
	media    chan []byte // SRTP and SRTCP as received
	wg       sync.WaitGroup
	profiles []piondtls.SRTPProtectionProfile
	accept   bool // controlled
}

var testPool = newTestPool()

func newBrowser(t *testing.T) *browser {
	t.Helper()
	return newBrowserOver(t, pionice.NetworkTypeUDP4)
}

// newBrowserOver makes one that knows one transport.
func newBrowserOver(t *testing.T, network pionice.NetworkType, more ...pionice.AgentOption) *browser {
	t.Helper()
	cert, err := dtls.NewCertificate(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f, err := dtls.FingerprintOf(cert)
	if err != nil {
		t.Fatal(err)
	}
	agent, err := pionice.NewAgentWithOptions(append([]pionice.AgentOption{
		pionice.WithNetworkTypes([]pionice.NetworkType{network}),
		pionice.WithCandidateTypes([]pionice.CandidateType{pionice.CandidateTypeHost}),
		pionice.WithIncludeLoopback(),
		pionice.WithMulticastDNSMode(pionice.MulticastDNSModeDisabled),
		pionice.WithIPFilter(func(ip net.IP) bool { return ip.IsLoopback() }),
		pionice.WithCheckInterval(20 * time.Millisecond),
		pionice.WithHostAcceptanceMinWait(0),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{
		t: t, agent: agent, cert: cert, print: Fingerprint(f), media: make(chan []byte, 1000),
		profiles: []piondtls.SRTPProtectionProfile{piondtls.SRTP_AEAD_AES_128_GCM, piondtls.SRTP_AES128_CM_HMAC_SHA1_80},
	}
	t.Cleanup(b.close)
	b.gather()
	return b
}

func (b *browser) gather() {
	b.t.Helper()
	done := make(chan struct{})
	if err := b.agent.OnCandidate(func(c pionice.Candidate) {
		if c == nil {
			close(done)
		}
	}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.agent.GatherCandidates(); err != nil {
		b.t.Fatal(err)
	}
	<-done
}

func (b *browser) remote(role Role) AccessRemote {
	b.t.Helper()
	ufrag, pwd, err := b.agent.GetLocalUserCredentials()
	if err != nil {
		b.t.Fatal(err)
	}
	return AccessRemote{Ufrag: ufrag, Pwd: pwd, Role: role, Fingerprints: []Fingerprint{b.print}}
}

func (b *browser) addCandidates(l AccessLocal) {
	b.t.Helper()
	for _, c := range l.Candidates {
		host, err := pionice.NewCandidateHost(&pionice.CandidateHostConfig{
			Network: c.Transport, Address: c.Address, Port: int(c.Port), Component: 1, Priority: c.Priority, TCPType: pionice.NewTCPType(c.TCPType),
		})
		if err != nil {
			b.t.Fatal(err)
		}
		if err := b.agent.AddRemoteCandidate(host); err != nil {
			b.t.Fatal(err)
		}
	}
}

// connect runs ICE against what the gateway told.
func (b *browser) connect(l AccessLocal) {
	b.t.Helper()
	b.addCandidates(l)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	dial := b.agent.Dial
	if b.accept {
		dial = b.agent.Accept
	}
	conn, err := dial(ctx, l.Ufrag, l.Pwd)
	if err != nil {
		b.t.Fatal("browser ICE: ", err)
	}
	b.conn = conn
	b.renew()
	b.wg.Go(b.demux)
}

// renew makes way for another DTLS association over the same pair.
func (b *browser) renew() {
	conn := b.conn
	b.toDTLS.Store(dtls.NewLink(testPool, func(p []byte) error {
		_, err := conn.Write(p)
		return err
	}))
	if b.dtls != nil {
		b.former, b.dtls = append(b.former, b.dtls), nil
	}
}

func (b *browser) demux() {
	buf := make([]byte, 2048)
	for {
		n, err := b.conn.Read(buf)
		if err != nil {
			return
		}
		switch rtp.Classify(buf[:n]) {
		case rtp.DTLS:
			b.toDTLS.Load().Deliver(buf[:n])
		case rtp.RTP, rtp.RTCP:
			select {
			case b.media <- append([]byte(nil), buf[:n]...):
			default:
			}
		}
	}
}

// secure runs the handshake; client is the browser's role.
func (b *browser) secure(l AccessLocal, client bool) error {
	b.t.Helper()
	opts := []piondtls.Option{
		piondtls.WithCertificates(b.cert), piondtls.WithInsecureSkipVerify(true), piondtls.WithSRTPProtectionProfiles(b.profiles...),
		piondtls.WithExtendedMasterSecret(piondtls.RequireExtendedMasterSecret), piondtls.WithFlightInterval(100 * time.Millisecond),
	}
	link := b.toDTLS.Load()
	var err error
	if client {
		var co []piondtls.ClientOption
		for _, o := range opts {
			co = append(co, o)
		}
		b.dtls, err = piondtls.ClientWithOptions(link, link.RemoteAddr(), co...)
	} else {
		so := []piondtls.ServerOption{piondtls.WithClientAuth(piondtls.RequireAnyClientCert)}
		for _, o := range opts {
			so = append(so, o)
		}
		b.dtls, err = piondtls.ServerWithOptions(link, link.RemoteAddr(), so...)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.dtls.HandshakeContext(ctx); err != nil {
		return err
	}
	state, _ := b.dtls.ConnectionState()
	p, _ := b.dtls.SelectedSRTPProtectionProfile()
	keys, err := srtp.ExportKeys(&state, srtp.Profile(p), client)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.tx, b.rx, err = srtp.NewPair(srtp.Profile(p), keys); err != nil {
		b.t.Fatal(err)
	}
	return nil
}

func (b *browser) close() {
	if b.dtls != nil {
		_ = b.dtls.Close()
	}
	for _, c := range b.former {
		_ = c.Close()
	}
	if link := b.toDTLS.Load(); link != nil {
		_ = link.Close()
	}
	if b.agent != nil {
		_ = b.agent.GracefulClose()
	}
	b.wg.Wait()
}

func (b *browser) send(p []byte) {
	b.t.Helper()
	prot, err := b.tx.ProtectRTP(append(make([]byte, 0, len(p)+64), p...))
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.conn.Write(prot); err != nil {
		b.t.Fatal(err)
	}
}

// read waits for one decrypted RTP packet.
func (b *browser) read() rtp.Packet {
	b.t.Helper()
	p, ok := b.tryRead(wait.Limit)
	if !ok {
		b.t.Fatal("no RTP at the browser")
	}
	return p
}

func (b *browser) tryRead(d time.Duration) (rtp.Packet, bool) {
	b.t.Helper()
	limit := time.After(d)
	for {
		select {
		case m := <-b.media:
			if rtp.IsRTCP(m) {
				continue
			}
			plain, err := b.rx.OpenRTP(m)
			if err != nil {
				b.t.Fatalf("browser cannot open: %v", err)
			}
			p, err := rtp.Parse(plain)
			if err != nil {
				b.t.Fatal(err)
			}
			return p, true
		case <-limit:
			return nil, false
		}
	}
}

// packet builds an RTP packet with a recognisable payload.
func packet(pt uint8, ssrc uint32, seq uint16, ts uint32, payload []byte) []byte {
	b := make([]byte, rtp.HeaderLen+len(payload), rtp.HeaderLen+len(payload)+64)
	rtp.PutHeader(b, rtp.Header{PT: pt, Seq: seq, TS: ts, SSRC: ssrc})
	copy(b[rtp.HeaderLen:], payload)
	return b
}

func openUDP(a netip.AddrPort) (*net.UDPConn, error) {
	return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(a))
}
