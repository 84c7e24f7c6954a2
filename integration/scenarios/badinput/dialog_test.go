package badinput

import (
	"strings"
	"testing"
)

// dialog is what a call's own messages tell of it, as one who has read them knows it.
type dialog struct{ callID, local, remote, target string }

// dialogOf reads the newest answered INVITE of a browser.
func dialogOf(t *testing.T, br *browser) dialog {
	t.Helper()
	var d dialog
	for _, raw := range br.in.all() {
		if r := parseReply(raw); r.status == 200 && strings.HasSuffix(r.get("CSeq"), "INVITE") {
			d = dialog{r.get("Call-ID"), r.get("From"), r.get("To"), strings.Trim(strings.SplitN(r.get("Contact"), ">", 2)[0], "<")}
		}
	}
	if d.target == "" {
		t.Fatal("no answered call")
	}
	return d
}

// request is one inside the dialog, with a CSeq far ahead.
func (d dialog) request(method string) *message {
	m := compose(method, d.target, "x", "WS "+unique()+".invalid")
	return m.set("From", d.local).set("To", d.remote).set("Call-ID", d.callID).set("CSeq", "1000 "+method)
}

// described is the description that the browser sent last.
func (br *browser) described(t *testing.T) string {
	t.Helper()
	body := ""
	for _, raw := range br.out.all() {
		if head, b, ok := strings.Cut(raw, "\r\n\r\n"); ok && strings.Contains(head, "application/sdp") {
			body = b
		}
	}
	if body == "" {
		t.Fatal("no description")
	}
	return body
}
