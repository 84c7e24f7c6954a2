package call

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// TestRFC5589_7_AttendedTransfer: the browser has two calls and transfers one to the other; the core gets the dialog that it knows.
func TestRFC5589_7_AttendedTransfer(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	first, second := i.establish(), i.establish()
	ids, _ := i.dialogs(second.key)
	web, core := ids[callcore.LegAccess], ids[callcore.LegCore]
	if core.RemoteTag == "" || web.RemoteTag == "" {
		t.Fatalf("dialogs %+v", ids)
	}
	want := headers.Replaces{CallID: core.CallID, ToTag: core.RemoteTag, FromTag: core.LocalTag}
	u, err := headers.ParseURI("sip:carol@x.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]headers.Replaces{
		"tags as RFC 3891 says":             {CallID: web.CallID, ToTag: web.LocalTag, FromTag: web.RemoteTag},
		"tags as in the INVITE it received": {CallID: web.CallID, ToTag: web.RemoteTag, FromTag: web.LocalTag},
	} {
		m := first.in(callcore.LegAccess, "REFER", "")
		m.Set("Refer-To", "<"+headers.WithReplaces(u, r).String()+">")
		m.Add("Referred-By", "<sip:alice@x.example>")
		x := i.ask(callcore.LegAccess, m, "fa")
		out := i.expectOut(callcore.LegCore, "REFER")
		a, err := headers.ParseAddress(out.msg.Get("Refer-To"))
		if err != nil {
			t.Fatal(err)
		}
		to, _ := headers.ParseURI(a.URI)
		got, bare, ok := headers.ReplacesIn(to)
		if !ok || got != want || bare.String() != "sip:carol@x.example" || out.msg.Get("Referred-By") == "" {
			t.Errorf("%s: Refer-To %s, want %+v", name, out.msg.Get("Refer-To"), want)
		}
		out.respond(202, "")
		x.expect(202)
	}
	m := first.in(callcore.LegAccess, "REFER", "") // a blind transfer, and a dialog that is none of ours, pass as they are
	m.Set("Refer-To", "<sip:dave@x.example?Replaces=abc%3Bto-tag%3D1%3Bfrom-tag%3D2>")
	i.ask(callcore.LegAccess, m, "fa")
	if out := i.expectOut(callcore.LegCore, "REFER"); out.msg.Get("Refer-To") != m.Get("Refer-To") {
		t.Errorf("Refer-To %s", out.msg.Get("Refer-To"))
	}
}

// TestRFC3891_3_ReplacesFromTheCore: an INVITE that takes a call's place names the dialog that the browser knows; any other gets 481.
func TestRFC3891_3_ReplacesFromTheCore(t *testing.T) {
	p := newPool(t)
	i := p.instance("m1")
	r := i.establish()
	ids, _ := i.dialogs(r.key)
	web, core := ids[callcore.LegAccess], ids[callcore.LegCore]
	invite := func(r string) headers.Msg {
		m := request("INVITE", coreSDP(1, "sendrecv"))
		m.Add("Route", "<sip:path-alice@mgc.example:5070;lr>")
		m.Add("Replaces", r)
		return m
	}
	x := i.ask(callcore.LegCore, invite(core.CallID+";to-tag="+core.LocalTag+";from-tag="+core.RemoteTag), "")
	out := i.expectOut(callcore.LegAccess, "INVITE")
	if got := out.msg.Get("Replaces"); got != web.CallID+";to-tag="+web.RemoteTag+";from-tag="+web.LocalTag {
		t.Errorf("Replaces %q", got)
	}
	out.respond(486, "")
	x.expect(486)
	for _, bad := range []string{"x", "c1;to-tag=1;from-tag=2", core.CallID + ";to-tag=" + core.LocalTag + ";from-tag=other", "other;to-tag=" + core.LocalTag + ";from-tag=" + core.RemoteTag,
		web.CallID + ";to-tag=" + web.LocalTag + ";from-tag=" + web.RemoteTag} {
		if r := i.ask(callcore.LegCore, invite(bad), "").expect(481); strings.Contains(r.Reason, "sip:") {
			t.Error(r.Reason)
		}
	}
}
