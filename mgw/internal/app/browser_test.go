package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	pionice "github.com/pion/ice/v4"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// browser is a WebRTC peer of pion's parts: full ICE, controlling, and the client of DTLS.
type browser struct {
	t     *testing.T
	agent *pionice.Agent
	cert  tls.Certificate
	print dtls.Fingerprint
	conn  *piondtls.Conn
	// accept: it is controlled.
	accept bool
	pair   net.Conn
	// media gets what comes that is not DTLS, as long as there is room; nil: it is dropped.
	media chan []byte
}

func newBrowser(t *testing.T, more ...pionice.AgentOption) *browser {
	t.Helper()
	b := &browser{t: t}
	var err error
	if b.cert, err = dtls.NewCertificate(time.Now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if b.print, err = dtls.FingerprintOf(b.cert); err != nil {
		t.Fatal(err)
	}
	b.agent, err = pionice.NewAgentWithOptions(append([]pionice.AgentOption{
		pionice.WithNetworkTypes([]pionice.NetworkType{pionice.NetworkTypeUDP4}), pionice.WithIncludeLoopback(),
		pionice.WithCandidateTypes([]pionice.CandidateType{pionice.CandidateTypeHost}),
		pionice.WithMulticastDNSMode(pionice.MulticastDNSModeDisabled),
		pionice.WithIPFilter(func(ip net.IP) bool { return ip.IsLoopback() }), pionice.WithCheckInterval(20 * time.Millisecond),
	}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	gathered := make(chan struct{})
	if err := b.agent.OnCandidate(func(c pionice.Candidate) {
		if c == nil {
			close(gathered)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.agent.GatherCandidates(); err != nil {
		t.Fatal(err)
	}
	<-gathered
	return b
}

func (b *browser) close() {
	if b.conn != nil {
		_ = b.conn.Close()
	}
	_ = b.agent.GracefulClose()
}

// offer is the transaction of a call of this browser, with the events of its transport armed.
func (b *browser) offer(id string) *iqv1.TransactionRequest {
	b.t.Helper()
	ufrag, pwd, err := b.agent.GetLocalUserCredentials()
	if err != nil {
		b.t.Fatal(err)
	}
	req := setUp(id)
	d := req.Actions[0].Commands[0].GetAdd().GetDescriptor_()
	d.Transport.RemoteIce = &iqv1.IceParameters{Ufrag: ufrag, Pwd: pwd}
	d.Transport.RemoteDtls.Fingerprints = []*iqv1.Fingerprint{{Hash: b.print.Hash, Value: b.print.Value}}
	d.Events = &iqv1.EventsDescriptor{RequestId: 3, Specs: []*iqv1.EventSpec{
		{Type: iqv1.EventType_EVENT_TYPE_ICE_RESULT}, {Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE},
		{Type: iqv1.EventType_EVENT_TYPE_CONSENT_LOST, Timer: durationpb.New(3 * time.Second)},
	}}
	return req
}

// connect runs ICE and the handshake against what the gateway resolved.
func (b *browser) connect(tr *iqv1.TransportGroup) error {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	for _, c := range tr.LocalIce.Candidates {
		host, err := pionice.NewCandidateHost(&pionice.CandidateHostConfig{Network: "udp", Address: c.Address, Port: int(c.Port), Component: 1, Priority: c.Priority})
		if err != nil {
			b.t.Fatal(err)
		}
		if err := b.agent.AddRemoteCandidate(host); err != nil {
			b.t.Fatal(err)
		}
	}
	dial := b.agent.Dial
	if b.accept {
		dial = b.agent.Accept
	}
	pair, err := dial(ctx, tr.LocalIce.Ufrag, tr.LocalIce.Pwd)
	if err != nil {
		return err
	}
	b.pair = pair
	b.conn, err = piondtls.ClientWithOptions(packetConn{pair, b.media}, pair.RemoteAddr(), piondtls.WithCertificates(b.cert),
		piondtls.WithInsecureSkipVerify(true), piondtls.WithSRTPProtectionProfiles(piondtls.SRTP_AEAD_AES_128_GCM),
		piondtls.WithExtendedMasterSecret(piondtls.RequireExtendedMasterSecret), piondtls.WithFlightInterval(100*time.Millisecond))
	if err != nil {
		return err
	}
	return b.conn.HandshakeContext(ctx)
}

// packetConn makes a PacketConn of the selected pair, putting aside what is not DTLS (RFC 7983 §7).
type packetConn struct {
	net.Conn
	media chan<- []byte
}

func (c packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, err := c.Read(p)
		if err != nil || n > 0 && p[0] >= 20 && p[0] <= 63 {
			return n, c.RemoteAddr(), err
		}
		select {
		case c.media <- bytes.Clone(p[:n]):
		default:
		}
	}
}

func (c packetConn) WriteTo(p []byte, _ net.Addr) (int, error) { return c.Write(p) }

// story is the events of notifies in short, in order.
func story(notes []*iqv1.NotifyRequest) string {
	var out []string
	for _, n := range notes {
		e := n.Events[0]
		out = append(out, strings.TrimPrefix(e.Type.String(), "EVENT_TYPE_")+e.Params["result"]+e.Params["state"])
	}
	return strings.Join(out, " ")
}

func TestIQ23_IQ25_IQ27_BrowserConnectsAndLeaves(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c)
	b := newBrowser(t)
	call := g.transact(b.offer("t-1")).Actions[0]
	if call.Error != nil {
		t.Fatal(call.Error)
	}
	if err := b.connect(call.Commands[0].Resolved.Transport); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "ICE and DTLS", func() bool { return story(c.events()) == "ICE_RESULTconnected DTLS_STATEconnected" })
	notes := c.events()
	pair, secured := notes[0].Events[0], notes[1].Events[0]
	if pair.Local.GetPort() != call.Commands[0].Resolved.Transport.LocalIce.Candidates[0].Port || pair.Remote.GetAddress() != "127.0.0.1" || pair.Remote.GetPort() == 0 {
		t.Errorf("selected pair: %v", pair)
	}
	if secured.Params["profile"] != "SRTP_AEAD_AES_128_GCM" || secured.StreamId != 0 || notes[1].RequestId != 3 {
		t.Errorf("secured: %v", notes[1])
	}
	b.close()
	wait.Until(t, "loss of consent", func() bool { return strings.HasSuffix(story(c.events()), "CONSENT_LOST") })
	rep := g.transact(onContext("t-2", call.ContextId, subtractAll())).Actions[0]
	if rep.Error != nil || !strings.Contains(rep.Commands[0].Statistics[0].SelectedPair, "127.0.0.1:") {
		t.Errorf("release: %v", rep)
	}
	if r := g.resources(); r.Contexts != 0 || r.Terminations != 0 || r.PortPairs != 0 {
		t.Errorf("resources after release: %v", r)
	}
}

func TestWrongFingerprintIsNotified(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c)
	b := newBrowser(t)
	b.print.Value = strings.Repeat("00:", 31) + "00"
	call := g.transact(b.offer("t-1")).Actions[0]
	if err := b.connect(call.Commands[0].Resolved.Transport); err == nil {
		t.Log("the browser finished its side; the gateway must refuse all the same")
	}
	wait.Until(t, "refusal", func() bool { return strings.HasPrefix(story(c.events()), "ICE_RESULTconnected DTLS_STATEfailed") })
	if reason := c.events()[1].Events[0].Params["reason"]; reason == "" {
		t.Error("no reason")
	}
}
