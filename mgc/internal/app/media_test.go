package app

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func TestCOD01_COD09_ProfileDecidesTheCodecs(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    Config
		core   []string
		prefer offeranswer.Preference
		mtsi   bool
	}{
		{"a PBX", Config{Core: CoreConfig{Profile: profileSIP}}, offeranswer.SIPCodecs, offeranswer.PreferRelay, false},
		{"an IMS core", Config{Core: CoreConfig{Profile: profileIMS}}, offeranswer.MTSICodecs, offeranswer.PreferCore, true},
		{"a PBX with wide band", Config{Core: CoreConfig{Profile: profileSIP}, Media: MediaConfig{Prefer: "core", CoreCodecs: []string{"AMR-WB", "PCMA"}}},
			[]string{"AMR-WB", "PCMA"}, offeranswer.PreferCore, false},
		{"an IMS core without AMR", Config{Core: CoreConfig{Profile: profileIMS}, Media: MediaConfig{Prefer: "relay", CoreCodecs: []string{"PCMU"}}},
			[]string{"PCMU"}, offeranswer.PreferRelay, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if p := c.cfg.media(); !slices.Equal(p.Core, c.core) || p.Prefer != c.prefer || p.MTSI != c.mtsi || !slices.Equal(p.Access, offeranswer.WebCodecs) {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestGatesOfTheConfiguration: marks, policing and latching are what the operator says, EF and twice the rate by default.
func TestGatesOfTheConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want offeranswer.Policy
	}{
		"defaults": {nil, offeranswer.Policy{DSCP: 46, Police: offeranswer.Police{Percent: 200, Burst: 2 * time.Second}}},
		"all changed": {[]string{"--media.dscp=34", "--media.policing.percent=150", "--media.policing.burst=1s", "--core.latch=on"},
			offeranswer.Policy{DSCP: 34, Latch: true, Police: offeranswer.Police{Percent: 150, Burst: time.Second}}},
		"off": {[]string{"--media.dscp=0", "--media.policing.percent=0"}, offeranswer.Policy{}},
	} {
		var cfg Config
		if err := conf.Load(&cfg, conf.Options{Name: "mgc", EnvPrefix: "ISTHMUS_MGC_TEST", Args: c.args, Env: []string{}}); err != nil {
			t.Fatal(err)
		}
		if p := cfg.media(); p.DSCP != c.want.DSCP || p.Latch != c.want.Latch || p.Police != c.want.Police {
			t.Errorf("%s: %+v", name, p)
		}
		m := offeranswer.Media{Policy: cfg.media()}
		for _, side := range []offeranswer.Side{offeranswer.Access, offeranswer.Core} {
			lc := m.ModifyDescriptor(side, offeranswer.Open).Streams[0].LocalControl
			if lc.GetDscp() != c.want.DSCP || (lc.GetPolicing() != nil) != (c.want.Police.Percent > 0) ||
				(lc.GetLatch() == iqv1.LocalControl_LATCH_ON) != (c.want.Latch && side == offeranswer.Core) {
				t.Errorf("%s: the media gateway is told %v", name, lc)
			}
		}
	}
}

// TestSettingsReachTheCalls: what an operator sets of media and calls is what calls are made with.
func TestSettingsReachTheCalls(t *testing.T) {
	load := func(args ...string) callcore.Policy {
		t.Helper()
		var cfg Config
		if err := conf.Load(&cfg, conf.Options{Name: "mgc", EnvPrefix: "ISTHMUS_MGC_TEST", Args: args, Env: []string{}}); err != nil {
			t.Fatal(err)
		}
		p, err := cfg.calls()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	type seen struct {
		dtx      offeranswer.DTX
		xr       offeranswer.XRPolicy
		noise    offeranswer.Noise
		mux      offeranswer.RTCPMux
		srtp     offeranswer.SRTP
		suites   string
		streams  int
		digits   callcore.Digits
		quality  uint32
		times    [5]time.Duration
		rtcp     bool
		ringback bool
	}
	read := func(p callcore.Policy) seen {
		m := p.Media
		return seen{m.DTX, m.XR, m.Noise, m.Mux, m.SRTP, fmt.Sprint(m.Suites), m.Streams, p.Digits, p.QualityLimit,
			[5]time.Duration{p.NoAnswer, p.SetUp, p.FlowGrace, p.InactivityAfter, p.InactivityGrace}, p.InactivityRTCP, p.Sounds.Ringback}
	}
	auto := callcore.Digits{Access: callcore.DigitsAuto, Core: callcore.DigitsAuto, Info: callcore.InfoRelay}
	if got, want := read(load()), (seen{"off", "answer", "offer", "required", "off", "[AEAD_AES_256_GCM AEAD_AES_128_GCM AES_CM_128_HMAC_SHA1_80 AES_CM_128_HMAC_SHA1_32]", 4, auto, 0,
		[5]time.Duration{3 * time.Minute, 15 * time.Second, time.Minute, 30 * time.Second, 0}, true, false}); got != want {
		t.Errorf("by default:\n%+v, want\n%+v", got, want)
	}
	got := read(load("--media.dtx=both", "--media.rtcp_xr=offer", "--media.comfort_noise=answer", "--media.rtcp_mux=negotiate", "--core.srtp=osrtp",
		"--core.srtp_suites=AES_CM_128_HMAC_SHA1_80,AEAD_AES_128_GCM", "--call.audio_streams=2", "--media.dtmf.access=info", "--media.dtmf.core=in-band", "--media.dtmf.info=dtmf",
		"--media.quality_limit=3.65", "--call.no_answer=61s", "--call.set_up=12s", "--call.flow_grace=13s", "--call.inactive_after=14s", "--call.inactive_release=15s",
		"--call.inactive_rtcp=false", "--call.ringback=gateway"))
	want := seen{"both", "offer", "answer", "negotiate", "osrtp", "[AES_CM_128_HMAC_SHA1_80 AEAD_AES_128_GCM]", 2,
		callcore.Digits{Access: callcore.DigitsInfo, Core: callcore.DigitsTone, Info: callcore.InfoPlain}, 365,
		[5]time.Duration{61 * time.Second, 12 * time.Second, 13 * time.Second, 14 * time.Second, 15 * time.Second}, false, true}
	if got != want {
		t.Errorf("all changed:\n%+v, want\n%+v", got, want)
	}
}
