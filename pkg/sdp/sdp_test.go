package sdp

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func corpus(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.sdp")
	if err != nil || len(files) < 10 {
		t.Fatalf("corpus: %v, %d files", err, len(files))
	}
	out := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = b
	}
	return out
}

// roundTrip fails when writing and reading again gives another value, or the second writing other octets.
func roundTrip(t *testing.T, d *Description) {
	t.Helper()
	b := d.Marshal()
	e, err := Parse(b)
	if err != nil {
		t.Fatalf("own output refused: %v\n%s", err, b)
	}
	if !reflect.DeepEqual(d, e) {
		t.Fatalf("not equal after a round trip:\n%+v\n%+v\n%s", d, e, b)
	}
	if c := e.Marshal(); string(b) != string(c) {
		t.Fatalf("second writing differs:\n%s\n%s", b, c)
	}
}

func TestRoundTripOfRealDescriptions(t *testing.T) {
	for name, b := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			d, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, d)
		})
	}
}

// TestNothingIsLost compares the sets of lines in and out for a description that needs no normalisation.
func TestNothingIsLost(t *testing.T) {
	in := corpus(t)["firefox_offer.sdp"]
	d, err := Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	out := string(d.Marshal())
	for line := range strings.Lines(string(in)) {
		line = strings.TrimSpace(line)
		if line == "a=rtpmap:9 G722/8000/1" || strings.HasPrefix(line, "a=candidate") {
			continue // written without the redundant channel count; transport in lower case
		}
		if !strings.Contains(out, line+"\r\n") {
			t.Errorf("lost: %s", line)
		}
	}
}

func TestTypedFields(t *testing.T) {
	d, err := Parse(corpus(t)["chrome_offer.sdp"])
	if err != nil {
		t.Fatal(err)
	}
	m := &d.Media[0]
	if d.Origin.ID != 4611731400430051336 || d.Origin.Version != 2 || m.Port != 52341 || m.MID != "0" || !m.RTCPMux || !m.RTCPRsize {
		t.Errorf("origin %+v media %+v", d.Origin, m)
	}
	if len(m.Codecs) != 8 || m.Codecs[0].Name != "opus" || m.Codecs[0].Channels != 2 || m.Codecs[0].Fmtp != "minptime=10;useinbandfec=1" ||
		m.Codecs[6].ClockRate != 48000 || m.Codecs[6].PT != 110 {
		t.Errorf("codecs %+v", m.Codecs)
	}
	if u, p := d.CredentialsOf(m); u != "EsAw" || p != "P2uYro0UCOQ4zxjKXaWCBui1" {
		t.Errorf("credentials %q %q", u, p)
	}
	if fs := d.FingerprintsOf(m); len(fs) != 1 || fs[0].Hash != "sha-256" || d.SetupOf(m) != SetupActpass || d.DirectionOf(m) != SendRecv {
		t.Errorf("dtls %v %v", fs, d.SetupOf(m))
	}
	c := m.Candidates
	if len(c) != 3 || c[0].IP().IsValid() || c[1].IP() != netip.MustParseAddr("203.0.113.50") || c[2].TCPType != "active" {
		t.Errorf("candidates %+v", c)
	}
	if got := d.Bundle(); !reflect.DeepEqual(got, []string{"0"}) {
		t.Errorf("bundle %v", got)
	}
	if m.Other[0] != (Attribute{"rtcp-fb", "111 transport-cc"}) || d.Other[0] != (Attribute{"extmap-allow-mixed", ""}) {
		t.Errorf("other %v %v", m.Other, d.Other)
	}
}

func TestSessionLevelFallbacks(t *testing.T) {
	d, err := Parse(corpus(t)["firefox_sdparta_offer.sdp"])
	if err != nil {
		t.Fatal(err)
	}
	m := &d.Media[0]
	if u, _ := d.CredentialsOf(m); u != "8a7c31d2" || len(d.FingerprintsOf(m)) != 1 || m.MID != "sdparta_0" {
		t.Errorf("%q %v %q", u, d.FingerprintsOf(m), m.MID)
	}
}

func TestParseErrors(t *testing.T) {
	head := "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n"
	for _, c := range []struct {
		in   string
		line int
		text string
	}{
		{"", 0, "missing"},
		{"hello", 1, "no type=value"},
		{"v=1\r\n", 1, "version"},
		{"o=- 1 1 IN IP4 1.2.3.4\r\n", 1, "out of place"},
		{"v=0\r\ns=-\r\n", 2, "out of place"},
		{"v=0\r\no=- x 1 IN IP4 1.2.3.4\r\n", 2, "no number"},
		{"v=0\r\no=- 1 1 IN IP4 1:2\r\n", 2, "bad address"},
		{head + "m=audio 70000 RTP/AVP 0\r\n", 5, "bad port"},
		{head + "m=audio 1 RTP/AVP 200\r\n", 5, "bad payload type"},
		{head + "m=audio 1 RTP/AVP\r\n", 5, "3 fields"},
		{head + "m=audio 1 RTP/AVP 96\r\na=rtpmap:96 opus\r\n", 5, "bad rtpmap"},
		{head + "m=audio 1 RTP/AVP 0\r\na=ptime:abc\r\n", 6, "bad ptime"},
		{head + "m=audio 1 RTP/AVP 0\r\na=setup:maybe\r\n", 6, "bad setup"},
		{head + "m=audio 1 RTP/AVP 0\r\na=fingerprint:sha-256 ZZ:00\r\n", 6, "bad fingerprint"},
		{head + "m=audio 1 RTP/AVP 0\r\na=ice-ufrag:ab\r\n", 6, "bad ice-ufrag"},
		{head + "m=audio 1 RTP/AVP 0\r\nt=0 0\r\n", 6, "in a media section"},
		{head + "\r\na=x\r\n", 5, "empty line"},
		{head + "a=x\ry\r\n", 5, "control character"},
		{head + strings.Repeat("m=audio 1 RTP/AVP 0\r\n", MaxMedia+1), 4 + MaxMedia + 1, "more than 64"},
		{head + strings.Repeat("a=x\r\n", MaxLines), MaxLines + 1, "lines"},
		{head + strings.Repeat("a=0123456789012345678901234567890123456789\r\n", 2000), 0, "octets"},
	} {
		_, err := Parse([]byte(c.in))
		var pe *ParseError
		if !errors.As(err, &pe) || pe.Line != c.line || !strings.Contains(pe.Text, c.text) {
			t.Errorf("%.60q: got %v, want line %d ...%s...", c.in, err, c.line, c.text)
		}
	}
}

func TestTolerance(t *testing.T) {
	for name, in := range map[string]string{
		"LF only":              "v=0\no=- 1 1 IN IP4 1.2.3.4\ns=-\nt=0 0\nm=audio 1 RTP/AVP 0\n",
		"no t=":                "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns= \r\nm=audio 1 RTP/AVP 0\r\n",
		"trailing empty lines": "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\n\r\n\r\n",
		"host name":            "v=0\r\no=- 1 1 IN IP4 pbx.example\r\ns=-\r\nc=IN IP4 pbx.example\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\n",
		"fraction of ptime":    "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\na=ptime:20.0\r\n",
		"payload type twice":   "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 0 0 8\r\n",
		"damaged candidate":    "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\na=candidate:1 1 udp\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Parse([]byte(in))
			if err != nil {
				t.Fatal(err)
			}
			roundTrip(t, d)
		})
	}
}

// TestMarshalCannotAddLines holds that no string of a value becomes a line of its own.
func TestMarshalCannotAddLines(t *testing.T) {
	d := &Description{Name: "x\r\na=evil", Media: []Media{{Type: "audio", Proto: "RTP/AVP", Formats: []string{"0\r\nm=evil"}}}}
	if b := d.Marshal(); strings.Contains(string(b), "\na=evil") || strings.Contains(string(b), "\nm=evil") {
		t.Errorf("%s", b)
	}
}

func TestDirection(t *testing.T) {
	for d, r := range map[Direction]Direction{SendRecv: SendRecv, SendOnly: RecvOnly, RecvOnly: SendOnly, Inactive: Inactive} {
		if d.Reverse() != r || d.And(SendRecv) != d || d.And(Inactive) != Inactive || Dir(d.Sends(), d.Receives()) != d {
			t.Errorf("%v", d)
		}
	}
	if SendOnly.And(RecvOnly) != Inactive || SendOnly.And(SendOnly) != SendOnly {
		t.Error("And")
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range corpus(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Parse(b)
		if err != nil {
			return
		}
		roundTrip(t, d)
		for i := range d.Media {
			if list := d.Potentials(&d.Media[i]); len(list) > maxPotential {
				t.Errorf("%d potential configurations", len(list))
			}
		}
	})
}
