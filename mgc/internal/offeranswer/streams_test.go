package offeranswer

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// severalStreams is a policy of up to four streams.
func severalStreams() Policy {
	p := DefaultPolicy()
	p.Streams = 4
	return p
}

func callWith(t *testing.T, p Policy, steps ...string) *scenario {
	t.Helper()
	s := &scenario{t: t, trace: trace{t: t}, m: New(p, 1, 2, "")}
	for _, step := range steps {
		s.step(strings.Fields(step))
	}
	return s
}

// Ladders of calls with several audio lines: what is said to each side, and what the media gateway is told.
func TestIQ35_R9143_SeveralAudioLines(t *testing.T) {
	osrtp := severalStreams()
	osrtp.SRTP = SRTPOsrtp
	for name, c := range map[string]struct {
		policy Policy
		steps  []string
	}{
		"browser_calls": {severalStreams(), []string{"browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2 2.codecs=101,8"}},
		"max_bundle":    {severalStreams(), []string{"browser offers chromium_two_audio_max_bundle_offer 2.bundle-only", "phone answers 8,101 audio=2"}},
		"refused":       {severalStreams(), []string{"browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2 2.port=0", "phone offers 8,101 audio=2 2.port=0 dir=sendonly", "browser answers chromium_two_audio_answer 2.port=0 dir=recvonly"}},
		"keys":          {osrtp, []string{"browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2 1.crypto=1:AEAD_AES_256_GCM:p 2.crypto=3:" + cm80 + ":q"}},
		"phone_calls":   {severalStreams(), []string{"phone offers 8,101 audio=2", "browser answers chromium_two_audio_answer"}},
		"browser_refuses": {severalStreams(), []string{"phone offers 8,101 audio=3", "browser answers chromium_two_audio_answer audio=3 2.port=0",
			"browser offers chromium_two_audio_answer setup=actpass audio=3 2.port=0 3.dir=sendonly"}},
		"hold_of_one": {severalStreams(), []string{"browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2",
			"browser offers again 2.dir=sendonly", "phone answers 8,101 audio=2 2.dir=recvonly", "phone offers 8,101 audio=2 1.dir=inactive 2.dir=recvonly",
			"browser answers chromium_two_audio_answer 1.dir=inactive 2.dir=sendonly"}},
		"added": {severalStreams(), []string{"browser offers chromium_two_audio_offer only=1", "phone answers 8,101",
			"browser offers chromium_two_audio_offer ufrag=new1", "phone answers 8,101 audio=2", "phone offers 8,101 audio=3", "browser answers chromium_two_audio_answer audio=3"}},
		"given_up": {severalStreams(), []string{"browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2",
			"browser offers again 2.port=0", "phone answers 8,101 audio=2 2.dir=inactive", "browser offers again 2.mid=5", "phone answers 8,101 audio=2",
			"phone offers 8,101 audio=2 2.port=0", "browser answers chromium_two_audio_answer 2.mid=5 2.dir=inactive"}},
		"added_refused": {severalStreams(), []string{"browser offers chromium_two_audio_offer only=1", "phone answers 8,101",
			"browser offers chromium_two_audio_offer", "phone refuses", "browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := playWith(t, "streams_"+name, c.policy, c.steps...)
			noMix(t, s.said(Core))
		})
	}
}

// noMix: nothing that groups lines is told to the core (TS 23.228 §U.1.1).
func noMix(t *testing.T, d *sdp.Description) {
	t.Helper()
	for _, m := range d.Media {
		if len(d.Groups) > 0 || m.MID != "" || len(m.Extmaps) > 0 || bundleOnly(&m) || len(m.SSRCs) > 0 || len(m.Msids) > 0 {
			t.Errorf("the core is told %v, mid %q, %v", d.Groups, m.MID, m.Extmaps)
		}
	}
}

// TestIQ35_OneStreamPerLine: the streams of both terminations have the same numbers, each line of the browser its own source, name and MID on one transport, each
// line of the core its own ports; the media gateway hears of the peer's sources and of the extension with the MID.
func TestIQ35_OneStreamPerLine(t *testing.T) {
	s := callWith(t, severalStreams(), "browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2")
	d := s.said(Access)
	if !slices.Equal(d.Bundle(), []string{"0", "1"}) {
		t.Errorf("group %v", d.Bundle())
	}
	a, b := &d.Media[0], &d.Media[1]
	if a.SSRCs[0].ID == b.SSRCs[0].ID || a.Msids[0].Track == b.Msids[0].Track || a.ICEUfrag != b.ICEUfrag || a.Port != b.Port {
		t.Errorf("lines %+v\n%+v", a, b)
	}
	for _, m := range d.Media {
		if len(m.Extmaps) != 1 || m.Extmaps[0].ID != 4 || m.Extmaps[0].URI != midURI {
			t.Errorf("extmap %v", m.Extmaps)
		}
	}
	c := s.said(Core)
	if c.Media[0].Port == c.Media[1].Port || c.Media[1].Port == 0 {
		t.Errorf("the core's ports are %d and %d", c.Media[0].Port, c.Media[1].Port)
	}
	for i, st := range s.m.ModifyDescriptor(Access, Open).GetStreams() {
		told := s.offer.Media[i].SSRCs[0].ID
		x := st.GetRemote().GetHeaderExtensions()
		if st.GetStreamId() != uint32(i+1) || st.GetMid() != s.offer.Media[i].MID || st.GetRemote().GetSsrc() != told || len(x) != 1 || x[0].GetId() != 4 {
			t.Errorf("stream %v", st)
		}
	}
	for i, st := range s.m.ModifyDescriptor(Core, Open).GetStreams() {
		if st.GetStreamId() != uint32(i+1) || st.GetRemote().GetPort() != uint32(4000+10*i) || st.GetLocal().GetPort() != uint32(c.Media[i].Port) || len(st.GetRemote().GetHeaderExtensions()) > 0 {
			t.Errorf("stream %v", st)
		}
	}
}

// TestR8643_AlternativesAreOneStream: lines that are the same stream in two ways - SRTP or RTP, with feedback or without, by two families of addresses - are
// not several.
func TestR8643_AlternativesAreOneStream(t *testing.T) {
	osrtp := severalStreams()
	osrtp.SRTP = SRTPOsrtp
	anat := func(d *sdp.Description) {
		d.Groups = []sdp.Group{{Semantics: "ANAT", MIDs: []string{"a", "b"}}}
		d.Media[0].MID, d.Media[1].MID = "a", "b"
	}
	for name, c := range map[string]struct {
		policy Policy
		offer  string
		edit   func(*sdp.Description)
		want   []bool
	}{
		"SRTP first":     {osrtp, "audio=2 1.proto=RTP/SAVP 1.crypto=1:" + cm80 + ":p", nil, []bool{true, false}},
		"RTP first":      {osrtp, "audio=2 2.proto=RTP/SAVP 2.crypto=1:" + cm80 + ":p", nil, []bool{true, false}},
		"two of each":    {osrtp, "audio=4 1.proto=RTP/SAVP 1.crypto=1:" + cm80 + ":p 2.proto=RTP/SAVP 2.crypto=1:" + cm80 + ":q", nil, []bool{true, true, false, false}},
		"feedback":       {severalStreams(), "audio=2 2.proto=RTP/AVPF", nil, []bool{true, false}},
		"ANAT":           {severalStreams(), "audio=2", anat, []bool{true, false}},
		"no alternative": {severalStreams(), "audio=2", nil, []bool{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := callWith(t, c.policy)
			d := s.describe(Core, "8,101", strings.Fields(c.offer))
			if c.edit != nil {
				c.edit(d)
			}
			s.takeOffer(Core, d)
			if s.m.Streams() == 1 {
				s.step(strings.Fields("browser answers chromium_answer"))
			} else {
				s.step(strings.Fields("browser answers chromium_two_audio_answer"))
			}
			if got := livePorts(s.said(Core)); !slices.Equal(got, c.want) {
				t.Errorf("answered %v, want %v", got, c.want)
			}
		})
	}
}

// TestR3264_FurtherLinesAreRefused: what is no further stream is port 0 in its place, and the call goes on with those that are.
func TestR3264_FurtherLinesAreRefused(t *testing.T) {
	two := severalStreams()
	two.Streams = 2
	for name, c := range map[string]struct {
		policy Policy
		steps  []string
		want   []bool
	}{
		"more than the policy has":   {two, []string{"phone offers 8,101 audio=3", "browser answers chromium_two_audio_answer"}, []bool{true, true, false}},
		"no codec":                   {severalStreams(), []string{"phone offers 8,101,18 audio=2 2.codecs=18", "browser answers chromium_answer"}, []bool{true, false}},
		"no BUNDLE":                  {severalStreams(), []string{"browser offers chromium_two_audio_offer nobundle", "phone answers 8,101"}, []bool{true, false}},
		"the browser does not group": {severalStreams(), []string{"phone offers 8,101 audio=2", "browser answers chromium_two_audio_answer nobundle"}, []bool{true, false}},
	} {
		t.Run(name, func(t *testing.T) {
			s := callWith(t, c.policy, c.steps...)
			if got := livePorts(s.said(s.from)); !slices.Equal(got, c.want) {
				t.Errorf("answered %v, want %v", got, c.want)
			}
		})
	}
	full, answers, mux := severalStreams(), severalStreams(), severalStreams()
	full.Preconditions, answers.Preconditions, mux.Mux = PreconditionsFull, PreconditionsAnswer, MuxNegotiate
	for name, c := range map[string]struct {
		policy Policy
		side   Side
		offer  string
		want   int
	}{
		"preconditions of ours":        {full, Access, "chromium_two_audio_offer", 1},
		"preconditions of the core":    {answers, Core, "8,101 audio=2 1.quality", 1},
		"no preconditions of the core": {answers, Core, "8,101 audio=2", 2},
		"no rtcp-mux":                  {mux, Access, "chromium_two_audio_offer 1.apart", 1},
		"rtcp-mux":                     {mux, Access, "chromium_two_audio_offer", 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := callWith(t, c.policy)
			f := strings.Fields(c.offer)
			m, _, err := s.m.Offer(c.side, s.describe(c.side, f[0], f[1:]))
			if err != nil || m.Streams() != c.want {
				t.Errorf("%v, %d streams, want %d", err, m.Streams(), c.want)
			}
		})
	}
}

// TestR9143_LineWithoutGroupIsTakenBack: a browser that answers our second line with a transport of its own believes in it: it is stale, and the next offer has it
// with port 0.
func TestR9143_LineWithoutGroupIsTakenBack(t *testing.T) {
	s := callWith(t, severalStreams(), "phone offers 8,101 audio=2", "browser answers chromium_two_audio_answer nobundle")
	if mode := s.m.ModifyDescriptor(Access, Open).GetStreams()[1].GetLocalControl().GetMode(); mode != iqv1.LocalControl_MODE_INACTIVE {
		t.Errorf("mode %s", mode)
	}
	if !s.m.Stale(Access) {
		t.Fatal("the browser is not told")
	}
	m, body, err := s.m.MakeOffer(Access, sdp.DirUnset)
	if err != nil {
		t.Fatal(err)
	}
	d := parse(t, strings.ReplaceAll(string(body), "\r\n", "\n"))
	if got := livePorts(d); !slices.Equal(got, []bool{true, false}) {
		t.Errorf("offered %v", got)
	}
	if m, err = m.Answer(Access, s.describe(Access, "chromium_two_audio_answer", []string{"nobundle", "2.port=0"})); err != nil || m.Stale(Access) || m.Stale(Core) {
		t.Errorf("stale after the answer: %v %v, %v", m.Stale(Access), m.Stale(Core), err)
	}
}

// TestIQ35_NoStreamWithoutMediaGateway: a line whose stream the media gateway has not made is neither offered nor answered, and leaves nothing behind.
func TestIQ35_NoStreamWithoutMediaGateway(t *testing.T) {
	s := callWith(t, severalStreams(), "browser offers chromium_two_audio_offer only=1", "phone answers 8,101")
	m, _, err := s.m.Offer(Access, s.describe(Access, "chromium_two_audio_offer", nil))
	if err != nil || !m.New() {
		t.Fatal(err, m.New())
	}
	for range 2 { // once with an answer that lacks the ports
		if m, body, err := m.MakeOffer(Core, sdp.DirUnset); err != nil || strings.Count(string(body), "m=") != 1 {
			t.Errorf("%v\n%s", err, body)
		} else if m, body, err = m.MakeAnswer(Access); err != nil || strings.Count(string(body), "m=audio 0 ") != 1 || m.Streams() != 1 || m.New() {
			t.Errorf("%v, %d streams\n%s", err, m.Streams(), body)
		}
		m = m.Made(Core, &iqv1.TerminationDescriptor{Streams: []*iqv1.Stream{{StreamId: 2, Local: &iqv1.MediaDescription{Address: "10.0.0.1"}}}})
	}
	if m = m.Undo(s.m); m.Streams() != 1 || m.Stale(Core) || m.Stale(Access) {
		t.Errorf("%d streams after a refusal", m.Streams())
	}
}

// TestIQ35_StreamIsUsedAgain: the stream of a line that was refused to the offerer for good stays in the media gateway; the next line gets it.
func TestIQ35_StreamIsUsedAgain(t *testing.T) {
	s := callWith(t, severalStreams(), "browser offers chromium_two_audio_offer only=1", "phone answers 8,101", "browser offers chromium_two_audio_offer", "phone refuses")
	if s.m.Streams() != 2 || s.m.New() || s.m.Stale(Core) || s.m.Stale(Access) {
		t.Fatalf("%d streams, new: %v", s.m.Streams(), s.m.New())
	}
	port := s.m.ModifyDescriptor(Core, Open).GetStreams()[1].GetLocal().GetPort()
	s.step(strings.Fields("phone offers 8,101 audio=2"))
	s.step(strings.Fields("browser answers chromium_two_audio_answer"))
	if got := s.said(Core).Media[1].Port; s.m.Streams() != 2 || uint32(got) != port || port == 0 {
		t.Errorf("%d streams, port %d after %d", s.m.Streams(), got, port)
	}
}

// TestIQ35_CandidatesOfAnyLine: what a browser trickles for a further line is of the one transport.
func TestIQ35_CandidatesOfAnyLine(t *testing.T) {
	s := callWith(t, severalStreams(), "browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2")
	m, _ := s.m.Trickle([]byte("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\na=candidate:1 1 udp 2122260223 203.0.113.9 50000 typ host\r\n"))
	if got := m.Lines[Access].Web.Candidates; len(got) != len(s.m.Lines[Access].Web.Candidates)+1 {
		t.Errorf("candidates %v", got)
	}
}

// TestRecordsOfOneStream: the state of a call with one stream has the fields that it had before there were several.
func TestRecordsOfOneStream(t *testing.T) {
	s := callWith(t, severalStreams(), "browser offers chromium_audio_offer", "phone answers 8,101")
	raw, err := json.Marshal(s.m)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Lines []map[string]any }
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"id", "v", "said", "slots", "audio", "bound", "theirs", "ours", "chosen", "event", "want", "told", "dir", "asked", "local"} {
		for side, l := range got.Lines {
			if _, ok := l[key]; !ok {
				t.Errorf("%s: no %q", name(Side(side)), key)
			}
		}
	}
	for _, key := range []string{"more", "begun", "off", "Stream"} {
		if _, ok := got.Lines[0][key]; ok {
			t.Errorf("%q is in the record", key)
		}
	}
	var again Media
	if err := json.Unmarshal(raw, &again); err != nil || again.Streams() != 1 {
		t.Errorf("%v, %d streams", err, again.Streams())
	}
}
