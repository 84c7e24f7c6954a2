package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
)

var update = flag.Bool("update", false, "rewrite the goldens")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testInstance = "4947a69a-f61b-4bc1-b9da-47c9c5d14b64"

// testConfig is what an operator writes, with the defaults of the tags.
func testConfig(t testing.TB, lines ...string) Config {
	t.Helper()
	args := append([]string{"--agent=n5", "--pcf=http://127.0.0.1:7777"}, lines...)
	var c Config
	if err := conf.Load(&c, conf.Options{Name: "t", EnvPrefix: "T", Args: args, Env: []string{}}); err != nil {
		t.Fatal(err)
	}
	return c
}

func testSealer(t testing.TB) *flowtoken.Sealer {
	t.Helper()
	s, err := flowtoken.New([]flowtoken.Key{{ID: 1, Secret: [32]byte{7}}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newAgent makes an agent towards pcf over ln; the test ends it with all that it started.
func newAgent(t testing.TB, cfg Config, ln *pipes, pcf *fakePCF) *N5 {
	t.Helper()
	serveH2C(t, ln, pcf)
	a, err := New(cfg, Deps{Sealer: testSealer(t), Metrics: NewMetrics(prometheus.NewRegistry()), Log: zaptest.NewLogger(t), Dial: ln.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = a.Close(ctx) // tests that care close themselves
	})
	return a
}

func ptr[T any](v T) *T { return &v }

// offer are the facts of a browser's audio and video offer before anything is known of its media path.
func offer() Facts {
	return Facts{
		Call: "call-1", Status: Preliminary, UE: netip.MustParseAddr("10.45.0.2"), ChargingID: "icid-1", SUPI: "imsi-001010000000001", GPSI: "msisdn-491701234567",
		Media: []Media{
			{Number: 1, Type: "audio", BandwidthUp: 80000, BandwidthDown: 80000, RTCPSenders: ptr(uint64(800)), RTCPReceivers: ptr(uint64(0)),
				Codecs: []Codec{{Uplink: true, Kind: "offer", SDP: []string{"m=audio 9 UDP/TLS/RTP/SAVPF 111 8", "a=rtpmap:111 opus/48000/2", "a=fmtp:111 useinbandfec=1",
					"a=rtpmap:8 PCMA/8000", "a=ice-pwd:verysecretpassword", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:key", "a=fingerprint:sha-256 AA", "a=sendrecv"}}},
				Flows: []Flow{{Local: netip.MustParseAddrPort("192.0.2.10:40000")}}},
			{Number: 2, Type: "video", Direction: RecvOnly, BandwidthDown: 1500000,
				Flows: []Flow{{Local: netip.MustParseAddrPort("192.0.2.10:40002")}, {RTCP: true, Local: netip.MustParseAddrPort("192.0.2.10:40003")}}},
		},
	}
}

// answered are the facts after the answer, which refuses video, with the pair that ICE selected.
func answered() Facts {
	f := offer()
	f.Status = Final
	f.Media[0].BandwidthUp, f.Media[0].BandwidthDown = 64000, 64000
	f.Media[0].Codecs = append(f.Media[0].Codecs, Codec{Kind: "answer", SDP: []string{"m=audio 40000 UDP/TLS/RTP/SAVPF 8", "a=rtpmap:8 PCMA/8000"}})
	f.Media[0].Flows[0].Remote = Candidate{Type: "srflx", Addr: netip.MustParseAddrPort("10.45.0.2:51000")}
	f.Media[1] = Media{Number: 2, Type: "video", Removed: true}
	return f
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs:\n%s", name, b.String())
	}
}

const testNotif = "https://pcscf.example:7403/n5/v1/token"

func TestPCC02_GoldenBodies(t *testing.T) {
	cfg := testConfig(t, "--network.slice=1-0000FF", "--network.provider=isthmus", "--network.location=true", "--network.ip_domain=access-1")
	f := offer()
	emergency := offer()
	emergency.ServiceURN, emergency.Priority, emergency.UE, emergency.SUPI = "urn:service:sos.police", 15, netip.MustParseAddr("2001:db8::2"), ""
	emergency.Media = emergency.Media[:1]
	urgent := answered()
	urgent.Priority, urgent.MPS = 12, true
	for name, f := range map[string]*Facts{"create.json": &f, "create_emergency.json": &emergency, "create_priority.json": &urgent} {
		body, _, _, err := cfg.creation(f, testNotif)
		if err != nil {
			t.Fatal(err)
		}
		if err := appSessionS.conforms(body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		golden(t, name, body)
	}
	s := Session{Call: "call-1", URI: "x", Features: suppFeat, Sent: []int{1, 2}, RTCP: []int{2}}
	held, muxed := answered(), offer()
	held.Media[0].Direction = SendOnly
	muxed.Media[1].Flows = muxed.Media[1].Flows[:1]
	forked := offer()
	forked.Forks = [][]Media{{{Number: 1, Type: "audio", BandwidthUp: 128000, BandwidthDown: 64000}}}
	for name, f := range map[string]Facts{"answer.json": answered(), "hold.json": held, "muxed.json": muxed, "fork.json": forked, "answer_priority.json": urgent} {
		body, next, err := cfg.patch(s, &f)
		if err != nil {
			t.Fatal(err)
		}
		if err := patchS.conforms(body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		golden(t, name, body)
		if name == "answer.json" && (!reflect.DeepEqual(next.Sent, []int{1}) || next.RTCP != nil) {
			t.Errorf("after the answer: %+v", next)
		}
	}
}

func TestPCC02_NoKeyLeavesInCodecs(t *testing.T) {
	f := answered()
	body, _, _, err := ptr(testConfig(t)).creation(&f, testNotif)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"verysecretpassword", "inline:", "fingerprint"} {
		if strings.Contains(string(body), secret) {
			t.Errorf("%q goes to the PCF", secret)
		}
	}
	if c := (Codec{SDP: []string{"m=audio 9 RTP/AVP 8", "a=rtpmap:8 PCMA/8000\r\na=crypto:1 x"}}).text(); strings.Contains(c, "crypto") {
		t.Errorf("a line that hides another: %q", c)
	}
}

func TestPCC03_AddressOfTheSignalling(t *testing.T) {
	f := offer()
	f.UE = netip.MustParseAddr("::ffff:198.51.100.7")
	f.Media[0].Flows[0].Remote = Candidate{Type: "host", Addr: netip.MustParseAddrPort("192.168.1.5:50000")}
	body, _, _, err := ptr(testConfig(t)).creation(&f, testNotif)
	if err != nil || !strings.Contains(string(body), `"ueIpv4":"198.51.100.7"`) {
		t.Errorf("%v: %s", err, body)
	}
	f.UE = netip.Addr{}
	if err := f.check(); !errors.Is(err, ErrFacts) {
		t.Errorf("without an address: %v", err)
	}
}

func TestPCC04_FlowDescriptions(t *testing.T) {
	ue := netip.MustParseAddr("10.45.0.2")
	ap := netip.MustParseAddrPort
	local := ap("192.0.2.10:40000")
	for name, c := range map[string]struct {
		remote  Candidate
		out, in string
	}{
		"before ICE":               {Candidate{}, "permit out 17 from 192.0.2.10 40000 to 10.45.0.2", "permit in 17 from 10.45.0.2 to 192.0.2.10 40000"},
		"host":                     {Candidate{Type: "host", Addr: ap("10.45.0.2:5000")}, "permit out 17 from 192.0.2.10 40000 to 10.45.0.2 5000", "permit in 17 from 10.45.0.2 5000 to 192.0.2.10 40000"},
		"relay":                    {Candidate{Type: "relay", Addr: ap("203.0.113.5:60000")}, "permit out ip from 203.0.113.5 to 10.45.0.2", "permit in ip from 10.45.0.2 to 203.0.113.5"},
		"relay known":              {Candidate{Type: "relay", Addr: ap("203.0.113.5:60000"), Related: ap("10.45.0.2:4444"), Server: ap("203.0.113.4:3478"), Transport: "udp"}, "permit out 17 from 203.0.113.4 3478 to 10.45.0.2 4444", "permit in 17 from 10.45.0.2 4444 to 203.0.113.4 3478"},
		"relay hides":              {Candidate{Type: "relay", Addr: ap("203.0.113.5:60000"), Related: ap("0.0.0.0:9"), Server: ap("203.0.113.4:443"), Transport: "tcp"}, "permit out 6 from 203.0.113.4 443 to 10.45.0.2", "permit in 6 from 10.45.0.2 to 203.0.113.4 443"},
		"relay, port hidden":       {Candidate{Type: "relay", Addr: ap("203.0.113.5:60000"), Related: ap("198.51.100.1:9"), Server: ap("203.0.113.4:443"), Transport: "tcp"}, "permit out 6 from 203.0.113.4 443 to 10.45.0.2", "permit in 6 from 10.45.0.2 to 203.0.113.4 443"},
		"relay, transport unknown": {Candidate{Type: "relay", Addr: ap("203.0.113.5:60000"), Related: ap("10.45.0.2:4444"), Server: ap("203.0.113.4:3478")}, "permit out ip from 203.0.113.4 to 10.45.0.2", "permit in ip from 10.45.0.2 to 203.0.113.4"},
	} {
		got := Flow{Local: local, Remote: c.remote}.descriptions(ue)
		if !reflect.DeepEqual(got, []string{c.out, c.in}) {
			t.Errorf("%s: %q", name, got)
		}
		for _, g := range got {
			if err := filterS.check(name, g); err != nil {
				t.Error(err)
			}
		}
	}
	v6 := Flow{Local: ap("[2001:db8::1]:40000"), Remote: Candidate{Type: "host", Addr: ap("[fe80::2%eth0]:5000")}}.descriptions(netip.MustParseAddr("2001:db8::2"))
	if v6[0] != "permit out 17 from 2001:db8::1 40000 to fe80::2 5000" {
		t.Errorf("IPv6: %q", v6)
	}
}

func TestPCC07_WidestOfAllEarlyDialogs(t *testing.T) {
	f := offer()
	f.Media[0].Direction = Inactive
	f.Media[0].Flows = append(make([]Flow, 0, 4), f.Media[0].Flows...)
	f.Media[1].Removed = true
	rr := uint64(2000)
	f.Forks = [][]Media{
		{{Number: 1, Direction: RecvOnly, BandwidthUp: 100000, BandwidthDown: 50000, RTCPSenders: ptr(uint64(900)), RTCPReceivers: &rr}},
		{{Number: 1, Direction: SendOnly, BandwidthUp: 90000, BandwidthDown: 120000, RTCPSenders: ptr(uint64(1)), RTCPReceivers: &rr, Flows: []Flow{{RTCP: true}}},
			{Number: 2, Type: "video", BandwidthUp: 5}, {Number: 3, Type: "text"}},
	}
	m, forked := f.requested()
	if !forked || len(m) != 3 {
		t.Fatalf("%t %+v", forked, m)
	}
	if a := m[0]; a.Direction != SendRecv || a.BandwidthUp != 100000 || a.BandwidthDown != 120000 || *a.RTCPSenders != 900 || *a.RTCPReceivers != 2000 || len(a.Flows) != 2 {
		t.Errorf("audio: %+v", a)
	}
	if m[1].Removed || m[1].BandwidthUp != 5 || m[2].Number != 3 {
		t.Errorf("others: %+v", m[1:])
	}
	if len(f.Media[0].Flows) != 1 || f.Media[0].Flows[:2][1].RTCP {
		t.Error("the caller's facts changed")
	}
	f.Status = Final
	if m, forked := f.requested(); forked || len(m) != 2 || m[0].Direction != Inactive {
		t.Errorf("final: %t %+v", forked, m)
	}
}

func TestPCC01_NullGrantsEverything(t *testing.T) {
	var a Agent = Null{}
	s, err := a.Create(context.Background(), Facts{})
	if err != nil || s.Open() || a.Events() != nil {
		t.Errorf("%+v %v", s, err)
	}
	if s, err := a.Update(context.Background(), s, Facts{}); err != nil || s.Open() {
		t.Errorf("%+v %v", s, err)
	}
	a.Delete(s)
}

func TestBitRates(t *testing.T) {
	for v, want := range map[bitRate]string{0: `"0 bps"`, 64000: `"64 Kbps"`, 64001: `"64001 bps"`, 1500000: `"1500 Kbps"`, 2000000: `"2 Mbps"`, 3e12: `"3 Tbps"`} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%d: %s %v", uint64(v), got, err)
		}
		var back bitRate
		if err := json.Unmarshal(got, &back); err != nil || back != v {
			t.Errorf("%s: %d %v", got, uint64(back), err)
		}
	}
	var b bitRate
	if err := json.Unmarshal([]byte(`"1.5 Mbps"`), &b); err != nil || b != 1500000 {
		t.Errorf("%d %v", uint64(b), err)
	}
	for _, bad := range []string{`64`, `"64"`, `"x Kbps"`, `"64 kbit"`, `"-1 bps"`, `"1e9 bps"`, `"NaN bps"`, `"99999999999 Tbps"`} {
		if err := json.Unmarshal([]byte(bad), &b); err == nil {
			t.Errorf("%s accepted as %d", bad, uint64(b))
		}
	}
}

func TestConfigIsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"--agent=n5"}, {"--agent=n5", "--pcf=http://pcf.example"}, {"--agent=n5", "--pcf=ftp://127.0.0.1"}, {"--agent=n5", "--pcf=https://u:p@h"},
		{"--agent=n5", "--pcf=https://h", "--network.slice=1-xx"}, {"--agent=n5", "--pcf=https://h", "--token.url=https://nrf/oauth2/token"},
		{"--agent=n5", "--pcf=https://h", "--token.url=https://nrf/t", "--token.instance=" + testInstance, "--token.client=x"},
		{"--agent=n5", "--pcf=https://h", "--callback.advertise=http://pcscf.example"}, {"--agent=n5", "--pcf=https://h", "--tls.cert=x"},
		{"--agent=n5", "--pcf=https://h", "--limits.timeout=5s", "--limits.late=2s"}, {"--agent=n5", "--pcf=https://h", "--callback.client_ca=x"},
		{"--agent=rx"}, {"--limits.timeout=1ms"},
	} {
		var c Config
		if err := conf.Load(&c, conf.Options{Name: "t", EnvPrefix: "T", Args: args, Env: []string{}}); err == nil {
			t.Errorf("%v accepted", args)
		}
	}
	var c Config
	if err := conf.Load(&c, conf.Options{Name: "t", EnvPrefix: "T", Env: []string{}}); err != nil || c.Agent != "none" {
		t.Errorf("defaults: %v", err)
	}
	if got := testutil.CollectAndCount(NewMetrics(prometheus.NewRegistry()).sessions); got != 1 {
		t.Errorf("metrics: %d", got)
	}
	if problems, err := testutil.GatherAndLint(func() *prometheus.Registry { r := prometheus.NewRegistry(); NewMetrics(r); return r }()); err != nil || len(problems) > 0 {
		t.Errorf("metric names: %v %v", problems, err)
	}
}
