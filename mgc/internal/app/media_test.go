package app

import (
	"slices"
	"testing"
	"time"

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
