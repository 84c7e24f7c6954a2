package headers

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// base is a well-formed request; tests change lines of it.
const base = "INVITE sip:bob@example.com SIP/2.0\r\n" +
	"Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK56sdasks\r\n" +
	"From: <sip:alice@example.com>;tag=asdyka899\r\n" +
	"To: <sip:bob@example.com>\r\n" +
	"Call-ID: asidkj3ss\r\n" +
	"CSeq: 1 INVITE\r\n" +
	"Max-Forwards: 70\r\n" +
	"Contact: <sip:alice@df7jal23ls0d.invalid;transport=ws>\r\n" +
	"Content-Type: application/sdp\r\n" +
	"Content-Length: 4\r\n\r\nv=0\n"

func TestReadVerdicts(t *testing.T) {
	cases := []struct{ name, old, new, want string }{
		{"as it is", "", "", ""},
		{"folded", "To: <", "To:\r\n  <", ""},
		{"compact", "Call-ID:", "i :", ""},
		{"tab", "To: ", "To:\t", ""},
		{"no Max-Forwards", "Max-Forwards: 70\r\n", "", ""},
		{"sips", "sip:bob@example.com SIP", "sips:bob@example.com SIP", ""},
		{"lower-case method", "INVITE sip", "invite sip", "CSeq Method Does Not Match"},
		{"lower-case version", "SIP/2.0\r\nVia", "sip/2.0\r\nVia", ""},
		{"SIP 3", "com SIP/2.0", "com SIP/3.0", "Version Not Supported"},
		{"no version", "com SIP/2.0", "com", "Malformed Request Line"},
		{"NUL", "asidkj3ss", "asid\x00kj3ss", "Control Character In Header Field"},
		{"bell", "From: <", "From: \"\a\" <", "Control Character In Header Field"},
		{"DEL", "To: <", "Subject: \x7f\r\nTo: <", "Control Character In Header Field"},
		{"quoted-pair control", "To: <", "To: \"a\\\x07b\" <", ""},
		{"bare CR", "Max-Forwards: 70", "Subject: a\rb\r\nMax-Forwards: 70", "Bare CR Or LF In Header Field"},
		{"bare LF", "Max-Forwards: 70\r\n", "Max-Forwards: 70\n", "Bare CR Or LF In Header Field"},
		{"not UTF-8", "To: <", "To: \"\xff\" <", "Header Section Not UTF-8"},
		{"two From", "To: <", "From: <sip:x@y>;tag=1\r\nTo: <", "Multiple From Header Fields"},
		{"two CSeq", "Max", "CSeq: 1 INVITE\r\nMax", "Multiple CSeq Header Fields"},
		{"two Content-Length", "Content-Length: 4", "Content-Length: 4\r\nl: 4", "Multiple Content-Length"},
		{"short body", "Content-Length: 4", "Content-Length: 5", "Content-Length Does Not Match Body"},
		{"long body", "Content-Length: 4", "Content-Length: 3", "Content-Length Does Not Match Body"},
		{"signed length", "Content-Length: 4", "Content-Length: +4", "Malformed Content-Length"},
		{"huge length", "Content-Length: 4", "Content-Length: 99999999999999999999", "Malformed Content-Length"},
		{"no length", "Content-Length: 4\r\n", "", ""},
		{"no type", "Content-Type: application/sdp\r\n", "", "Missing Content-Type Header Field"},
		{"no Via", "Via: SIP/2.0/WS df7jal23ls0d.invalid;branch=z9hG4bK56sdasks\r\n", "", "Missing Via Header Field"},
		{"empty Call-ID", "asidkj3ss", "", "Missing Call-ID Header Field"},
		{"Call-ID with space", "asidkj3ss", "a b", "Malformed Call-ID"},
		{"CSeq too large", "CSeq: 1 ", "CSeq: 2147483648 ", "Malformed CSeq"},
		{"CSeq negative", "CSeq: 1 ", "CSeq: -1 ", "Malformed CSeq"},
		{"CSeq largest", "CSeq: 1 ", "CSeq: 2147483647 ", ""},
		{"Max-Forwards 256", "Max-Forwards: 70", "Max-Forwards: 256", "Malformed Max-Forwards"},
		{"Max-Forwards 255", "Max-Forwards: 70", "Max-Forwards: 255", ""},
		{"Max-Forwards -1", "Max-Forwards: 70", "Max-Forwards: -1", "Malformed Max-Forwards"},
		{"Max-Forwards empty", "Max-Forwards: 70", "Max-Forwards:", "Malformed Max-Forwards"},
		{"Via port", "df7jal23ls0d.invalid;b", "df7jal23ls0d.invalid:99999999;b", "Malformed Via"},
		{"Via port 0", "df7jal23ls0d.invalid;b", "df7jal23ls0d.invalid:0;b", "Malformed Via"},
		{"Via quoted comma", ";branch", ";x=\"a,b;c\";branch", ""},
		{"URI port", "INVITE sip:bob@example.com", "INVITE sip:bob@example.com:70000", "Malformed Request-URI"},
		{"wildcard contact", "<sip:alice@df7jal23ls0d.invalid;transport=ws>", "*", "Contact Wildcard Without Expires 0"},
		{"contact expires", "transport=ws>", "transport=ws>;expires=abc", "Malformed Contact Expires"},
		{"empty contact element", "transport=ws>", "transport=ws>, ,<sip:x@y>", "Malformed Contact"},
		{"route without brackets", "Max-Forwards: 70", "Route: sip:p.example.com;lr\r\nMax-Forwards: 70", "Malformed Route"},
		{"route list", "Max-Forwards: 70", "Route: <sip:p.example.com;lr>, <sip:q.example.com;lr>\r\nMax-Forwards: 70", ""},
		{"PAI broken", "Max-Forwards: 70", "P-Asserted-Identity: \"a <sip:b@c>\r\nMax-Forwards: 70", "Malformed P-Asserted-Identity"},
		{"no colon", "Max-Forwards: 70", "Max-Forwards 70", "Malformed Header Field"},
		{"space in name", "Max-Forwards: 70", "Max Forwards: 70", "Malformed Header Field"},
		{"no empty line", "\r\n\r\nv=0\n", "\r\n", "Header Section Not Terminated"},
		{"Expires text", "Max-Forwards: 70", "Expires: soon\r\nMax-Forwards: 70", "Malformed Expires"},
		{"Session-Expires", "Max-Forwards: 70", "x: 1800;refresher=uac\r\nMax-Forwards: 70", ""},
		{"many fields", "Max-Forwards: 70\r\n", strings.Repeat("X: y\r\n", MaxFields), "Too Many Header Fields"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			raw := strings.Replace(base, c.old, c.new, 1)
			if c.old != "" && raw == base {
				t.Fatal("the case changes nothing")
			}
			m, err := Read([]byte(raw), Framed)
			got := ""
			if bad := (*BadMessage)(nil); errors.As(err, &bad) {
				got = bad.Reason
			}
			if got != c.want {
				t.Fatalf("verdict %q (%v), want %q", got, err, c.want)
			}
			if err == nil {
				roundTrip(t, &m)
			}
		})
	}
}

func TestReadFraming(t *testing.T) {
	longer := base + "extra"
	for _, c := range []struct {
		framing Framing
		raw     string
		ok      bool
	}{
		{Datagram, longer, true}, {Framed, longer, false}, {Stream, longer, false},
		{Stream, base, true}, {Stream, strings.Replace(base, "Content-Length: 4\r\n", "", 1), false},
		{Datagram, "\r\n\r\n" + base, true}, {Stream, "\r\n" + base, true}, {Framed, "\r\n" + base, false},
		{Datagram, strings.Repeat("x", MaxMessage+1), false},
	} {
		m, err := Read([]byte(c.raw), c.framing)
		if (err == nil) != c.ok {
			t.Errorf("framing %d of %d bytes: %v", c.framing, len(c.raw), err)
		}
		if err == nil && string(m.Body) != "v=0\n" {
			t.Errorf("framing %d: body %q", c.framing, m.Body)
		}
	}
}

func TestReadKeepsEveryField(t *testing.T) {
	lines := []string{
		`Route: "a;b" <sip:p1.example.com;lr>;x="q;tag=evil";y, <sip:p2.example.com;lr>`,
		`Record-Route: "Name, with comma" <sip:rr.example.com;lr;k="v">`,
		`P-Asserted-Identity: "Alice \"A;B\"" <sip:alice@example.com>, <tel:+1234>`,
		`Authorization: Digest username="a,b", realm="r;s", nonce="", uri="sip:x", response=""`,
		`X-Odd:  a  b   c;d="e`,
	}
	raw := strings.Replace(base, "Max-Forwards: 70\r\n", "Max-Forwards: 70\r\n"+strings.Join(lines, "\r\n")+"\r\n", 1)
	raw = strings.Replace(raw, `;k="v"`, "", 1) // a URI parameter has no quotes
	raw = strings.Replace(raw, "From: <sip:alice@example.com>;tag=asdyka899", `From: "x;y" <sip:alice@example.com>;z="q;tag=evil";tag=right`, 1)
	m, err := Read([]byte(raw), Framed)
	if err != nil {
		t.Fatal(err)
	}
	out, err := m.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		l = strings.Replace(l, `;k="v"`, "", 1)
		name, value, _ := strings.Cut(l, ":")
		if !strings.Contains(string(out), name+": "+strings.TrimSpace(value)+"\r\n") {
			t.Errorf("lost or changed: %s", l)
		}
	}
	if FromTag(&m) != "right" {
		t.Errorf("From tag = %q: a quoted parameter leaked", FromTag(&m))
	}
	if r := List(&m, "Route"); len(r) != 2 || !strings.HasSuffix(r[0], `;x="q;tag=evil";y`) {
		t.Errorf("Route = %q", r)
	}
}

func TestWriteRefusesSmuggledLines(t *testing.T) {
	good, err := Read([]byte(base), Framed)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Msg){
		"CRLF in value":  func(m *Msg) { m.Set("Subject", "a\r\nRoute: <sip:evil>") },
		"LF in value":    func(m *Msg) { m.Set("Subject", "a\nb") },
		"name":           func(m *Msg) { m.Add("A: b\r\nC", "d") },
		"empty name":     func(m *Msg) { m.Add("", "d") },
		"request URI":    func(m *Msg) { m.RequestURI = "sip:a@b SIP/2.0\r\nX:" },
		"empty URI":      func(m *Msg) { m.RequestURI = "" },
		"method":         func(m *Msg) { m.Method = "INVITE x" },
		"reason":         func(m *Msg) { m.Status, m.Reason = 200, "a\r\nb" },
		"status":         func(m *Msg) { m.Status = 99 },
		"status too big": func(m *Msg) { m.Status = 700 },
	} {
		m := good.Clone()
		change(&m)
		if out, err := m.Bytes(); !errors.Is(err, ErrUnwritable) {
			t.Errorf("%s: written as %q, %v", name, out, err)
		}
	}
	good.Add("content-length", "999")
	out, err := good.Bytes()
	if err != nil || strings.Count(strings.ToLower(string(out)), "content-length") != 1 {
		t.Errorf("Content-Length not single: %q %v", out, err)
	}
}

func TestAddress(t *testing.T) {
	for in, want := range map[string]Address{
		`<sip:a@b>`:                                       {URI: "sip:a@b"},
		`sip:a@b;tag=1`:                                   {URI: "sip:a@b", Params: Params{{"tag", "1"}}},
		`Bob Smith <sip:a@b>;q=0.1`:                       {Display: "Bob Smith", URI: "sip:a@b", Params: Params{{"q", "0.1"}}},
		`"B <x>; \"y\"" <sip:a@b;p=1>;z`:                  {Display: `B <x>; "y"`, URI: "sip:a@b;p=1", Params: Params{{"z", ""}}},
		`<tel:+1-23;phone-context=x>`:                     {URI: "tel:+1-23;phone-context=x"},
		"Jörg <sip:a@b>":                                  {Display: "Jörg", URI: "sip:a@b"},
		`<sip:a@b>;+sip.instance="<urn:uuid:1>";reg-id=1`: {URI: "sip:a@b", Params: Params{{"+sip.instance", `"<urn:uuid:1>"`}, {"reg-id", "1"}}},
	} {
		got, err := ParseAddress(in)
		if err != nil || got.String() != want.String() || got.Display != want.Display {
			t.Errorf("%s = %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "<", "<>", "<sip:a@b", `"x <sip:a@b>`, `"x" sip:a@b`, "a,b <sip:a@b>", "<sip:a@b> x", "<sip:a@b>;;", "<sip:a@b>;=1",
		`<sip:a@b>;x="`, "sip:a@b?x=y", "sip:a@b, sip:c@d", "<sip:a b@c>", "<sip:a@b>;x=", "alice", "<sip:a@@b>"} {
		if a, err := ParseAddress(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q accepted as %+v (%v)", in, a, err)
		}
	}
}

func TestAORAndEqualURI(t *testing.T) {
	for in, want := range map[string]string{
		"sip:Alice@Example.COM":                     "sip:Alice@example.com",
		"sip:%61lice@example.com:5060;transport=ws": "sip:alice@example.com",
		"sip:alice:secret@example.com?x=y":          "sip:alice@example.com",
		"sip:alice@example.com:5070":                "sip:alice@example.com:5070",
		"sips:alice@example.com:5061":               "sips:alice@example.com",
		"sip:a%20b@[2001:DB8::1]":                   "sip:a%20b@[2001:db8::1]",
		"tel:+1-(201)-555.0123;phone-context=x":     "tel:+12015550123",
		"urn:service:sos":                           "urn:service:sos",
		"nonsense":                                  "",
	} {
		if got := AOR(in); got != want {
			t.Errorf("AOR(%s) = %s, want %s", in, got, want)
		}
	}
	// RFC 3261 §19.1.4 examples.
	for _, p := range [][2]string{
		{"sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"},
		{"sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"},
		{"sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"},
	} {
		if !EqualURI(p[0], p[1]) || !EqualURI(p[1], p[0]) {
			t.Errorf("%s and %s should be equal", p[0], p[1])
		}
	}
	for _, p := range [][2]string{
		{"SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"},
		{"sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"},
		{"sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"},
		{"sip:a@b;security=on", "sip:a@b;security=off"},
		{"sip:a@b", "sips:a@b"}, {"broken", "broken"},
	} {
		if EqualURI(p[0], p[1]) {
			t.Errorf("%s and %s should differ", p[0], p[1])
		}
	}
}

func TestFieldHelpers(t *testing.T) {
	m, err := Read([]byte(base), Framed)
	if err != nil {
		t.Fatal(err)
	}
	if err := SetTag(&m, "To", "t1"); err != nil || m.Get("To") != "<sip:bob@example.com>;tag=t1" {
		t.Errorf("To = %q, %v", m.Get("To"), err)
	}
	if err := SetTag(&m, "To", "t2"); err != nil || ToTag(&m) != "t2" {
		t.Errorf("To = %q, %v", m.Get("To"), err)
	}
	m.Set("To", "sip:bob@example.com")
	if err := SetTag(&m, "To", "t3"); err != nil || m.Get("To") != "<sip:bob@example.com>;tag=t3" {
		t.Errorf("addr-spec To = %q, %v", m.Get("To"), err)
	}
	if !DecrementMaxForwards(&m) || m.Get("Max-Forwards") != "69" {
		t.Errorf("Max-Forwards = %s", m.Get("Max-Forwards"))
	}
	m.Set("Max-Forwards", "0")
	if DecrementMaxForwards(&m) || m.Get("Max-Forwards") != "0" {
		t.Error("Max-Forwards 0 was lowered")
	}
	m.Del("Max-Forwards")
	if !DecrementMaxForwards(&m) || m.Get("Max-Forwards") != "70" {
		t.Error("absent Max-Forwards was not set")
	}
	m.Set("Supported", "path, 100rel, outbound")
	RemoveToken(&m, "Supported", "100REL")
	AddToken(&m, "Supported", "gruu")
	AddToken(&m, "Supported", "path")
	if got := List(&m, "supported"); !slices.Equal(got, []string{"path", "outbound", "gruu"}) {
		t.Errorf("Supported = %q", got)
	}
	SetList(&m, "Route", []string{"<sip:a;lr>", "<sip:b;lr>"})
	if got := m.Values("Route"); !slices.Equal(got, []string{"<sip:a;lr>", "<sip:b;lr>"}) {
		t.Errorf("Route = %q", got)
	}
	c, _ := ParseAddress("<sip:a@b>;expires=60")
	if ContactExpires(&m, c, 5) != 60 || ContactExpires(&m, Address{}, 5) != 5 {
		t.Error("ContactExpires")
	}
	m.Set("Expires", "99999999999")
	if n, ok := Expires(&m); !ok || n != 1<<32-1 {
		t.Errorf("Expires = %d", n)
	}
	PushVia(&m, Via{Transport: "UDP", Host: "::1", Port: 5062, Params: Params{{"branch", "z9hG4bKx"}}})
	if v, err := TopVia(&m); err != nil || v.SentBy() != "[::1]:5062" || len(List(&m, "Via")) != 2 {
		t.Errorf("top Via = %+v, %v", v, err)
	}
}

func TestForLog(t *testing.T) {
	got := ForLog("a\r\nb\x1b[31mö"+strings.Repeat("x", 500), 20)
	if strings.ContainsAny(got, "\r\n\x1b") || len(got) > 100 || !strings.HasSuffix(got, "...") {
		t.Errorf("ForLog = %q", got)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{`"J Rosenberg \\\"" <sip:j@example.com> ; tag = 98`, "<sip:a@b>;x=\"q;tag=e\";tag=1", "sip:a@b;tag=1", "*", "Bell, A <sip:a@b>", `"`, "<tel:+1>", "a<sip:b@[::1]:5>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil || strings.ContainsAny(s, "\r\n") {
			return
		}
		again, err := ParseAddress(a.String())
		if err != nil {
			t.Fatalf("%q was written as %q and refused: %v", s, a.String(), err)
		}
		if again.String() != a.String() || again.URI != a.URI {
			t.Fatalf("%q: %q then %q", s, a.String(), again.String())
		}
		_ = a.AOR()
	})
}

func FuzzParseVia(f *testing.F) {
	for _, s := range []string{"SIP/2.0/UDP 192.0.2.2;branch=390skdjuw", "SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8", "SIP/2.0/UDP [::1]:5060;rport;received=::1", "SIP/2.0/WS a.invalid : 80", "SIP/2.0/UDP 1.2.3.4;;", "SIP/7.0/UDP a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVia(s)
		if err != nil {
			return
		}
		again, err := ParseVia(v.String())
		if err != nil || again.String() != v.String() || again.SentBy() != v.SentBy() {
			t.Fatalf("%q: %q then %q, %v", s, v.String(), again.String(), err)
		}
	})
}

func FuzzParseURI(f *testing.F) {
	for _, s := range []string{"sip:a@b", "sip:user;par=u%40example.net@example.com", "sips:[::1]:5061;lr?a=b", "tel:+1", "urn:service:sos", "sip:%", "sip:a@b:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			return
		}
		again, err := ParseURI(u.String())
		if err != nil || again.String() != u.String() {
			t.Fatalf("%q: %q then %q, %v", s, u.String(), again.String(), err)
		}
		if a := u.AOR(); a != "" && AOR(a) != a {
			t.Fatalf("AOR of %q is not canonical: %q then %q", s, a, AOR(a))
		}
		if !EqualURI(s, s) {
			t.Fatalf("%q differs from itself", s)
		}
	})
}
