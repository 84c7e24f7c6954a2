package offeranswer

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// TestIQ15_R5763_DTLSOnTheAccessSide goes through TS 23.334 §5.11.2.4: what the browser's setup, fingerprint and tls-id become at the MGW,
// that the core sees none of them, and what the browser is answered.
func TestIQ15_R5763_DTLSOnTheAccessSide(t *testing.T) {
	const tlsID = "91bbf309c0990a6bec11e38ba2933cee"
	for offered, want := range map[string]struct {
		ours, theirs iqv1.DtlsParameters_Role
		setup        sdp.Setup
	}{
		"active":  {iqv1.DtlsParameters_ROLE_SERVER, iqv1.DtlsParameters_ROLE_CLIENT, sdp.SetupPassive},
		"passive": {iqv1.DtlsParameters_ROLE_CLIENT, iqv1.DtlsParameters_ROLE_SERVER, sdp.SetupActive},
		"actpass": {iqv1.DtlsParameters_ROLE_SERVER, iqv1.DtlsParameters_ROLE_CLIENT, sdp.SetupPassive},
	} {
		for _, id := range []string{"", tlsID} {
			t.Run(offered+" "+id, func(t *testing.T) {
				p := DefaultPolicy()
				p.Prefer = PreferRelay
				s := &scenario{t: t, trace: trace{t: t}, m: New(p, 1, 2, strings.Repeat("t", 32))}
				step := "browser offers jssip_offer setup=" + offered
				if id != "" {
					step += " tls-id=" + id
				}
				offer := s.describe(Access, "jssip_offer", strings.Fields(step)[3:])
				first, _, err := s.m.Offer(Access, offer)
				if err != nil {
					t.Fatal(err)
				}
				add := first.AddDescriptor(Access, "access", Closed)
				ours, theirs := add.GetTransport().GetLocalDtls(), add.GetTransport().GetRemoteDtls()
				if ours.GetRole() != want.ours || theirs.GetRole() != want.theirs {
					t.Errorf("roles: ours %s, theirs %s", ours.GetRole(), theirs.GetRole())
				}
				if len(ours.GetFingerprints()) != 0 {
					t.Errorf("the MGW is to choose its certificate: %v", ours.GetFingerprints())
				}
				if fp := offer.FingerprintsOf(&offer.Media[0])[0]; len(theirs.GetFingerprints()) != 1 || theirs.GetFingerprints()[0].GetValue() != fp.Value {
					t.Errorf("fingerprints %v", theirs.GetFingerprints())
				}
				if theirs.GetTlsId() != id || (ours.GetTlsId() != "") != (id != "") {
					t.Errorf("tls-ids %q, %q", ours.GetTlsId(), theirs.GetTlsId())
				}
				if proto := add.GetStreams()[0].GetLocal().GetProto(); !strings.HasPrefix(proto, "UDP/TLS/RTP/SAVP") {
					t.Errorf("access side %s", proto)
				}
				core := first.AddDescriptor(Core, "core", Closed)
				if core.GetTransport() != nil || core.GetStreams()[0].GetLocal().GetProto() != "RTP/AVP" {
					t.Errorf("core side %v", core)
				}

				s.step(strings.Fields(step))
				toCore := string(s.m.Lines[Core].Said)
				for _, word := range []string{"setup", "fingerprint", "tls-id", "TLS", "SAVP", "ice-"} {
					if strings.Contains(toCore, word) {
						t.Errorf("the core is told of %s:\n%s", word, toCore)
					}
				}
				s.step(strings.Fields("phone answers 8,101"))
				a := s.said(Access)
				m := &a.Media[0]
				if m.Proto != "UDP/TLS/RTP/SAVPF" || m.Setup != want.setup || len(a.FingerprintsOf(m)) != 1 || (m.TLSID != "") != (id != "") {
					t.Errorf("%s setup:%s %d fingerprints tls-id %q", m.Proto, m.Setup, len(a.FingerprintsOf(m)), m.TLSID)
				}
			})
		}
	}
}

// TestR5763_R8842_WhatMakesANewAssociation: another fingerprint, tls-id or role in an offer, and nothing else (RFC 8842 §3.1). Our
// re-offers are actpass, the answers to theirs have the role in use.
func TestR5763_R8842_WhatMakesANewAssociation(t *testing.T) {
	for change, want := range map[string]bool{
		"": false, "dir=sendonly": false, "ufrag=new1": false, "setup=actpass": false, "setup=active": false,
		"print=5C": true, "tls-id=tsrqponmlkjihgfedcba": true, "setup=passive": true,
	} {
		t.Run(change, func(t *testing.T) {
			s := call(t, PreferRelay, "browser offers jssip_offer setup=active tls-id=abcdefghijklmnopqrst", "phone answers 8,101")
			s.m.Lines[Access].Web.LocalTLSID = "before"
			d := s.describe(Access, "again", strings.Fields("tls-id=abcdefghijklmnopqrst setup=active "+change))
			m, ch, err := s.m.Offer(Access, d)
			if err != nil {
				t.Fatal(err)
			}
			w := m.Lines[Access].Web
			if ch.NewDTLS != want || (w.LocalTLSID != "before") != want {
				t.Errorf("new %v, our tls-id %q", ch.NewDTLS, w.LocalTLSID)
			}
			if role := sdp.SetupPassive; (w.Role != role) != (change == "setup=passive") {
				t.Errorf("our role is %s", w.Role)
			}
			g := m.ModifyDescriptor(Access, Open).GetTransport()
			if g.GetRemoteDtls().GetTlsId() != w.TLSID || g.GetLocalDtls().GetTlsId() != w.LocalTLSID {
				t.Errorf("the MGW is told of tls-ids %q, %q", g.GetRemoteDtls().GetTlsId(), g.GetLocalDtls().GetTlsId())
			}
		})
	}
}
