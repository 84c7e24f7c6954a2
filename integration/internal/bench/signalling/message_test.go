package signalling

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ok = "SIP/2.0 200 OK\r\nVia: SIP/2.0/WS u1.invalid;branch=z9hG4bK1\r\nRecord-Route: <sip:1.2.3.4:5060;r2=on;lr>, <sip:1.2.3.4:80;transport=ws;r2=on;lr>\r\n" +
	"From: <sip:u1@b>;tag=f\r\nTo: <sip:c1@b>;tag=t\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:c1@5.6.7.8:9>;expires=3\r\nContent-Length: 3\r\n\r\nv=0"

// TestACallersDialogGoesBackTheWayItCame: RFC 3261 §12.1.2, §13.2.2.4.
func TestACallersDialogGoesBackTheWayItCame(t *testing.T) {
	m, err := parse([]byte(ok))
	if err != nil || m.status != 200 || m.method != "INVITE" || m.body != "v=0" {
		t.Fatalf("%+v, %v", m, err)
	}
	d := asCaller(&m, 1)
	ack, err := parse(d.request("ACK", "SIP/2.0/WS u1.invalid;branch=z9hG4bK2"))
	if err != nil {
		t.Fatal(err)
	}
	routes := []string{"<sip:1.2.3.4:80;transport=ws;r2=on;lr>", "<sip:1.2.3.4:5060;r2=on;lr>"}
	if ack.uri != "sip:c1@5.6.7.8:9" || !slices.Equal(ack.list("Route"), routes) || ack.get("CSeq") != "1 ACK" || ack.toTag() != "t" {
		t.Errorf("ACK %+v", ack)
	}
	if bye, err := parse(d.request("BYE", "v")); err != nil || bye.get("CSeq") != "2 BYE" {
		t.Errorf("BYE %+v, %v", bye, err)
	}
}

// TestAResponseCarriesWhatItMust: RFC 3261 §8.2.6.2, §12.1.1.
func TestAResponseCarriesWhatItMust(t *testing.T) {
	req, err := parse([]byte("INVITE sip:u1@b SIP/2.0\r\nVia: a\r\nVia: b\r\nRecord-Route: <sip:r;lr>\r\nFrom: <sip:k@b>;tag=f\r\nTo: <sip:u1@b>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:k@c>\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := parse(response(&req, 200, "OK", "mine").end("v=0"))
	if err != nil {
		t.Fatal(err)
	}
	if m.toTag() != "mine" || len(m.list("Via")) != 2 || m.get("Record-Route") != "<sip:r;lr>" || m.get("Contact") != "" || m.get("Content-Length") != "3" {
		t.Errorf("%+v", m)
	}
	d := asCalled(&req, "mine")
	bye, err := parse(d.request("BYE", "v"))
	if err != nil || bye.uri != "sip:k@c" || bye.get("Route") != "<sip:r;lr>" || param(bye.get("From"), "tag") != "mine" || bye.toTag() != "f" {
		t.Errorf("BYE %+v, %v", bye, err)
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	for _, s := range []string{"", "\r\n\r\n", "hello\r\n\r\n", strings.Replace(ok, "Call-ID: x\r\n", "", 1), "BYE sip:x SIP/2.0\r\nbroken\r\n\r\n"} {
		if m, err := parse([]byte(s)); err == nil {
			t.Errorf("%q was taken: %+v", s, m)
		}
	}
}

func TestPartsOfValues(t *testing.T) {
	if a := address(`"x" <sip:a@b;lr>;tag=1`); a != "sip:a@b;lr" {
		t.Error(a)
	}
	if u := user("sip:k12@b:5060"); u != "k12" {
		t.Error(u)
	}
	if p := param("<sip:a@b;tag=no>;x;tag=yes", "tag"); p != "yes" {
		t.Error(p)
	}
}
