package app

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a running App with the real packet path and clients of its services.
type gateway struct {
	t      testing.TB
	app    *App
	iq     iqv1.MediaGatewayClient
	admin  *grpc.ClientConn
	stop   context.CancelFunc // first signal
	now    chan struct{}      // second signal
	result chan error
	ports  [2]uint16 // of the core realm, unless args say others
}

// startGateway runs a gateway on free ports beside the controller.
func startGateway(t testing.TB, c *controller, args ...string) *gateway {
	t.Helper()
	cfg := Defaults()
	low, high := freeports.UDPRange(t, 400)
	base := []string{
		"--mgw_id=mgw-test", "--iq.listen=127.0.0.1:0", "--iq.mgc=" + c.address, "--admin.listen=127.0.0.1:0", "--http.listen=127.0.0.1:0",
		"--media.workers=2", "--drain.grace=0s", fmt.Sprintf("--realms.core.0.port_min=%d", low), fmt.Sprintf("--realms.core.0.port_max=%d", high),
	}
	if err := conf.Load(&cfg, conf.Options{Name: "mgw", EnvPrefix: "ISTHMUS_MGW_TEST", Args: append(base, args...), Env: []string{}}); err != nil {
		t.Fatal(err)
	}
	cfg.Realms.Access[0].Port = 0 // any free one
	gw, err := New(cfg, "test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &gateway{t: t, app: gw, stop: cancel, now: make(chan struct{}), result: make(chan error, 1), ports: [2]uint16{low, high}}
	go func() { g.result <- gw.Run(ctx, g.now) }()
	iqAddr, adminAddr, _ := gw.Addresses()
	g.iq, g.admin = iqv1.NewMediaGatewayClient(dial(t, iqAddr)), dial(t, adminAddr)
	wait.Until(t, "registration", func() bool { return gw.ready() == nil })
	t.Cleanup(func() {
		cancel()
		if g.result == nil {
			return
		}
		if err := <-g.result; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return g
}

func dial(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (g *gateway) transact(req *iqv1.TransactionRequest) *iqv1.TransactionReply {
	g.t.Helper()
	rep, err := g.iq.Transact(g.t.Context(), req)
	if err != nil {
		g.t.Fatalf("%s: %v", req.GetTransactionId(), err)
	}
	return rep
}

func (g *gateway) resources() *adminv1.ResourcesResponse {
	g.t.Helper()
	r, err := adminv1.NewGatewayAdminClient(g.admin).Resources(g.t.Context(), &adminv1.ResourcesRequest{})
	if err != nil {
		g.t.Fatal(err)
	}
	return r
}

// A peer's ptime is a wish (RFC 8866 §6.4): a call does not fail because nothing of that length can be made.
func TestRFC8866_6_4_EveryPacketDurationIsTaken(t *testing.T) {
	g := startGateway(t, startController(t))
	for i, ms := range []uint32{0, 1, 10, 20, 30, 40, 50, 60, 80, 200} {
		req := setUp(fmt.Sprintf("ptime-%d", i))
		req.Actions[0].Commands[1].GetAdd().Descriptor_.Streams[0].Remote.PtimeMs = ms
		if rep := g.transact(req); rep.Error != nil || rep.Actions[0].Error != nil {
			t.Errorf("ptime %d: %v %v", ms, rep.Error, rep.Actions[0].Error)
		}
	}
}

func TestIQ01_IQ02_CallOverRealMedia(t *testing.T) {
	g := startGateway(t, startController(t))
	first := g.transact(setUp("t-1"))
	if first.Error != nil || first.Actions[0].Error != nil {
		t.Fatalf("set-up: %v", first)
	}
	access, core := first.Actions[0].Commands[0].Resolved, first.Actions[0].Commands[1].Resolved
	ice, dtls, local := access.Transport.LocalIce, access.Transport.LocalDtls, core.Streams[0].Local
	if len(ice.Ufrag) < 4 || len(ice.Pwd) < 22 || len(ice.Candidates) == 0 || !ice.EndOfCandidates || ice.Candidates[0].Address != "127.0.0.1" {
		t.Errorf("local ICE: %v", ice)
	}
	if dtls.Role != iqv1.DtlsParameters_ROLE_SERVER || len(dtls.Fingerprints) == 0 || len(dtls.Fingerprints[0].Value) != 95 {
		t.Errorf("local DTLS: %v", dtls)
	}
	if local.Address != "127.0.0.1" || uint16(local.Port) < g.ports[0] || uint16(local.Port) > g.ports[1] || local.Port%2 != 0 || local.RtcpPort != local.Port+1 || local.Ssrc == 0 || local.Cname == "" {
		t.Errorf("local core: %v", local)
	}
	again := g.transact(setUp("t-1"))
	again.Replayed = false
	if !proto.Equal(first, again) {
		t.Errorf("replay differs:\n%v\n%v", first, again)
	}
	if r := g.resources(); r.Contexts != 1 || r.Terminations != 2 || r.PortPairs != 1 {
		t.Errorf("resources: %v", r)
	}
	id := first.Actions[0].ContextId
	hold := &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: first.Actions[0].Commands[1].TerminationId}},
		Descriptor_: &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 1, LocalControl: &iqv1.LocalControl{Mode: iqv1.LocalControl_MODE_INACTIVE}}}},
	}}}
	if rep := g.transact(onContext("t-2", id, hold)); rep.Actions[0].Error != nil || rep.Actions[0].Revision != 2 {
		t.Errorf("hold: %v", rep)
	}
	list, err := adminv1.NewGatewayAdminClient(g.admin).ListContexts(t.Context(), &adminv1.ListContextsRequest{})
	if err != nil || len(list.Contexts) != 1 || list.Contexts[0].CorrelationId != "t-1" || list.Contexts[0].Terminations[1].Mode != "inactive" ||
		list.Contexts[0].Terminations[0].Kind != "webrtc-access" || list.Contexts[0].Terminations[1].LocalAddress != fmt.Sprint("127.0.0.1:", local.Port) {
		t.Errorf("contexts: %v %v", list, err)
	}
	rep := g.transact(onContext("t-3", id, subtractAll()))
	if rep.Actions[0].Error != nil || len(rep.Actions[0].Commands[0].Statistics) != 2 {
		t.Errorf("release: %v", rep)
	}
	if r := g.resources(); r.Contexts != 0 || r.Terminations != 0 || r.PortPairs != 0 {
		t.Errorf("resources after release: %v", r)
	}
}

// A codec that only one side has, and that nobody can code, is refused by name before anything is set up; where both have it, it is relayed, and
// the reply, the statistics and the operators are told so.
func TestIQ37_IQ18_EVSOverRealMedia(t *testing.T) {
	g := startGateway(t, startController(t))
	evs := []*iqv1.Codec{{PayloadType: 107, Name: "EVS", ClockRate: 16000, Fmtp: "br=5.9-24.4;bw=nb-swb"}}
	req := setUp("t-1")
	core := req.Actions[0].Commands[1].GetAdd().Descriptor_.Streams[0]
	core.Local.Codecs, core.Remote.Codecs = evs, evs
	rep := g.transact(req)
	if e := rep.Actions[0].GetError(); e.GetCode() != 449 || !strings.Contains(e.GetText(), "EVS/16000") || rep.Actions[0].ContextId != "" {
		t.Errorf("reply: %v", rep)
	}
	if r := g.resources(); r.Contexts != 0 || r.Terminations != 0 || r.PortPairs != 0 {
		t.Errorf("the refused call left something: %v", r)
	}
	req = proto.Clone(req).(*iqv1.TransactionRequest)
	req.TransactionId = "t-2"
	access := req.Actions[0].Commands[0].GetAdd().Descriptor_.Streams[0]
	access.Local.Codecs = []*iqv1.Codec{{PayloadType: 120, Name: "EVS", ClockRate: 16000}}
	access.Remote.Codecs = access.Local.Codecs
	if rep = g.transact(req); rep.Actions[0].GetError() != nil {
		t.Fatal(rep)
	}
	want := &iqv1.MediaPath{Kind: iqv1.MediaPath_KIND_RELAY, From: "EVS/16000", To: "EVS/16000", Reason: "both sides have the codec"}
	if got := rep.Actions[0].Commands[0].Path; !proto.Equal(got, want) {
		t.Errorf("path: %v", got)
	}
	list, err := adminv1.NewGatewayAdminClient(g.admin).ListContexts(t.Context(), &adminv1.ListContextsRequest{})
	if err != nil || list.Contexts[0].Terminations[0].MediaPath != "relay" || list.Contexts[0].Terminations[0].MediaPathReason != want.Reason {
		t.Errorf("operators are told: %v, %v", list, err)
	}
	rep = g.transact(onContext("t-3", rep.Actions[0].ContextId, subtractAll()))
	if got := rep.Actions[0].Commands[0].Statistics[0].Path; !proto.Equal(got, want) {
		t.Errorf("statistics: %v", got)
	}
}

func TestExhaustedPortsRollBackRealMedia(t *testing.T) {
	low, high := freeports.UDPPairs(t, 2)
	g := startGateway(t, startController(t), fmt.Sprintf("--realms.core.0.port_min=%d", low), fmt.Sprintf("--realms.core.0.port_max=%d", high))
	for i := range 2 {
		if rep := g.transact(setUp(fmt.Sprintf("t-%d", i))); rep.Actions[0].Error != nil {
			t.Fatalf("call %d: %v", i, rep)
		}
	}
	rep := g.transact(setUp("t-9"))
	if e := rep.Actions[0].GetError(); e.GetCode() != 510 || !strings.Contains(e.GetText(), "core") || rep.Actions[0].ContextId != "" {
		t.Errorf("third call: %v", rep)
	}
	if r := g.resources(); r.Contexts != 2 || r.Terminations != 4 || r.PortPairs != 2 {
		t.Errorf("the failed call left something: %v", r)
	}
}

func TestNotifyOfRealMedia(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c)
	rep := g.transact(setUp("t-1", iqv1.EventType_EVENT_TYPE_MEDIA_STARTED, iqv1.EventType_EVENT_TYPE_LATCHED))
	peer, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", rep.Actions[0].Commands[1].Resolved.Streams[0].Local.Port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close() }()
	packet := make([]byte, 172)
	packet[0], packet[1] = 0x80, 8
	binary.BigEndian.PutUint32(packet[8:], 0x1234)
	seq := uint16(0)
	wait.Until(t, "two notifies", func() bool {
		seq++
		binary.BigEndian.PutUint16(packet[2:], seq)
		binary.BigEndian.PutUint32(packet[4:], uint32(seq)*160)
		if _, err := peer.Write(packet); err != nil {
			t.Fatal(err)
		}
		return len(c.events()) >= 2
	})
	types := map[iqv1.EventType]map[string]string{}
	for i, n := range c.events()[:2] {
		if n.EventSeq != uint64(i+1) || n.MgwId != "mgw-test" || n.BootId != rep.BootId || n.ContextId != rep.Actions[0].ContextId ||
			n.TerminationId != rep.Actions[0].Commands[1].TerminationId || n.RequestId != 4 || n.CorrelationId != "t-1" {
			t.Errorf("notify %d: %v", i, n)
		}
		types[n.Events[0].Type] = n.Events[0].Params
	}
	if p, ok := types[iqv1.EventType_EVENT_TYPE_LATCHED]; !ok || p["address"] != peer.LocalAddr().String() {
		t.Errorf("latched: %v", types)
	}
	if _, ok := types[iqv1.EventType_EVENT_TYPE_MEDIA_STARTED]; !ok {
		t.Errorf("started: %v", types)
	}
}

func TestTwoHundredCallsLeaveNothing(t *testing.T) {
	g := startGateway(t, startController(t))
	g.transact(onContext("warm-1", g.transact(setUp("warm-0")).Actions[0].ContextId, subtractAll()))
	g.resources()
	before := runtime.NumGoroutine()
	ids := make([]string, 0, 200)
	for i := range 200 {
		rep := g.transact(setUp(fmt.Sprintf("t-%d", i)))
		if rep.Actions[0].Error != nil {
			t.Fatalf("call %d: %v", i, rep)
		}
		ids = append(ids, rep.Actions[0].ContextId)
	}
	if r := g.resources(); r.Contexts != 200 || r.Terminations != 400 || r.PortPairs != 200 {
		t.Errorf("resources with all calls up: %v", r)
	}
	for i, id := range ids {
		if rep := g.transact(onContext(fmt.Sprintf("r-%d", i), id, subtractAll())); rep.Actions[0].Error != nil {
			t.Fatalf("release %d: %v", i, rep)
		}
	}
	if r := g.resources(); r.Contexts != 0 || r.Terminations != 0 || r.PortPairs != 0 {
		t.Errorf("resources after release: %v", r)
	}
	wait.Until(t, "goroutines as before", func() bool { return runtime.NumGoroutine() <= before })
	wait.Until(t, "buffers back", func() bool { return g.resources().BuffersOut <= 0 })
}

func TestControllerRestartKeepsCalls(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c)
	id := g.transact(setUp("t-1")).Actions[0].ContextId
	c.stop()
	wait.Until(t, "loss of the link", func() bool { return !g.app.assoc.Linked() })
	if r := g.resources(); r.Contexts != 1 {
		t.Errorf("headless: %v", r)
	}
	c.start(t)
	wait.Until(t, "the link again", g.app.assoc.Linked)
	if got := c.methods(); !strings.HasSuffix(got, "DISCONNECTED") {
		t.Errorf("service changes: %s", got)
	}
	if rep := g.transact(onContext("t-2", id, subtractAll())); rep.Actions[0].Error != nil {
		t.Errorf("the call of before: %v", rep)
	}
}

func TestDrainWaitsForCallsAndSecondSignalCuts(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c, "--drain.grace=1h")
	one, two := g.transact(setUp("t-1")), g.transact(setUp("t-2"))
	g.stop()
	wait.Until(t, "the pool knows of the drain", func() bool { return strings.HasSuffix(c.methods(), "GRACEFUL") })
	if rep := g.transact(setUp("t-3")); rep.Actions[0].GetError().GetCode() != 521 {
		t.Errorf("new call while draining: %v", rep)
	}
	if rep := g.transact(onContext("t-4", one.Actions[0].ContextId, subtractAll())); rep.Actions[0].Error != nil {
		t.Errorf("release while draining: %v", rep)
	}
	select {
	case err := <-g.result:
		t.Fatalf("stopped although %s is up: %v", two.Actions[0].ContextId, err)
	default:
	}
	close(g.now)
	if err := <-g.result; err != nil {
		t.Errorf("run: %v", err)
	}
	g.result = nil
	if got := c.methods(); got != "RESTART GRACEFUL FORCED" {
		t.Errorf("service changes: %s", got)
	}
}

func TestDrainEndsWithTheLastCall(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c, "--drain.grace=1h")
	id := g.transact(setUp("t-1")).Actions[0].ContextId
	g.stop()
	wait.Until(t, "the pool knows of the drain", func() bool { return strings.HasSuffix(c.methods(), "GRACEFUL") })
	if rep, err := g.iq.Transact(t.Context(), onContext("t-2", id, subtractAll())); err != nil || rep.Actions[0].Error != nil {
		t.Errorf("release while draining: %v %v", rep, err)
	}
	if err := <-g.result; err != nil {
		t.Errorf("run: %v", err)
	}
	g.result = nil
}

func TestHealthReflectionAndMetrics(t *testing.T) {
	g := startGateway(t, startController(t))
	hc, err := grpc_health_v1.NewHealthClient(g.admin).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || hc.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", hc, err)
	}
	stream, err := grpc_reflection_v1.NewServerReflectionClient(g.admin).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	if rep, err := stream.Recv(); err != nil || !strings.Contains(rep.String(), "isthmus.admin.v1.GatewayAdmin") {
		t.Errorf("reflection: %v %v", rep, err)
	}
	g.transact(setUp("t-1"))
	_, _, web := g.app.Addresses()
	page := get(t, "http://"+web+"/metrics", http.StatusOK)
	for _, line := range []string{"isthmus_mgw_contexts 1", "isthmus_mgw_registered 1", `isthmus_mgw_transaction_duration_seconds_count{outcome="ok"} 1`, `isthmus_mgw_worker_share{worker="1"} 0`} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("metrics lack %q", line)
		}
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "isthmus_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	get(t, "http://"+web+"/healthz", http.StatusOK)
	get(t, "http://"+web+"/readyz", http.StatusOK)
	g.app.drain.Graceful(0)
	get(t, "http://"+web+"/readyz", http.StatusServiceUnavailable)
	if hc, err := grpc_health_v1.NewHealthClient(g.admin).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || hc.Status != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health while draining: %v %v", hc, err)
	}
}

func get(t *testing.T, url string, want int) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Errorf("%s: %d, want %d, %v", url, resp.StatusCode, want, err)
	}
	return string(body)
}

func TestAddressInUseLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, flag := range []string{"--iq.listen=", "--admin.listen=", "--http.listen="} {
		cfg := Defaults()
		args := []string{"--iq.listen=127.0.0.1:0", "--admin.listen=127.0.0.1:0", "--http.listen=127.0.0.1:0", flag + taken.Addr().String()}
		if err := conf.Load(&cfg, conf.Options{Name: "mgw", EnvPrefix: "ISTHMUS_MGW_TEST", Args: args, Env: []string{}}); err != nil {
			t.Fatal(err)
		}
		cfg.Realms.Access[0].Port = 0
		if _, err := New(cfg, "test", zap.NewNop()); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

func TestConfigIsRefusedWithReason(t *testing.T) {
	for args, want := range map[string]string{
		"--mgw_id=a/b":                          "mgw_id",
		"--iq.listen=:7420":                     "iq.advertise",
		"--iq.listen=nonsense":                  "iq.listen",
		"--iq.mgc=nonsense":                     "iq.mgc.0",
		"--iq.cert=x":                           "iq.cert",
		"--realms.access.0.listen=0.0.0.0":      "realms.access.0.advertise",
		"--realms.access.0.name=core":           "realms.core.0.name",
		"--realms.access.0.second=127.0.0.2":    "realms.access.0.second",
		"--realms.access.0.second=::":           "realms.access.0.second_advertise",
		"--realms.core.0.port_min=29999":        "realms.core.0.port_max",
		"--realms.core.0.port_min=7":            "1024..65534",
		"--admin.listen=7":                      "admin.listen",
		"--media.workers=1000":                  "0..256",
		"--media.fill=91":                       "0..90",
		"--contexts.orphan_ttl=1s":              "10s..24h",
		"--realms.core.1.name=b --no.such=1":    "no.such",
		"--realms.core.0.listen=host.example.x": "realms.core.0.listen",
	} {
		cfg := Defaults()
		err := conf.Load(&cfg, conf.Options{Name: "mgw", EnvPrefix: "ISTHMUS_MGW_TEST", Args: strings.Fields(args), Env: []string{}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want it to name %q", args, err, want)
		}
	}
}

func TestStopWithManyCallsIsQuick(t *testing.T) {
	c := startController(t)
	g := startGateway(t, c)
	for i := range 300 {
		if rep := g.transact(setUp(fmt.Sprintf("t-%d", i))); rep.Actions[0].Error != nil {
			t.Fatalf("call %d: %v", i, rep)
		}
	}
	start := time.Now()
	g.stop()
	if err := <-g.result; err != nil {
		t.Errorf("run: %v", err)
	}
	g.result = nil
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("stopped after %v", d)
	} else {
		t.Logf("stopped 300 calls in %v", d)
	}
	if got := c.methods(); got != "RESTART FORCED" {
		t.Errorf("service changes: %s", got)
	}
}

// Bit rates of the configuration are those of the packet path.
func TestBitratesReachThePacketPath(t *testing.T) {
	for args, want := range map[string]flow.Bitrates{
		"": {OpusNarrow: 24000, OpusWide: 32000, AMRWB: 23850},
		"--media.opus_wide_bitrate=40000 --media.opus_narrow_bitrate=20000 --media.amr_wb_bitrate=12650": {OpusNarrow: 20000, OpusWide: 40000, AMRWB: 12650},
	} {
		cfg := Defaults()
		if err := conf.Load(&cfg, conf.Options{Name: "mgw", EnvPrefix: "ISTHMUS_MGW_TEST", Args: strings.Fields(args), Env: []string{}}); err != nil {
			t.Fatal(err)
		}
		if got := (&App{cfg: cfg, log: zap.NewNop()}).flowConfig().Bitrates; got != want {
			t.Errorf("%q: %+v, want %+v", args, got, want)
		}
	}
}
