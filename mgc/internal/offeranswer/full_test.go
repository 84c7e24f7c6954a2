package offeranswer

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// full makes the gateway's agent a full one.
func (s *scenario) full() {
	s.t.Helper()
	m, err := s.m.Resolve(Access, &iqv1.TerminationDescriptor{Transport: &iqv1.TransportGroup{IceMode: iqv1.TransportGroup_ICE_MODE_FULL}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.m = m
}

const (
	controlling = iqv1.TransportGroup_ICE_ROLE_CONTROLLING
	controlled  = iqv1.TransportGroup_ICE_ROLE_CONTROLLED
)

// TestIQ24_R8445_1_FullAgentIsNotLite: an MGW that answers with a full agent is not described as lite; its role is that of RFC 8445 §6.1.1, and is the same after
// restarts; the browser's candidates that are of use go to it.
func TestIQ24_R8445_1_FullAgentIsNotLite(t *testing.T) {
	s := call(t, PreferRelay, "browser offers jssip_offer")
	add := s.m.AddDescriptor(Access, "access", Closed).GetTransport()
	if add.GetIceMode() != iqv1.TransportGroup_ICE_MODE_CHOOSE || !add.GetIceLite() || add.GetIceRole() != controlled {
		t.Errorf("add %v", add)
	}
	m, _, err := New(DefaultPolicy(), 1, 2, "").Offer(Access, parse(t, fmt.Sprintf(chrome, "actpass")))
	if err != nil {
		t.Fatal(err)
	}
	if cs := m.AddDescriptor(Access, "access", Closed).GetTransport().GetRemoteIce().GetCandidates(); len(cs) != 1 || cs[0].GetType() != "srflx" { // the other is a name
		t.Errorf("candidates %v", cs)
	}
	s.full()
	s.step(strings.Fields("phone answers 8,101"))
	d := s.said(Access)
	if d.ICELite || strings.Join(d.ICEOptions, " ") != "ice2" || !d.Media[0].EndOfCandidates {
		t.Errorf("answer: lite %v, options %v", d.ICELite, d.ICEOptions)
	}
	check := func(what string, role iqv1.TransportGroup_IceRole) {
		t.Helper()
		if g := s.m.ModifyDescriptor(Access, Open).GetTransport(); g.GetIceLite() || g.GetIceMode() != iqv1.TransportGroup_ICE_MODE_FULL || g.GetIceRole() != role {
			t.Errorf("%s: %v", what, g)
		}
	}
	check("browser calls", controlled)
	s.step(strings.Fields("phone offers 8,101 dir=sendonly")) // our offer in the call makes us the offerer of no new session
	s.step(strings.Fields("browser answers again setup=active dir=recvonly"))
	check("hold", controlled)
	s.step(strings.Fields("browser offers again ufrag=new1"))
	check("restart", controlled)

	s = call(t, PreferRelay, "phone offers 8,101")
	s.full()
	s.m, _, _ = s.m.MakeOffer(Access, sdp.DirUnset)
	if s.said(Access).ICELite {
		t.Error("the offer is lite")
	}
	s.step(strings.Fields("browser answers chromium_answer"))
	check("browser is called", controlling)
	s.step(strings.Fields("browser offers again ufrag=new1 setup=actpass"))
	check("restart by the called browser", controlling)
}

// TestR8839_1_IceAttributesOfOurDescriptions: offers and answers name mode, options, credentials, candidates and their end; the peer's names and types of
// candidates that are of no use are left out of what the MGW is told.
func TestR8839_1_IceAttributesOfOurDescriptions(t *testing.T) {
	s := call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101")
	check := func(d *sdp.Description) {
		t.Helper()
		a := &d.Media[0]
		if !d.ICELite || strings.Join(d.ICEOptions, " ") != "ice2" || len(a.ICEUfrag) < 4 || len(a.ICEPwd) < 22 || len(a.Candidates) != 1 || !a.EndOfCandidates {
			t.Errorf("lite %v, options %v, %q, %d candidates, end %v", d.ICELite, d.ICEOptions, a.ICEUfrag, len(a.Candidates), a.EndOfCandidates)
		}
	}
	check(s.said(Access))
	s.step(strings.Fields("phone offers 8,101 dir=sendonly"))
	check(s.said(Access))
	d := s.describe(Access, "jssip_offer", nil)
	d.Media[0].Candidates = nil
	for _, c := range []string{"192.0.2.7 1 typ host", "7c1f.local 2 typ host", "192.0.2.7 3 typ fancy", "host.example 4 typ srflx", "2001:db8::7 5 typ relay"} {
		parsed, ok := sdp.ParseCandidate("1 1 udp 5 " + c)
		if !ok {
			t.Fatal(c)
		}
		d.Media[0].Candidates = append(d.Media[0].Candidates, parsed)
	}
	m, _, err := New(DefaultPolicy(), 1, 2, "").Offer(Access, d)
	if err != nil {
		t.Fatal(err)
	}
	if cs := m.AddDescriptor(Access, "access", Closed).GetTransport().GetRemoteIce().GetCandidates(); len(cs) != 2 || cs[0].GetPort() != 1 || cs[1].GetPort() != 5 {
		t.Errorf("told of %v", cs)
	}
}

// TestR8445_1_LitePeerNeedsAFullAgent: towards a lite peer our full agent controls, whoever offers; between two lite ones nothing can connect, which is
// refused with its reason.
func TestR8445_1_LitePeerNeedsAFullAgent(t *testing.T) {
	for _, full := range []bool{true, false} {
		s := call(t, PreferRelay)
		d := s.describe(Access, "jssip_offer", nil)
		d.ICELite = true
		s.takeOffer(Access, d)
		if role := s.m.AddDescriptor(Access, "access", Closed).GetTransport().GetIceRole(); role != controlling {
			t.Errorf("role %s in the Add", role)
		}
		if full {
			s.full()
		}
		m, err := s.m.Answer(Core, s.describe(Core, "8,101", nil))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = m.MakeAnswer(Access)
		var bad *Unacceptable
		if full != (err == nil) || err != nil && (!errors.As(err, &bad) || !strings.Contains(bad.Text, "ICE lite")) {
			t.Errorf("offer of a lite peer, full %v: %v", full, err)
		}

		s = call(t, PreferRelay, "phone offers 8,101")
		if full {
			s.full()
		}
		d = s.describe(Access, "chromium_answer", nil)
		d.ICELite = true
		if m, err = s.m.Answer(Access, d); full != (err == nil) {
			t.Errorf("answer of a lite peer, full %v: %v", full, err)
		}
		if full && m.ModifyDescriptor(Access, Open).GetTransport().GetIceRole() != controlling {
			t.Error("controlled by a lite peer")
		}
	}
}

// TestR8840_R8839_1_TrickledCandidates: what a fragment adds is told to a full agent, once; other credentials, other lines, names, and what cannot be
// read change nothing. A lite agent is told nothing, but a full one that comes later gets all.
func TestR8840_R8839_1_TrickledCandidates(t *testing.T) {
	s := call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101")
	mid, ufrag := s.m.Lines[Access].Slots[0].MID, s.m.Lines[Access].Web.Ufrag
	known := len(s.m.Lines[Access].Web.Candidates)
	fragment := func(ufrag, mid string, lines ...string) []byte {
		return []byte("a=ice-ufrag:" + ufrag + "\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:" + mid + "\r\n" + strings.Join(lines, "\r\n") + "\r\n")
	}
	const one = "a=candidate:1 1 udp 2130706431 192.0.2.3 41000 typ host"
	if m, tell := s.m.Trickle(fragment(ufrag, mid, one)); tell || len(m.Lines[Access].Web.Candidates) != known+1 {
		t.Errorf("lite: tell %v, %v", tell, m.Lines[Access].Web.Candidates)
	}
	s.full()
	for name, body := range map[string][]byte{
		"other ufrag":    fragment("else", mid, one),
		"other line":     fragment(ufrag, mid+"9", one),
		"name":           fragment(ufrag, mid, "a=candidate:1 1 udp 2130706431 7c1f.local 41000 typ host"),
		"tcp":            fragment(ufrag, mid, "a=candidate:1 1 tcp 2130706431 192.0.2.3 9 typ host tcptype active"),
		"type":           fragment(ufrag, mid, "a=candidate:1 1 udp 2130706431 192.0.2.3 41000 typ fancy"),
		"damaged":        fragment(ufrag, mid, "a=candidate:1 1 udp x 192.0.2.3 41000 typ host"),
		"nothing":        nil,
		"no text at all": {0, 1, 2, 255},
		"far too long":   fragment(ufrag, mid, strings.Repeat("a=x\r\n", 300)+one),
	} {
		if m, tell := s.m.Trickle(body); tell || len(m.Lines[Access].Web.Candidates) != known {
			t.Errorf("%s is taken", name)
		}
	}
	m, tell := s.m.Trickle(fragment(ufrag, mid, one, "a=end-of-candidates"))
	g := m.TransportDescriptor().GetTransport()
	if !tell || len(g.GetRemoteIce().GetCandidates()) != known+1 || !g.GetRemoteIce().GetEndOfCandidates() || g.GetRemoteIce().GetUfrag() != ufrag || g.GetRemoteDtls() == nil {
		t.Errorf("tell %v: %v", tell, g)
	}
	if len(s.m.Lines[Access].Web.Candidates) != known {
		t.Error("the value before has changed")
	}
	if _, tell = m.Trickle(fragment(ufrag, mid, one)); tell {
		t.Error("told twice")
	}
	for i := range 100 {
		m, _ = m.Trickle(fragment(ufrag, mid, strings.Replace(one, "41000", "4"+string(rune('0'+i/10))+string(rune('0'+i%10))+"1", 1)))
	}
	if n := len(m.Lines[Access].Web.Candidates); n != maxCandidates {
		t.Errorf("%d candidates", n)
	}
}

// FuzzTrickle: a fragment of any content adds candidates that could stand in a description, at most so many, and changes nothing else.
func FuzzTrickle(f *testing.F) {
	f.Add([]byte("a=ice-ufrag:EsAw\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2130706431 192.0.2.3 41000 typ host\r\na=end-of-candidates\r\n"))
	f.Add([]byte("a=candidate:1 2 udp 1 ::1 1 typ relay raddr 192.0.2.3 rport 4\n"))
	f.Add([]byte("m=\r\na=mid:\r\na=candidate:\r\na=candidate:1 1 udp"))
	d, err := sdp.Parse(crlf(fmt.Sprintf(chrome, "actpass")))
	if err != nil {
		f.Fatal(err)
	}
	m, _, err := New(DefaultPolicy(), 1, 2, "").Offer(Access, d)
	if err != nil {
		f.Fatal(err)
	}
	before := m.Lines[Access].Web
	f.Fuzz(func(t *testing.T, body []byte) {
		out, _ := m.Trickle(body)
		w := out.Lines[Access].Web
		if len(w.Candidates) < len(before.Candidates) || len(w.Candidates) > maxCandidates {
			t.Fatalf("%d candidates of %q", len(w.Candidates), body)
		}
		for _, c := range w.Candidates {
			if !c.IP().IsValid() || c.Port == 0 || c.Transport != "udp" || c.Component != 1 {
				t.Fatalf("%+v of %q", c, body)
			}
		}
		if w.Ufrag != before.Ufrag || w.Pwd != before.Pwd {
			t.Fatalf("other credentials of %q", body)
		}
	})
}
