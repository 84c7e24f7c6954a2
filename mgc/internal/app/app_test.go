package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/zap"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// TestConfigIsRefusedWithReason: a bad file is refused with file, line, setting and what is allowed, all faults at once.
func TestConfigIsRefusedWithReason(t *testing.T) {
	load := func(t *testing.T, yaml string) error {
		name := filepath.Join(t.TempDir(), "mgc.yaml")
		if err := os.WriteFile(name, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		var cfg Config
		return conf.Load(&cfg, conf.Options{Name: "mgc", EnvPrefix: "ISTHMUS_MGC_TEST", Args: []string{"--config", name}, Env: []string{}})
	}
	for yaml, want := range map[string][]string{
		"instance: a\ncall:\n  no_answer: 1s\n":         {"mgc.yaml:3: call.no_answer", "allowed: 10s..10m"},
		"call:\n  set_up: 1h\n":                         {"mgc.yaml:2: call.set_up", "allowed: 2s..2m"},
		"call:\n  max: -1\n":                            {"mgc.yaml:2: call.max", "allowed: 0..1000000"},
		"media:\n  dscp: 64\n":                          {"mgc.yaml:2: media.dscp", "allowed: 0..63"},
		"media:\n  policing:\n    percent: 50\n":        {"media.policing.percent: 50; 0, or 100 to 1000"},
		"core:\n  latch: maybe\n":                       {"mgc.yaml:2: core.latch", "allowed: off|on"},
		"call:\n  inactive_after: 0s\n":                 {"mgc.yaml:2: call.inactive_after", "allowed: 1s..1h"},
		"media:\n  prefer: g729\n":                      {"mgc.yaml:2: media.prefer", "allowed: auto|relay|core|opus"},
		"media:\n  core_codecs: [PCMA, G999]\n":         {"media.core_codecs: \"G999\" is not one of AMR, AMR-WB, EVS, G722, G726-32, G729, GSM, PCMA, PCMU, iLBC, speex"},
		"media:\n  quality_limit: 0.5\n":                {"media.quality_limit: 0.5; allowed: 0, or 1..4.5"},
		"media:\n  quality_limit: 5\n":                  {"mgc.yaml:2: media.quality_limit", "allowed: 0..4.5"},
		"media:\n  core_codecs: [AMR, amr]\n":           {"media.core_codecs: \"amr\" twice"},
		"media:\n  access_codecs: [AMR]\n":              {"media.access_codecs: \"AMR\" is not one of"},
		"store:\n  replicas: 9\n":                       {"mgc.yaml:2: store.replicas", "allowed: 1..5"},
		"access:\n  listen: here\n":                     {"mgc.yaml:2: access.listen"},
		"access:\n  max_per_ip: 0\n":                    {"mgc.yaml:2: access.max_per_ip", "allowed: 1..100000"},
		"core:\n  trusted:\n    - 10.0.0.0/99\n":        {"mgc.yaml:3: core.trusted"},
		"\n\nacces:\n  path: /sip\n":                    {"mgc.yaml:3: unknown setting \"acces\"", "did you mean \"access\"?"},
		"call:\n  max: -1\nmedia:\n  prefer: x\n":       {"mgc.yaml:2: call.max", "mgc.yaml:4: media.prefer"},
		"access:\n  tls:\n    listen: 127.0.0.1:8443\n": {"access.tls: listen needs cert and key"},
		"core:\n  listen: 0.0.0.0:5070\n":               {"core.advertise"},
		"core:\n  listeners:\n    - transport: tls\n":   {"core.listeners.0.listen", "core.tls: listen needs cert and key", "core.tls.ca: needed"},
		"core:\n  tls:\n    listen: '[::]:5071'\n":      {"core.tls.advertise", "core.tls: listen needs cert and key"},
		"core:\n  tls:\n    trust: all\n":               {"mgc.yaml:3: core.tls.trust", "allowed: address|certificate"},
		"core:\n  blacklist:\n    for: 0s\n":            {"mgc.yaml:3: core.blacklist.for", "allowed: 1s..1h"},
		"core:\n  keepalive:\n    crlf: maybe\n":        {"mgc.yaml:3: core.keepalive.crlf", "allowed: auto|on|off"},
		"access:\n  path: sip\n":                        {"access.path: must begin with /"},
		"log:\n  level: loud\n":                         {"mgc.yaml:2: log.level", "allowed: "},
		"iq: 7\n":                                       {"mgc.yaml:1: iq"},
	} {
		err := load(t, yaml)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v; want it to say %q", yaml, err, w)
			}
		}
	}
	if err := load(t, "instance: a\n"); err != nil {
		t.Errorf("a good file: %v", err)
	}
}

// TestAddressInUseLeavesNothing: what was made before the failure is released.
func TestAddressInUseLeavesNothing(t *testing.T) {
	s := newSite(t)
	for port, setting := range map[int]string{8080: "listen", 5070: "core", 7400: "iq.listen", 7401: "admin.listen", 7402: "listen"} {
		lis, err := net.Listen("tcp", s.addr(10, port))
		if err != nil {
			t.Fatal(err)
		}
		var cfg Config
		if err := conf.Load(&cfg, conf.Options{Name: "mgc", EnvPrefix: "ISTHMUS_MGC_TEST", Env: []string{}, Args: []string{
			"--access.listen=" + s.addr(10, 8080), "--core.listen=" + s.addr(10, 5070), "--iq.listen=" + s.addr(10, 7400),
			"--admin.listen=" + s.addr(10, 7401), "--admin.http=" + s.addr(10, 7402)}}); err != nil {
			t.Fatal(err)
		}
		if a, err := New(cfg, "test", zap.NewNop()); err == nil || !strings.Contains(err.Error(), setting) || a != nil {
			t.Errorf("port %d taken: %v, want it to name %s", port, err, setting)
		}
		if err := lis.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// placeCall lets alice call carol and returns the 200 and the core's view of the INVITE.
func placeCall(c *controller, b *browser, k *core) (answer, invite headers.Msg) {
	m := headers.Msg{Method: "INVITE", RequestURI: "sip:carol@isthmus.example", Body: fmt.Appendf(nil, browserSDP, "actpass")}
	m.Add("Contact", "<sip:alice@df7.invalid;transport=ws>")
	m.Add("Content-Type", "application/sdp")
	b.send(m)
	invite = k.expect("INVITE", 0)
	k.answer(c, &invite, 200, coreSDP)
	k.expect("ACK", 0)
	answer = b.expect("INVITE", 200)
	ack := headers.Msg{Method: "ACK", RequestURI: contact(b.t, &answer)}
	ack.Add("To", answer.Get("To"))
	ack.Add("CSeq", strings.Replace(answer.Get("CSeq"), "INVITE", "ACK", 1))
	b.send(ack)
	return answer, invite
}

// hangUp ends alice's call.
func hangUp(c *controller, b *browser, k *core, answer *headers.Msg) {
	bye := headers.Msg{Method: "BYE", RequestURI: contact(b.t, answer)}
	bye.Add("To", answer.Get("To"))
	b.send(bye)
	b.expect("BYE", 200)
	req := k.expect("BYE", 0)
	k.answer(c, &req, 200, "")
}

func contact(t *testing.T, m *headers.Msg) string {
	t.Helper()
	a, err := headers.ParseAddress(m.Get("Contact"))
	if err != nil {
		t.Fatal(err)
	}
	return a.URI
}

// TestOperatorsSeeWhatIsThere: nodes, calls, registrations and resources over gRPC with reflection; metrics and health over HTTP.
func TestOperatorsSeeWhatIsThere(t *testing.T) {
	s := newSite(t)
	k := s.core()
	c := s.controller(10)
	get(t, "http://"+s.addr(10, 7402)+"/readyz", http.StatusServiceUnavailable) // no media gateway
	s.gateway(c)
	wait.Until(t, "ready", func() bool { return c.ready() == nil })
	get(t, "http://"+s.addr(10, 7402)+"/readyz", http.StatusOK)
	get(t, "http://"+s.addr(10, 7402)+"/healthz", http.StatusOK)

	conn := c.dial(7401)
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range []*grpc_reflection_v1.ServerReflectionRequest{
		{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}},
		{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "isthmus.admin.v1.ControllerAdmin"}},
	} {
		if err := stream.Send(ask); err != nil {
			t.Fatal(err)
		}
		if rep, err := stream.Recv(); err != nil || rep.GetErrorResponse() != nil || !strings.Contains(rep.String(), "ControllerAdmin") {
			t.Errorf("reflection: %v, %v", rep, err)
		}
	}
	if h, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", h, err)
	}

	b := c.browser("alice")
	b.register(600)
	answer, _ := placeCall(c, b, k)
	admin := adminv1.NewControllerAdminClient(conn)
	checkLists(t, admin, s)
	page := get(t, "http://"+s.addr(10, 7402)+"/metrics", http.StatusOK)
	for _, line := range []string{"isthmus_mgc_calls_active 1", "isthmus_mgc_bindings 1", `isthmus_mgc_calls_started_total{direction="originating"} 1`,
		`isthmus_mgc_media_gateways{state="in_service"} 1`, `isthmus_mgc_media_gateways{state="draining"} 0`, "isthmus_mgc_media_gateways_lost_total 0"} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("metrics lack %q", line)
		}
	}
	lint(t, page)

	hangUp(c, b, k, &answer)
	b.register(0)
	wait.Until(t, "all is gone", func() bool {
		r, err := admin.ControllerResources(t.Context(), &adminv1.ControllerResourcesRequest{})
		return err == nil && r.Calls == 0 && r.Registrations == 0 && r.StoreKeys["call"] == 0 && r.StoreKeys["reg"] == 0
	})
}

func checkLists(t *testing.T, admin adminv1.ControllerAdminClient, s *site) {
	t.Helper()
	nodes, err := admin.ListNodes(t.Context(), &adminv1.ListNodesRequest{})
	if err != nil || len(nodes.Nodes) != 1 || nodes.Nodes[0].MgwId != "mgw-1" || nodes.Nodes[0].State != "in_service" || nodes.Nodes[0].Address != s.addr(2, 7420) || len(nodes.Nodes[0].Realms) != 2 {
		t.Errorf("nodes: %v, %v", nodes, err)
	}
	calls, err := admin.ListCalls(t.Context(), &adminv1.ListCallsRequest{})
	if err != nil || len(calls.Calls) != 1 {
		t.Fatalf("calls: %v, %v", calls, err)
	}
	if x := calls.Calls[0]; x.State != "confirmed" || x.Direction != "originating" || x.From != "sip:alice@isthmus.example" || x.To != "sip:carol@isthmus.example" ||
		x.MgwId != "mgw-1" || x.ContextId != "cx1" || x.Owner != "mgc-10" || x.CoreCodec != "PCMA/8000" || x.AccessCodec == "" || x.MediaPath == "" || x.MediaPathReason == "" || x.Started == nil || len(x.CallId) != 24 {
		t.Errorf("call: %v", x)
	}
	regs, err := admin.ListRegistrations(t.Context(), &adminv1.ListRegistrationsRequest{})
	if err != nil || len(regs.Registrations) != 1 {
		t.Fatalf("registrations: %v, %v", regs, err)
	}
	if x := regs.Registrations[0]; x.Aor != "sip:alice@isthmus.example" || !x.Connected || x.Owner != "mgc-10" || x.InstanceId != "<urn:uuid:1>" || x.Contact != "sip:alice@df7.invalid;transport=ws" {
		t.Errorf("registration: %v", x)
	}
	var res *adminv1.ControllerResourcesResponse
	wait.Until(t, "the call's record, which comes late", func() bool {
		res, err = admin.ControllerResources(t.Context(), &adminv1.ControllerResourcesRequest{})
		return err != nil || res.StoreKeys["call"] == 1
	})
	if err != nil || res.Calls != 1 || res.Registrations != 1 || res.StoreKeys["call"] != 1 || res.StoreKeys["reg"] != 1 || res.StoreKeys["mgw"] != 1 || res.StoreKeys["inst"] != 1 || res.Goroutines == 0 {
		t.Errorf("resources: %v, %v", res, err)
	}
}

func get(t *testing.T, url string, want int) string {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: patience}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Errorf("%s: %d %s, %v; want %d", url, resp.StatusCode, body, err, want)
	}
	return string(body)
}

// lint checks our metric names and help texts.
func lint(t *testing.T, page string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "isthmus_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestStopReleasesCalls: an ordered stop ends the calls towards both sides with the reason, takes no new ones, and leaves nothing in the store.
func TestStopReleasesCalls(t *testing.T) {
	s := newSite(t)
	k := s.core()
	c := s.controller(10)
	s.gateway(c)
	wait.Until(t, "ready", func() bool { return c.ready() == nil })
	b := c.browser("alice")
	b.register(600)
	placeCall(c, b, k)
	stopped := make(chan error, 1)
	go func() { stopped <- c.stop() }()
	toBrowser, toCore := b.expect("BYE", 0), k.expect("BYE", 0)
	for _, m := range []headers.Msg{toBrowser, toCore} {
		if !strings.Contains(m.Get("Reason"), "Controller is stopping") {
			t.Errorf("BYE with Reason %q", m.Get("Reason"))
		}
	}
	m := headers.Msg{Method: "INVITE", RequestURI: "sip:carol@isthmus.example", Body: fmt.Appendf(nil, browserSDP, "actpass")}
	m.Add("Call-ID", "another")
	m.Add("Contact", "<sip:alice@df7.invalid;transport=ws>")
	m.Add("Content-Type", "application/sdp")
	b.send(m)
	if m := b.expect("INVITE", 503); m.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	b.write(reply(&toBrowser, 200, "", "<sip:alice@df7.invalid;transport=ws>"))
	k.answer(c, &toCore, 200, "")
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// startStore runs a NATS server for a pool and returns its URL.
func startStore(t *testing.T) string {
	t.Helper()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv.ClientURL()
}

// TestTwoInstancesShareThePool: the browser is at one instance, the core comes to the other; calls and registrations are the pool's.
func TestTwoInstancesShareThePool(t *testing.T) {
	s := newSite(t)
	url := startStore(t)
	k := s.core()
	one, two := s.controller(10, "--store.url="+url), s.controller(11, "--store.url="+url)
	s.gateway(two) // any instance will do
	b := one.browser("alice")
	b.register(600)
	path := <-k.path
	wait.Until(t, "both know node and browser", func() bool { return one.ready() == nil && len(two.registrar.All()) == 1 })

	// The core calls alice by way of the other instance.
	invite := headers.Msg{Method: "INVITE", RequestURI: "sip:alice@df7.invalid;transport=ws", Body: []byte(coreSDP)}
	for _, f := range [][2]string{{"Route", path}, {"Max-Forwards", "70"}, {"From", "<sip:carol@isthmus.example>;tag=k1"}, {"To", "<sip:alice@isthmus.example>"},
		{"Call-ID", "k-1"}, {"CSeq", "1 INVITE"}, {"Contact", "<sip:carol@" + s.addr(1, 5060) + ">"}, {"Content-Type", "application/sdp"}} {
		invite.Add(f[0], f[1])
	}
	k.send(two, "i1", invite)
	ring := b.expect("INVITE", 0)
	b.write(reply(&ring, 180, "", "<sip:alice@df7.invalid;transport=ws>"))
	k.expect("INVITE", 180)
	b.write(reply(&ring, 200, fmt.Sprintf(browserSDP, "active"), "<sip:alice@df7.invalid;transport=ws>"))
	answer := k.expect("INVITE", 200)
	b.expect("ACK", 0)
	target := contact(t, &answer)
	if !strings.Contains(target, s.addr(10, 5070)) {
		t.Errorf("Contact %s is not the owner's", target)
	}
	inDialog := func(method string, seq int) headers.Msg {
		m := headers.Msg{Method: method, RequestURI: target}
		for _, f := range [][2]string{{"Max-Forwards", "70"}, {"From", "<sip:carol@isthmus.example>;tag=k1"}, {"To", answer.Get("To")}, {"Call-ID", "k-1"}, {"CSeq", fmt.Sprintf("%d %s", seq, method)}} {
			m.Add(f[0], f[1])
		}
		return m
	}
	k.send(two, "a1", inDialog("ACK", 1)) // strays, too
	k.send(two, "o1", inDialog("INFO", 2))
	info := b.expect("INFO", 0)
	b.write(reply(&info, 200, "", "<sip:alice@df7.invalid;transport=ws>"))
	k.expect("INFO", 200)

	if n, m := len(one.calls.Keys()), len(two.calls.Keys()); n != 1 || m != 0 {
		t.Errorf("calls: %d at the owner, %d at the other", n, m)
	}
	k.send(two, "b1", inDialog("BYE", 3))
	k.expect("BYE", 200)
	bye := b.expect("BYE", 0)
	b.write(reply(&bye, 200, "", "<sip:alice@df7.invalid;transport=ws>"))
	wait.Until(t, "the call is gone", func() bool { n, err := one.engine.Count(t.Context()); return err == nil && n["call"] == 0 })

	// Alice comes back over the other instance, and is called there; the first one stops.
	again := two.browser("alice2")
	again.register(600)
	wait.Until(t, "the binding has moved", func() bool {
		all := one.registrar.All()
		return len(all) == 1 && all[0].Owner == "mgc-11"
	})
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	answer, _ = placeCall(two, again, k)
	if n := len(two.calls.Keys()); n != 1 {
		t.Errorf("%d calls", n)
	}
	hangUp(two, again, k, &answer)
}
