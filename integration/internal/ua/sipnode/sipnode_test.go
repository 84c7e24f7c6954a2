package sipnode

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quick = Timers{T1: 20 * time.Millisecond, T2: 80 * time.Millisecond, T4: 50 * time.Millisecond}

// inbox is a Handler that passes everything on to the test.
type inbox struct {
	requests chan *ServerTx
	acks     chan *sip.Request
	prepare  func(*ServerTx)
}

func newInbox() *inbox {
	return &inbox{requests: make(chan *ServerTx, 16), acks: make(chan *sip.Request, 16)}
}

func (i *inbox) ServeRequest(tx *ServerTx) {
	if i.prepare != nil {
		i.prepare(tx)
	}
	i.requests <- tx
}

func (i *inbox) ServeAck(req *sip.Request, _ Target) { i.acks <- req }

func start(t *testing.T, in *inbox, warn func(string)) *Node {
	t.Helper()
	return startWith(t, Config{Listen: "127.0.0.1:0", Timers: quick, Warn: warn}, in)
}

func startWith(t *testing.T, cfg Config, in *inbox) *Node {
	t.Helper()
	n, err := Listen(cfg, in)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// get receives within wait.Limit.
func get[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(wait.Limit):
		t.Fatalf("no %s in time", what)
		panic("unreachable")
	}
}

// wire is a bare UDP peer.
type wire struct {
	t *testing.T
	c *net.UDPConn
}

func newWire(t *testing.T) *wire {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &wire{t, c}
}

func (w *wire) addr() netip.AddrPort { return w.c.LocalAddr().(*net.UDPAddr).AddrPort() }

func (w *wire) target() Target { return Target{UDP, w.addr()} }

func (w *wire) send(n *Node, text string) {
	w.t.Helper()
	if _, err := w.c.WriteToUDPAddrPort([]byte(text), n.Addr()); err != nil {
		w.t.Fatal(err)
	}
}

// read returns the next message, failing after wait.Limit.
func (w *wire) read() sip.Message {
	w.t.Helper()
	w.c.SetReadDeadline(time.Now().Add(wait.Limit))
	buf := make([]byte, 65536)
	n, err := w.c.Read(buf)
	if err != nil {
		w.t.Fatal(err)
	}
	m, err := sip.ParseMessage(buf[:n])
	if err != nil {
		w.t.Fatalf("%v in %q", err, buf[:n])
	}
	return m
}

// quiet fails if anything comes within d.
func (w *wire) quiet(d time.Duration) {
	w.t.Helper()
	w.c.SetReadDeadline(time.Now().Add(d))
	buf := make([]byte, 65536)
	if n, err := w.c.Read(buf); err == nil {
		w.t.Errorf("unexpected %q", strings.SplitN(string(buf[:n]), "\r\n", 2)[0])
	}
}

// drain reads what has come: on loopback that is all that the node has sent, under its lock, before it was in the state that the test has seen.
func (w *wire) drain() {
	w.t.Helper()
	w.c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	for buf := make([]byte, 65536); ; {
		if _, err := w.c.Read(buf); err != nil {
			return
		}
	}
}

func (w *wire) request(method, branch string, more ...string) string {
	return fmt.Sprintf("%s sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s\r\nFrom: <sip:a@t>;tag=1\r\nTo: <sip:x@t>\r\n"+
		"Call-ID: c1\r\nCSeq: 7 %s\r\nMax-Forwards: 70\r\n%sContent-Length: 0\r\n\r\n", method, w.addr(), branch, method, strings.Join(more, ""))
}

func (w *wire) answer(n *Node, req *sip.Request, code int) *sip.Response {
	res := NewResponse(req, code, "x")
	w.send(n, res.String())
	return res
}

func newRequest(m sip.RequestMethod, to Target) *sip.Request {
	req := sip.NewRequest(m, sip.Uri{Scheme: "sip", User: "x", Host: to.Addr.Addr().String(), Port: int(to.Addr.Port())})
	SetMaxForwards(req, 70)
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "a", Host: "t"}, Params: sip.NewParams()}
	from.Params.Add("tag", NewTag())
	req.AppendHeader(from)
	req.AppendHeader(&sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: "x", Host: "t"}, Params: sip.NewParams()})
	id := sip.CallIDHeader(NewTag())
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: m})
	req.SetBody(nil)
	return req
}

func responses(n *Node, req *sip.Request, to Target) (*ClientTx, chan *sip.Response) {
	ch := make(chan *sip.Response, 16)
	return n.Request(req, to, func(r *sip.Response) { ch <- r }), ch
}

func TestRFC3261_17_1_ClientRetransmitsThenTimesOut(t *testing.T) {
	for _, m := range []sip.RequestMethod{sip.OPTIONS, sip.INVITE} {
		n, w := start(t, newInbox(), nil), newWire(t)
		_, ch := responses(n, newRequest(m, w.target()), w.target())
		first := w.read().(*sip.Request)
		for range 3 {
			if again := w.read().(*sip.Request); again.Via().Value() != first.Via().Value() {
				t.Error("retransmission has another branch")
			}
		}
		if res := get(t, "timeout", ch); res.StatusCode != 408 || res.Via() != nil {
			t.Errorf("%s timed out with %d", m, res.StatusCode)
		}
	}
}

func TestRFC3261_17_1_1_InviteStopsAtProvisionalAndAcksFailure(t *testing.T) {
	n, w := start(t, newInbox(), nil), newWire(t)
	_, ch := responses(n, newRequest(sip.INVITE, w.target()), w.target())
	inv := w.read().(*sip.Request)
	w.answer(n, inv, 180)
	if res := get(t, "180", ch); res.StatusCode != 180 {
		t.Fatal(res.StatusCode)
	}
	w.drain()              // retransmissions from before the 180
	w.quiet(70 * quick.T1) // longer than timer B: a ringing call does not time out
	final := w.answer(n, inv, 486)
	if res := get(t, "486", ch); res.StatusCode != 486 {
		t.Error(res.StatusCode)
	}
	for range 2 { // the second is for a repeated 486, which the owner must not see
		ack := w.read().(*sip.Request)
		if ack.Method != sip.ACK || ack.Via().Value() != inv.Via().Value() || tag(ack.To().Params) != tag(final.To().Params) || ack.CSeq().SeqNo != 1 {
			t.Errorf("ACK is %s", ack)
		}
		w.send(n, final.String())
	}
	w.read()
	if len(ch) != 0 {
		t.Error("a repeated final response reached the owner")
	}
}

func TestRFC3261_9_1_CancelWaitsForProvisional(t *testing.T) {
	n, w := start(t, newInbox(), nil), newWire(t)
	tx, ch := responses(n, newRequest(sip.INVITE, w.target()), w.target())
	tx.Cancel()
	inv := w.read().(*sip.Request)
	if again := w.read().(*sip.Request); again.Method != sip.INVITE {
		t.Fatalf("%s before any provisional response", again.Method)
	}
	w.answer(n, inv, 180)
	var cancel *sip.Request
	for cancel == nil {
		if m := w.read().(*sip.Request); m.Method == sip.CANCEL {
			cancel = m
		}
	}
	if cancel.Via().Value() != inv.Via().Value() || cancel.CSeq().SeqNo != inv.CSeq().SeqNo || cancel.Recipient.String() != inv.Recipient.String() {
		t.Errorf("CANCEL does not match its INVITE: %s", cancel)
	}
	w.answer(n, cancel, 200)
	w.answer(n, inv, 487)
	get(t, "180", ch)
	if res := get(t, "487", ch); res.StatusCode != 487 {
		t.Error(res.StatusCode)
	}
}

func TestRFC3261_17_2_ServerRepeatsItsResponse(t *testing.T) {
	in := newInbox()
	n, w := start(t, in, nil), newWire(t)
	w.send(n, w.request("OPTIONS", "1"))
	tx := get(t, "request", in.requests)
	if err := tx.Reply(200, "OK"); err != nil {
		t.Fatal(err)
	}
	first := w.read().String()
	w.send(n, w.request("OPTIONS", "1"))
	if again := w.read().String(); again != first {
		t.Errorf("repeated response differs:\n%s\n%s", first, again)
	}
	if len(in.requests) != 0 {
		t.Error("a retransmission made a second transaction")
	}
	if err := tx.Reply(200, "OK"); err == nil {
		t.Error("a second final response was sent")
	}
}

func TestRFC3261_13_3_1_4_2xxIsRepeatedUntilAck(t *testing.T) {
	in := newInbox()
	n, w := start(t, in, nil), newWire(t)
	w.send(n, w.request("INVITE", "1"))
	if w.read().(*sip.Response).StatusCode != 100 {
		t.Error("no 100 at once")
	}
	get(t, "request", in.requests).Reply(200, "OK")
	ok := w.read().(*sip.Response)
	if again := w.read().(*sip.Response); again.String() != ok.String() {
		t.Error("2xx not repeated")
	}
	ack := strings.Replace(w.request("ACK", "other"), "To: <sip:x@t>", "To: <sip:x@t>;tag="+tag(ok.To().Params), 1)
	w.send(n, ack)
	get(t, "ACK", in.acks)
	w.drain() // retransmissions from before the ACK
	w.quiet(3 * quick.T2)
}

func TestUnacknowledged2xxIsReported(t *testing.T) {
	in := newInbox()
	lost := make(chan struct{})
	in.prepare = func(tx *ServerTx) { tx.OnNoAck(func() { close(lost) }) }
	n, w := start(t, in, nil), newWire(t)
	w.send(n, w.request("INVITE", "1"))
	get(t, "request", in.requests).Reply(200, "OK")
	get(t, "report of the missing ACK", lost)
}

func TestRFC3261_17_2_1_FailureIsRepeatedUntilAck(t *testing.T) {
	in := newInbox()
	n, w := start(t, in, nil), newWire(t)
	w.send(n, w.request("INVITE", "1"))
	w.read()
	get(t, "request", in.requests).Reply(486, "Busy Here")
	w.read()
	if w.read().(*sip.Response).StatusCode != 486 {
		t.Error("486 not repeated")
	}
	w.send(n, w.request("ACK", "1"))
	w.send(n, w.request("OPTIONS", "after"))
	get(t, "request after the ACK", in.requests)
	w.drain() // retransmissions from before the ACK
	w.quiet(3 * quick.T2)
	if len(in.acks) != 0 {
		t.Error("the ACK of a failure reached the owner")
	}
}

func TestRFC3261_9_2_CancelOfAPendingInvite(t *testing.T) {
	in := newInbox()
	gone := make(chan struct{})
	in.prepare = func(tx *ServerTx) { tx.OnCancel(func() { close(gone) }) }
	n, w := start(t, in, nil), newWire(t)
	w.send(n, w.request("INVITE", "1"))
	w.read()
	tx := get(t, "request", in.requests)
	w.send(n, w.request("CANCEL", "1"))
	if res := w.read().(*sip.Response); res.StatusCode != 200 || res.CSeq().MethodName != sip.CANCEL {
		t.Errorf("CANCEL answered %s", res)
	}
	get(t, "notice of the CANCEL", gone)
	tx.Reply(487, "Request Terminated")
	if res := w.read().(*sip.Response); res.StatusCode != 487 || res.CSeq().MethodName != sip.INVITE {
		t.Errorf("INVITE answered %s", res)
	}
	w.send(n, w.request("ACK", "1"))
	w.send(n, w.request("CANCEL", "unknown"))
	for {
		if res := w.read().(*sip.Response); res.CSeq().MethodName == sip.CANCEL {
			if res.StatusCode != 481 {
				t.Errorf("CANCEL of nothing answered %d", res.StatusCode)
			}
			return
		}
	}
}

func TestRFC3581_ResponseGoesToTheSourceOnlyWithRport(t *testing.T) {
	in := newInbox()
	n, w, other := start(t, in, nil), newWire(t), newWire(t)
	// Without rport the answer goes to the port in Via, which is another socket's.
	text := strings.Replace(w.request("OPTIONS", "1"), w.addr().String(), other.addr().String(), 1)
	w.send(n, text)
	get(t, "request", in.requests).Reply(200, "OK")
	other.read()
	w.send(n, strings.Replace(strings.Replace(text, "z9hG4bK1", "z9hG4bK2;rport", 1), "127.0.0.1:", "192.0.2.1:", 1))
	get(t, "request", in.requests).Reply(200, "OK")
	via := w.read().(*sip.Response).Via()
	if r, _ := via.Params.Get("received"); r != "127.0.0.1" {
		t.Errorf("received=%q in %s", r, via)
	}
	if r, _ := via.Params.Get("rport"); r != fmt.Sprint(w.addr().Port()) {
		t.Errorf("rport=%q in %s", r, via)
	}
}

func TestBadInputIsDroppedAndReported(t *testing.T) {
	in := newInbox()
	warnings := make(chan string, 16)
	n, w := start(t, in, func(s string) { warnings <- s }), newWire(t)
	good := w.request("OPTIONS", "1")
	for name, text := range map[string]string{
		"garbage":      "\x00\x01 nonsense\r\n\r\n",
		"no Call-ID":   strings.Replace(good, "Call-ID: c1\r\n", "", 1),
		"no branch":    strings.Replace(good, ";branch=z9hG4bK1", "", 1),
		"CSeq method":  strings.Replace(good, "CSeq: 7 OPTIONS", "CSeq: 7 BYE", 1),
		"no From":      strings.Replace(good, "From: <sip:a@t>;tag=1\r\n", "", 1),
		"escape codes": "\x1b[31mOPTIONS\r\n\r\n",
	} {
		w.send(n, text)
		if got := get(t, "warning about "+name, warnings); strings.ContainsAny(got, "\x00\x1b\r\n") {
			t.Errorf("%s: raw control characters in %q", name, got)
		}
	}
	w.send(n, "\r\n\r\n") // a keep-alive is no error
	w.send(n, good)
	get(t, "good request after bad ones", in.requests).Reply(200, "OK")
	if len(warnings) != 0 || len(in.requests) != 0 {
		t.Error("something else came through")
	}
}

func TestTCPFramingAndReuse(t *testing.T) {
	in := newInbox()
	n := start(t, in, nil)
	c, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := newWire(t)
	text := strings.ReplaceAll(w.request("MESSAGE", "1"), "SIP/2.0/UDP", "SIP/2.0/TCP")
	text = strings.Replace(text, "Content-Length: 0\r\n\r\n", "l: 5\r\n\r\nhello", 1)
	second := strings.Replace(text, "z9hG4bK1", "z9hG4bK2", 1)
	for _, b := range []byte("\r\n\r\n" + text) { // byte by byte, with a keep-alive in front
		c.Write([]byte{b})
	}
	c.Write([]byte("\r\n" + second))
	for range 2 {
		tx := get(t, "request", in.requests)
		if string(tx.Request().Body()) != "hello" || tx.Source().Network != TCP {
			t.Errorf("got %q over %s", tx.Request().Body(), tx.Source())
		}
		tx.Reply(200, "OK")
	}
	r := bufio.NewReader(c)
	for range 2 {
		c.SetReadDeadline(time.Now().Add(wait.Limit))
		if _, err := readFrame(r); err != nil {
			t.Fatal(err)
		}
	}
	// Our own request to that peer uses the open connection.
	responses(n, newRequest(sip.OPTIONS, Target{TCP, c.LocalAddr().(*net.TCPAddr).AddrPort()}), Target{TCP, c.LocalAddr().(*net.TCPAddr).AddrPort()})
	if msg, err := readFrame(r); err != nil || !strings.HasPrefix(string(msg), "OPTIONS ") {
		t.Errorf("%v, %q", err, msg)
	}
}

func TestTCPBadFrames(t *testing.T) {
	for name, text := range map[string]string{
		"no length":     "OPTIONS sip:x SIP/2.0\r\nFrom: x\r\n\r\n",
		"wrong length":  "OPTIONS sip:x SIP/2.0\r\nContent-Length: -1\r\n\r\n",
		"long header":   "OPTIONS sip:x SIP/2.0\r\nX: " + strings.Repeat("x", 5000) + "\r\n",
		"much too long": "OPTIONS sip:x SIP/2.0\r\nContent-Length: 70000\r\n\r\n",
		"cut short":     "OPTIONS sip:x SIP/2.0\r\nContent-Length: 10\r\n\r\n12",
	} {
		if _, err := readFrame(bufio.NewReader(strings.NewReader(text))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRefusedConnectionIs503(t *testing.T) {
	n := start(t, newInbox(), nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := Target{TCP, l.Addr().(*net.TCPAddr).AddrPort()}
	l.Close()
	_, ch := responses(n, newRequest(sip.OPTIONS, to), to)
	if res := get(t, "failure", ch); res.StatusCode != 503 {
		t.Errorf("%d", res.StatusCode)
	}
}

func TestTargetOf(t *testing.T) {
	for text, want := range map[string]string{
		"sip:a@127.0.0.1":                                "udp:127.0.0.1:5060",
		"sip:127.0.0.1:5070;transport=TCP;lr":            "tcp:127.0.0.1:5070",
		"sip:x@[::1]:5061":                               "udp:[::1]:5061",
		"sip:a@abc.invalid":                              "",
		"sip:a@127.0.0.1;transport=ws":                   "",
		"sip:a@abc.invalid;maddr=127.0.0.2":              "udp:127.0.0.2:5060",
		"tel:+4930123":                                   "",
		"sip:token.x-y_z@127.0.0.1:5062;lr;ob":           "udp:127.0.0.1:5062",
		"sip:token@127.0.0.1:5062;transport=udp;lr;ob=1": "udp:127.0.0.1:5062",
	} {
		var u sip.Uri
		if err := sip.ParseUri(text, &u); err != nil {
			t.Fatal(err)
		}
		got, err := TargetOf(&u)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}

func TestCloseStopsEverything(t *testing.T) {
	in := newInbox()
	n, w := start(t, in, nil), newWire(t)
	_, ch := responses(n, newRequest(sip.INVITE, w.target()), w.target())
	w.read()
	w.send(n, w.request("INVITE", "1"))
	tx := get(t, "request", in.requests)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tx.Reply(200, "OK"); !errors.Is(err, ErrClosed) {
		t.Errorf("reply after Close: %v", err)
	}
	responses(n, newRequest(sip.OPTIONS, w.target()), w.target())
	if err := n.Send(newRequest(sip.ACK, w.target()), w.target()); !errors.Is(err, ErrClosed) {
		t.Errorf("send after Close: %v", err)
	}
	if len(ch) != 0 {
		t.Error("Close told the owner of a transaction")
	}
}
