package headers

import (
	"testing"
)

func TestR3262_1_RAckAndRSeq(t *testing.T) {
	r, err := ParseRAck(" 776656  1 INVITE")
	if err != nil || r != (RAck{776656, 1, "INVITE"}) || r.String() != "776656 1 INVITE" {
		t.Errorf("%+v %v", r, err)
	}
	for _, bad := range []string{"", "1 INVITE", "0 1 INVITE", "1 2147483648 INVITE", "4294967296 1 INVITE", "-1 1 INVITE", "1 1 INV ITE", "1 1 IN;V"} {
		if r, err := ParseRAck(bad); err == nil {
			t.Errorf("%q gave %+v", bad, r)
		}
	}
	m := Msg{Method: "INVITE", Status: 183}
	m.Add("RSeq", "7")
	if RSeq(&m) != 0 {
		t.Error("reliable without Require")
	}
	m.Add("Require", "precondition, 100rel")
	if RSeq(&m) != 7 {
		t.Error("RSeq not read")
	}
	m.Status = 200
	if RSeq(&m) != 0 {
		t.Error("a final response is not provisional")
	}
}

func TestR4028_SessionExpires(t *testing.T) {
	for text, want := range map[string]SessionExpires{
		"1800":                           {1800, ""},
		"1800;refresher=uac":             {1800, "uac"},
		"90 ; refresher = UAS ; x=\"y\"": {90, "uas"},
	} {
		got, err := ParseSessionExpires(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "x", "1800;refresher=me", "1800;;", "99999999999"} {
		if got, err := ParseSessionExpires(bad); err == nil {
			t.Errorf("%q gave %+v", bad, got)
		}
	}
	if s := (SessionExpires{90, "uas"}).String(); s != "90;refresher=uas" {
		t.Error(s)
	}
	m := Msg{}
	if _, ok := MinSE(&m); ok {
		t.Error("Min-SE of nothing")
	}
	m.Add("Min-SE", "120;x")
	if n, ok := MinSE(&m); !ok || n != 120 {
		t.Error(n, ok)
	}
}

func TestRFC3891_Replaces(t *testing.T) {
	r, err := ParseReplaces("98732@sip.example.com;from-tag=r33th4x0r ; to-tag=ff87ff;early-only")
	want := Replaces{"98732@sip.example.com", "ff87ff", "r33th4x0r", true}
	if err != nil || r != want {
		t.Errorf("%+v %v", r, err)
	}
	for _, bad := range []string{"", "x", "x;to-tag=a", ";to-tag=a;from-tag=b", "a b;to-tag=a;from-tag=b"} {
		if r, err := ParseReplaces(bad); err == nil {
			t.Errorf("%q gave %+v", bad, r)
		}
	}
	u, err := ParseURI("sip:bob@biloxi.example.org?Replaces=425928%40bobster.example.org%3Bto-tag%3D7743%3Bfrom-tag%3D6472&X=y")
	if err != nil {
		t.Fatal(err)
	}
	got, bare, ok := ReplacesIn(u)
	if !ok || got.CallID != "425928@bobster.example.org" || got.ToTag != "7743" || bare.String() != "sip:bob@biloxi.example.org" {
		t.Errorf("%+v %s %v", got, bare, ok)
	}
	back, err := ParseURI(WithReplaces(bare, want).String())
	if err != nil {
		t.Fatal(err)
	}
	if again, _, ok := ReplacesIn(back); !ok || again != want {
		t.Errorf("%s gives %+v", back, again)
	}
	if _, bare, ok := ReplacesIn(bare); ok || bare.Headers != "" {
		t.Error("Replaces where there is none")
	}
}

func TestR5009_EarlyMedia(t *testing.T) {
	for text, want := range map[string]EarlyMedia{
		"supported":                 {Supported: true},
		"sendrecv":                  {Present: true, Sends: true, Receives: true},
		"sendonly, gated":           {Present: true, Receives: true, Gated: true},
		"recvonly":                  {Present: true, Sends: true},
		"inactive, sendrecv, x-new": {Present: true},
		"":                          {},
	} {
		m := Msg{}
		if text != "" {
			m.Add("P-Early-Media", text)
		}
		if got := ReadEarlyMedia(&m); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestR7315_ChargingVector(t *testing.T) {
	v, err := ParseChargingVector(`icid-value="AyretyU0dm+6O2IrT5tAFrbHLso=";icid-generated-at=192.0.6.8;orig-ioi="home1.net;x"; fe-identifier="a;b"`)
	if err != nil || v.ICID != "AyretyU0dm+6O2IrT5tAFrbHLso=" || v.OrigIOI != "home1.net;x" || len(v.Other) != 1 {
		t.Fatalf("%+v %v", v, err)
	}
	again, err := ParseChargingVector(v.String())
	if err != nil || again.String() != v.String() || again.OrigIOI != v.OrigIOI {
		t.Errorf("%s %v", again, err)
	}
	if _, err := ParseChargingVector("orig-ioi=x"); err == nil {
		t.Error("no icid was taken")
	}
}
