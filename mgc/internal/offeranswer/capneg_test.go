package offeranswer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// phoneSays is a description of a SIP user agent with one audio line.
func phoneSays(t *testing.T, session, proto, media string) *sdp.Description {
	t.Helper()
	return parse(t, "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\n"+session+"m=audio 4000 "+proto+" 8 101\n"+
		"a=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n"+media)
}

// called is a call from the core, up to our answer.
func called(t *testing.T, p Policy, offer *sdp.Description) (Media, string) {
	t.Helper()
	m, _, err := New(p, 1, 2, strings.Repeat("t", 32)).Offer(Core, offer)
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []Side{Access, Core} {
		if m, err = m.Resolve(side, chosen(side)); err != nil {
			t.Fatal(err)
		}
	}
	if m, _, err = m.MakeOffer(Access, sdp.DirUnset); err != nil {
		t.Fatal(err)
	}
	if m, err = m.Answer(Access, parse(t, fmt.Sprintf(chrome, "active"))); err != nil {
		t.Fatal(err)
	}
	m, body, err := m.MakeAnswer(Core)
	if err != nil {
		t.Fatal(err)
	}
	return m, string(body)
}

// Feedback is taken where the core offers it by capability negotiation, and is then the line's protocol; what we offer is plain.
func TestCOD06_R5939_FeedbackByCapabilityNegotiation(t *testing.T) {
	plain := []string{"m=audio 30000 RTP/AVP "}
	for name, c := range map[string]struct {
		media string
		want  []string
	}{
		"no potential configuration": {"", plain},
		"RTP/AVPF":                   {"a=tcap:1 RTP/AVPF\na=pcfg:1 t=1\n", []string{"m=audio 30000 RTP/AVPF ", "a=acfg:1 t=1\r\n"}},
		"the second of two":          {"a=tcap:5 RTP/SAVPF RTP/AVPF\na=pcfg:1 t=5\na=pcfg:2 t=6\n", []string{"m=audio 30000 RTP/AVPF ", "a=acfg:2 t=6\r\n"}},
		"only SRTP":                  {"a=tcap:1 RTP/SAVP\na=pcfg:1 t=1\n", plain},
		"with attributes":            {"a=tcap:1 RTP/AVPF\na=acap:1 rtcp-fb:* nack\na=pcfg:1 t=1 a=1\n", plain},
	} {
		t.Run(name, func(t *testing.T) {
			m, answer := called(t, DefaultPolicy(), phoneSays(t, "", "RTP/AVP", c.media))
			for _, w := range c.want {
				if !strings.Contains(answer, w) {
					t.Errorf("%q is not in the answer:\n%s", w, answer)
				}
			}
			if len(c.want) == 1 && strings.Contains(answer, "acfg") {
				t.Errorf("an actual configuration in:\n%s", answer)
			}
			proto := strings.Fields(c.want[0])[2]
			if got := m.ModifyDescriptor(Core, Open).GetStreams()[0].GetRemote().GetProto(); got != proto {
				t.Errorf("the gateway is told %s", got)
			}
			// What we say of ourselves later has the protocol that is agreed, and no actual configuration (RFC 5939 §3.5.2).
			m, again := m.Repeat(Core)
			if !strings.Contains(string(again), c.want[0]) || strings.Contains(string(again), "acfg") {
				t.Errorf("a later offer:\n%s", again)
			}
			if _, err := m.Answer(Core, phoneSays(t, "", proto, "")); err != nil {
				t.Errorf("its answer: %v", err)
			}
		})
	}
	m := New(DefaultPolicy(), 1, 2, strings.Repeat("t", 32))
	m, _, err := m.Offer(Access, parse(t, fmt.Sprintf(chrome, "actpass")))
	if err != nil {
		t.Fatal(err)
	}
	if m, err = m.Resolve(Core, chosen(Core)); err != nil {
		t.Fatal(err)
	}
	if _, body, err := m.MakeOffer(Core, sdp.DirUnset); err != nil || !strings.Contains(string(body), " RTP/AVP ") || strings.Contains(string(body), "tcap") {
		t.Errorf("%v:\n%s", err, body)
	}
}
