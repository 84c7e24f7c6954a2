package emergency

import (
	"encoding/xml"
	"strings"
	"testing"
)

var policy = Policy{Mode: Redirect, Numbers: []string{"112", "911", "*33#"}, Text: "Use <your> phone & dial"}

func TestEMG01_R5031_Recognition(t *testing.T) {
	for uri, want := range map[string]string{
		"urn:service:sos":                       sos,
		"URN:service:SOS.police":                "urn:service:sos.police",
		"urn:service:sosx":                      "",
		"urn:service:counseling":                "",
		"sip:112@ims.example":                   sos,
		"sips:911@ims.example;user=phone":       sos,
		"sip:1-1-2;phone-context=x@ims.example": sos,
		"tel:112;phone-context=ims.example":     sos,
		"tel:9.1.1":                             sos,
		"sip:*33%23@ims.example":                "",
		"sip:1123@ims.example":                  "",
		"sip:+112@ims.example":                  "",
		"sip:alice112@ims.example":              "",
		"sip:112":                               "",
		"mailto:112@ims.example":                "",
		"":                                      "",
	} {
		got, ok := policy.Service(uri)
		if got != want || ok != (want != "") {
			t.Errorf("%q: %q %v", uri, got, ok)
		}
	}
	if _, ok := (Policy{Mode: Ordinary, Numbers: policy.Numbers}).Service("tel:112"); ok {
		t.Error("recognised although emergency calls are ordinary ones")
	}
}

func TestEMG02_AlternativeService(t *testing.T) {
	b := policy.Alternative()
	var doc struct {
		Version string `xml:"version,attr"`
		Type    string `xml:"alternative-service>type"`
		Reason  string `xml:"alternative-service>reason"`
		Action  string `xml:"alternative-service>action"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil || doc.Version != "1" || doc.Type != "emergency" || doc.Reason != policy.Text || doc.Action == "" {
		t.Errorf("%v %+v\n%s", err, doc, b)
	}
	if !strings.HasPrefix(string(b), "<?xml") {
		t.Errorf("%s", b)
	}
}

func TestEMG03_PolicyIsChecked(t *testing.T) {
	for _, bad := range []Policy{{Mode: Route}, {Mode: Route, ECSCF: "tel:1"}, {Numbers: []string{"12a"}}, {Numbers: []string{""}}} {
		if bad.Validate() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if err := (Policy{Mode: Route, ECSCF: "sip:ecscf.example", Numbers: []string{"+112"}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestREG31_EmergencyRegistration(t *testing.T) {
	if !Registration("sip:a@b.invalid;sos;transport=ws") || Registration("sip:sos@b.invalid") || Registration("x") {
		t.Error("sos parameter")
	}
}
