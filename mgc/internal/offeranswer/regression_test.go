package offeranswer

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Cases that users of today's systems have suffered from; rtpengineN is an issue of sipwise/rtpengine.

// said is our last description on side.
func (s *scenario) said(side Side) *sdp.Description {
	s.t.Helper()
	return parse(s.t, strings.ReplaceAll(string(s.m.Lines[side].Said), "\r\n", "\n"))
}

func (s *scenario) role() iqv1.DtlsParameters_Role {
	return s.m.ModifyDescriptor(Access, Open).GetTransport().GetLocalDtls().GetRole()
}

// call plays steps without a golden file.
func call(t *testing.T, prefer Preference, steps ...string) *scenario {
	t.Helper()
	p := DefaultPolicy()
	p.Prefer = prefer
	s := &scenario{t: t, trace: trace{t: t}, m: New(p, 1, 2, "")}
	for _, step := range steps {
		s.step(strings.Fields(step))
	}
	return s
}

// A re-offer took the active role, the ClientHello was rejected and the audio died: the role that was negotiated stays.
func TestRtpengine2156_RoleStaysAfterReoffer(t *testing.T) {
	for _, first := range []string{"setup=actpass", "setup=active", "setup=passive"} {
		s := call(t, PreferRelay, "browser offers jssip_offer "+first, "phone answers 8,101")
		role, setup := s.role(), s.said(Access).Media[0].Setup
		for _, step := range []string{"browser offers again setup=actpass dir=sendonly", "phone answers 8,101 dir=recvonly", "browser offers again setup=actpass ufrag=new1 dir=sendonly"} {
			s.step(strings.Fields(step))
		}
		if s.role() != role || s.said(Access).Media[0].Setup != setup {
			t.Errorf("%s: role %s and setup:%s become %s and setup:%s", first, role, setup, s.role(), s.said(Access).Media[0].Setup)
		}
		for _, step := range []string{"phone offers 8,101 dir=sendonly", "browser answers again setup=active dir=inactive"} { // whatever the answer claims
			s.step(strings.Fields(step))
		}
		if s.role() != role {
			t.Errorf("%s: the role changes with the answer to our offer: %s", first, s.role())
		}
	}
}

// The role was ambiguous between offer and answer: an offer is actpass, an answer never, and the MGW has the opposite of what the peer says.
func TestRtpengine2145_RoleIsUnambiguous(t *testing.T) {
	s := call(t, PreferRelay, "phone offers 8,101")
	if got := s.said(Access).Media[0].Setup; got != sdp.SetupActpass {
		t.Errorf("our offer has setup:%s", got)
	}
	s.step(strings.Fields("browser answers sipjs_passive_answer"))
	if s.role() != iqv1.DtlsParameters_ROLE_CLIENT {
		t.Errorf("a passive browser, and the MGW is %s", s.role())
	}
	for offered, want := range map[string]sdp.Setup{"actpass": sdp.SetupPassive, "active": sdp.SetupPassive, "passive": sdp.SetupActive} {
		s := call(t, PreferRelay, "browser offers jssip_offer setup="+offered, "phone answers 8,101")
		if got := s.said(Access).Media[0].Setup; got != want {
			t.Errorf("setup:%s answers setup:%s", got, offered)
		}
	}
}

// "SSL role changed": hold from the core reached the browser with another role.
func TestRtpengine43_HoldKeepsTheRole(t *testing.T) {
	s := call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101")
	role, prints := s.role(), s.said(Access).Media[0].Fingerprints
	for _, step := range []string{
		"phone offers 8,101 dir=sendonly", "browser answers again setup=active dir=recvonly", "phone offers 8,101", "browser answers again setup=active",
	} {
		s.step(strings.Fields(step))
		if s.role() != role || s.said(Access).Media[0].Fingerprints[0] != prints[0] {
			t.Fatalf("after %q the MGW is %s, fingerprint %v", step, s.role(), s.said(Access).Media[0].Fingerprints)
		}
	}
	// Only an offer that insists on the other role gets it, and with it a new association (RFC 8842 §3.1).
	other := s.describe(Access, "again", []string{"setup=passive"}) // the browser was active
	m, ch, err := s.m.Offer(Access, other)
	if err != nil || !ch.NewDTLS || ch.ICERestart || m.Lines[Access].Web.Role != sdp.SetupActive {
		t.Errorf("%v, %+v, role %s", err, ch, m.Lines[Access].Web.Role)
	}
}

// The mid changed in the answer.
func TestRtpengine157_MidIsEchoed(t *testing.T) {
	for _, file := range []string{"firefox_sdparta_offer", "chromium_av_dc_offer", "firefox_av_dc_offer"} {
		s := call(t, PreferRelay, "browser offers "+file, "phone answers 8,101", "phone offers 8,101 dir=sendonly") // the last one makes our offer
		for i, m := range s.said(Access).Media {
			if want := s.lines[i]; m.Type+" "+m.MID != want {
				t.Errorf("%s: line %d is %s %s, the browser has %s", file, i, m.Type, m.MID, want)
			}
		}
	}
}

// The hash of a fingerprint did not match its value: hash names are compared in lower case, the length has to fit, SHA-1 is not trusted, and
// of several any may match.
func TestRtpengine1092_FingerprintHash(t *testing.T) {
	s := call(t, PreferRelay)
	d := s.describe(Access, "jssip_offer", nil)
	sha256, long := d.Media[0].Fingerprints[0], strings.Repeat("AB:", 63)+"AB"
	for name, c := range map[string]struct {
		in   []sdp.Fingerprint
		want int // fingerprints for the MGW; 0: refused
	}{
		"upper case":     {[]sdp.Fingerprint{parse(t, "v=0\no=- 1 1 IN IP4 1.2.3.4\ns=-\nt=0 0\na=fingerprint:SHA-256 "+strings.ToLower(sha256.Value)+"\n").Fingerprints[0]}, 1},
		"sha-1":          {[]sdp.Fingerprint{{Hash: "sha-1", Value: sha256.Value[:59]}}, 0},
		"too short":      {[]sdp.Fingerprint{{Hash: "sha-256", Value: sha256.Value[:59]}}, 0},
		"wrong hash":     {[]sdp.Fingerprint{{Hash: "sha-512", Value: sha256.Value}}, 0},
		"sha-512":        {[]sdp.Fingerprint{{Hash: "sha-512", Value: long}}, 1},
		"sha-1 and good": {[]sdp.Fingerprint{{Hash: "sha-1", Value: sha256.Value[:59]}, sha256, {Hash: "sha-512", Value: long}}, 2},
	} {
		d := s.describe(Access, "jssip_offer", nil)
		d.Media[0].Fingerprints = c.in
		m, _, err := s.m.Offer(Access, d)
		if got := len(m.AddDescriptor(Access, "r", Closed).GetTransport().GetRemoteDtls().GetFingerprints()); err == nil && got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%s: %d fingerprints, %v; want %d", name, got, err, c.want)
		}
	}
}

// A fork lost rtcp-mux: whatever the forks answer, the browser's description has it, and is the same for all of them.
func TestRtpengine1151_ForksKeepMux(t *testing.T) {
	s := call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101")
	first := string(s.m.Lines[Access].Said)
	for _, fork := range []string{"0,101 c=10.9.0.8", "8 c=10.9.0.9"} {
		f := strings.Fields(fork)
		m, err := s.m.Answer(Core, s.describe(Core, f[0], f[1:]))
		if err != nil {
			t.Fatal(err)
		}
		s.m = m
		d := m.ModifyDescriptor(Access, EarlyAccess)
		if string(m.Lines[Access].Said) != first || !d.GetStreams()[0].GetLocalControl().GetRtcp().GetMux() {
			t.Errorf("fork %s changes the browser's side", fork)
		}
		if got := m.ModifyDescriptor(Core, EarlyAccess).GetStreams()[0].GetRemote().GetAddress(); "c="+got != f[1] {
			t.Errorf("fork %s: media to %s", fork, got)
		}
	}
	if !s.said(Access).Media[0].RTCPMux {
		t.Error("no rtcp-mux")
	}
}

// The fingerprint was missing on an m= line that came back.
func TestRtpengine97_ReaddedLineHasItsFingerprint(t *testing.T) {
	s := call(t, PreferRelay, "browser offers chromium_video_first_offer", "phone answers 8,101",
		"browser offers again stop=video", "browser offers again")
	for _, side := range []string{"answer", "offer"} {
		for i, m := range s.said(Access).Media {
			if m.Port != 0 && (len(m.Fingerprints) == 0 || m.Setup == "" || m.ICEUfrag == "" || !m.RTCPMux) {
				t.Errorf("%s: line %d has no transport", side, i)
			}
		}
		s.step(strings.Fields("phone offers 8,101 dir=sendonly")) // and in our own offer
	}
	s = call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101", "browser offers again port=0", "browser offers again")
	if m := s.said(Access).Media[0]; m.Port == 0 || len(m.Fingerprints) == 0 {
		t.Error("audio that came back has no fingerprint")
	}
}

// rtcp-mux on the browser's side made trouble on the other: it never crosses, and the core's RTCP has its own port.
func TestRtpengine126_MuxOnOneSideOnly(t *testing.T) {
	s := call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101")
	if a, c := s.said(Access).Media[0], s.said(Core).Media[0]; !a.RTCPMux || a.RTCP.Port != a.Port || c.RTCPMux {
		t.Errorf("browser mux %v RTCP %v, core mux %v", a.RTCPMux, a.RTCP, c.RTCPMux)
	}
	core := s.m.ModifyDescriptor(Core, Open).GetStreams()[0]
	if core.GetLocalControl().GetRtcp().GetMux() || core.GetRemote().GetRtcpPort() != 4001 {
		t.Errorf("core RTCP %v, remote %d", core.GetLocalControl().GetRtcp(), core.GetRemote().GetRtcpPort())
	}
	d := s.describe(Access, "jssip_offer", nil)
	d.Media[0].RTCPMux = false
	if _, _, err := New(DefaultPolicy(), 1, 2, "").Offer(Access, d); err == nil {
		t.Error("an offer without rtcp-mux is taken: the MGW has one port for a browser")
	}
}

// telephone-event at 48000 and 8000: Opus was dropped from the answer (963), events had the wrong clock rate (1530).
func TestRtpengine963_1530_EventRates(t *testing.T) {
	s := call(t, PreferOpus, "browser offers chromium_audio_offer", "phone answers 8,101")
	got := s.said(Access).Media[0].Codecs
	if len(got) != 2 || !got[0].Is(codec.Opus) || got[1].PT != 110 || got[1].ClockRate != 48000 {
		t.Errorf("answer to the browser: %v", got)
	}
	a, c := s.m.ModifyDescriptor(Access, Open).GetStreams()[0], s.m.ModifyDescriptor(Core, Open).GetStreams()[0]
	if list(a.GetRemote()) != "111 opus/48000, 110 telephone-event/48000" || list(c.GetRemote()) != "8 PCMA/8000, 101 telephone-event/8000" {
		t.Errorf("the MGW sends %q and %q", list(a.GetRemote()), list(c.GetRemote()))
	}
	s = call(t, PreferRelay, "browser offers chromium_audio_offer", "phone answers 8,101")
	if got := s.said(Access).Media[0].Codecs; len(got) != 2 || got[0].PT != 8 || got[1].PT != 126 || got[1].ClockRate != 8000 {
		t.Errorf("with G.711: %v", got)
	}
}

// c=IN IP4 0.0.0.0 in a browser's description says nothing, as candidates rule (RFC 9429 §5.2.1); in a phone's it is hold (RFC 3264 §8.4).
func TestZeroAddressTrap(t *testing.T) {
	for _, file := range []string{"chromium_audio_offer", "sipjs_offer", "firefox_av_dc_offer"} { // c=0.0.0.0, all of them
		s := call(t, PreferRelay, "browser offers "+file)
		if got := s.said(Core).Media[0].Direction; got != sdp.SendRecv {
			t.Errorf("%s is taken for hold: the core is offered %s", file, got)
		}
	}
	s := call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101", "phone offers 8,101 c=0.0.0.0")
	if got := s.said(Access).Media[0].Direction; got != sdp.SendOnly {
		t.Errorf("hold by 0.0.0.0 is offered to the browser as %s", got)
	}
	s.step(strings.Fields("browser answers again setup=active dir=recvonly"))
	core := s.m.ModifyDescriptor(Core, Open).GetStreams()[0]
	if core.GetRemote().GetAddress() != "10.9.0.7" || core.GetLocalControl().GetMode() != iqv1.LocalControl_MODE_RECVONLY {
		t.Errorf("held: %s to %s", core.GetLocalControl().GetMode(), core.GetRemote().GetAddress())
	}
	if got := s.said(Core).Media[0].Direction; got != sdp.RecvOnly {
		t.Errorf("the phone is answered %s", got)
	}
}

// An answer with a codec that was not offered is not followed (RFC 3264 §6.1).
func TestAnswerOutsideTheOffer(t *testing.T) {
	s := call(t, PreferRelay, "browser offers chromium_audio_offer without=telephone-event") // no events are offered to the core
	m, err := s.m.Answer(Core, s.describe(Core, "18,8,101", nil))
	if err != nil {
		t.Fatal(err)
	}
	if got := list(m.ModifyDescriptor(Core, Open).GetStreams()[0].GetRemote()); got != "8 PCMA/8000" {
		t.Errorf("the MGW sends %q", got)
	}
	if _, err := s.m.Answer(Core, s.describe(Core, "18", nil)); err == nil {
		t.Error("an answer without any offered codec is taken")
	}
}

// A phone that offers SRTP or plain RTP in two lines (RFC 8643 §3.1 tells of such) is answered in the plain one.
func TestPlainLineBehindSRTP(t *testing.T) {
	s := call(t, PreferRelay)
	d := s.describe(Core, "8,101", nil)
	secure := d.Media[0]
	secure.Proto = "RTP/SAVP"
	d.Media = []sdp.Media{secure, d.Media[0]}
	s.takeOffer(Core, d)
	s.step(strings.Fields("browser answers chromium_answer"))
	if got := s.said(Core).Media; got[0].Port != 0 || got[0].Proto != "RTP/SAVP" || got[1].Port == 0 {
		t.Errorf("answered %+v", got)
	}
}

// A refused offer leaves nothing but its version (RFC 3264 §5, §8).
func TestRefusedOfferKeepsItsVersion(t *testing.T) {
	s := call(t, PreferRelay, "browser offers jssip_offer", "phone answers 8,101")
	before := s.m.ModifyDescriptor(Core, Open)
	for _, step := range []string{"browser offers again dir=sendonly", "phone refuses"} {
		s.step(strings.Fields(step))
	}
	if got := s.m.ModifyDescriptor(Core, Open); !proto.Equal(got, before) {
		t.Errorf("a refused offer changes the MGW:\n%s\n%s", before, got)
	}
	s.step(strings.Fields("browser offers again dir=inactive"))
	if got := s.said(Core).Origin.Version; got != 3 {
		t.Errorf("o= version %d; 2 was the refused description", got)
	}
}
