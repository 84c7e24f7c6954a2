package trust

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

func msg(fields ...string) *headers.Msg {
	m := &headers.Msg{Method: "INVITE"}
	for _, f := range fields {
		n, v, _ := strings.Cut(f, ": ")
		m.Add(n, v)
	}
	return m
}

func text(fs []headers.Field) string {
	var out []string
	for _, f := range fs {
		out = append(out, f.Name+": "+f.Value)
	}
	return strings.Join(out, "\n")
}

var (
	ims   = Profile{Asserts: true, Host: "10.0.0.9:5070", AccessInfo: "IEEE-802.11;network-provided", OrigIOI: "home1.example"}
	alice = Identity{Default: "sip:alice@ims.example", All: []string{"sip:alice@ims.example", "sip:ally@ims.example"}, Aliases: []string{"tel:+491234"}}
)

func TestMO03_AssertedIdentity(t *testing.T) {
	for _, c := range []struct{ name, prefers, want string }{
		{"prefers nothing", "", "<sip:alice@ims.example>"},
		{"prefers one of its own", `"Ally" <sip:ally@ims.example>`, `"Ally" <sip:ally@ims.example>`},
		{"prefers another user", "<sip:bob@ims.example>", "<sip:alice@ims.example>"},
		{"prefers garbage", "<sip:", "<sip:alice@ims.example>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := msg("P-Asserted-Identity: <sip:president@ims.example>")
			if c.prefers != "" {
				m.Add("P-Preferred-Identity", c.prefers)
			}
			got := ims.Assert(m, alice)
			if got[0].Value != c.want || got[1].Value != "<tel:+491234>" {
				t.Errorf("got %s", text(got))
			}
			if s := text(ims.ToCore(m)); s != "" {
				t.Errorf("crosses: %s", s)
			}
		})
	}
	if got := append((Profile{}).Assert(msg(), alice), (Profile{}).Charge("x")...); got != nil {
		t.Errorf("a plain SIP core gets %s", text(got))
	}
}

func TestMO06_CHG03_ChargingVectorIsOurs(t *testing.T) {
	m := msg(`P-Charging-Vector: icid-value="forged"`, "P-Charging-Function-Addresses: ccf=evil")
	got := text(ims.Charge("abc-1"))
	if !strings.Contains(got, `icid-value="abc-1";icid-generated-at="10.0.0.9:5070";orig-ioi=home1.example`) || strings.Contains(got+text(ims.ToCore(m)), "forged") {
		t.Errorf("got %s", got)
	}
	if s := text(ims.ToBrowser(m)); s != "" {
		t.Errorf("the browser gets %s", s)
	}
}

func TestMO04_MO07_WhatABrowserMaySay(t *testing.T) {
	for _, f := range []string{
		"P-Asserted-Identity: <sip:x@y>", "P-Charging-Vector: icid-value=1", "P-Served-User: <sip:x@y>", "P-Profile-Key: <sip:x@y>", "P-Asserted-Service: x",
		"P-Private-Network-Indication: x", "Feature-Caps: *", "Resource-Priority: wps.0", "History-Info: <sip:x@y>;index=1", "P-Access-Network-Info: x",
		"P-Visited-Network-ID: x", "Path: <sip:x@y>", "Security-Client: tls", "Via: x", "Contact: <sip:x@y>", "Authorization: Bearer abc.def", "Proxy-Authorization:  bearer x",
	} {
		if s := text(ims.ToCore(msg(f))); s != "" {
			t.Errorf("crosses: %s", s)
		}
	}
	for _, f := range []string{"Privacy: id", "Reason: Q.850;cause=16", "Subject: hi", "P-Preferred-Service: urn:x", "Accept-Contact: *;video", "Authorization: Digest username=\"a\"", "Replaces: a;to-tag=b;from-tag=c"} {
		if s := text(ims.ToCore(msg(f))); s != f {
			t.Errorf("%s does not cross", f)
		}
	}
}

func TestMT03_R3323_PrivacyWithholdsTheIdentity(t *testing.T) {
	for privacy, shown := range map[string]bool{"": true, "none": true, "id": false, "header;id": false, "user; ID ;critical": false, "identity": true} {
		m := msg("P-Asserted-Identity: <sip:bob@ims.example>", "P-Called-Party-ID: <sip:alice@ims.example>")
		if privacy != "" {
			m.Add("Privacy", privacy)
		}
		got := text(ims.ToBrowser(m))
		if strings.Contains(got, "bob") != shown || !strings.Contains(got, "P-Called-Party-ID") {
			t.Errorf("Privacy %q: %s", privacy, got)
		}
	}
}

func TestMT02_IdentityOfTheAnswer(t *testing.T) {
	for called, want := range map[string]string{
		"<sip:ally@ims.example>": "<sip:ally@ims.example>", "": "<sip:alice@ims.example>", "<sip:bob@ims.example>": "<sip:alice@ims.example>",
	} {
		if got := ims.Answer(msg(), alice, called); len(got) != 1 || got[0].Value != want {
			t.Errorf("called %q: %s", called, text(got))
		}
	}
}

// TestR8840_CandidatesDoNotCross: of the info packages that a side takes, the other learns all but trickle-ice.
func TestR8840_CandidatesDoNotCross(t *testing.T) {
	for value, want := range map[string]string{
		"dtmf": "Recv-Info: dtmf", "trickle-ice": "", "dtmf, Trickle-ICE;x=1, foo;bar": "Recv-Info: dtmf, foo;bar", "": "Recv-Info: ", "trickle-ice2": "Recv-Info: trickle-ice2",
	} {
		for _, got := range []string{text(ims.ToCore(msg("Recv-Info: " + value))), text(ims.ToBrowser(msg("Recv-Info: " + value)))} {
			if got != want {
				t.Errorf("%q crosses as %q, want %q", value, got, want)
			}
		}
	}
}
