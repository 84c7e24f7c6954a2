package badinput

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

// refusedRequests counts what reached no call.
const refusedRequests = "isthmus_mgc_requests_refused_total"

func refusedBy(reason string) string {
	return fmt.Sprintf(`%s{reason="%s"}`, refusedRequests, reason)
}

func sipFromBrowsers(t *testing.T, b *bed) {
	bob := b.register(t, "bob", nil)
	t.Run("malformed", func(t *testing.T) { malformed(t, b, bob) })
	t.Run("methods and extensions", func(t *testing.T) { unsupported(t, b, bob) })
	t.Run("descriptions", func(t *testing.T) { badDescriptions(t, b, bob) })
	t.Run("identities", func(t *testing.T) { identities(t, b, bob) })
	t.Run("dialogs of others", func(t *testing.T) { foreignDialogs(t, b, bob) })
	t.Run("own dialog", func(t *testing.T) { ownDialog(t, b, bob) })
	t.Run("log injection", func(t *testing.T) { injection(t, b, bob) })
	t.Run("flood", func(t *testing.T) { flood(t, b) })
}

const target = "sip:tone@" + domain

// malformed requests are answered by the fault's name; those that lack what an answer needs are counted only.
func malformed(t *testing.T, b *bed, bob *browser) {
	set := func(name, value string) func(*message) { return func(m *message) { m.set(name, value) } }
	add := func(name, value string) func(*message) { return func(m *message) { m.add(name, value) } }
	del := func(name string) func(*message) { return func(m *message) { m.del(name) } }
	start := func(line string) func(*message) { return func(m *message) { m.start = line } }
	for name, tc := range map[string]struct {
		edit func(*message)
		want string // "": no answer
	}{
		"two From":               {add("From", "<sip:alice@"+domain+">;tag=1"), "400 Multiple From Header Fields"},
		"two To":                 {add("To", "<sip:alice@"+domain+">"), "400 Multiple To Header Fields"},
		"two Call-ID":            {add("i", "another"), "400 Multiple Call-ID Header Fields"},
		"two CSeq":               {add("CSeq", "2 INVITE"), "400 Multiple CSeq Header Fields"},
		"two Max-Forwards":       {add("Max-Forwards", "1"), "400 Multiple Max-Forwards Header Fields"},
		"two Content-Type":       {func(m *message) { m.sdp("v=0").add("c", "text/plain") }, "400 Multiple Content-Type Header Fields"},
		"two Content-Length":     {func(m *message) { m.add("Content-Length", "0").add("l", "5") }, "400 Multiple Content-Length"},
		"CSeq of another method": {set("CSeq", "1 OPTIONS"), "400 CSeq Method Does Not Match"},
		"CSeq without number":    {set("CSeq", "one INVITE"), "400 Malformed CSeq"},
		"CSeq too great":         {set("CSeq", "4294967296 INVITE"), "400 Malformed CSeq"},
		"From not closed":        {set("From", "<sip:bob@"+domain+";tag=1"), "400 Malformed From"},
		"To of garbage":          {set("To", "who? <"), "400 Malformed To"},
		"Max-Forwards of 300":    {set("Max-Forwards", "300"), "400 Malformed Max-Forwards"},
		"negative Max-Forwards":  {set("Max-Forwards", "-1"), "400 Malformed Max-Forwards"},
		"length beyond the body": {set("Content-Length", "9999"), "400 Content-Length Does Not Match Body"},
		"length below the body":  {func(m *message) { m.sdp("v=0\r\n").add("Content-Length", "2") }, "400 Content-Length Does Not Match Body"},
		"length of letters":      {set("Content-Length", "many"), "400 Malformed Content-Length"},
		"negative length":        {set("Content-Length", "-5"), "400 Malformed Content-Length"},
		"body without type":      {func(m *message) { m.body = "v=0\r\n" }, "400 Missing Content-Type Header Field"},
		"version 7":              {start("INVITE " + target + " SIP/7.0"), "505 Version Not Supported"},
		"no version":             {start("INVITE " + target), "400 Malformed Request Line"},
		"two spaces":             {start("INVITE  " + target + " SIP/2.0"), "400 Malformed Request-URI"},
		"URI in brackets":        {start("INVITE <" + target + "> SIP/2.0"), "400 Malformed Request-URI"},
		"URI with headers":       {start("INVITE " + target + "?Subject=x SIP/2.0"), "400 Request-URI With Headers"},
		"port of a URI":          {start("INVITE sip:tone@" + domain + ":99999 SIP/2.0"), "400 Malformed Request-URI"},
		"escape in a header":     {set("Subject", "\x1b[31mred\x1b[0m"), "400 Control Character In Header Field"},
		"NUL in a header":        {set("Subject", "a\x00b"), "400 Control Character In Header Field"},
		"bare LF":                {set("Subject", "a\nEvil: yes"), "400 Bare CR Or LF In Header Field"},
		"bare CR":                {set("Subject", "a\rEvil: yes"), "400 Bare CR Or LF In Header Field"},
		"line without colon":     {set("Subject", "x\r\nno colon here"), "400 Malformed Header Field"},
		"600 fields":             {func(m *message) { addMany(m, 600) }, "400 Too Many Header Fields"},
		"star Contact":           {set("Contact", "*"), "400 Contact Wildcard Without Expires 0"},
		"Contact of garbage":     {set("Contact", "<<>>"), "400 Malformed Contact"},
		"Contact expires":        {set("Contact", "<sip:bob@x.invalid>;expires=never"), "400 Malformed Contact Expires"},
		"Route without brackets": {add("Route", "sip:x@"+domain), "400 Malformed Route"},
		"Route of garbage":       {add("Route", "<>,,"), "400 Malformed Route"},
		"Expires of letters":     {add("Expires", "soon"), "400 Malformed Expires"},
		"asserted identity":      {add("P-Asserted-Identity", "bob bob bob"), "400 Malformed P-Asserted-Identity"},
		"Date of another zone":   {add("Date", "Fri, 01 Jan 2010 16:00:00 EST"), "400 Malformed Date"},
		"empty branch":           {func(m *message) { m.set("Via", "SIP/2.0/WS x.invalid;branch=z9hG4bK") }, "400 Empty Via Branch"},
		"second Via of garbage":  {add("Via", "no via"), "400 Malformed Via"},
		"Via of garbage":         {set("Via", "no via"), ""},
		"without From":           {del("From"), ""},
		"without Call-ID":        {del("Call-ID"), ""},
		"without Via":            {del("Via"), ""},
		"method of two words":    {start("IN,VITE " + target + " SIP/2.0"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := bob.compose("INVITE", target)
			tc.edit(m)
			w := b.rawWS(t) // a fresh one: ten malformed messages close a connection
			if tc.want == "" {
				b.counts(t, "mgc", wsReason("unanswerable"), 1, func() { w.send(t, true, opText, []byte(m.String())) })
				w.alive(t, b)
				return
			}
			b.counts(t, "mgc", wsReason("malformed"), 1, func() {
				w.send(t, true, opText, []byte(m.String()))
				_, p := w.read()
				if r := parseReply(string(p)); fmt.Sprintf("%d %s", r.status, r.reason) != tc.want || r.get("Call-ID") != m.get("Call-ID") {
					t.Errorf("answered %q, want %q", p, tc.want)
				}
			})
			w.alive(t, b)
		})
	}
}

func addMany(m *message, n int) {
	for range n {
		m.add("X-Many", "y")
	}
}

// unsupported methods and extensions outside a dialog.
func unsupported(t *testing.T, b *bed, bob *browser) {
	require := func(m *message, tags string) *message { return m.add("Require", tags) }
	for name, tc := range map[string]struct {
		m      *message
		want   string
		header string // name
		value  string // what the header must hold
		metric string
	}{
		"unknown method":          {bob.compose("BREW", target), "405 Method Not Allowed", "Allow", "INVITE", refusedBy("method")},
		"BYE for no dialog":       {bob.compose("BYE", target), "481 Call/Transaction Does Not Exist", "", "", refusedBy("unknown_dialog")},
		"UPDATE for no dialog":    {bob.compose("UPDATE", target), "481 Call/Transaction Does Not Exist", "", "", refusedBy("unknown_dialog")},
		"PRACK for no dialog":     {bob.compose("PRACK", target), "481 Call/Transaction Does Not Exist", "", "", refusedBy("unknown_dialog")},
		"MESSAGE that requires":   {require(bob.compose("MESSAGE", target), "nothing-known, 100rel"), "420 Bad Extension", "Unsupported", "nothing-known, 100rel", refusedBy("extension")},
		"INVITE that requires":    {require(bob.compose("INVITE", target), "nothing-known").sdp(offer()), "420 Bad Extension", "Unsupported", "nothing-known", `isthmus_mgc_calls_ended_total{cause="refused"}`},
		"INVITE at its last hop":  {bob.compose("INVITE", target).set("Max-Forwards", "0").sdp(offer()), "483 Too Many Hops", "", "", `isthmus_mgc_calls_ended_total{cause="refused"}`},
		"MESSAGE at its last hop": {bob.compose("MESSAGE", target).set("Max-Forwards", "0"), "483 Too Many Hops", "", "", refusedBy("max_forwards")},
		"CANCEL for nothing":      {bob.compose("CANCEL", target), "481 Call/Transaction Does Not Exist", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func() {
				r := bob.ask(t, tc.m)
				if got := fmt.Sprintf("%d %s", r.status, r.reason); got != tc.want {
					t.Errorf("answered %q, want %q", got, tc.want)
				}
				if tc.header != "" && !strings.Contains(r.get(tc.header), tc.value) {
					t.Errorf("%s: %q, want %q in it", tc.header, r.get(tc.header), tc.value)
				}
			}
			if tc.metric == "" {
				ask()
				return
			}
			b.counts(t, "mgc", tc.metric, 1, ask)
		})
	}
	t.Run("stray ACK", func(t *testing.T) {
		b.counts(t, "mgc", refusedBy("stray_ack"), 1, func() { _ = bob.Raw(bob.compose("ACK", target).String()) })
	})
	t.Run("stray response", func(t *testing.T) {
		r := bob.compose("INVITE", target)
		r.start = "SIP/2.0 200 OK"
		b.counts(t, "mgc", "isthmus_mgc_sip_responses_unmatched_total", 1, func() { _ = bob.Raw(r.String()) })
	})
}

// offer is a description that a browser could have written.
func offer() string {
	return strings.Join([]string{
		"v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0", "a=fingerprint:sha-256 " + strings.Repeat("AB:", 31) + "AB",
		"m=audio 9 UDP/TLS/RTP/SAVPF 8", "c=IN IP4 0.0.0.0", "a=setup:actpass", "a=mid:0", "a=ice-ufrag:abcdefgh", "a=ice-pwd:abcdefghijklmnopqrstuvwx",
		"a=rtcp-mux", "a=rtpmap:8 PCMA/8000", "a=sendrecv", "",
	}, "\r\n")
}

// badDescriptions hold no media that could be used: 488 with a Warning that says why, 415 for what is no description.
func badDescriptions(t *testing.T, b *bed, bob *browser) {
	without := func(prefix string) string {
		var out []string
		for _, l := range strings.Split(offer(), "\r\n") {
			if !strings.HasPrefix(l, prefix) {
				out = append(out, l)
			}
		}
		return strings.Join(out, "\r\n")
	}
	replace := func(old, with string) string { return strings.Replace(offer(), old, with, 1) }
	for name, body := range map[string]string{
		"video alone":        replace("m=audio", "m=video"),
		"RTP without DTLS":   replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
		"SDES":               strings.Replace(without("a=fingerprint"), "UDP/TLS/RTP/SAVPF", "RTP/SAVPF", 1) + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n",
		"no fingerprint":     without("a=fingerprint"),
		"weak fingerprint":   replace("sha-256 "+strings.Repeat("AB:", 31)+"AB", "md5 "+strings.Repeat("AB:", 15)+"AB"),
		"no ICE user":        without("a=ice-ufrag"),
		"no ICE password":    without("a=ice-pwd"),
		"short ICE password": replace("abcdefghijklmnopqrstuvwx", "short"),
		"unknown codec":      replace("a=rtpmap:8 PCMA/8000", "a=rtpmap:8 SPEEX/8000"),
		"no rtcp-mux":        without("a=rtcp-mux"),
		"refused line":       replace("m=audio 9", "m=audio 0"),
		"no line":            strings.Split(offer(), "m=audio")[0],
		"garbage":            "\x00\x01\x02 this is no description",
		"not in order":       "s=-\r\nv=0\r\n",
		"version 1":          replace("v=0", "v=1"),
		"port out of range":  replace("m=audio 9", "m=audio 70000"),
		"thousand lines":     strings.Split(offer(), "m=audio")[0] + strings.Repeat("m=video 0 RTP/AVP 0\r\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			b.counts(t, "mgc", `isthmus_mgc_calls_ended_total{cause="media"}`, 1, func() {
				r := bob.ask(t, bob.compose("INVITE", target).sdp(body))
				if r.status != 488 || !isWarning(r.get("Warning")) {
					t.Errorf("answered %d %s, Warning %q; want 488 with a Warning", r.status, r.reason, r.get("Warning"))
				}
			})
		})
	}
	t.Run("another type", func(t *testing.T) {
		r := bob.ask(t, bob.compose("INVITE", target).sdp(offer()).set("Content-Type", "application/isup"))
		if r.status != 415 || r.get("Accept") != "application/sdp" {
			t.Errorf("answered %d %s, Accept %q", r.status, r.reason, r.get("Accept"))
		}
	})
}

// isWarning checks `399 host "text"` with a text (RFC 3261 §20.43).
func isWarning(v string) bool {
	parts := strings.SplitN(v, " ", 3)
	return len(parts) == 3 && len(parts[0]) == 3 && parts[0][0] == '3' && len(parts[2]) > 4 && parts[2][0] == '"'
}

// identities: nobody calls without a registration on the same connection, or as somebody else.
func identities(t *testing.T, b *bed, bob *browser) {
	stranger := b.newBrowser(t, "mallory", nil)
	for name, tc := range map[string]struct {
		from   *browser
		m      *message
		want   string
		metric string
	}{
		"INVITE of an unregistered flow":  {stranger, stranger.compose("INVITE", target).sdp(offer()), "403 Not Registered", "unregistered"},
		"MESSAGE of an unregistered flow": {stranger, stranger.compose("MESSAGE", target), "403 Not Registered", "unregistered"},
		"INVITE as a registered user":     {stranger, stranger.compose("INVITE", target).sdp(offer()).set("From", "<sip:bob@"+domain+">;tag=1"), "403 Not Registered", "unregistered"},
		"INVITE as another user":          {bob, bob.compose("INVITE", target).sdp(offer()).set("From", "<sip:alice@"+domain+">;tag=1"), "403 Identity Not Registered", "foreign_identity"},
		"MESSAGE as another user":         {bob, bob.compose("MESSAGE", target).set("From", "<sip:alice@"+domain+">;tag=1"), "403 Identity Not Registered", "foreign_identity"},
		"same user of another domain":     {bob, bob.compose("INVITE", target).sdp(offer()).set("From", "<sip:bob@elsewhere.example>;tag=1"), "403 Identity Not Registered", "foreign_identity"},
		"user in the display name":        {bob, bob.compose("INVITE", target).sdp(offer()).set("From", `"bob <sip:bob@`+domain+`>" <sip:alice@`+domain+">;tag=1"), "403 Identity Not Registered", "foreign_identity"},
		"telephone number":                {bob, bob.compose("INVITE", target).sdp(offer()).set("From", "<tel:+15551234>;tag=1"), "403 Identity Not Registered", "foreign_identity"},
		"preferred identity":              {bob, bob.compose("INVITE", target).sdp(offer()).add("P-Preferred-Identity", "<sip:alice@"+domain+">"), "403 Identity Not Registered", "foreign_identity"},
		"asserted identity":               {bob, bob.compose("INVITE", target).sdp(offer()).add("P-Asserted-Identity", "<sip:bob@"+domain+">, <tel:+15551234>"), "403 Identity Not Registered", "foreign_identity"},
	} {
		t.Run(name, func(t *testing.T) {
			b.counts(t, "mgc", refusedBy(tc.metric), 1, func() {
				r := tc.from.ask(t, tc.m)
				if got := fmt.Sprintf("%d %s", r.status, r.reason); got != tc.want {
					t.Errorf("answered %q, want %q", got, tc.want)
				}
			})
		})
	}
}

// foreignDialogs: who knows all of a dialog but sends from another WebSocket is refused; forged tokens name nothing.
func foreignDialogs(t *testing.T, b *bed, bob *browser) {
	carol := b.register(t, "carol", nil)
	call := carol.call(t, target, tone.NewSine(callerHz, level))
	d := dialogOf(t, carol)
	stranger := b.newBrowser(t, "mallory", nil)
	for who, thief := range map[string]*browser{"another user": bob, "an unregistered flow": stranger} {
		for _, method := range []string{"BYE", "INFO", "INVITE", "UPDATE", "REFER", "MESSAGE"} {
			t.Run(method+" of "+who, func(t *testing.T) {
				b.counts(t, "mgc", refusedBy("foreign_flow"), 1, func() {
					m := d.request(method)
					if method == "INVITE" || method == "UPDATE" {
						m.sdp(offer())
					}
					if r := thief.ask(t, m); r.status != 403 || r.reason != "Dialog of Another User" {
						t.Errorf("answered %d %s, want 403 Dialog of Another User", r.status, r.reason)
					}
				})
			})
		}
		_ = thief.Raw(d.request("ACK").String()) // never answered, must do nothing
	}
	user, rest, _ := strings.Cut(strings.TrimPrefix(d.target, "sip:"), "@")
	forged := map[string]string{
		"last letter": user[:len(user)-1] + string('a'+(user[len(user)-1]-'a'+1)%26), "first letter": "b" + user[1:], "half": user[:len(user)/2],
		"doubled": user + user, "reversed case": strings.ToUpper(user[:10]) + "1" + user[10:], "invented": strings.Repeat("a", len(user)), "a name": "admin",
	}
	for name, token := range forged {
		t.Run("forged in the target, "+name, func(t *testing.T) {
			b.counts(t, "mgc", refusedRequests, 1, func() {
				m := d.request("BYE")
				m.start = "BYE sip:" + token + "@" + rest + " SIP/2.0"
				if r := carol.ask(t, m); r.status != 403 {
					t.Errorf("answered %d %s, want 403", r.status, r.reason)
				}
			})
		})
		t.Run("forged in the tag, "+name, func(t *testing.T) {
			b.counts(t, "mgc", refusedRequests, 1, func() {
				m := d.request("BYE").set("To", "<"+target+">;tag="+token)
				m.start = "BYE " + target + " SIP/2.0"
				if r := carol.ask(t, m); r.status != 481 {
					t.Errorf("answered %d %s, want 481", r.status, r.reason)
				}
			})
		})
	}
	for name, m := range map[string]*message{
		"other Call-ID":  d.request("BYE").set("Call-ID", unique()),
		"other From tag": d.request("BYE").set("From", "<sip:carol@"+domain+">;tag=other"),
	} {
		t.Run(name, func(t *testing.T) {
			if r := carol.ask(t, m); r.status != 481 {
				t.Errorf("answered %d %s, want 481", r.status, r.reason)
			}
		})
	}
	hears(t, call)
}

// ownDialog are wrong requests inside the browser's own call, which goes on after them.
func ownDialog(t *testing.T, b *bed, bob *browser) {
	call := bob.call(t, target, tone.NewSine(callerHz, level))
	d, described := dialogOf(t, bob), bob.described(t)
	for i, tc := range []struct {
		name   string
		m      *message
		want   int
		header string // that the answer must have
	}{
		{"unknown method", d.request("BREW"), 501, ""},
		{"method of no use here", d.request("PUBLISH"), 405, "Allow"},
		{"extension", d.request("INFO").set("Require", "nothing-known"), 420, "Unsupported"},
		{"extension in a re-INVITE", d.request("INVITE").sdp(described).set("Require", "nothing-known"), 420, "Unsupported"},
		{"garbage in a re-INVITE", d.request("INVITE").sdp("nonsense"), 488, "Warning"},
		{"re-INVITE without media", d.request("INVITE").sdp(strings.Replace(described, "m=audio", "m=video", 1)), 488, "Warning"},
		{"re-INVITE with fewer lines", d.request("INVITE").sdp(strings.Split(described, "m=audio")[0]), 488, "Warning"},
		{"last hop", d.request("INFO").set("Max-Forwards", "0").set("Content-Type", "application/vnd.example.lamp"), 483, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.m.set("CSeq", fmt.Sprintf("%d %s", 2000+i, tc.m.method()))
			if r := bob.ask(t, tc.m); r.status != tc.want || tc.header != "" && r.get(tc.header) == "" {
				t.Errorf("answered %q, want %d with %s", r.raw, tc.want, tc.header)
			}
		})
	}
	if r := bob.ask(t, d.request("INFO").set("CSeq", "1 INFO")); r.status != 500 { // RFC 3261 §12.2.2
		t.Errorf("old CSeq answered %d %s, want 500", r.status, r.reason)
	}
	hears(t, call)
}

// injection puts line ends and escape sequences where the grammar allows them, and where it does not; the logs are read at the end.
func injection(t *testing.T, b *bed, bob *browser) {
	const evil = "{\\\"level\\\":\\\"error\\\",\\\"msg\\\":\\\"injected\\\"}\\\x1b[2J\\\x07" // control characters as quoted-pairs, which the grammar allows
	for name, edit := range map[string]func(*message){
		"display name": func(m *message) { m.set("From", `"`+evil+`" <`+bob.aor()+">;tag=1") },
		"escaped user": func(m *message) { m.set("To", "<sip:%0d%0a%1b%5b2Jinjected@"+domain+">") },
		"C1 control":   func(m *message) { m.set("From", "\"\u009b31m\u2028\u202e\" <"+bob.aor()+">;tag=1") },
		"Reason":       func(m *message) { m.add("Reason", `SIP;cause=1;text="`+evil+`"`) },
		"User-Agent":   func(m *message) { m.add("User-Agent", "\u009b31m injected") },
		"Call-ID":      func(m *message) { m.set("Call-ID", unique()+"%0d%0ainjected") },
		"Route":        func(m *message) { m.add("Route", "<sip:%0d%0ainjected@127.0.0.1;lr>") },
	} {
		t.Run(name, func(t *testing.T) {
			m := bob.compose("INVITE", "sip:busy@"+domain).sdp(offer())
			edit(m)
			if r := bob.ask(t, m); r.status < 400 || r.status > 499 {
				t.Errorf("answered %d %s", r.status, r.reason)
			}
		})
	}
	for _, line := range []string{"Subject: a\x1b[31m", "Subject: a\r\rb", "\x1b]0;title\x07: x", "Evil\r\n\r\n: x"} {
		w := b.rawWS(t)
		w.send(t, true, opText, []byte(strings.Replace(bob.compose("INVITE", target).String(), "\r\n", "\r\n"+line+"\r\n", 1)))
		w.alive(t, b)
	}
	bob.call(t, target, tone.Silence{})
	d := dialogOf(t, bob)
	bob.over[d.callID] = true
	bye := d.request("BYE").add("Reason", `SIP;cause=200;text="`+evil+`"`)
	if r := bob.ask(t, bye); r.status != 200 {
		t.Errorf("BYE with a reason: %d %s", r.status, r.reason)
	}
}

// flood: one browser gets so many calls and no more; others are not touched.
func flood(t *testing.T, b *bed) {
	const calls, bound = 200, 20
	dave := b.register(t, "dave", nil)
	carol := b.register(t, "carol", nil)
	var all []*message
	b.counts(t, "mgc", refusedBy("user_full"), calls-bound, func() {
		for range calls {
			m := dave.compose("INVITE", "sip:noanswer@"+domain).sdp(offer())
			all = append(all, m)
			if err := dave.Raw(m.String()); err != nil {
				t.Fatal(err)
			}
		}
		carol.call(t, target, tone.Silence{})
	})
	refused := 0
	for _, m := range all {
		raw := dave.in.wait(deadline, func(raw string) bool {
			r := parseReply(raw)
			return (r.status == 180 || r.status >= 200) && r.get("Call-ID") == m.get("Call-ID")
		})
		switch r := parseReply(raw); {
		case r.status == 503 && r.get("Retry-After") != "":
			refused++
			_ = dave.Raw(ackOf(m, r).String())
		case r.status != 180:
			t.Errorf("answered %q", raw)
		default:
			_ = dave.Raw(cancelOf(m).String())
			if end := parseReply(dave.in.wait(deadline, finalTo(m))); end.status != 487 {
				t.Errorf("cancelled call ended by %d", end.status)
			} else {
				_ = dave.Raw(ackOf(m, end).String())
			}
		}
	}
	if refused != calls-bound {
		t.Errorf("%d of %d calls refused, want %d", refused, calls, calls-bound)
	}
	t.Run("without acknowledging", func(t *testing.T) {
		mallory := b.newBrowser(t, "mallory", func(c *webua.Config) { c.Trace = nil })
		b.counts(t, "mgc", `isthmus_mgc_sip_requests_refused_total{cause="overload"}`, 100, func() {
			for range 2000 { // each leaves a transaction that waits 32 s for its ACK; 1000 are allowed
				if err := mallory.Raw(mallory.compose("INVITE", target).String()); err != nil {
					t.Fatal(err)
				}
			}
		})
		carol.call(t, target, tone.Silence{}) // others call as before
	})
}

// cancelOf is the CANCEL of an INVITE (RFC 3261 §9.1).
func cancelOf(m *message) *message {
	_, rest, _ := strings.Cut(m.start, " ")
	return &message{start: "CANCEL " + rest, fields: []field{
		{"Via", m.get("Via")}, {"Max-Forwards", "70"}, {"From", m.get("From")}, {"To", m.get("To")}, {"Call-ID", m.get("Call-ID")}, {"CSeq", "1 CANCEL"},
	}}
}
