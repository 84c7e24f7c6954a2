package offeranswer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func secured(s SRTP) Policy {
	p := DefaultPolicy()
	p.SRTP = s
	return p
}

// Suites as scenarios write them.
const (
	gcm  = "AEAD_AES_128_GCM"
	cm80 = "AES_CM_128_HMAC_SHA1_80"
	cm32 = "AES_CM_128_HMAC_SHA1_32"
)

// Ladders of SRTP towards the core: what is said, and what the MGW is told.
func TestIQ14_R4568_R8643_Calls(t *testing.T) {
	for name, c := range map[string]struct {
		policy SRTP
		steps  []string
	}{
		"osrtp_answered":        {SRTPOsrtp, []string{"browser offers jssip_offer", "phone answers 8,101 crypto=3:" + cm80 + ":p"}},
		"osrtp_not_answered":    {SRTPOsrtp, []string{"browser offers jssip_offer", "phone answers 8,101"}},
		"osrtp_called":          {SRTPOsrtp, []string{"phone offers 8,101 crypto=1:F8_128_HMAC_SHA1_80:x+2:" + cm32 + ":p+3:" + cm80 + ":q", "browser answers chromium_answer"}},
		"osrtp_called_plain":    {SRTPOsrtp, []string{"phone offers 8,101", "browser answers chromium_answer"}},
		"osrtp_called_savp":     {SRTPOsrtp, []string{"phone offers 8,101 proto=RTP/SAVP crypto=1:" + gcm + ":p", "browser answers chromium_answer"}},
		"osrtp_called_unknown":  {SRTPOsrtp, []string{"phone offers 8,101 crypto=1:F8_128_HMAC_SHA1_80:x", "browser answers chromium_answer"}},
		"required":              {SRTPRequired, []string{"browser offers jssip_offer", "phone answers 8,101 proto=RTP/SAVP crypto=1:AEAD_AES_256_GCM:p"}},
		"required_called":       {SRTPRequired, []string{"phone offers 8,101 proto=RTP/SAVP crypto=7:" + cm80 + ":p", "browser answers chromium_answer"}},
		"required_called_osrtp": {SRTPRequired, []string{"phone offers 8,101 crypto=1:" + cm80 + ":p", "browser answers chromium_answer"}},
		"required_refusals": {SRTPRequired, []string{
			"phone offers 8,101", "phone offers 8,101 proto=RTP/SAVP", "phone offers 8,101 proto=RTP/SAVP crypto=1:" + cm80 + ":p:UNENCRYPTED_SRTP",
			"phone offers 8,101 proto=RTP/SAVP crypto=1:" + cm80 + ":p+1:" + cm32 + ":p"}},
		"off_refusals": {SRTPOff, []string{"phone offers 8,101 proto=RTP/SAVP crypto=1:" + cm80 + ":p", "phone offers 8,101 proto=RTP/SAVPF crypto=1:" + cm80 + ":p"}},
		"off_ignores":  {SRTPOff, []string{"phone offers 8,101 crypto=1:" + cm80 + ":p", "browser answers chromium_answer"}},
		"rekey": {SRTPRequired, []string{
			"phone offers 8,101 proto=RTP/SAVP crypto=1:" + cm80 + ":p", "browser answers chromium_answer",
			"phone offers 8,101 proto=RTP/SAVP crypto=1:" + cm80 + ":p", "phone offers 8,101 proto=RTP/SAVP crypto=1:" + cm80 + ":q",
			"browser offers again setup=active dir=sendonly", "phone answers 8,101 proto=RTP/SAVP crypto=3:" + cm80 + ":q dir=recvonly",
			"phone offers 8,101 proto=RTP/SAVP crypto=4:" + gcm + ":r dir=recvonly"}},
		"osrtp_downgrade": {SRTPOsrtp, []string{
			"browser offers jssip_offer", "phone answers 8,101 crypto=2:" + gcm + ":p", "phone offers 8,101", "phone offers 8,101 crypto=1:" + gcm + ":p"}},
	} {
		t.Run(name, func(t *testing.T) { playWith(t, "srtp_"+name, secured(c.policy), c.steps...) })
	}
}

// Answers without a usable key, in each policy.
func TestR4568_5_1_3_Answers(t *testing.T) {
	for _, c := range []struct {
		policy SRTP
		answer string
		why    string // empty: taken
	}{
		{SRTPRequired, "proto=RTP/SAVP crypto=1:AEAD_AES_256_GCM:p", ""},
		{SRTPRequired, "proto=RTP/SAVP crypto=4:" + cm32 + ":p", ""},
		{SRTPRequired, "proto=RTP/SAVP", "0 crypto attributes"},
		{SRTPRequired, "proto=RTP/SAVP crypto=1:" + cm80 + ":p", "tag 1 with " + cm80 + " was not offered"},
		{SRTPRequired, "proto=RTP/SAVP crypto=5:" + cm80 + ":p", "was not offered"},
		{SRTPRequired, "proto=RTP/SAVP crypto=3:" + cm80 + ":p+4:" + cm32 + ":p", "2 crypto attributes"},
		{SRTPRequired, "proto=RTP/SAVP crypto=3:" + cm80 + ":p:UNENCRYPTED_SRTCP", "UNENCRYPTED_SRTCP"},
		{SRTPRequired, "crypto=3:" + cm80 + ":p", "transport protocol"},
		{SRTPOsrtp, "", ""},
		{SRTPOsrtp, "crypto=3:" + cm80 + ":p", ""},
		{SRTPOsrtp, "proto=RTP/SAVP crypto=3:" + cm80 + ":p", "transport protocol"},
		{SRTPOsrtp, "crypto=9:" + cm80 + ":p", "was not offered"}, // it believes in SRTP: plain RTP would be noise to it
		{SRTPOsrtp, "crypto=3:" + cm80 + ":p+4:" + cm32 + ":p", "2 crypto attributes"},
	} {
		s := &scenario{t: t, trace: trace{t: t}, m: New(secured(c.policy), 1, 2, "")}
		s.step(strings.Fields("browser offers jssip_offer"))
		m, err := s.m.Answer(Core, s.describe(Core, "8,101", strings.Fields(c.answer)))
		var u *Unacceptable
		switch {
		case c.why == "" && err != nil:
			t.Errorf("%s, %q: %v", c.policy, c.answer, err)
		case c.why == "":
			got := m.ModifyDescriptor(Core, Open).GetStreams()[0].GetRemote().GetCryptos()
			if (len(got) == 1) != strings.Contains(c.answer, "crypto") {
				t.Errorf("%s, %q: the MGW is told %d keys", c.policy, c.answer, len(got))
			}
		case !errors.As(err, &u) || !strings.Contains(u.Text, c.why) || strings.ContainsAny(u.Text, `"\`):
			t.Errorf("%s, %q: %v, want %s", c.policy, c.answer, err, c.why)
		}
	}
}

// A peer that sends our own key back has not understood; one key for both directions would use a keystream twice.
func TestR4568_OwnKeyReflected(t *testing.T) {
	for _, p := range []SRTP{SRTPOsrtp, SRTPRequired} {
		s := &scenario{t: t, trace: trace{t: t}, m: New(secured(p), 1, 2, "")}
		s.step(strings.Fields("browser offers jssip_offer"))
		ours := s.said(Core).Media[0]
		d := s.describe(Core, "8,101", nil)
		d.Media[0].Proto, d.Media[0].Cryptos = ours.Proto, ours.Cryptos[:1]
		if _, err := s.m.Answer(Core, d); err == nil || !strings.Contains(err.Error(), "our key") {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// Two lines, SRTP and plain (RFC 8643 §3.1 tells of such phones): the one that the policy likes is used.
func TestR8643_TwoLines(t *testing.T) {
	for policy, want := range map[SRTP]int{SRTPOff: 1, SRTPOsrtp: 0, SRTPRequired: 0} {
		s := &scenario{t: t, trace: trace{t: t}, m: New(secured(policy), 1, 2, "")}
		d := s.describe(Core, "8,101", strings.Fields("proto=RTP/SAVP crypto=1:"+cm80+":p"))
		plain := d.Media[0]
		plain.Proto, plain.Cryptos = "RTP/AVP", nil
		d.Media = append(d.Media, plain)
		s.takeOffer(Core, d)
		s.step(strings.Fields("browser answers chromium_answer"))
		got := s.said(Core).Media
		if got[want].Port == 0 || got[1-want].Port != 0 || (len(got[want].Cryptos) == 1) != (want == 0) {
			t.Errorf("%s: answered %+v", policy, got)
		}
	}
}

// A policy with some suites in an order of its own.
func TestR4568_5_1_1_OrderOfSuites(t *testing.T) {
	p := secured(SRTPOsrtp)
	p.Suites = []sdp.Suite{cm80, gcm}
	s := &scenario{t: t, trace: trace{t: t}, m: New(p, 1, 2, "")}
	s.step(strings.Fields("browser offers jssip_offer"))
	got := s.said(Core).Media[0].Cryptos
	if len(got) != 2 || got[0].Suite != cm80 || got[1].Suite != gcm {
		t.Errorf("offered %v", got)
	}
	if _, err := s.m.Answer(Core, s.describe(Core, "8,101", strings.Fields("crypto=2:"+gcm+":p"))); err != nil {
		t.Error(err)
	}
	s = &scenario{t: t, trace: trace{t: t}, m: New(p, 1, 2, "")}
	s.step(strings.Fields("phone offers 8,101 crypto=1:" + cm32 + ":p+2:" + gcm + ":q"))
	s.step(strings.Fields("browser answers chromium_answer"))
	if got := s.said(Core).Media[0].Cryptos; len(got) != 1 || got[0].Tag != 2 || got[0].Suite != gcm {
		t.Errorf("answered %v", got)
	}
}

// An MGW that knows nothing of keys resolves none: better no call than one that is plain by mistake.
func TestIQ14_GatewayWithoutKeys(t *testing.T) {
	for policy, fails := range map[SRTP]bool{SRTPOff: false, SRTPOsrtp: true, SRTPRequired: true} {
		m, _, err := New(secured(policy), 1, 2, "").Offer(Access, parse(t, fmt.Sprintf(chrome, "actpass")))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Resolve(Core, chosen(Core)); errors.Is(err, ErrReply) != fails {
			t.Errorf("%s: %v", policy, err)
		}
	}
	m := New(secured(SRTPOsrtp), 1, 2, "")
	bad := chosen(Core)
	bad.Streams[0].Local.Cryptos = []*iqv1.SrtpCrypto{{Suite: gcm, Key: []byte("short")}}
	if _, err := m.Resolve(Core, bad); !errors.Is(err, ErrReply) || strings.Contains(err.Error(), "short") {
		t.Errorf("a short key: %v", err)
	}
}

// Keys are in the record of a call, and in nothing that is printed.
func TestR4568_KeysAreStoredNotPrinted(t *testing.T) {
	s := &scenario{t: t, trace: trace{t: t}, m: New(secured(SRTPRequired), 1, 2, "")}
	for _, step := range []string{"phone offers 8,101 proto=RTP/SAVP crypto=1:" + cm80 + ":peerkey", "browser answers chromium_answer"} {
		s.step(strings.Fields(step))
	}
	raw, err := json.Marshal(s.m)
	if err != nil {
		t.Fatal(err)
	}
	var back Media
	if err := json.Unmarshal(raw, &back); err != nil || !back.Lines[Core].Crypto.Peer.same(s.m.Lines[Core].Crypto.Peer) || len(back.Lines[Core].Crypto.Keys) != len(Suites) {
		t.Errorf("the record has lost keys: %v", err)
	}
	c := s.m.Lines[Core].Crypto
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", c, c, c), fmt.Sprintf("%v %+v %s %x %d", c.Peer, &c.Peer, c.Peer.Secret, c.Peer.Secret, c.Peer.Secret)} {
		if strings.Contains(text, "peerkey") || strings.Contains(text, fmt.Sprint([]byte("peer"))[1:14]) || strings.Contains(text, "70656572") {
			t.Errorf("printed: %s", text)
		}
	}
}

// A key with an MKI is taken, and the MKI is told to the media gateway; several keys are not for us, and that is said: another line that can be used is, with
// osrtp the call is plain (RFC 4568 §6.1). The same goes for an MKI as long as there is an older media gateway.
func TestR4568_R8643_KeyWithMKI(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(make([]byte, 30))
	mki := sdp.Crypto{Tag: 3, Suite: "AES_CM_128_HMAC_SHA1_80", KeyParams: "inline:" + key + "|2^31|1:4"}
	with := sdp.Crypto{Tag: 1, Suite: "AES_CM_128_HMAC_SHA1_80", KeyParams: "inline:" + key + "|2^31|1:4;inline:" + key[:39] + "B|2^31|2:4"}
	without := sdp.Crypto{Tag: 2, Suite: "AES_CM_128_HMAC_SHA1_80", KeyParams: "inline:" + key + "|2^31"}
	for name, c := range map[string]struct {
		policy  SRTP
		proto   string
		offered []sdp.Crypto
		tag     uint32 // in use; 0: plain
		refused string
	}{
		"required, MKI":        {SRTPRequired, "RTP/SAVP", []sdp.Crypto{mki}, 3, ""},
		"osrtp, MKI":           {SRTPOsrtp, "RTP/AVP", []sdp.Crypto{mki}, 3, ""},
		"the order is theirs":  {SRTPRequired, "RTP/SAVP", []sdp.Crypto{mki, without}, 3, ""},
		"older, MKI":           {SRTPRequired, "RTP/SAVP", []sdp.Crypto{mki}, 0, "MKI is not for every media gateway"},
		"older, one usable":    {SRTPRequired, "RTP/SAVP", []sdp.Crypto{mki, without}, 2, ""},
		"older, osrtp":         {SRTPOsrtp, "RTP/AVP", []sdp.Crypto{mki}, 0, ""},
		"required":             {SRTPRequired, "RTP/SAVP", []sdp.Crypto{with}, 0, "several keys, one is taken"},
		"required, one usable": {SRTPRequired, "RTP/SAVP", []sdp.Crypto{with, without}, 2, ""},
		"osrtp":                {SRTPOsrtp, "RTP/AVP", []sdp.Crypto{with}, 0, ""},
		"osrtp, one usable":    {SRTPOsrtp, "RTP/AVP", []sdp.Crypto{with, without}, 2, ""},
		"osrtp, SAVP":          {SRTPOsrtp, "RTP/SAVP", []sdp.Crypto{with}, 0, "several keys, one is taken"},
	} {
		t.Run(name, func(t *testing.T) {
			policy := secured(c.policy)
			policy.NoMKI = strings.HasPrefix(name, "older")
			s := &scenario{t: t, trace: trace{t: t}, m: New(policy, 1, 2, "")}
			d := s.describe(Core, "8,101", nil)
			d.Media[0].Proto, d.Media[0].Cryptos = c.proto, c.offered
			m, _, err := s.m.Offer(Core, d)
			if c.refused != "" {
				var u *Unacceptable
				if !errors.As(err, &u) || !strings.Contains(u.Text, c.refused) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil || m.Lines[Core].Crypto.Peer.Tag != c.tag {
				t.Errorf("key %+v, %v", m.Lines[Core].Crypto.Peer, err)
			}
			if got, want := m.Lines[Core].Crypto.Peer.MKI, map[uint32][]byte{3: {0, 0, 0, 1}}[c.tag]; !bytes.Equal(got, want) {
				t.Errorf("MKI %x, want %x", got, want)
			}
		})
	}
}
