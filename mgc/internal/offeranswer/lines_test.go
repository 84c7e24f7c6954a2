package offeranswer

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// withAudio adds copies of the audio line, with these mids and ports.
func withAudio(d *sdp.Description, mids []string, ports ...uint16) *sdp.Description {
	i := slices.IndexFunc(d.Media, func(m sdp.Media) bool { return m.Type == "audio" })
	for n, port := range ports {
		m := d.Media[i]
		m.Port = port
		if m.MID != "" {
			m.MID = mids[n]
			m.Msids, m.SSRCs = nil, nil
			d.Groups = slices.Clone(d.Groups)
			for g := range d.Groups {
				d.Groups[g].MIDs = append(slices.Clone(d.Groups[g].MIDs), m.MID)
			}
		}
		d.Media = append(d.Media, m)
	}
	return d
}

// ports are those of a description, 0 or not.
func livePorts(d *sdp.Description) (out []bool) {
	for _, m := range d.Media {
		out = append(out, m.Port != 0)
	}
	return out
}

// TestR3264_SeveralAudioLines: of several audio lines one is taken, in the place where it stands, and the others are rejected with port 0, in every answer; our
// own offers keep the places, and the media gateway is told of one stream (RFC 3264 §6, §8).
func TestR3264_SeveralAudioLines(t *testing.T) {
	streams := func(s *scenario) {
		t.Helper()
		for _, side := range []Side{Access, Core} {
			if got := s.m.ModifyDescriptor(side, Open).GetStreams(); len(got) != 1 || got[0].GetStreamId() != StreamID {
				t.Errorf("%v: streams %v", side, got)
			}
		}
	}
	t.Run("browser", func(t *testing.T) {
		s := call(t, PreferRelay)
		s.takeOffer(Access, withAudio(s.describe(Access, "chromium_audio_offer", nil), []string{"a2", "a3"}, 9, 9))
		s.step(strings.Fields("phone answers 8,101"))
		d := s.said(Access)
		if got := livePorts(d); !slices.Equal(got, []bool{true, false, false}) || !slices.Equal(d.Bundle(), []string{"0"}) {
			t.Errorf("answered %v, group %v", got, d.Bundle())
		}
		if d.Media[1].MID != "a2" || d.Media[2].MID != "a3" {
			t.Errorf("mids %q %q", d.Media[1].MID, d.Media[2].MID)
		}
		streams(s)
		s.step(strings.Fields("phone offers 8,101 dir=sendonly"))
		if got := livePorts(s.said(Access)); !slices.Equal(got, []bool{true, false, false}) {
			t.Errorf("our offer: %v", got)
		}
		if got := livePorts(s.said(Core)); !slices.Equal(got, []bool{true}) {
			t.Errorf("the phone is shown %v", got)
		}
	})
	t.Run("phone", func(t *testing.T) {
		s := call(t, PreferRelay)
		s.takeOffer(Core, withAudio(s.describe(Core, "8,101", nil), nil, 4002, 0))
		s.step(strings.Fields("browser answers chromium_answer"))
		if got := livePorts(s.said(Core)); !slices.Equal(got, []bool{true, false, false}) {
			t.Errorf("answered %v", got)
		}
		streams(s)
		// One more in the call: nothing else changes.
		s.takeOffer(Core, withAudio(s.describe(Core, "8,101", nil), nil, 4002, 0, 4004))
		s.step(strings.Fields("browser answers chromium_answer"))
		if got := livePorts(s.said(Core)); !slices.Equal(got, []bool{true, false, false, false}) {
			t.Errorf("answered %v", got)
		}
		streams(s)
	})
	t.Run("phone, the first is not there", func(t *testing.T) {
		s := call(t, PreferRelay)
		d := withAudio(s.describe(Core, "8,101", nil), nil, 4002)
		d.Media[0].Port = 0
		s.takeOffer(Core, d)
		s.step(strings.Fields("browser answers chromium_answer"))
		if got := livePorts(s.said(Core)); !slices.Equal(got, []bool{false, true}) {
			t.Errorf("answered %v", got)
		}
		streams(s)
	})
}
