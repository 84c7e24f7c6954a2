package siptransport

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink passes what it gets to channels that are large enough for each test.
type sink struct {
	got    chan got
	closed chan Flow
}

type got struct {
	m    headers.Msg
	from Flow
}

func newSink() *sink { return &sink{make(chan got, 2000), make(chan Flow, 100)} }

func (s *sink) OnMessage(m headers.Msg, from Flow) { s.got <- got{m, from} }
func (s *sink) OnClosed(f Flow, _ error)           { s.closed <- f }

func (s *sink) next(t *testing.T) got {
	t.Helper()
	return wait.Receive(t, s.got)
}

func options(transport, sentBy, params, callID string) string {
	return "OPTIONS sip:x@example.com SIP/2.0\r\nVia: SIP/2.0/" + transport + " " + sentBy + ";branch=z9hG4bK" + callID + params +
		"\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: " + callID + "\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
}

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func ingress(s Sink, admit Admission) *Ingress {
	return &Ingress{Sink: s, Metrics: NewMetrics(nil), Log: zap.NewNop(), Admit: admit}
}

func newUDP(t *testing.T, in *Ingress) (*UDP, net.Conn) {
	t.Helper()
	u, err := ListenUDP(Socket{Addr: loopback, SentBy: "", Edge: EdgeCore})
	if err != nil {
		t.Fatal(err)
	}
	u.Serve(in)
	t.Cleanup(func() { _ = u.Close() })
	peer, err := net.Dial("udp", u.Local().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	return u, peer
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

func readDatagram(t *testing.T, c net.Conn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(wait.Limit))
	buf := make([]byte, 65536)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestRFC3261_18_2_1_UDPStampsAndReplies(t *testing.T) {
	s := newSink()
	u, peer := newUDP(t, ingress(s, nil))
	port := peer.LocalAddr().(*net.UDPAddr).Port
	cases := []struct{ sentBy, params, want, reply string }{
		{"host.invalid:5099", "", ";received=127.0.0.1", "127.0.0.1:5099"},
		{"127.0.0.1:5099", "", "", "127.0.0.1:5099"},
		{"127.0.0.1", "", "", "127.0.0.1:5060"},
		{"127.0.0.1:5099", ";received=203.0.113.9", "", "127.0.0.1:5099"}, // a lie about an address that needs none
		{"10.1.1.1:5099", ";rport", fmt.Sprintf(";rport=%d;received=127.0.0.1", port), fmt.Sprintf("127.0.0.1:%d", port)},
		{"10.1.1.1:5099", ";received=203.0.113.9", ";received=127.0.0.1", "127.0.0.1:5099"},                                 // a lie
		{"10.1.1.1:5099", ";rport=9", fmt.Sprintf(";rport=%d;received=127.0.0.1", port), fmt.Sprintf("127.0.0.1:%d", port)}, // another
		{"10.1.1.1:5099", ";maddr=203.0.113.9", ";maddr=203.0.113.9;received=127.0.0.1", "127.0.0.1:5099"},
	}
	for i, c := range cases {
		id := fmt.Sprintf("c%d", i)
		write(t, peer, options("UDP", c.sentBy, c.params, id))
		g := s.next(t)
		if want := "SIP/2.0/UDP " + c.sentBy + ";branch=z9hG4bK" + id + c.want; g.m.Get("Via") != want {
			t.Errorf("Via %s, want %s", g.m.Get("Via"), want)
		}
		via, _ := headers.TopVia(&g.m)
		if got := ReplyAddr(via, g.from.Remote).String(); got != c.reply {
			t.Errorf("%s%s: reply to %s, want %s", c.sentBy, c.params, got, c.reply)
		}
		if g.from.ID != "" || g.from.Transport != "UDP" || g.from.Local != u.Local() || g.from.Edge != EdgeCore || int(g.from.Remote.Port()) != port {
			t.Errorf("flow %+v", g.from)
		}
	}
}

func TestUDPBadInput(t *testing.T) {
	s := newSink()
	in := ingress(s, nil)
	_, peer := newUDP(t, in)
	for _, noise := range []string{"", "\r\n\r\n", "\x00\x00\x00\x00", "garbage", "\xff\xfe\xfd", "GET / HTTP/1.1\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", strings.Repeat("A", 60000)} {
		write(t, peer, noise)
	}
	bad := strings.Replace(options("UDP", "127.0.0.1:9", ";rport", "bad"), "CSeq: 1 OPTIONS", "CSeq: 1 INVITE", 1)
	write(t, peer, bad)
	answer := readDatagram(t, peer)
	if !strings.HasPrefix(answer, "SIP/2.0 400 CSeq Method Does Not Match\r\n") || !strings.Contains(answer, "To: <sip:c@d>;tag=") {
		t.Errorf("answer %q", answer)
	}
	ack := strings.ReplaceAll(strings.Replace(bad, "INVITE", "BYE", 1), "OPTIONS", "ACK") // never answered
	write(t, peer, ack)
	write(t, peer, options("UDP", "127.0.0.1:9", ";rport", "good"))
	if g := s.next(t); g.m.Get("Call-ID") != "good" {
		t.Errorf("got %q", g.m.Get("Call-ID"))
	}
	if n := testutil.ToFloat64(in.Metrics.refused.WithLabelValues("UDP", reasonMalformed)); n != 1 {
		t.Errorf("%v counted as malformed", n)
	}
	if n := testutil.ToFloat64(in.Metrics.refused.WithLabelValues("UDP", reasonUnanswerable)); n != 6 {
		t.Errorf("%v counted as unanswerable, want 6", n)
	}
}

func TestAdmission(t *testing.T) {
	s := newSink()
	verdict := make(chan Verdict, 3)
	in := ingress(s, func(*headers.Msg, Flow) Verdict { return <-verdict })
	_, peer := newUDP(t, in)
	verdict <- Drop
	write(t, peer, options("UDP", "127.0.0.1:9", ";rport", "dropped"))
	verdict <- Refuse
	write(t, peer, options("UDP", "127.0.0.1:9", ";rport", "refused"))
	verdict <- Admit
	write(t, peer, options("UDP", "127.0.0.1:9", ";rport", "admitted"))
	if a := readDatagram(t, peer); !strings.HasPrefix(a, "SIP/2.0 403 Forbidden\r\n") || !strings.Contains(a, "refused") {
		t.Errorf("answer %q", a)
	}
	if g := s.next(t); g.m.Get("Call-ID") != "admitted" {
		t.Errorf("got %q", g.m.Get("Call-ID"))
	}
	if n := testutil.ToFloat64(in.Metrics.refused.WithLabelValues("UDP", reasonStranger)); n != 2 {
		t.Errorf("%v strangers counted", n)
	}
}

func TestMetricNames(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := NewMetrics(reg)
	m.Refused("UDP", reasonOversize)
	m.Sent("UDP")
	m.Opened("TCP")
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v %v", problems, err)
	}
}
