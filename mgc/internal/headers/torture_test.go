package headers

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	hexMark    = regexp.MustCompile(`<hex>([0-9A-Fa-f]*)</hex>`)
	repeatMark = regexp.MustCompile(`<repeat count=(\d+)>([^<]*)</repeat>`)
)

// loadTorture reads a message in the markup of RFC 4475 appendix A: lines end in CRLF, <hex>, <repeat>, <trail/> (a space
// that ends a line).
func loadTorture(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := strings.ReplaceAll(string(b), "\n", "\r\n")
	s = strings.ReplaceAll(s, "<trail/>", " ")
	s = repeatMark.ReplaceAllStringFunc(s, func(m string) string {
		g := repeatMark.FindStringSubmatch(m)
		n, _ := strconv.Atoi(g[1])
		return strings.Repeat(g[2], n)
	})
	s = hexMark.ReplaceAllStringFunc(s, func(m string) string {
		raw, err := hex.DecodeString(hexMark.FindStringSubmatch(m)[1])
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	})
	return []byte(s)
}

// torture holds the verdict for every message of RFC 4475 (3.x) and RFC 5118 (4.x): "" is accepted, else the reason phrase.
// What the transaction user refuses (416, 420, 415, 483) is accepted here.
var torture = map[string]string{
	"3.1.1.1_wsinv":       "",
	"3.1.1.2_intmeth":     "",
	"3.1.1.3_esc01":       "",
	"3.1.1.4_escnull":     "",
	"3.1.1.5_esc02":       "",
	"3.1.1.6_lwsdisp":     "",
	"3.1.1.7_longreq":     "",
	"3.1.1.8_dblreq":      "",
	"3.1.1.9_semiuri":     "",
	"3.1.1.10_transports": "",
	"3.1.1.11_mpart01":    "",
	"3.1.1.12_unreason":   "",
	"3.1.1.13_noreason":   "",
	"3.1.2.1_badinv01":    "Malformed Via",
	"3.1.2.2_clerr":       "Content-Length Does Not Match Body",
	"3.1.2.3_ncl":         "Malformed Content-Length",
	"3.1.2.4_scalar02":    "Malformed CSeq",
	"3.1.2.5_scalarlg":    "Malformed CSeq",
	"3.1.2.6_quotbal":     "Malformed To",
	"3.1.2.7_ltgtruri":    "Malformed Request-URI",
	"3.1.2.8_lwsruri":     "Malformed Request-URI",
	"3.1.2.9_lwsstart":    "Malformed Request-URI",
	"3.1.2.10_trws":       "Malformed Request Line",
	"3.1.2.11_escruri":    "Request-URI With Headers",
	"3.1.2.12_baddate":    "Malformed Date",
	"3.1.2.13_regbadct":   "Malformed Contact",
	"3.1.2.14_badaspec":   "Malformed To",
	"3.1.2.15_baddn":      "Malformed From",
	"3.1.2.16_badvers":    "Version Not Supported",
	"3.1.2.17_mismatch01": "CSeq Method Does Not Match",
	"3.1.2.18_mismatch02": "CSeq Method Does Not Match",
	"3.1.2.19_bigcode":    "Malformed Status Line",
	"3.2.1_badbranch":     "Empty Via Branch",
	"3.3.1_insuf":         "Missing From Header Field",
	"3.3.2_unkscm":        "",
	"3.3.3_novelsc":       "",
	"3.3.4_unksm2":        "",
	"3.3.5_bext01":        "",
	"3.3.6_invut":         "",
	"3.3.7_regaut01":      "",
	"3.3.8_multi01":       "Multiple CSeq Header Fields",
	"3.3.9_mcl01":         "Multiple Content-Length",
	"3.3.10_bcast":        "",
	"3.3.11_zeromf":       "",
	"3.3.12_cparam01":     "",
	"3.3.13_cparam02":     "",
	"3.3.14_regescrt":     "",
	"3.3.15_sdp01":        "",
	"3.4.1_inv2543":       "",

	"4.1_ipv6-good":               "",
	"4.2_ipv6-bad":                "Malformed Request-URI",
	"4.3_port-ambiguous":          "",
	"4.4_port-unambiguous":        "",
	"4.5_via-received-with-delim": "",
	"4.5_via-received-no-delim":   "",
	"4.6_ipv6-in-sdp":             "",
	"4.7_mult-ip-in-header":       "",
	"4.8_mult-ip-in-sdp":          "",
	"4.9_ipv4-mapped-ipv6":        "",
	"4.10_ipv6-bug-abnf-3-colons": "",
}

func tortureFiles(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"rfc4475", "rfc5118"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txt"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no messages in %s: %v", dir, err)
		}
		all = append(all, files...)
	}
	return all
}

func TestR4475_R5118_Torture(t *testing.T) {
	files := tortureFiles(t)
	if len(files) != len(torture) {
		t.Errorf("%d messages, %d verdicts", len(files), len(torture))
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		t.Run(name, func(t *testing.T) {
			want, ok := torture[name]
			if !ok {
				t.Fatal("no verdict for this message")
			}
			m, err := Read(loadTorture(t, path), Datagram)
			got := ""
			if bad := (*BadMessage)(nil); errors.As(err, &bad) {
				got = bad.Reason
			}
			if got != want {
				t.Fatalf("verdict %q (%v), want %q", got, err, want)
			}
			if err == nil {
				roundTrip(t, &m)
			}
		})
	}
}

// roundTrip writes m and reads it again: nothing may be lost or changed.
func roundTrip(t testing.TB, m *Msg) {
	t.Helper()
	raw, err := m.Bytes()
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	again, err := Read(raw, Framed)
	if err != nil {
		t.Fatalf("what was written is refused: %v\n%s", err, raw)
	}
	raw2, err := again.Bytes()
	if err != nil || string(raw) != string(raw2) {
		t.Fatalf("second writing differs: %v\n%s\n%s", err, raw, raw2)
	}
}

func read(t testing.TB, name string) Msg {
	t.Helper()
	m, err := Read(loadTorture(t, filepath.Join("testdata", name)), Datagram)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRFC4475_3_1_1_1_ValuesSurvive(t *testing.T) {
	m := read(t, "rfc4475/3.1.1.1_wsinv.txt")
	vias := List(&m, "Via")
	if len(vias) != 3 {
		t.Fatalf("Via elements = %q", vias)
	}
	want := []string{"SIP/2.0/UDP 192.0.2.2;branch=390skdjuw", "SIP/2.0/TCP spindle.example.com;branch=z9hG4bK9ikj8", "SIP/2.0/UDP 192.168.255.111;branch=z9hG4bK30239"}
	for i, w := range want {
		v, err := ParseVia(vias[i])
		if err != nil || v.String() != w {
			t.Errorf("Via %d = %q, %v; want %q", i, v, err, w)
		}
	}
	from, _ := ParseAddress(m.Get("From"))
	if from.Display != `J Rosenberg \"` || from.Params.Value("tag") != "98asjd8" {
		t.Errorf("From = %+v", from)
	}
	contact, _ := ParseAddress(m.Get("Contact"))
	if contact.Display != `Quoted string ""` || contact.Params.Value("q") != "0.33" || contact.Params.Value("newparam") != "newvalue" {
		t.Errorf("Contact = %+v", contact)
	}
	if ToTag(&m) != "1918181833n" {
		t.Errorf("To tag = %q", ToTag(&m))
	}
	if n, _ := MaxForwards(&m); n != 68 {
		t.Errorf("Max-Forwards = %d", n)
	}
	if m.Get("NewFangledHeader") != "newfangled value continued newfangled value" || m.Get("UnknownHeaderWithUnusualValue") != ";;,,;;,;" {
		t.Errorf("unknown fields = %q, %q", m.Get("NewFangledHeader"), m.Get("UnknownHeaderWithUnusualValue"))
	}
	if !m.Has("Subject") || m.Get("Subject") != "" {
		t.Error("empty Subject was lost")
	}
}

func TestRFC4475_3_1_1_2_MethodKeepsItsCase(t *testing.T) {
	m := read(t, "rfc4475/3.1.1.2_intmeth.txt")
	if m.Method != "!interesting-Method0123456789_*+`.%indeed'~" {
		t.Errorf("method = %q", m.Method)
	}
	to, err := ParseAddress(m.Get("To"))
	if err != nil || to.Display != "BEL:\a NUL:\x00 DEL:\x7f" {
		t.Errorf("To display = %q, %v", to.Display, err)
	}
	u, err := ParseURI(m.RequestURI)
	if err != nil || u.User != "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*" || u.Host != "example.com" {
		t.Errorf("Request-URI = %+v, %v", u, err)
	}
}

func TestRFC4475_3_1_1_5_EscapedNamesAreOther(t *testing.T) {
	m := read(t, "rfc4475/3.1.1.5_esc02.txt")
	if m.Method != "RE%47IST%45R" {
		t.Errorf("method = %q: %% is not unescaped in a method", m.Method)
	}
	if n := len(m.Values("Contact")); n != 2 {
		t.Errorf("%d Contacts, want 2: C%%6Fntact is another field", n)
	}
}

func TestRFC4475_3_1_1_8_SecondRequestIsDropped(t *testing.T) {
	m := read(t, "rfc4475/3.1.1.8_dblreq.txt")
	if m.Method != "REGISTER" || len(m.Body) != 0 {
		t.Errorf("method %s, body %q", m.Method, m.Body)
	}
	if _, err := Read(loadTorture(t, "testdata/rfc4475/3.1.1.8_dblreq.txt"), Framed); err == nil {
		t.Error("two requests in one WebSocket message were accepted (RFC 7118 §5)")
	}
}

func TestRFC5118_4_3_PortIsPartOfAddress(t *testing.T) {
	m := read(t, "rfc5118/4.3_port-ambiguous.txt")
	u, _ := ParseURI(m.RequestURI)
	if u.Host != "2001:db8::10:5070" || u.Port != 0 {
		t.Errorf("host %q port %d", u.Host, u.Port)
	}
	m = read(t, "rfc5118/4.4_port-unambiguous.txt")
	u, _ = ParseURI(m.RequestURI)
	if u.Host != "2001:db8::10" || u.Port != 5070 {
		t.Errorf("host %q port %d", u.Host, u.Port)
	}
}

func TestRFC4475_Rejections(t *testing.T) {
	answered := map[string]int{"3.1.2.1_badinv01": 0, "3.1.2.2_clerr": 400, "3.1.2.16_badvers": 505, "3.1.2.17_mismatch01": 400, "3.3.1_insuf": 0,
		"3.3.8_multi01": 400, "3.1.2.19_bigcode": 0, "3.1.2.5_scalarlg": 0, "3.1.2.15_baddn": 400}
	for name, want := range answered {
		m, err := Read(loadTorture(t, "testdata/rfc4475/"+name+".txt"), Datagram)
		var bad *BadMessage
		if !errors.As(err, &bad) {
			t.Fatalf("%s: %v", name, err)
		}
		resp, ok := Reject(&m, bad, "t1")
		if ok != (want != 0) {
			t.Errorf("%s: answerable = %v", name, ok)
			continue
		}
		if !ok {
			continue
		}
		if resp.Status != want || resp.Reason != bad.Reason {
			t.Errorf("%s: answer %d %s", name, resp.Status, resp.Reason)
		}
		if _, err := resp.Bytes(); err != nil {
			t.Errorf("%s: answer cannot be written: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, path := range tortureFiles(f) {
		raw := loadTorture(f, path)
		f.Add(raw, byte(Datagram))
		f.Add(raw, byte(Framed))
	}
	f.Fuzz(func(t *testing.T, raw []byte, framing byte) {
		m, err := Read(raw, Framing(framing%3))
		if err == nil {
			roundTrip(t, &m)
			if _, err := TopVia(&m); err != nil {
				t.Fatalf("accepted without a usable Via: %v", err)
			}
			return
		}
		var bad *BadMessage
		if !errors.As(err, &bad) {
			t.Fatalf("error of another type: %v", err)
		}
		if resp, ok := Reject(&m, bad, "tag"); ok {
			out, err := resp.Bytes()
			if err != nil {
				t.Fatalf("answer cannot be written: %v", err)
			}
			if strings.Count(string(out), "\r\n\r\n") < 1 {
				t.Fatal("answer has no end")
			}
		}
	})
}
