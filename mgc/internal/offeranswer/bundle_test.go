package offeranswer

import (
	"slices"
	"strings"
	"testing"
)

// TestR8843_R9143_Bundle: whatever a browser's policy is, the answer groups what it accepts and nothing else: Chromium's balanced, max-bundle and max-compat
// offers, and clients without BUNDLE, whose audio line has a transport of its own; what the gateway does not take is port 0.
func TestR8843_R9143_Bundle(t *testing.T) {
	for _, c := range []struct {
		name, offer string
		group       []string // mids of the answer; nil: no group
		ufrag       string   // of the transport that the MGW is told
	}{
		{"balanced", "chromium_av_dc_offer", []string{"0"}, ""},
		{"balanced_video_first", "chromium_video_first_offer", []string{"0", "1"}, ""}, // the tagged line stays: it carries the transport
		{"max_bundle", "chromium_max_bundle_offer", []string{"0"}, ""},
		{"max_compat", "chromium_max_compat_offer", []string{"0"}, "bABh"},
		{"none", "chromium_av_dc_offer nobundle", nil, "own0"},
		{"none_video_first", "chromium_video_first_offer nobundle", nil, "own1"},
		{"none_without_mids", "chromium_max_compat_offer nobundle=nomid", nil, "own0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := play(t, "bundle_"+c.name, PreferRelay, "browser offers "+c.offer, "phone answers 8,101")
			d := s.said(Access)
			if got := d.Bundle(); !slices.Equal(got, c.group) {
				t.Errorf("group %v, want %v", got, c.group)
			}
			for i := range d.Media {
				m := &d.Media[i]
				carries := m.Type == "audio" || slices.Contains(c.group, m.MID)
				if carries != (m.Port != 0) || carries != (len(m.Candidates) > 0 && m.ICEUfrag != "" && len(m.Fingerprints) > 0) {
					t.Errorf("line %d, %s: port %d, ufrag %q, %d candidates", i, m.Type, m.Port, m.ICEUfrag, len(m.Candidates))
				}
				if len(m.Extmaps) != 0 {
					t.Errorf("line %d has header extensions: one stream needs no mid in its packets", i)
				}
			}
			remote := s.m.ModifyDescriptor(Access, Open).GetTransport().GetRemoteIce()
			if c.ufrag != "" && remote.GetUfrag() != c.ufrag || remote.GetUfrag() == "" {
				t.Errorf("the MGW is told of %q", remote.GetUfrag())
			}
			// What we offer later goes by what the browser has.
			s.step(strings.Fields("phone offers 8,101 dir=sendonly"))
			if got := s.said(Access).Bundle(); !slices.Equal(got, c.group) {
				t.Errorf("our offer has the group %v", got)
			}
		})
	}
}

// TestR9143_OurOfferTakesAnAnswerWithoutBundle: a client that does not know it answers without the group, and is not asked again.
func TestR9143_OurOfferTakesAnAnswerWithoutBundle(t *testing.T) {
	s := call(t, PreferRelay, "phone offers 8,101")
	if got := s.said(Access).Bundle(); !slices.Equal(got, []string{"0"}) {
		t.Errorf("offered %v", got)
	}
	s.step(strings.Fields("browser answers chromium_answer nobundle"))
	s.step(strings.Fields("phone offers 8,101 dir=sendonly"))
	if got := s.said(Access).Bundle(); got != nil {
		t.Errorf("offered again: %v", got)
	}
}
