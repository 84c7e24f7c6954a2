package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/call"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/mgwpool"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// allFeatures are those of a media gateway of this version.
var allFeatures = []string{"sdes", "sdes-mki", "streams", "signals", "quality", "rtcp-xr", "inactivity-rtcp", "rtcp-component"}

// poolOf is a pool with gateways that lack these capabilities.
func poolOf(t *testing.T, lacking ...string) *mgwpool.Pool {
	t.Helper()
	s := store.NewMemory()
	t.Cleanup(func() { s.Close() })
	pool, err := mgwpool.New(t.Context(), mgwpool.Config{Instance: "m1"}, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, lacks := range lacking {
		reply, err := pool.ServiceChange(t.Context(), &iqv1.ServiceChangeRequest{MgwId: "without-" + lacks, BootId: "1", Method: iqv1.ServiceChangeRequest_METHOD_RESTART, Address: "127.0.0.1:1",
			Capabilities: &iqv1.Capabilities{ProfileVersion: 1, Features: slices.DeleteFunc(slices.Clone(allFeatures), func(f string) bool { return f == lacks || lacks == "all" }),
				Realms: []*iqv1.Realm{{Name: "access", Kind: iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS}, {Name: "core", Kind: iqv1.TerminationDescriptor_KIND_RTP_CORE}}}})
		if err != nil || reply.GetError() != nil {
			t.Fatal(reply, err)
		}
	}
	return pool
}

// TestOlderGatewayIsNotPicked: a gateway that would ignore what the configuration needs gets no call, and the reason names what it lacks; another that has it
// does, and so does the older one where nothing of that is configured.
func TestOlderGatewayIsNotPicked(t *testing.T) {
	for lacks, cfg := range map[string]Config{
		"sdes":            {Core: CoreConfig{SRTP: "required"}},
		"signals":         {Call: CallConfig{Ringback: "gateway"}},
		"rtcp-component":  {Media: MediaConfig{RTCPMux: "negotiate"}},
		"quality":         {Media: MediaConfig{QualityLimit: 3}},
		"inactivity-rtcp": {Call: CallConfig{InactiveRelease: time.Minute, InactiveRTCP: true}},
	} {
		g := gateways{pool: poolOf(t, lacks), needs: append(cfg.features(), cfg.sounding()...)}
		if _, err := g.Pick(call.Need{}); gwerr.CodeOf(err) != gwerr.NoGateway || !strings.Contains(err.Error(), "feature "+lacks+" not served") {
			t.Errorf("%s: %v", lacks, err)
		}
		g.pool = poolOf(t, lacks, "none")
		if n, err := g.Pick(call.Need{}); err != nil || n.MGW != "without-none" {
			t.Errorf("%s beside a newer one: %v %v", lacks, n, err)
		}
	}
	var plain Config
	for _, set := range []struct {
		name string
		cfg  Config
	}{
		{"announcements", Config{Call: CallConfig{Announce: []string{"486=busy"}}}},
		{"tones", Config{Media: MediaConfig{DTMF: DTMFConfig{Core: "in-band"}}}},
		{"INFO", Config{Media: MediaConfig{DTMF: DTMFConfig{Access: "info"}}}},
	} {
		if got := set.cfg.sounding(); !slices.Equal(got, []string{"signals"}) {
			t.Errorf("%s: %v", set.name, got)
		}
	}
	g := gateways{pool: poolOf(t, "all"), needs: append(plain.features(), plain.sounding()...)}
	if n, err := g.Pick(call.Need{}); err != nil || n.MGW != "without-all" {
		t.Errorf("nothing is needed: %v %v", n, err)
	}
}

// TestOlderGatewayMakesNoReports: extended reports are agreed with nobody while one gateway of the pool would not make them, and then only by those that do.
func TestOlderGatewayMakesNoReports(t *testing.T) {
	policy := callcore.DefaultPolicy()
	policy.Media.XR = offeranswer.XROffer
	for _, c := range []struct {
		pool []string
		want offeranswer.XRPolicy
	}{
		{nil, offeranswer.XROffer},
		{[]string{"none"}, offeranswer.XROffer},
		{[]string{"none", callcore.FeatureXR}, offeranswer.XROff},
		{[]string{"all"}, offeranswer.XROff},
	} {
		g := gateways{pool: poolOf(t, c.pool...)}
		got := policy.Within(g.Features)
		if none := slices.Contains(c.pool, "all"); got.Media.NoMKI != none {
			t.Errorf("gateways without %q: keys with MKI are left out: %v", c.pool, got.Media.NoMKI)
		}
		if got.Media.XR != c.want {
			t.Errorf("gateways without %q: %s, want %s", c.pool, got.Media.XR, c.want)
		}
		want := []string(nil)
		if c.want != offeranswer.XROff {
			want = []string{callcore.FeatureXR}
		}
		if needs := callcore.New(callcore.Config{Policy: got}).Needs(); !slices.Equal(needs, want) {
			t.Errorf("gateways without %q: the call needs %q", c.pool, needs)
		}
	}
	g := gateways{pool: poolOf(t, callcore.FeatureXR)}
	if _, err := g.Pick(call.Need{Features: []string{callcore.FeatureXR}}); err == nil || !strings.Contains(err.Error(), "rtcp-xr") {
		t.Errorf("an older gateway for a call with reports: %v", err)
	}
}

// TestOlderGatewayIsNotAsked: what would be ignored is refused before it leaves, with 501 and the name of the capability; a gateway that has it is asked.
func TestOlderGatewayIsNotAsked(t *testing.T) {
	stream := func(s *iqv1.Stream) *iqv1.TerminationDescriptor {
		return &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{s}}
	}
	events := func(e *iqv1.EventSpec) *iqv1.TerminationDescriptor {
		return &iqv1.TerminationDescriptor{Events: &iqv1.EventsDescriptor{Specs: []*iqv1.EventSpec{e}}}
	}
	apart := stream(&iqv1.Stream{LocalControl: &iqv1.LocalControl{Rtcp: &iqv1.RtcpPolicy{}}})
	apart.Transport = &iqv1.TransportGroup{}
	for _, c := range []struct {
		lacks  string
		d      *iqv1.TerminationDescriptor
		modify bool // refused in a Modify too
	}{
		{"signals", &iqv1.TerminationDescriptor{Signals: &iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "an/apf", Announcement: "away"}}}}, true},
		{"signals", events(&iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_DTMF, Tones: true}), true},
		{"quality", events(&iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_QUALITY, MosCenti: 300}), false},
		{"sdes", stream(&iqv1.Stream{Local: &iqv1.MediaDescription{Cryptos: []*iqv1.SrtpCrypto{{Suite: "AEAD_AES_256_GCM"}}}}), false},
		{"rtcp-xr", stream(&iqv1.Stream{LocalControl: &iqv1.LocalControl{Rtcp: &iqv1.RtcpPolicy{Mux: true, XrVoipMetrics: true}}}), false},
		{"rtcp-xr", stream(&iqv1.Stream{LocalControl: &iqv1.LocalControl{Rtcp: &iqv1.RtcpPolicy{Mux: true, XrRcvrRtt: true}}}), false},
		{"rtcp-component", apart, false},
		{"streams", stream(&iqv1.Stream{StreamId: 2}), true},
	} {
		add := &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{Descriptor_: c.d}}}
		modify := &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{Descriptor_: c.d}}}
		for _, cmd := range []*iqv1.Command{add, modify} {
			req := &iqv1.TransactionRequest{TransactionId: "t1", Actions: []*iqv1.Action{{}, {Commands: []*iqv1.Command{{}, cmd}}}}
			if name := missing(allFeatures, req); name != "" {
				t.Errorf("%s is missing: %v", name, cmd)
			}
			if cmd == modify && !c.modify {
				if name := missing(nil, req); name != "" {
					t.Errorf("a call that runs is ended for want of %s", name)
				}
				continue
			}
			g := &gateways{pool: poolOf(t, c.lacks)} // without a link: what is refused does not get there
			_, err := g.Transact(t.Context(), call.Node{MGW: "without-" + c.lacks, Boot: "1"}, req)
			if gwerr.CodeOf(err) != gwerr.NotImplemented || gwerr.CodeOf(err).SIP() != 501 || !strings.Contains(err.Error(), c.lacks) {
				t.Errorf("%s: %v", c.lacks, err)
			}
		}
	}
}
