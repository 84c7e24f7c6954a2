package app

import (
	"slices"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
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
