package app

import (
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/emergency"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

func TestARC06_PRE01_Profiles(t *testing.T) {
	for _, c := range []struct {
		name    string
		core    CoreConfig
		asserts bool
		rel     bool
		early   callcore.EarlyMedia
		pre     offeranswer.Preconditions
	}{
		{"a PBX needs none of the IMS", CoreConfig{Profile: profileSIP}, false, true, callcore.EarlyMediaAlways, offeranswer.PreconditionsOff},
		{"an IMS core", CoreConfig{Profile: profileIMS}, true, true, callcore.EarlyMediaAuthorised, offeranswer.PreconditionsAnswer},
		{"one deviation is one field", CoreConfig{Profile: profileIMS, Preconditions: "full"}, true, true, callcore.EarlyMediaAuthorised, offeranswer.PreconditionsFull},
		{"a PBX that believes us", CoreConfig{Profile: profileSIP, Identity: "assert", Reliable: "off", EarlyMedia: "never"}, true, false, callcore.EarlyMediaNever, offeranswer.PreconditionsOff},
		{"auto is the profile's", CoreConfig{Profile: profileIMS, Identity: auto, Reliable: auto, EarlyMedia: auto, Preconditions: auto}, true, true, callcore.EarlyMediaAuthorised, offeranswer.PreconditionsAnswer},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.core.SessionExpires = 30 * time.Minute
			p := callcore.DefaultPolicy()
			c.core.shape(&p)
			if got := c.core.trust("h"); got.Asserts != c.asserts || got.Host != "h" {
				t.Errorf("trust %+v", got)
			}
			mode := c.core.emergency(emergency.Policy{Mode: emergency.Auto}).Mode
			if want := map[string]emergency.Mode{profileSIP: emergency.Ordinary, profileIMS: emergency.Redirect}[c.core.Profile]; mode != want {
				t.Errorf("emergency calls: %s, want %s", mode, want)
			}
			if p.Reliable != c.rel || p.EarlyMedia != c.early || p.Media.Preconditions != c.pre || p.SessionExpires != 1800 {
				t.Errorf("policy %+v", p)
			}
		})
	}
}
