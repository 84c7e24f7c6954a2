package offeranswer

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// twoComponents is what an MGW resolves for a termination with a second component.
func twoComponents() *iqv1.TerminationDescriptor {
	d := chosen(Access)
	second := &iqv1.Candidate{Foundation: "1", Component: 2, Transport: "udp", Priority: 2130706430, Address: "198.51.100.10", Port: 41000, Type: "host"}
	d.Transport.LocalIce.Candidates = append(d.Transport.LocalIce.Candidates, second)
	return d
}

func (s *scenario) policy(mux RTCPMux) *scenario {
	s.m.Policy.Mux = mux
	return s
}

// without takes rtcp-mux out of a description and gives the audio a candidate of each component.
func without(d *sdp.Description) *sdp.Description {
	for i := range d.Media {
		m := &d.Media[i]
		m.RTCPMux, m.RTCPMuxOnly = false, false
		m.Candidates = []sdp.Candidate{
			{Foundation: "1", Component: 1, Transport: "udp", Priority: 9, Host: "192.0.2.5", Port: 5000, Type: "host"},
			{Foundation: "1", Component: 2, Transport: "udp", Priority: 8, Host: "192.0.2.5", Port: 5001, Type: "host"},
		}
	}
	return d
}

func components(cs []sdp.Candidate) (out []uint16) {
	for _, c := range cs {
		out = append(out, c.Component)
	}
	return out
}

func refusedFor(t *testing.T, err error, why string) {
	t.Helper()
	var bad *Unacceptable
	if !errors.As(err, &bad) || !strings.Contains(bad.Text, why) {
		t.Errorf("%v, want a refusal for %q", err, why)
	}
}

// TestR8858_BrowserWithoutMuxCalls: its offer is served with a second component: asked of the MGW with the candidates of both, and described with a=rtcp
// and without a=rtcp-mux; otherwise, and by default, the refusal says what is missing. rtcp-mux cannot end within a session, but begin.
func TestR8858_BrowserWithoutMuxCalls(t *testing.T) {
	for _, mux := range []RTCPMux{"", MuxRequired, MuxOnly} {
		s := call(t, PreferRelay).policy(mux)
		_, _, err := s.m.Offer(Access, without(s.describe(Access, "jssip_offer", nil)))
		refusedFor(t, err, "rtcp-mux is needed")
	}
	s := call(t, PreferRelay).policy(MuxNegotiate)
	offer := without(s.describe(Access, "jssip_offer", nil))
	m, _, err := s.m.Offer(Access, offer)
	if err != nil {
		t.Fatal(err)
	}
	add := m.AddDescriptor(Access, "access", Closed)
	if cs := add.GetTransport().GetRemoteIce().GetCandidates(); add.GetStreams()[0].GetLocalControl().GetRtcp().GetMux() || len(cs) != 2 || cs[1].GetComponent() != 2 {
		t.Errorf("add %v", add)
	}
	if _, err = m.Resolve(Access, chosen(Access)); !errors.Is(err, ErrReply) {
		t.Errorf("a reply without the second component: %v", err)
	}
	for _, side := range []Side{Access, Core} {
		d := chosen(Core)
		if side == Access {
			d = twoComponents()
		}
		if m, err = m.Resolve(side, d); err != nil {
			t.Fatal(err)
		}
	}
	if m, _, err = m.MakeOffer(Core, sdp.DirUnset); err != nil {
		t.Fatal(err)
	}
	if m, err = m.Answer(Core, s.describe(Core, "8,101", nil)); err != nil {
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
	if a.RTCPMux || a.RTCPMuxOnly || a.RTCP.Port != 41000 || !slices.Equal(components(a.Candidates), []uint16{1, 2}) {
		t.Errorf("answer\n%s", body)
	}
	if m.ModifyDescriptor(Access, Open).GetStreams()[0].GetLocalControl().GetRtcp().GetMux() {
		t.Error("the MGW is told of mux")
	}
	if raw, err := json.Marshal(m.Lines[Access].Web); err != nil || !strings.Contains(string(raw), `"apart":true`) {
		t.Errorf("controllers of other versions would take the call for one with mux: %v\n%s", err, raw)
	}
	offer.Media[0].RTCPMux = true // it learns to multiplex
	if m, _, err = m.Offer(Access, offer); err != nil {
		t.Fatal(err)
	}
	if m, body, err = m.MakeAnswer(Access); err != nil || !strings.Contains(string(body), "a=rtcp-mux\r\n") || strings.Contains(string(body), " 2 udp ") {
		t.Errorf("%v, answer\n%s", err, body)
	}
	if !m.ModifyDescriptor(Access, Open).GetStreams()[0].GetLocalControl().GetRtcp().GetMux() {
		t.Error("the MGW is not told of mux")
	}
	_, _, err = m.Offer(Access, without(offer))
	refusedFor(t, err, "cannot end")
}

// TestR8858_OurOffers: an offer says rtcp-mux, with rtcp-mux-only when nothing else is taken by policy, and with a second component when it is; answers
// are judged by what was offered. Answers never say rtcp-mux-only.
func TestR8858_OurOffers(t *testing.T) {
	for _, mux := range []RTCPMux{MuxRequired, MuxOnly, MuxNegotiate} {
		s := call(t, PreferRelay).policy(mux)
		m, _, err := s.m.Offer(Core, s.describe(Core, "8,101", nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.AddDescriptor(Access, "access", Closed).GetStreams()[0].GetLocalControl().GetRtcp().GetMux(); got != (mux != MuxNegotiate) {
			t.Errorf("%s: mux %v in the Add", mux, got)
		}
		access := chosen(Access)
		if mux == MuxNegotiate {
			access = twoComponents()
		}
		if m, err = m.Resolve(Access, access); err == nil {
			m, err = m.Resolve(Core, chosen(Core))
		}
		if err != nil {
			t.Fatal(err)
		}
		m, body, err := m.MakeOffer(Access, sdp.DirUnset)
		if err != nil {
			t.Fatal(err)
		}
		d, err := sdp.Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		a := &d.Media[0]
		want := []uint16{1}
		if mux == MuxNegotiate {
			want = append(want, 2)
		}
		if !a.RTCPMux || a.RTCPMuxOnly != (mux == MuxOnly) || !slices.Equal(components(a.Candidates), want) || mux == MuxNegotiate && a.RTCP.Port != 41000 {
			t.Errorf("%s: offer\n%s", mux, body)
		}
		component2, err := m.Answer(Access, without(s.describe(Access, "chromium_answer", nil)))
		if mux != MuxNegotiate {
			refusedFor(t, err, "rtcp-mux is needed")
		} else if g := component2.ModifyDescriptor(Access, Open); err != nil || g.GetStreams()[0].GetLocalControl().GetRtcp().GetMux() || len(g.GetTransport().GetRemoteIce().GetCandidates()) != 2 {
			t.Errorf("answer without mux: %v, %v", err, g)
		}
		m, err = m.Answer(Access, s.describe(Access, "chromium_answer", nil))
		if err != nil || !m.ModifyDescriptor(Access, Open).GetStreams()[0].GetLocalControl().GetRtcp().GetMux() {
			t.Errorf("%s: answer with mux: %v", mux, err)
		}
		if _, body, err = m.MakeOffer(Access, sdp.SendOnly); err != nil || strings.Contains(string(body), " 2 udp ") || strings.Contains(string(body), "rtcp-mux-only") != (mux == MuxOnly) {
			t.Errorf("%s: the next offer\n%s", mux, body)
		}
	}
}

// TestR8858_AnswerWithoutWhatWasOffered: an answer without mux is no answer to an offer of one component.
func TestR8858_AnswerWithoutWhatWasOffered(t *testing.T) {
	s := call(t, PreferRelay, "phone offers 8,101").policy(MuxNegotiate) // the policy came later, the MGW has one component
	_, err := s.m.Answer(Access, without(s.describe(Access, "chromium_answer", nil)))
	refusedFor(t, err, "rtcp-mux is needed")
}

// TestR8858_MuxOnlyOfferIsMuxed: a peer that can do nothing else gets rtcp-mux, whatever the policy.
func TestR8858_MuxOnlyOfferIsMuxed(t *testing.T) {
	for _, mux := range []RTCPMux{MuxRequired, MuxOnly, MuxNegotiate} {
		s := call(t, PreferRelay).policy(mux)
		d := s.describe(Access, "jssip_offer", nil)
		d.Media[0].RTCPMux, d.Media[0].RTCPMuxOnly = false, true
		s.takeOffer(Access, d)
		s.step(strings.Fields("phone answers 8,101"))
		if a := s.said(Access).Media[0]; !a.RTCPMux || a.RTCPMuxOnly {
			t.Errorf("%s: mux %v, only %v", mux, a.RTCPMux, a.RTCPMuxOnly)
		}
		if !s.m.ModifyDescriptor(Access, Open).GetStreams()[0].GetLocalControl().GetRtcp().GetMux() {
			t.Errorf("%s: the MGW is not told", mux)
		}
	}
}
