package registrar

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/trust"
)

// asIMS makes f face an IMS core.
func (f *fixture) asIMS() *fixture {
	f.cfg.Trust = trust.Profile{Asserts: true, Host: "mgc.example:5070", AccessInfo: "IEEE-802.11;network-provided"}
	f.cfg.VisitedNetwork = `ours "1"`
	return f
}

// send registers over the flow with the fields added to the request.
func (f *fixture) send(flow siptransport.Flow, fields ...string) headers.Msg {
	m := headers.Msg{Method: "REGISTER", RequestURI: "sip:x.example"}
	for _, h := range append([]string{"Via: SIP/2.0/WSS a.invalid;branch=z9hG4bK1", "From: <sip:alice@x.example>;tag=1", "To: <sip:alice@x.example>",
		"Call-ID: r1", "CSeq: 1 REGISTER", "Max-Forwards: 70", "Expires: 600", `Contact: <sip:alice@` + flow.ID + `.invalid;transport=ws>;+sip.instance="<urn:uuid:1>";reg-id=1;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel"`}, fields...) {
		n, v, _ := strings.Cut(h, ": ")
		m.Add(n, v)
	}
	t := &tx{}
	flow.Edge, flow.Remote = siptransport.EdgeAccess, netip.MustParseAddrPort("192.0.2.1:9")
	f.OnRegister(t, m, flow)
	return t.got[0]
}

func (f *fixture) lastSent() *headers.Msg { return &f.sent[len(f.sent)-1] }

const digest = `Authorization: Digest username="alice", realm="x.example", nonce="n", uri="sip:x.example", response="%s"`

func TestREG02_IntegrityProtected(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.asIMS()
		wss, ws := siptransport.Flow{ID: "s1", Transport: "WSS"}, siptransport.Flow{ID: "p1", Transport: "WS"}
		protected := func() string {
			_, v, _ := strings.Cut(f.lastSent().Get("Authorization"), "integrity-protected=")
			return v
		}
		f.answer = func(req *headers.Msg) Outcome { return Outcome{Msg: headers.NewResponse(req, 401, "")} }
		f.send(wss, strings.ReplaceAll(digest, "%s", ""))
		if got := protected(); got != "" {
			t.Errorf("without a response: %s", got)
		}
		f.answer = granted
		f.send(wss, strings.ReplaceAll(digest, "%s", "abc"))
		if got := protected(); got != `"tls-pending"` {
			t.Errorf("answer to the challenge: %s", got)
		}
		f.send(wss, strings.ReplaceAll(digest, "%s", "abc"))
		if got := protected(); got != `"tls-yes"` {
			t.Errorf("refresh on the same connection: %s", got)
		}
		f.send(siptransport.Flow{ID: "s2", Transport: "WSS"}, strings.ReplaceAll(digest, "%s", "abc"))
		if got := protected(); got != `"tls-pending"` {
			t.Errorf("another connection: %s", got)
		}
		f.send(ws, strings.ReplaceAll(digest, "%s", "abc"))
		if got := protected(); got != "" {
			t.Errorf("plain WebSocket: %s", got)
		}
		for _, forged := range []string{"auth-done", "tls-yes", "yes"} {
			f.send(ws, strings.ReplaceAll(digest, "%s", "abc")+`, integrity-protected="`+forged+`"`)
			if got := protected(); got != "" {
				t.Errorf("the browser's own %s reaches the core: %s", forged, got)
			}
		}
	})
}

// TestREG04_AKA: parameters of IMS AKA pass both ways but for the keys, and the core is told that they came over TLS.
func TestREG04_AKA(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.asIMS()
		wss, ws := siptransport.Flow{ID: "s1", Transport: "WSS"}, siptransport.Flow{ID: "p1", Transport: "WS"}
		const (
			challenge = `Digest realm="x.example", nonce="RANDAUTN==", algorithm=AKAv2-SHA-256, qop="auth", opaque="o,\" ck=1"`
			hello     = `Digest username="alice@x.example", realm="x.example", nonce="", uri="sip:x.example", response="", algorithm=AKAv2-SHA-256`
			answer    = `Digest username="alice@x.example", realm="x.example", nonce="RANDAUTN==", uri="sip:x.example", response="ab", algorithm=AKAv2-SHA-256, qop=auth, cnonce="c", nc=00000001`
			again     = `Digest username="alice@x.example", realm="x.example", nonce="RANDAUTN==", uri="sip:x.example", response="", auts="AUTS==", algorithm=AKAv2-SHA-256`
			connected = `, integrity-protected="tls-connected"`
		)
		f.answer = func(req *headers.Msg) Outcome {
			resp := headers.NewResponse(req, 401, "")
			resp.Add("WWW-Authenticate", challenge+`, ik="0011", CK="2233"`)
			return Outcome{Msg: resp}
		}
		for _, c := range []struct {
			flow     siptransport.Flow
			in, want string
		}{
			{wss, hello, hello + connected}, {wss, answer, answer + connected}, {wss, again, again + connected},
			{ws, answer, answer}, // over no TLS nothing is said
			{wss, strings.ReplaceAll(answer, "AKAv2-SHA-256", "AKAv1-MD5"), strings.ReplaceAll(answer, "AKAv2-SHA-256", "AKAv1-MD5")},
		} {
			resp := f.send(c.flow, "Authorization: "+c.in)
			if got := f.lastSent().Get("Authorization"); got != c.want {
				t.Errorf("%s: the core got\n%s, want\n%s", c.flow.Transport, got, c.want)
			}
			if got := resp.Get("WWW-Authenticate"); got != challenge {
				t.Errorf("the browser got\n%s, want\n%s", got, challenge)
			}
		}
	})
}

func TestREG10_TokenNeverReachesTheCore(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.send(siptransport.Flow{ID: "s1", Transport: "WSS"}, "Authorization: Bearer abc.def.ghi")
		if m := f.lastSent(); m.Has("Authorization") {
			t.Errorf("Authorization %q", m.Get("Authorization"))
		}
	})
}

func TestREG16_REG17_REG18_REG19_WhatTheCoreGets(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.asIMS()
		seen := map[string]bool{}
		for range 10_000 / 100 {
			f.rates = map[string]*bucket{}
			f.send(siptransport.Flow{ID: "s1", Transport: "WSS"}, "P-Visited-Network-ID: evil", "P-Charging-Vector: icid-value=evil", "P-Access-Network-Info: evil",
				"Security-Client: tls", "Security-Verify: tls", "Proxy-Require: sec-agree", "Require: sec-agree, gruu", "P-Asserted-Identity: <sip:x@y>")
			m := f.lastSent()
			raw, err := m.Bytes()
			if err != nil || strings.Contains(string(raw), "evil") || m.Has("Security-Client") || m.Has("Security-Verify") || m.Has("Proxy-Require") || m.Has("P-Asserted-Identity") {
				t.Fatalf("%v\n%s", err, raw)
			}
			if r := headers.List(m, "Require"); len(r) != 2 || r[0] != "gruu" || r[1] != "path" {
				t.Fatalf("Require %q", r)
			}
			if m.Get("P-Visited-Network-ID") != `"ours \"1\""` || m.Get("P-Access-Network-Info") != "IEEE-802.11;network-provided" {
				t.Fatalf("%s", raw)
			}
			v, err := headers.ParseChargingVector(m.Get("P-Charging-Vector"))
			if err != nil || seen[v.ICID] {
				t.Fatalf("ICID %q again, or %v", v.ICID, err)
			}
			seen[v.ICID] = true
		}
	})
}

func TestREG23_R5627_ContactPassesUntouched(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.answer = func(req *headers.Msg) Outcome {
			o := granted(req)
			o.Msg.Set("Contact", req.Get("Contact")+`;expires=600;pub-gruu="sip:alice@x.example;gr=urn:uuid:1";temp-gruu="sip:tgruu.7@x.example;gr"`)
			return o
		}
		resp := f.send(siptransport.Flow{ID: "s1", Transport: "WSS"})
		if got := f.lastSent().Get("Contact"); !strings.Contains(got, `+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel"`) || !strings.Contains(got, "s1.invalid") {
			t.Errorf("towards the core: %s", got)
		}
		if got := resp.Get("Contact"); !strings.Contains(got, `pub-gruu="sip:alice@x.example;gr=urn:uuid:1";temp-gruu=`) {
			t.Errorf("towards the browser: %s", got)
		}
	})
}

func TestREG21_RedirectingCore(t *testing.T) {
	run(t, func(t *testing.T, f *fixture) {
		f.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 305, "")
			m.Add("Contact", "<sip:icscf2.core.example>")
			return Outcome{Msg: m}
		}
		resp := f.send(siptransport.Flow{ID: "s1", Transport: "WSS"})
		if resp.Status != 504 || resp.Has("Contact") {
			t.Errorf("%d %+v", resp.Status, resp.Fields)
		}
		f.answer = func(req *headers.Msg) Outcome {
			m := headers.NewResponse(req, 423, "")
			m.Add("Min-Expires", "3600")
			return Outcome{Msg: m}
		}
		if resp := f.send(siptransport.Flow{ID: "s1", Transport: "WSS"}); resp.Status != 423 || resp.Get("Min-Expires") != "3600" {
			t.Errorf("%d %+v", resp.Status, resp.Fields)
		}
	})
}
