package offeranswer

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// TestR5888_MIDTwice: a line that has the name of another is refused: the media gateway could not tell them apart (RFC 5888 §4).
func TestR5888_MIDTwice(t *testing.T) {
	for name, c := range map[string]struct {
		changes string
		want    []bool
	}{
		"the first one's":     {"audio=3 2.mid=0", []bool{true, false, true}},
		"that of a further":   {"audio=3 3.mid=1", []bool{true, true, false}},
		"that of no audio":    {"audio=2 2.mid=x add=video", []bool{true, true, false}},
		"of a line at port 0": {"audio=3 2.mid=2 2.port=0", []bool{true, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			s := callWith(t, severalStreams(), "browser offers chromium_two_audio_offer "+c.changes)
			s.step(strings.Fields("phone answers 8,101 audio=" + string(rune('0'+len(livePorts(s.said(Core)))))))
			d := s.said(Access)
			if got := livePorts(d); !slices.Equal(got, c.want) {
				t.Errorf("answered %v, want %v", got, c.want)
			}
			names := map[string]bool{}
			for _, mid := range d.Bundle() {
				if names[mid] {
					t.Errorf("group %v", d.Bundle())
				}
				names[mid] = true
			}
		})
	}
}

// TestR9143_LongMID: a name that does not fit into the header extension is not sent in it: packets are told apart by their source (RFC 8285 §4.2).
func TestR9143_LongMID(t *testing.T) {
	long := strings.Repeat("m", 17)
	for _, which := range []string{"1", "2"} {
		s := callWith(t, severalStreams(), "browser offers chromium_two_audio_offer "+which+".mid="+long, "phone answers 8,101 audio=2")
		if got := livePorts(s.said(Access)); !slices.Equal(got, []bool{true, true}) {
			t.Errorf("answered %v", got)
		}
		for i, st := range s.m.ModifyDescriptor(Access, Open).GetStreams() {
			x := st.GetRemote().GetHeaderExtensions()
			if (len(x) > 0) != (len(st.GetMid()) <= 16) || len(s.said(Access).Media[i].Extmaps) != len(x) {
				t.Errorf("line %s: mid %q with %v, said %v", which, st.GetMid(), x, s.said(Access).Media[i].Extmaps)
			}
		}
	}
}

// TestR9143_TransportOfTheTaggedLine: lines of a group that have credentials of their own each use those of the line that its first name tells, when that is
// neither refused nor at port 0 (RFC 9143 §7.3.1): no others are in use once the answer groups them.
func TestR9143_TransportOfTheTaggedLine(t *testing.T) {
	own := func(d *sdp.Description) {
		for i := range d.Media {
			if m := &d.Media[i]; m.ICEUfrag != "" {
				m.ICEUfrag, m.ICEPwd = "own"+m.MID, strings.Repeat("p", 22)
			}
		}
	}
	for name, c := range map[string]struct {
		offer string
		edit  func(*sdp.Description)
		ufrag string
		group []string
	}{
		"video first":              {"chromium_video_first_offer", nil, "own0", []string{"0", "1"}},
		"audio first in the group": {"chromium_video_first_offer", func(d *sdp.Description) { d.Groups[0].MIDs = []string{"1", "0"} }, "own1", []string{"1"}},
		"video at port 0":          {"chromium_video_first_offer", func(d *sdp.Description) { d.Media[0].Port = 0 }, "own1", []string{"1"}},
		"data first":               {"chromium_two_audio_offer add=^application", func(d *sdp.Description) { d.Groups[0].MIDs = []string{"xapplication", "0", "1"} }, "own0", []string{"0", "1"}},
		"second audio first":       {"chromium_two_audio_offer", func(d *sdp.Description) { d.Groups[0].MIDs = []string{"1", "0"} }, "own1", []string{"1", "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := callWith(t, severalStreams())
			f := strings.Fields(c.offer)
			d := s.describe(Access, f[0], f[1:])
			if own(d); c.edit != nil {
				c.edit(d)
			}
			s.takeOffer(Access, d)
			s.step(strings.Fields("phone answers 8,101 audio=" + string(rune('0'+len(livePorts(s.said(Core)))))))
			if got := s.m.ModifyDescriptor(Access, Open).GetTransport().GetRemoteIce().GetUfrag(); got != c.ufrag {
				t.Errorf("the MGW is told of %q, want %q", got, c.ufrag)
			}
			if got := s.said(Access).Bundle(); !slices.Equal(got, c.group) {
				t.Errorf("group %v, want %v", got, c.group)
			}
		})
	}
}

// TestR3264_SlotOfAnotherType: a browser has used the line of a stream that it gave up for something else; when the core asks for the stream again it gets a
// line of its own.
func TestR3264_SlotOfAnotherType(t *testing.T) {
	s := callWith(t, severalStreams(), "phone offers 8,101 audio=2", "browser answers chromium_two_audio_answer",
		"phone offers 8,101 audio=2 2.port=0", "browser answers chromium_two_audio_answer 2.dir=inactive")
	d := s.describe(Access, "chromium_two_audio_offer", nil)
	v := &d.Media[1]
	v.Type, v.MID, v.Port, v.Codecs, v.Formats = "video", "v", 9, []codec.Codec{{Name: "VP8", PT: 96, ClockRate: 90000, Channels: 1}}, []string{"96"}
	d.Groups[0].MIDs[1] = "v"
	s.takeOffer(Access, d)
	if got := livePorts(s.said(Access)); !slices.Equal(got, []bool{true, false}) {
		t.Fatalf("answered %v", got)
	}
	s.step(strings.Fields("phone offers 8,101 audio=2"))
	said := s.said(Access)
	for i, m := range said.Media {
		if m.Type == "video" && (m.Port != 0 || bundleOnly(&m)) || m.Type == "audio" && len(m.Codecs) == 0 {
			t.Errorf("line %d: %s, port %d, %v", i, m.Type, m.Port, m.Codecs)
		}
	}
	if len(said.Media) != 3 || !bundleOnly(&said.Media[2]) {
		t.Errorf("%d lines", len(said.Media))
	}
}

// TestR9143_PayloadTypesOfOurLine: a payload type stands for the same in all lines of a group (RFC 9143 §10.1.2): a line of ours goes by what the browser's have.
func TestR9143_PayloadTypesOfOurLine(t *testing.T) {
	s := callWith(t, severalStreams())
	d := s.describe(Access, "chromium_two_audio_offer", []string{"only=1"})
	renumber := map[uint8]uint8{111: 109, 110: 111, 126: 101} // opus, telephone-event
	a := &d.Media[0]
	a.Formats = nil
	for i := range a.Codecs {
		if pt, ok := renumber[a.Codecs[i].PT]; ok {
			a.Codecs[i].PT = pt
		}
	}
	s.takeOffer(Access, d)
	s.step(strings.Fields("phone answers 8,101"))
	s.step(strings.Fields("phone offers 8,101 audio=2"))
	bound := map[uint8]codec.Codec{}
	for i, m := range s.said(Access).Media {
		for _, c := range append(slices.Clone(m.Codecs), d.Media[0].Codecs...) {
			if was, ok := bound[c.PT]; ok && !was.SamePayload(c) {
				t.Errorf("line %d: payload type %d is %s and %s", i, c.PT, was.Name, c.Name)
			}
			bound[c.PT] = c
		}
	}
}

// potential is a call of a phone whose lines with these numbers have a potential configuration, up to our answer.
func potential(t *testing.T, lines ...int) *scenario {
	t.Helper()
	s := callWith(t, severalStreams())
	d := s.describe(Core, "8,101", []string{"audio=2"})
	for _, i := range lines {
		d.Media[i].Other = []sdp.Attribute{{Name: "tcap", Value: "1 RTP/AVPF"}, {Name: "pcfg", Value: "1 t=1"}}
	}
	s.takeOffer(Core, d)
	m, err := s.m.Answer(Access, s.describe(Access, "chromium_two_audio_answer", nil))
	if err != nil {
		t.Fatal(err)
	}
	if s.m, _, err = m.MakeAnswer(Core); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestR5939_LinesOfTwoProtocolsInTheCall: where one line was answered with its potential configuration and another had none, they have two protocols from then
// on, and stay two streams.
func TestR5939_LinesOfTwoProtocolsInTheCall(t *testing.T) {
	s := potential(t, 0)
	if got := s.said(Core); got.Media[0].Proto != "RTP/AVPF" || got.Media[1].Proto != "RTP/AVP" || got.Media[1].Port == 0 {
		t.Fatalf("answered %s %s, port %d", got.Media[0].Proto, got.Media[1].Proto, got.Media[1].Port)
	}
	m, _, err := s.m.Offer(Core, s.describe(Core, "8,101", []string{"audio=2", "1.proto=RTP/AVPF"}))
	if err != nil {
		t.Fatal(err)
	}
	if s.m, _, err = m.MakeAnswer(Core); err != nil {
		t.Fatal(err)
	}
	if got := livePorts(s.said(Core)); !slices.Equal(got, []bool{true, true}) {
		t.Errorf("answered %v", got)
	}
}

// TestR5939_ActualConfigurationIsNoOffer: a refresh that repeats an answer does not say what it was the answer to (RFC 5939 §3.5.2).
func TestR5939_ActualConfigurationIsNoOffer(t *testing.T) {
	s := potential(t, 0, 1)
	if n := strings.Count(string(s.m.Line(Core).Said), "a=acfg"); n != 2 {
		t.Fatalf("%d lines of the answer say it", n)
	}
	if _, body := s.m.Repeat(Core); strings.Contains(string(body), "acfg") {
		t.Errorf("refresh\n%s", body)
	}
}

// TestIQ35_RefreshOfTwoLinesSaysTheSame: nothing moves in a call that does not change, whoever refreshes.
func TestIQ35_RefreshOfTwoLinesSaysTheSame(t *testing.T) {
	for name, steps := range map[string][]string{
		"browser calls":  {"browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2", "browser offers again"},
		"phone calls":    {"phone offers 8,101 audio=2", "browser answers chromium_two_audio_answer", "phone offers 8,101 audio=2"},
		"refused by one": {"browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2 2.port=0", "browser offers again 2.port=0"},
	} {
		t.Run(name, func(t *testing.T) {
			s := callWith(t, severalStreams(), steps[:2]...)
			s.m, _ = s.m.Repeat(Core) // after an answer that refuses a line of ours it has port 0 (RFC 3264 §8)
			before := [2]uint64{s.m.Line(Access).Version, s.m.Line(Core).Version}
			s.step(strings.Fields(steps[2]))
			if s.change != (Change{}) {
				t.Errorf("changes %+v", s.change)
			}
			m, _ := s.m.Repeat(Core)
			if got := [2]uint64{s.m.Line(Access).Version, m.Line(Core).Version}; got != before {
				t.Errorf("versions %v, were %v", got, before)
			}
			m, _ = m.Repeat(Access)
			once := m.Line(Access).Version
			if m, _ = m.Repeat(Access); m.Line(Access).Version != once || m.Stale(Access) || m.Stale(Core) {
				t.Errorf("version %d, was %d", m.Line(Access).Version, once)
			}
		})
	}
}

// TestIQ35_RefusedLineIsNotAskedForByARefresh: a phone that refreshes its session with the offer of before, version and all, has the line that the browser
// refused refused again, and the browser is left alone (RFC 4028 §7.4); with another version it asks anew.
func TestIQ35_RefusedLineIsNotAskedForByARefresh(t *testing.T) {
	s := callWith(t, severalStreams(), "phone offers 8,101 audio=2", "browser answers chromium_two_audio_answer 2.port=0")
	said, version := s.m.Line(Core).Said, s.m.Line(Core).Version
	for range 2 {
		m, ch, err := s.m.Offer(Core, s.describe(Core, "8,101", []string{"audio=2"}))
		if err != nil || ch != (Change{}) || m.New() {
			t.Fatalf("%v, changes %+v, new: %v", err, ch, m.New())
		}
		if s.m, _, err = m.MakeAnswer(Core); err != nil || s.m.Line(Core).Version != version || string(s.m.Line(Core).Said) != string(said) {
			t.Errorf("%v\n%s", err, s.m.Line(Core).Said)
		}
		if s.m.Stale(Access) || s.m.Stale(Core) {
			t.Error("stale")
		}
	}
	d := s.describe(Core, "8,101", []string{"audio=2"})
	d.Origin.Version++
	if m, ch, err := s.m.Offer(Core, d); err != nil || !ch.Tell {
		t.Errorf("%v, changes %+v: the browser is not asked", err, ch)
	} else if _, body, err := m.MakeOffer(Access, sdp.DirUnset); err != nil || strings.Count(string(body), "a=bundle-only") != 1 {
		t.Errorf("%v, offered\n%s", err, body)
	}
}

// TestR8840_LinesOfTwoTransportsInOneFragment: of a fragment that tells candidates of two lines with credentials of their own only those of the transport in
// use are taken, wherever they stand.
func TestR8840_LinesOfTwoTransportsInOneFragment(t *testing.T) {
	s := callWith(t, severalStreams(), "browser offers chromium_two_audio_offer", "phone answers 8,101 audio=2")
	w := &s.m.Lines[Access].Web
	line := func(mid, ufrag, ip string) string {
		return "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:" + mid + "\r\na=ice-ufrag:" + ufrag + "\r\na=ice-pwd:" + strings.Repeat("p", 22) + "\r\na=candidate:1 1 udp 2122260223 " + ip + " 50000 typ host\r\n"
	}
	for name, body := range map[string]string{
		"first":       line("0", w.Ufrag, "203.0.113.9") + line("1", "other", "203.0.113.10") + "a=end-of-candidates\r\n",
		"last":        line("0", "own0", "203.0.113.10") + "a=end-of-candidates\r\n" + line("1", w.Ufrag, "203.0.113.9"),
		"for all":     "a=ice-ufrag:" + w.Ufrag + "\r\n" + strings.Replace(line("1", "x", "203.0.113.9"), "a=ice-ufrag:x\r\n", "", 1),
		"not for all": "a=ice-ufrag:own\r\n" + line("0", w.Ufrag, "203.0.113.9") + strings.Replace(line("1", "x", "203.0.113.10"), "a=ice-ufrag:x\r\n", "", 1),
	} {
		m, _ := s.m.Trickle([]byte(body))
		got := m.Lines[Access].Web
		if n := len(got.Candidates) - len(w.Candidates); n != 1 || got.Candidates[len(got.Candidates)-1].Host != "203.0.113.9" || got.EndOfCands != w.EndOfCands {
			t.Errorf("%s: %v, end %v", name, got.Candidates, got.EndOfCands)
		}
	}
}
