package offeranswer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Receipt of ECN is the browser's own affair: nothing of it is told to the core (TS 23.334 §5.12, strip).
func TestIQ38_ECNIsStripped(t *testing.T) {
	offer := parse(t, fmt.Sprintf(chrome, "actpass")+"a=ecn-capable-rtp: ice rtp ect=0\na=rtcp-fb:111 nack ecn\n")
	if len(offer.Media[0].Other) == 0 {
		t.Fatal("the offer has lost it")
	}
	m, _, err := New(DefaultPolicy(), 1, 2, strings.Repeat("t", 32)).Offer(Access, offer)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.Resolve(Core, chosen(Core)); err != nil {
		t.Fatal(err)
	}
	_, body, err := m.MakeOffer(Core, sdp.DirUnset)
	if err != nil || strings.Contains(string(body), "ecn") {
		t.Errorf("%v:\n%s", err, body)
	}
	if _, answer := called(t, DefaultPolicy(), phoneSays(t, "", "RTP/AVP", "a=ecn-capable-rtp: rtp ect=0\n")); strings.Contains(answer, "ecn") {
		t.Errorf("answer:\n%s", answer)
	}
}

// b=AS is in every media line of ours with a port, with the packet time that it is computed for; none is in a rejected one.
func TestCOD10_BandwidthOfEachLine(t *testing.T) {
	for _, p := range []Policy{DefaultPolicy(), mtsi()} {
		_, body := called(t, p, phoneSays(t, "", "RTP/AVP", "m=video 5000 RTP/AVP 34\n"))
		d, err := sdp.Parse([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := range d.Media {
			l := &d.Media[i]
			told := len(l.Bandwidth) > 0 && l.Bandwidth[0] == sdp.Bandwidth{Type: "AS", Value: 80} && l.Ptime == 20
			if used := l.Port != 0; used != told || !used && len(l.Bandwidth) > 0 {
				t.Errorf("line %d:\n%s", i, body)
			}
		}
	}
}

// Reports are off only when the peer gives neither senders nor receivers any bandwidth for them (RFC 3556 §2, TS 26.114 §7.3.1).
func TestCOD11_ReportsByTheirBandwidth(t *testing.T) {
	for _, c := range []struct {
		session, media string
		off            bool
		rs, rr         uint32 // what the media gateway is told
	}{
		{"", "", false, 0, 0},
		{"", "b=RS:0\nb=RR:2000\n", false, 0, 2000},
		{"", "b=RS:600\nb=RR:0\n", false, 600, 0},
		{"", "b=RS:0\n", false, 0, 0},
		{"", "b=RS:0\nb=RR:0\n", true, 0, 0},
		{"b=RS:0\nb=RR:0\n", "", true, 0, 0},
		{"b=RS:0\nb=RR:0\n", "b=RR:2000\n", false, 0, 2000},
		{"b=RS:800\nb=RR:800\n", "b=RR:400\n", false, 800, 400},
	} {
		d := phoneSays(t, c.session, "RTP/AVP", "")
		for line := range strings.Lines(c.media) {
			var b sdp.Bandwidth
			if _, err := fmt.Sscanf(line, "b=%2s:%d", &b.Type, &b.Value); err != nil {
				t.Fatal(err)
			}
			d.Media[0].Bandwidth = append(d.Media[0].Bandwidth, b)
		}
		m, answer := called(t, mtsi(), d)
		r := m.ModifyDescriptor(Core, Open).GetStreams()[0].GetLocalControl().GetRtcp()
		if r.GetOff() != c.off || r.GetSendersBps() != c.rs || r.GetReceiversBps() != c.rr {
			t.Errorf("%+v: %v", c, r)
		}
		if !strings.Contains(answer, "b=RS:0\r\nb=RR:2000\r\n") {
			t.Errorf("our own bandwidth:\n%s", answer)
		}
	}
}

// What a browser is told of Opus: always 48000/2, wide band in mono, with forward error correction (RFC 7587 §6.1, §7).
func TestR7587_FormatParameters(t *testing.T) {
	m, _, err := New(mtsi(), 1, 2, strings.Repeat("t", 32)).Offer(Core, phoneSays(t, "", "RTP/AVP", ""))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.Resolve(Access, chosen(Access)); err != nil {
		t.Fatal(err)
	}
	_, body, err := m.MakeOffer(Access, sdp.DirUnset)
	if err != nil {
		t.Fatal(err)
	}
	d, err := sdp.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(d.Media[0].Codecs, func(c codec.Codec) bool { return c.Is(codec.Opus) })
	if i < 0 {
		t.Fatalf("no Opus:\n%s", body)
	}
	c := d.Media[0].Codecs[i]
	for k, want := range map[string]string{"maxplaybackrate": "16000", "stereo": "0", "useinbandfec": "1"} {
		if got, _ := c.Param(k); got != want {
			t.Errorf("%s=%q", k, got)
		}
	}
	if c.ClockRate != 48000 || c.Channels != 2 {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"opus/16000/2", "opus/48000", "opus/48000/1"} {
		text := strings.ReplaceAll(fmt.Sprintf(chrome, "actpass"), "opus/48000/2", bad)
		d := parse(t, text)
		if got := usable(d.Media[0].Codecs, []string{"opus"}); len(got) != 2 { // the events are left
			t.Errorf("%s is taken: %v", bad, got)
		}
	}
}

// A browser gets RTP/SAVPF with multiplexed RTCP, reduced-size reports when it has them, and one SSRC with a name (RFC 8834 §4.1, §4.5, §4.6, §4.8).
func TestR8834_DescriptionsForBrowsers(t *testing.T) {
	for _, rsize := range []bool{true, false} {
		offer := parse(t, fmt.Sprintf(chrome, "actpass"))
		offer.Media[0].RTCPRsize = rsize
		m, _, err := New(DefaultPolicy(), 1, 2, strings.Repeat("t", 32)).Offer(Access, offer)
		if err != nil {
			t.Fatal(err)
		}
		for _, side := range []Side{Access, Core} {
			if m, err = m.Resolve(side, chosen(side)); err != nil {
				t.Fatal(err)
			}
		}
		if m, _, err = m.MakeOffer(Core, sdp.DirUnset); err != nil {
			t.Fatal(err)
		}
		if m, err = m.Answer(Core, phoneSays(t, "", "RTP/AVP", "")); err != nil {
			t.Fatal(err)
		}
		m, body, err := m.MakeAnswer(Access)
		if err != nil {
			t.Fatal(err)
		}
		d, err := sdp.Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		a := &d.Media[0]
		if a.Proto != "UDP/TLS/RTP/SAVPF" || !a.RTCPMux || a.RTCPRsize != rsize || len(a.SSRCs) != 1 || a.SSRCs[0].Name != "cname" || a.SSRCs[0].Value == "" {
			t.Errorf("answer:\n%s", body)
		}
		if r := m.ModifyDescriptor(Access, Open).GetStreams()[0].GetLocalControl().GetRtcp(); !r.GetMux() || r.GetReducedSize() != rsize {
			t.Errorf("told: %v", r)
		}
	}
}

// Comfort noise is agreed with a core that offers it, where pauses are wanted and media are transcoded; a browser could not get it relayed.
func TestR3551_ComfortNoiseOfTheCore(t *testing.T) {
	for name, c := range map[string]struct {
		dtx     DTX
		prefer  Preference
		formats string
		agreed  bool
	}{
		"transcoded":      {DTXCore, PreferOpus, "8 13 101", true},
		"relayed":         {DTXCore, PreferRelay, "8 13 101", false},
		"no pauses":       {DTXOff, PreferOpus, "8 13 101", false},
		"not offered":     {DTXCore, PreferOpus, "8 101", false},
		"of another rate": {DTXCore, PreferOpus, "8 97 101", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := DefaultPolicy()
			p.DTX, p.Prefer = c.dtx, c.prefer
			if c.prefer == PreferRelay {
				p.Access = []string{codec.PCMA}
			}
			m, answer := called(t, p, parse(t, "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP "+c.formats+
				"\na=rtpmap:8 PCMA/8000\na=rtpmap:97 CN/16000\na=rtpmap:101 telephone-event/8000\n"))
			if got := strings.Contains(answer, "RTP/AVP 8 101 13\r\n") && strings.Contains(answer, "a=rtpmap:13 CN/8000\r\n"); got != c.agreed || !c.agreed && strings.Contains(answer, "CN/") {
				t.Errorf("answer:\n%s", answer)
			}
			st := m.ModifyDescriptor(Core, Open).GetStreams()[0]
			for _, d := range []*iqv1.MediaDescription{st.GetLocal(), st.GetRemote()} {
				if got := slices.ContainsFunc(d.GetCodecs(), func(c *iqv1.Codec) bool { return c.GetName() == codec.ComfortNoise }); got != c.agreed {
					t.Errorf("told: %v", d)
				}
			}
			// An offer of ours keeps what is agreed, and adds nothing.
			m, offer, err := m.MakeOffer(Core, sdp.DirUnset)
			if err != nil || m.Line(Core).noiseAgreed() != c.agreed || strings.Contains(string(offer), "a=rtpmap:13 CN/8000\r\n") != c.agreed {
				t.Errorf("after an offer: %v, %v", m.Line(Core).Ours, err)
			}
		})
	}
}
