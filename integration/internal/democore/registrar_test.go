package democore

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func codeOf(err error) int {
	var se *ua.StatusError
	if errors.As(err, &se) {
		return se.Code
	}
	return 0
}

func header(err error, name string) string {
	var se *ua.StatusError
	if errors.As(err, &se) {
		if h := se.Response.GetHeader(name); h != nil {
			return h.Value()
		}
	}
	return ""
}

func TestRegisterGrantsAndReturnsRoutes(t *testing.T) {
	for _, alg := range []string{"md5", "sha256", "both"} {
		t.Run(alg, func(t *testing.T) {
			core := startCore(t, func(c *Config) { c.Digest = alg })
			a := phone(t, core, sipnode.UDP, "alice", nil)
			r := register(t, a)
			if r.Expires != time.Hour || len(r.ServiceRoute) != 1 || len(r.AssociatedURIs) != 1 || r.AssociatedURIs[0] != "sip:alice@isthmus.example" {
				t.Errorf("granted %+v", r)
			}
			if want := fmt.Sprintf("sip:orig@%s;lr", core.Addr()); r.ServiceRoute[0] != want {
				t.Errorf("Service-Route %q, want %q", r.ServiceRoute[0], want)
			}
			s := status(t, core)
			if len(s.Registrations) != 1 || s.Registrations[0].User != "alice" || s.Registrations[0].Expires > 3600 || s.Registrations[0].Expires < 3590 {
				t.Errorf("status %+v", s.Registrations)
			}
			tcp := phone(t, core, sipnode.TCP, "bob", nil)
			if r := register(t, tcp); r.ServiceRoute[0] != fmt.Sprintf("sip:orig@%s;transport=tcp;lr", core.Addr()) {
				t.Errorf("Service-Route over TCP %q", r.ServiceRoute[0])
			}
			if _, err := tcp.Register(within(t), 0); err != nil {
				t.Error(err)
			}
			register(t, a) // a refresh keeps one binding
			if r, err := a.Register(within(t), 0); err != nil || r.Expires != 0 {
				t.Errorf("de-registration: %+v, %v", r, err)
			}
			if s := status(t, core); len(s.Registrations) != 0 {
				t.Errorf("after de-registration: %+v", s.Registrations)
			}
		})
	}
}

func TestRegisterRefusals(t *testing.T) {
	core := startCore(t, nil)
	wrong := func(change func(*ua.Config)) *ua.Agent { return phone(t, core, sipnode.UDP, "alice", change) }
	ctx := within(t)

	_, err := wrong(func(c *ua.Config) { c.Password = "guess" }).Register(ctx, time.Hour)
	if codeOf(err) != 401 || header(err, "WWW-Authenticate") == "" {
		t.Errorf("wrong password: %v", err)
	}
	_, err = wrong(func(c *ua.Config) { c.User, c.Password = "mallory", "x" }).Register(ctx, time.Hour)
	if codeOf(err) != 401 {
		t.Errorf("unknown user: %v", err)
	}
	_, err = wrong(func(c *ua.Config) { c.AuthUser, c.Password = "bob", "builder" }).Register(ctx, time.Hour)
	if codeOf(err) != 403 {
		t.Errorf("bob's password for alice: %v", err)
	}
	_, err = wrong(func(c *ua.Config) { c.Domain = "elsewhere.example" }).Register(ctx, time.Hour)
	if codeOf(err) != 404 {
		t.Errorf("foreign domain: %v", err)
	}
	a := wrong(nil)
	_, err = a.Register(ctx, 10*time.Second)
	if codeOf(err) != 423 || header(err, "Min-Expires") != "60" {
		t.Errorf("too short: %v, Min-Expires %q", err, header(err, "Min-Expires"))
	}
	_, err = a.Register(ctx, time.Hour, sip.NewHeader("Require", "gruu"))
	if codeOf(err) != 420 || header(err, "Unsupported") != "gruu" {
		t.Errorf("unknown extension: %v", err)
	}
	if s := status(t, core); len(s.Registrations) != 0 {
		t.Errorf("somebody got in: %+v", s.Registrations)
	}
	if r, err := a.Register(ctx, 48*time.Hour); err != nil || r.Expires != time.Hour {
		t.Errorf("too long: %+v, %v", r, err)
	}
}

func TestRegistrationExpires(t *testing.T) {
	core := startCore(t, func(c *Config) { c.MinExpires = time.Second })
	a := phone(t, core, sipnode.UDP, "alice", nil)
	b := phone(t, core, sipnode.UDP, "bob", nil)
	register(t, b)
	if _, err := a.Register(within(t), time.Second); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "expiry", func() bool { return len(status(t, core).Registrations) == 1 })
	refused(t, b, "alice", 480)
}

func TestRegistrationAllContactsRemovedByStar(t *testing.T) {
	core := startCore(t, nil)
	a1 := phone(t, core, sipnode.UDP, "alice", nil)
	a2 := phone(t, core, sipnode.TCP, "alice", nil)
	register(t, a1)
	if r := register(t, a2); len(r.Response.GetHeaders("Contact")) != 2 {
		t.Errorf("200 lists %d contacts", len(r.Response.GetHeaders("Contact")))
	}
	g := newGateway(t, core)
	star := func(expires string) *sip.Response {
		return g.register("alice", "wonderland", "*", sip.NewHeader("Expires", expires))
	}
	if res := star("60"); res.StatusCode != 400 {
		t.Errorf("* with Expires 60: %d", res.StatusCode)
	}
	if res := star("0"); res.StatusCode != 200 || len(status(t, core).Registrations) != 0 {
		t.Errorf("* with Expires 0: %d, %+v", res.StatusCode, status(t, core).Registrations)
	}
}

// gateway is a bare SIP element that registers users as a P-CSCF does: with Path, and a Contact that
// nobody can resolve.
type gateway struct {
	t        *testing.T
	core     *Core
	node     *sipnode.Node
	requests chan *sipnode.ServerTx
	acks     chan *sip.Request
	cseq     uint32
}

func newGateway(t *testing.T, core *Core) *gateway {
	t.Helper()
	g := &gateway{t: t, core: core, requests: make(chan *sipnode.ServerTx, 8), acks: make(chan *sip.Request, 8)}
	var err error
	if g.node, err = sipnode.Listen(sipnode.Config{Listen: "127.0.0.1:0"}, g); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.node.Close() })
	return g
}

func (g *gateway) ServeRequest(tx *sipnode.ServerTx)           { g.requests <- tx }
func (g *gateway) ServeAck(req *sip.Request, _ sipnode.Target) { g.acks <- req }

func (g *gateway) path(network string) string {
	return fmt.Sprintf("<sip:TOKEN@%s;transport=%s;lr;ob>", g.node.Addr(), network)
}

// request builds a request from user, sent on network.
func (g *gateway) request(m sip.RequestMethod, user, uri string, more ...sip.Header) *sip.Request {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		g.t.Fatal(err)
	}
	g.cseq++
	req := sip.NewRequest(m, u)
	sipnode.SetMaxForwards(req, 69)
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: user, Host: "isthmus.example"}, Params: sip.NewParams()}
	from.Params.Add("tag", "gw1")
	req.AppendHeader(from)
	to := &sip.ToHeader{Address: u, Params: sip.NewParams()}
	if m == sip.REGISTER {
		to.Address = from.Address
	}
	req.AppendHeader(to)
	id := sip.CallIDHeader("gateway-" + user)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: g.cseq, MethodName: m})
	for _, h := range more {
		req.AppendHeader(h)
	}
	req.SetBody(nil)
	return req
}

// do sends req and returns its final response.
func (g *gateway) do(req *sip.Request, network string) *sip.Response {
	g.t.Helper()
	final := make(chan *sip.Response, 4)
	g.node.Request(req, sipnode.Target{Network: network, Addr: g.core.Addr()}, func(res *sip.Response) {
		if res.StatusCode >= 200 {
			final <- res
		}
	})
	select {
	case res := <-final:
		return res
	case <-time.After(wait.Limit):
		g.t.Fatalf("no answer to %s", req.Method)
		return nil
	}
}

// register answers the challenge by an agent's digest code, which is tested elsewhere.
func (g *gateway) register(user, password, contact string, more ...sip.Header) *sip.Response {
	g.t.Helper()
	more = append(more, sip.NewHeader("Contact", contact))
	req := g.request(sip.REGISTER, user, "sip:isthmus.example", more...)
	again := req.Clone()
	res := g.do(req, sipnode.UDP)
	if res.StatusCode != 401 {
		return res
	}
	g.cseq++
	again.RemoveHeader("CSeq")
	again.AppendHeader(&sip.CSeqHeader{SeqNo: g.cseq, MethodName: sip.REGISTER})
	again.AppendHeader(answerMD5(g.t, res, user, password, "REGISTER", "sip:isthmus.example"))
	return g.do(again, sipnode.UDP)
}

// next returns the next request that arrived.
func (g *gateway) next() *sipnode.ServerTx {
	g.t.Helper()
	select {
	case tx := <-g.requests:
		return tx
	case <-time.After(wait.Limit):
		g.t.Fatal("no request arrived")
		return nil
	}
}

const invalidContact = "<sip:k3j2h1@abcdef.invalid;transport=ws>"

// TestR3327_PathIsUsedAsRoute is what the gateway relies on: a call to a browser user comes to the top
// Path URI over that URI's network, with the registered Contact as Request-URI.
func TestR3327_PathIsUsedAsRoute(t *testing.T) {
	for _, network := range []string{sipnode.UDP, sipnode.TCP} {
		t.Run(network, func(t *testing.T) {
			core := startCore(t, nil)
			g := newGateway(t, core)
			res := g.register("bob", "builder", invalidContact, sip.NewHeader("Expires", "600"),
				sip.NewHeader("Path", g.path(network)), sip.NewHeader("Require", "path"), sip.NewHeader("Supported", "path"))
			if res.StatusCode != 200 || res.GetHeader("Path") == nil || res.GetHeader("Path").Value() != g.path(network) {
				t.Fatalf("registration: %s", res)
			}
			a := phone(t, core, sipnode.UDP, "alice", nil)
			register(t, a)
			call, err := a.Invite("bob", ua.CallOptions{})
			if err != nil {
				t.Fatal(err)
			}
			tx := g.next()
			inv := tx.Request()
			if got := inv.Recipient.String(); got != "sip:k3j2h1@abcdef.invalid;transport=ws" {
				t.Errorf("Request-URI %q", got)
			}
			if r := inv.Route(); r == nil || r.Address.User != "TOKEN" || len(inv.GetHeaders("Route")) != 1 {
				t.Errorf("Route %v", inv.GetHeaders("Route"))
			}
			if tx.Source().Network != network {
				t.Errorf("came over %s", tx.Source())
			}
			if inv.MaxForwards().Val() != 69 || inv.GetHeader("P-Asserted-Identity") == nil || inv.RecordRoute() == nil {
				t.Errorf("forwarded as\n%s", inv)
			}
			rr := inv.GetHeaders("Record-Route")
			if network == sipnode.UDP && len(rr) != 1 || network == sipnode.TCP && (len(rr) != 2 || !strings.Contains(rr[0].Value(), "transport=tcp")) {
				t.Errorf("Record-Route %v", rr) // RFC 5658: one per side
			}
			if len(inv.GetHeaders("Via")) != 2 {
				t.Errorf("%d Via", len(inv.GetHeaders("Via")))
			}
			answerAndHangUp(t, g, tx, call)
		})
	}
}

// answerAndHangUp answers as the gateway, checks the ACK and sends BYE along the recorded route.
func answerAndHangUp(t *testing.T, g *gateway, tx *sipnode.ServerTx, call *ua.Call) {
	t.Helper()
	inv := tx.Request()
	res := sipnode.NewResponse(inv, 200, "OK")
	res.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<sip:gw@%s>", g.node.Addr())))
	res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	res.SetBody([]byte("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"))
	if err := tx.Respond(res); err != nil {
		t.Fatal(err)
	}
	if err := call.WaitAnswered(within(t)); err != nil {
		t.Fatal(err)
	}
	select {
	case ack := <-g.acks:
		if ack.Recipient.User != "gw" || ack.MaxForwards().Val() != 69 {
			t.Errorf("ACK arrived as\n%s", ack)
		}
	case <-time.After(wait.Limit):
		t.Fatal("no ACK")
	}
	bye := sip.NewRequest(sip.BYE, *inv.Contact().Address.Clone())
	for _, h := range inv.GetHeaders("Record-Route") {
		bye.AppendHeader(&sip.RouteHeader{Address: h.(*sip.RecordRouteHeader).Address})
	}
	sipnode.SetMaxForwards(bye, 70)
	bye.AppendHeader(&sip.FromHeader{Address: res.To().Address, Params: res.To().Params})
	bye.AppendHeader(&sip.ToHeader{Address: inv.From().Address, Params: inv.From().Params})
	bye.AppendHeader(sip.HeaderClone(inv.CallID()))
	bye.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.BYE})
	bye.SetBody(nil)
	if res := g.do(bye, tx.Source().Network); res.StatusCode != 200 {
		t.Errorf("BYE: %d", res.StatusCode)
	}
	wait.Receive(t, call.Done())
}

func TestR5626_ReloadedPageReplacesItsBinding(t *testing.T) {
	core := startCore(t, nil)
	g := newGateway(t, core)
	instance := `;+sip.instance="<urn:uuid:0c67446e-f1a1-11d9-94d3-000a95a0e128>";reg-id=1`
	path := sip.NewHeader("Path", g.path(sipnode.UDP))
	for _, user := range []string{"one", "two"} {
		res := g.register("bob", "builder", "<sip:"+user+"@abc.invalid;transport=ws>"+instance, path, sip.NewHeader("Expires", "600"))
		if res.StatusCode != 200 || res.GetHeader("Require") == nil || res.GetHeader("Require").Value() != "outbound" {
			t.Fatalf("registration: %s", res)
		}
		if v := res.Contact().Value(); !strings.Contains(v, `+sip.instance="<urn:uuid:0c67446e`) || !strings.Contains(v, "reg-id=1") {
			t.Errorf("Contact in the 200: %s", v)
		}
	}
	s := status(t, core).Registrations
	if len(s) != 1 || !strings.Contains(s[0].Contact, "two@") || len(s[0].Path) != 1 {
		t.Errorf("bindings: %+v", s)
	}
}

func TestRFC3261_10_3_OldRegisterIsRefused(t *testing.T) {
	core := startCore(t, nil)
	g := newGateway(t, core)
	if res := g.register("bob", "builder", invalidContact); res.StatusCode != 200 {
		t.Fatal(res.StatusCode)
	}
	g.cseq -= 2
	if res := g.register("bob", "builder", invalidContact); res.StatusCode != 500 {
		t.Errorf("an overtaken REGISTER was answered %d", res.StatusCode)
	}
}

// The word of a P-CSCF counts only from its own address, and only for accounts.
func TestREG07_TrustedNodeAuthentication(t *testing.T) {
	const word = `Digest username="%s", realm="isthmus.example", uri="sip:isthmus.example", nonce="", response="", integrity-protected="auth-done"`
	for _, c := range []struct {
		name, trusted, user string
		want                int
	}{
		{"from the P-CSCF", "127.0.0.1", "alice@isthmus.example", 200},
		{"for nobody we know", "127.0.0.1", "mallory@isthmus.example", 401},
		{"of another domain", "127.0.0.1", "alice@evil.example", 401},
		{"for another user", "127.0.0.1", "bob@isthmus.example", 403},
		{"from elsewhere", "127.0.0.2", "alice@isthmus.example", 401},
		{"nobody is trusted", "", "alice@isthmus.example", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			core := startCore(t, func(cfg *Config) { cfg.Trusted = c.trusted })
			if got := rawRegister(t, core, fmt.Sprintf(word, c.user)); got != c.want {
				t.Errorf("%d, want %d", got, c.want)
			}
		})
	}
}

// rawRegister registers alice once with the Authorization and returns the status.
func rawRegister(t *testing.T, core *Core, authorization string) int {
	t.Helper()
	conn, err := net.Dial("udp", core.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	req := "REGISTER sip:isthmus.example SIP/2.0\r\nVia: SIP/2.0/UDP " + conn.LocalAddr().String() + ";branch=z9hG4bK1;rport\r\nFrom: <sip:alice@isthmus.example>;tag=1\r\n" +
		"To: <sip:alice@isthmus.example>\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\nContact: <sip:alice@" + conn.LocalAddr().String() + ">\r\nExpires: 600\r\n" +
		"Authorization: " + authorization + "\r\nContent-Length: 0\r\n\r\n"
	if _, err := conn.Write([]byte(req)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	var code int
	if _, err := fmt.Sscanf(string(buf[:n]), "SIP/2.0 %d", &code); err != nil {
		t.Fatal(err)
	}
	return code
}
