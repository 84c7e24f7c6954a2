package offeranswer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func rtcpOf(m *Media, side Side) *iqv1.RtcpPolicy {
	return m.ModifyDescriptor(side, Open).GetStreams()[0].GetLocalControl().GetRtcp()
}

// Extended reports are agreed with a peer that asks for them, in its words, and never forced on one that does not (RFC 3611 §5.2).
func TestRFC3611_5_2_Agreement(t *testing.T) {
	for name, c := range map[string]struct {
		policy         XRPolicy
		session, media string
		said           string // value of our answer's attribute; empty: none
		metrics, rtt   bool
	}{
		"not asked":        {XRAnswer, "", "", "", false, false},
		"metrics":          {XRAnswer, "", "a=rtcp-xr:voip-metrics\n", "voip-metrics", true, false},
		"both":             {XRAnswer, "", "a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup voip-metrics\n", "voip-metrics rcvr-rtt=all", true, true},
		"of senders":       {XRAnswer, "", "a=rtcp-xr:rcvr-rtt=sender\n", "rcvr-rtt=sender", false, true},
		"of the session":   {XRAnswer, "a=rtcp-xr:voip-metrics\n", "", "voip-metrics", true, false},
		"of the line only": {XRAnswer, "a=rtcp-xr:voip-metrics\n", "a=rtcp-xr:rcvr-rtt=all\n", "rcvr-rtt=all", false, true},
		"others only":      {XRAnswer, "", "a=rtcp-xr:pkt-loss-rle rcvr-rtt=some\n", "", false, false},
		"refused":          {XROff, "", "a=rtcp-xr:voip-metrics rcvr-rtt=all\n", "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := DefaultPolicy()
			p.XR = c.policy
			m, answer := called(t, p, phoneSays(t, c.session, "RTP/AVP", c.media))
			if c.said == "" && strings.Contains(answer, "rtcp-xr") || c.said != "" && !strings.Contains(answer, "a=rtcp-xr:"+c.said+"\r\n") {
				t.Errorf("answer:\n%s", answer)
			}
			if r := rtcpOf(&m, Core); r.GetXrVoipMetrics() != c.metrics || r.GetXrRcvrRtt() != c.rtt {
				t.Errorf("told: %v", r)
			}
			if r := rtcpOf(&m, Access); r.GetXrVoipMetrics() || r.GetXrRcvrRtt() {
				t.Errorf("the browser's: %v", r)
			}
		})
	}
	p := DefaultPolicy()
	p.XR = XROffer
	m, offer := offered(t, p)
	if !strings.Contains(offer, "a=rtcp-xr:voip-metrics rcvr-rtt=all\r\n") {
		t.Errorf("offer:\n%s", offer)
	}
	for answer, want := range map[string][2]bool{"": {}, "a=rtcp-xr:rcvr-rtt=all\n": {false, true}} {
		m, err := m.Answer(Core, phoneSays(t, "", "RTP/AVP", answer))
		if err != nil {
			t.Fatal(err)
		}
		if r := rtcpOf(&m, Core); r.GetXrVoipMetrics() != want[0] || r.GetXrRcvrRtt() != want[1] {
			t.Errorf("%q: told %v", answer, r)
		}
	}
}

// offered is a call from a browser, up to our offer to the core.
func offered(t *testing.T, p Policy) (Media, string) {
	t.Helper()
	return offeredBy(t, p, parse(t, fmt.Sprintf(chrome, "actpass")))
}

// offeredBy is offered with another offer of the browser's.
func offeredBy(t *testing.T, p Policy, offer *sdp.Description) (Media, string) {
	t.Helper()
	m, _, err := New(p, 1, 2, strings.Repeat("t", 32)).Offer(Access, offer)
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []Side{Access, Core} {
		if m, err = m.Resolve(side, chosen(side)); err != nil {
			t.Fatal(err)
		}
	}
	m, body, err := m.MakeOffer(Core, sdp.DirUnset)
	if err != nil {
		t.Fatal(err)
	}
	return m, string(body)
}

// A phone whose media the gateway cannot send to - of the other address family than its core realm, or a group - is refused before the browser is told of an
// answer; a re-offer that moves there leaves the call as it was.
func TestIQ05_PhoneThatCannotBeReached(t *testing.T) {
	for c, text := range map[string]string{"IP6 2001:db8::7": "an IPv6 address for media over IPv4", "IP4 224.0.1.7": "media to a group"} {
		away := parse(t, "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN "+c+"\nt=0 0\nm=audio 4000 RTP/AVP 8\n")
		m, _ := offered(t, DefaultPolicy())
		var why *Unacceptable
		if _, err := m.Answer(Core, away); !errors.As(err, &why) || why.Code != 301 || why.Text != text {
			t.Errorf("%s: answer: %v", c, err)
		}
		m, _ = called(t, DefaultPolicy(), phoneSays(t, "", "RTP/AVP", ""))
		if _, _, err := m.Offer(Core, away); !errors.As(err, &why) || why.Code != 301 {
			t.Errorf("%s: re-offer: %v", c, err)
		}
	}
	m, _ := called(t, DefaultPolicy(), phoneSays(t, "", "RTP/AVP", ""))
	if _, _, err := m.Offer(Core, parse(t, "v=0\no=- 9 2 IN IP4 10.9.0.7\ns=-\nc=IN IP6 ::\nt=0 0\nm=audio 4000 RTP/AVP 8\n")); err != nil {
		t.Errorf("hold in the old way: %v", err)
	}
}

// RTCP of the core: on the next port, where its description says (RFC 3605), or on RTP's own when both agree to that (RFC 5761 §5.1.1).
func TestIQ11_WhereTheCoresRTCPIs(t *testing.T) {
	for name, c := range map[string]struct {
		media string
		port  uint32
		addr  string
		mux   bool
	}{
		"next port":       {"", 4001, "", false},
		"another port":    {"a=rtcp:4010\n", 4010, "", false},
		"another address": {"a=rtcp:4010 IN IP4 10.9.0.8\n", 4010, "10.9.0.8", false},
		"another family":  {"a=rtcp:4010 IN IP6 2001:db8::8\n", 4010, "", false}, // cannot be reached beside the media's
		"a group":         {"a=rtcp:4010 IN IP4 224.0.1.8\n", 4010, "", false},
		"the same port":   {"a=rtcp-mux\na=rtcp:4010\n", 4000, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			m, answer := called(t, DefaultPolicy(), phoneSays(t, "", "RTP/AVP", c.media))
			if strings.Contains(answer, "a=rtcp-mux") != c.mux || c.mux && strings.Contains(answer, "a=rtcp:") {
				t.Errorf("answer:\n%s", answer)
			}
			r := m.ModifyDescriptor(Core, Open).GetStreams()[0].GetRemote()
			if r.GetRtcpPort() != c.port || r.GetRtcpAddress() != c.addr || rtcpOf(&m, Core).GetMux() != c.mux {
				t.Errorf("told: %v, %v", r, rtcpOf(&m, Core))
			}
			// What is agreed stays in our own offers, and ends when the peer's answer has it no more.
			m, again := m.Repeat(Core)
			if strings.Contains(string(again), "a=rtcp-mux") != c.mux {
				t.Errorf("later offer:\n%s", again)
			}
			m, err := m.Answer(Core, phoneSays(t, "", "RTP/AVP", ""))
			if err != nil || rtcpOf(&m, Core).GetMux() {
				t.Errorf("%v, %v", err, rtcpOf(&m, Core))
			}
		})
	}
	// An answer cannot take what was not offered.
	m, offer := offered(t, DefaultPolicy())
	if strings.Contains(offer, "rtcp-mux") {
		t.Errorf("offer:\n%s", offer)
	}
	m, err := m.Answer(Core, phoneSays(t, "", "RTP/AVP", "a=rtcp-mux\n"))
	if err != nil || rtcpOf(&m, Core).GetMux() {
		t.Errorf("%v, %v", err, rtcpOf(&m, Core))
	}
	// Where ours is not the next port, the core is told.
	reply := chosen(Core)
	reply.Streams[0].Local.RtcpPort = 30007
	n, _, err := New(DefaultPolicy(), 1, 2, strings.Repeat("t", 32)).Offer(Access, parse(t, fmt.Sprintf(chrome, "actpass")))
	if err != nil {
		t.Fatal(err)
	}
	if n, err = n.Resolve(Core, reply); err != nil {
		t.Fatal(err)
	}
	if _, body, err := n.MakeOffer(Core, sdp.DirUnset); err != nil || !strings.Contains(string(body), "a=rtcp:30007\r\n") {
		t.Errorf("%v:\n%s", err, body)
	}
}

// TestDTXIsPolicy: pauses are coded only where the policy says so.
func TestDTXIsPolicy(t *testing.T) {
	for dtx, want := range map[DTX][2]bool{"": {}, DTXOff: {}, DTXCore: {Core: true}, DTXBoth: {true, true}} {
		p := mtsi()
		p.DTX = dtx
		m, _ := called(t, p, phoneSays(t, "", "RTP/AVP", ""))
		for _, side := range []Side{Access, Core} {
			if got := m.ModifyDescriptor(side, Open).GetStreams()[0].GetLocalControl().GetDtx(); got != want[side] {
				t.Errorf("%q: side %d %v", dtx, side, got)
			}
		}
	}
}
