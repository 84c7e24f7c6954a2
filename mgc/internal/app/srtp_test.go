package app

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// core.srtp: the range, the suites, and keys that would be told in clear (RFC 4568 §7.1).
func TestR4568_R8643_CoreSRTPConfig(t *testing.T) {
	for _, c := range []struct{ args, why string }{
		{"", ""},
		{"--core.srtp=osrtp", ""},
		{"--core.srtp=required --core.next_hop=sips:core.example", ""},
		{"--core.srtp=required --core.next_hop=sip:10.0.0.1:5061;lr;transport=TLS", ""},
		{"--core.srtp=required --core.srtp_cleartext=warn", ""},
		{"--core.srtp=required", "core.next_hop over TLS"},
		{"--core.srtp=required --core.next_hop=sip:10.0.0.1;transport=tlsx", "core.next_hop over TLS"},
		{"--core.srtp=required --core.next_hop=", "core.next_hop over TLS"},
		{"--core.srtp=on", "off|osrtp|required"},
		{"--core.srtp_cleartext=yes", "refuse|warn"},
		{"--core.srtp_suites=AES_CM_128_HMAC_SHA1_80,NULL", "AEAD_AES_256_GCM, AEAD_AES_128_GCM"},
		{"--core.srtp_suites=AEAD_AES_128_GCM,AEAD_AES_128_GCM", "twice"},
	} {
		var cfg Config
		err := conf.Load(&cfg, conf.Options{Name: "mgc", EnvPrefix: "ISTHMUS_MGC", Args: strings.Fields(c.args), Env: []string{}})
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", c.args, err, c.why)
		}
	}
}

func TestR4568_CoreSRTPPolicy(t *testing.T) {
	cfg := Config{Core: CoreConfig{SRTP: "osrtp", SRTPSuites: []string{"AES_CM_128_HMAC_SHA1_80"}}}
	if p := cfg.media(); p.SRTP != offeranswer.SRTPOsrtp || !slices.Equal(p.Suites, []sdp.Suite{sdp.AES128CM80}) {
		t.Errorf("%+v", p)
	}
	for srtp, want := range map[string][]string{"": nil, "off": nil, "osrtp": {"sdes"}, "required": {"sdes"}} {
		if got := (&CoreConfig{SRTP: srtp}).features(); !slices.Equal(got, want) {
			t.Errorf("%q: %v", srtp, got)
		}
		apart := &Config{Core: CoreConfig{SRTP: srtp}, Media: MediaConfig{RTCPMux: "negotiate"}}
		if got := apart.features(); !slices.Equal(got, append(slices.Clone(want), "rtcp-component")) {
			t.Errorf("%q, clients without rtcp-mux: %v", srtp, got)
		}
		limited := &Config{Core: CoreConfig{SRTP: srtp}, Media: MediaConfig{QualityLimit: 3.5}}
		if got := limited.features(); !slices.Equal(got, append(slices.Clone(want), "quality")) {
			t.Errorf("%q, a limit of quality: %v", srtp, got)
		}
	}
}
