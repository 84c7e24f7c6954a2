package reginfo

import (
	"errors"
	"strings"
	"testing"
)

const sample = `<?xml version="1.0"?>
<reginfo xmlns="urn:ietf:params:xml:ns:reginfo" xmlns:gr="urn:ietf:params:xml:ns:gruuinfo" version="1" state="partial">
  <registration aor="sip:alice@ims.example" id="a7" state="terminated">
    <contact id="76" state="terminated" event="deactivated" duration-registered="7322" q="0.8">
      <uri> sip:alice@df7.invalid;transport=ws </uri>
      <unknown-param name="+sip.instance">"&lt;urn:uuid:1&gt;"</unknown-param>
      <gr:pub-gruu uri="sip:alice@ims.example;gr=1"/>
    </contact>
  </registration>
</reginfo>
`

func TestREG25_R3680_Document(t *testing.T) {
	d, err := Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	r := d.Registrations[0]
	if d.Version != 1 || d.Full || r.AOR != "sip:alice@ims.example" || r.State != "terminated" {
		t.Errorf("%+v", d)
	}
	if c := r.Contacts[0]; !c.Ended() || c.URI != "sip:alice@df7.invalid;transport=ws" || c.Event != "deactivated" {
		t.Errorf("%+v", c)
	}
}

func TestREG25_BadDocuments(t *testing.T) {
	for name, doc := range map[string]string{
		"empty": "", "text": "hello", "other root": "<x/>", "no version": strings.Replace(sample, `version="1" s`, "s", 1), "state": strings.Replace(sample, "partial", "some", 1),
		"registration state": strings.Replace(sample, `id="a7" state="terminated"`, `id="a7" state="gone"`, 1), "no uri": strings.Replace(sample, " sip:alice@df7.invalid;transport=ws ", "", 1),
		"entity": strings.Replace(sample, "sip:alice@df7", "&a;", 1), "tail": sample + "<x/>", "oversize": sample + strings.Repeat(" ", MaxSize),
		"contacts": strings.Replace(sample, "</registration>", strings.Repeat(`<contact state="active"><uri>sip:a</uri></contact>`, MaxContacts)+"</registration>", 1),
		"cut":      sample[:300],
	} {
		if _, err := Parse([]byte(doc)); !errors.Is(err, ErrDocument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`<reginfo version="0" state="full"/>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err == nil && len(d.Registrations) > MaxRegistrations {
			t.Error("bound")
		}
	})
}
