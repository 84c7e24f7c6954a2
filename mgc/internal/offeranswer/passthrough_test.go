package offeranswer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// evsPolicy is one with EVS on both sides.
func evsPolicy() Policy {
	p := mtsi()
	p.Core = append([]string{codec.EVS}, p.Core...)
	p.Access = append([]string{codec.EVS}, p.Access...)
	return p
}

const evsParams = "br=5.9-24.4; bw=nb-swb; max-red=220; cmr=1"

// withEVS is a browser-like user agent that has EVS.
func withEVS(t *testing.T, setup, fmtp string) *sdp.Description {
	t.Helper()
	text := strings.Replace(fmt.Sprintf(chrome, setup), "SAVPF 111", "SAVPF 96 111", 1)
	return parse(t, text+"a=rtpmap:96 EVS/16000/1\na=fmtp:96 "+fmtp+"\na=rtpmap:97 telephone-event/16000\n")
}

func phoneEVS(t *testing.T, fmtp string) *sdp.Description {
	t.Helper()
	return parse(t, "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP 107 106 102\n"+
		"a=rtpmap:107 EVS/16000\na=fmtp:107 "+fmtp+"\na=rtpmap:106 AMR-WB/16000\na=rtpmap:102 telephone-event/16000\n")
}

func contains(t *testing.T, body string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(body, l) {
			t.Errorf("%q is not in:\n%s", l, body)
		}
	}
}

// EVS that both have is relayed with its parameters as they are (TS 26.445 annex A.3): the offer's to the callee, the answer's to the caller.
func TestCOD01_IQ18_EVSIsPassedThrough(t *testing.T) {
	m, offer := offeredBy(t, evsPolicy(), withEVS(t, "actpass", evsParams))
	contains(t, offer, "RTP/AVP 96 97 98 99 100 ", "a=rtpmap:96 EVS/16000", "a=fmtp:96 "+evsParams, "b=AS:80", "AMR-WB/16000")
	m, err := m.Answer(Core, phoneEVS(t, "br=13.2; bw=swb")) // under its own payload type (RFC 3264 §6.1)
	if err != nil {
		t.Fatal(err)
	}
	m, answer, err := m.MakeAnswer(Access)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(answer), "m=audio 30000 UDP/TLS/RTP/SAVPF 96 ", "a=fmtp:96 br=13.2; bw=swb\r\n")
	if path, why := m.Path(); path != "relayed" || why != "both sides have EVS/16000" {
		t.Errorf("%s: %s", path, why)
	}
	st := m.ModifyDescriptor(Access, Open).GetStreams()[0]
	if c := st.GetLocal().GetCodecs()[0]; c.GetName() != "EVS" || c.GetFmtp() != "br=13.2; bw=swb" {
		t.Errorf("the gateway is told %v", st.GetLocal())
	}
	// A later offer keeps it.
	_, again, err := m.MakeOffer(Core, sdp.SendOnly)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, string(again), "a=rtpmap:107 EVS/16000")
}

// A callee without EVS gets what can be coded; one that answers another codec is joined by transcoding.
func TestIQ18_EVSOnOneSideOnly(t *testing.T) {
	m, answer := called(t, evsPolicy(), phoneEVS(t, evsParams)) // chrome has no EVS
	contains(t, answer, "RTP/AVP 106 102\r\n")
	if path, why := m.Path(); path != "transcoded" || why != "no codec in common" {
		t.Errorf("%s: %s", path, why)
	}
	if strings.Contains(answer, "EVS") {
		t.Errorf("EVS in:\n%s", answer)
	}
}

// What can be joined with nothing is refused with the warn-code for formats, naming it (RFC 3261 §20.43).
func TestMO09_IQ18_NothingCanBeJoined(t *testing.T) {
	p := evsPolicy()
	only := withEVS(t, "actpass", evsParams)
	only.Media[0].Codecs = only.Media[0].Codecs[:1]
	p.Core = []string{codec.PCMA}
	_, _, err := New(p, 1, 2, strings.Repeat("t", 32)).Offer(Access, only)
	var no *Unacceptable
	if !errors.As(err, &no) || no.Code != 305 || no.Text != "EVS/16000 cannot be joined with any codec for the other side" {
		t.Errorf("%v", err)
	}
	// The same in an established call, and the call goes on as it was.
	m, _ := called(t, evsPolicy(), phoneEVS(t, evsParams))
	after, _, err := m.Offer(Access, only)
	if !errors.As(err, &no) || no.Code != 305 || no.Text != "EVS/16000 cannot be joined with AMR-WB/16000 of the other side" {
		t.Errorf("%v", err)
	}
	if after.Line(Access).Chosen != m.Line(Access).Chosen {
		t.Error("the refused offer has changed the call")
	}
}

func TestIQ18_ReasonsOfThePath(t *testing.T) {
	for name, c := range map[string]struct {
		prefer    Preference
		offer     string
		path, why string
	}{
		"shared":       {PreferRelay, "8 101", "relayed", "both sides have PCMA/8000"},
		"preferred":    {PreferOpus, "8 101", "transcoded", "media.prefer is opus, PCMA/8000 could be relayed"},
		"nothing else": {PreferRelay, "97 101", "transcoded", "no codec in common"},
	} {
		t.Run(name, func(t *testing.T) {
			p := mtsi()
			p.Prefer = c.prefer
			browser := parse(t, fmt.Sprintf(chrome, "actpass"))
			m, _, err := New(p, 1, 2, strings.Repeat("t", 32)).Offer(Access, browser)
			if err != nil {
				t.Fatal(err)
			}
			if path, why := m.Path(); path != "" || why != "" {
				t.Errorf("before the answer: %s, %s", path, why)
			}
			for _, side := range []Side{Access, Core} {
				if m, err = m.Resolve(side, chosen(side)); err != nil {
					t.Fatal(err)
				}
			}
			if m, _, err = m.MakeOffer(Core, sdp.DirUnset); err != nil {
				t.Fatal(err)
			}
			if m, err = m.Answer(Core, parse(t, "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP "+c.offer+
				"\na=rtpmap:97 AMR-WB/16000\na=rtpmap:101 telephone-event/8000\n")); err != nil {
				t.Fatal(err)
			}
			if m, _, err = m.MakeAnswer(Access); err != nil {
				t.Fatal(err)
			}
			if path, why := m.Path(); path != c.path || why != c.why {
				t.Errorf("%s, %s; want %s, %s", path, why, c.path, c.why)
			}
		})
	}
}
