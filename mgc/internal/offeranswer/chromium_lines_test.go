package offeranswer

import (
	"fmt"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// TestR9143_ChromiumTakesSeveralAudioLines: a real Chromium with two audio tracks, by each bundle policy, has both lines answered in one group, holds them one by
// one and together, gives one up and adds another; called with two lines it answers both in one group.
func TestR9143_ChromiumTakesSeveralAudioLines(t *testing.T) {
	c := launch(t)
	several := func(t *testing.T, config string, kinds ...string) *webCall {
		w := newWebCall(t, c, PreferRelay, config, kinds...)
		w.m.Policy.Streams = 4
		return w
	}
	both := func(w *webCall) {
		w.t.Helper()
		if w.m.Streams() != 2 || w.m.Lines[Access].More[0].Off || w.m.Lines[Core].More[0].Off || !w.m.Lines[Access].Web.Bundle {
			w.t.Fatalf("the call has %d streams: %+v", w.m.Streams(), w.m.Lines[Access].More)
		}
	}
	for _, bundle := range []string{"balanced", "max-bundle", "max-compat"} {
		t.Run(bundle, func(t *testing.T) {
			w := several(t, fmt.Sprintf("{bundlePolicy: %q}", bundle), "audio", "audio")
			w.browserOffers("{}")
			both(w)
			w.hold()
			w.js("direct('sendonly', 1)")
			w.browserOffers("{}")
			w.restart()
			both(w)
		})
	}
	t.Run("called", func(t *testing.T) {
		w := several(t, "{}")
		w.lines = 2
		w.phoneOffers(sdp.SendRecv)
		both(w)
		w.hold()
		w.restart()
		both(w)
	})
	t.Run("lines come and go", func(t *testing.T) {
		w := several(t, "{}", "audio")
		w.browserOffers("{}")
		w.js("add('audio')")
		w.browserOffers("{}")
		both(w)
		w.js("stop_(1)")
		w.browserOffers("{}")
		if !w.m.Lines[Access].More[0].Off || w.m.Lines[Core].More[0].Dir != sdp.Inactive {
			t.Errorf("a line that is given up: %+v", w.m.Lines[Core].More[0])
		}
		w.phoneOffers(sdp.SendOnly)
		w.phoneOffers(sdp.SendRecv)
		w.js("add('audio')") // in the same place, with another mid
		w.browserOffers("{}")
		both(w)
		w.lines = 3
		w.phoneOffers(sdp.SendRecv)
		if w.m.Streams() != 3 || w.m.Lines[Access].More[1].Off {
			t.Errorf("a line of the phone's: %+v", w.m.Lines[Access].More)
		}
		w.hold()
		w.js("stop_(2)") // the phone's line, which becomes inactive, is taken away and comes back: the browser is asked again, in the same place
		w.browserOffers("{}")
		w.lines = 2
		w.phoneOffers(sdp.SendRecv, 0)
		w.lines = 3
		w.phoneOffers(sdp.SendRecv)
		if l := w.m.Lines[Access]; l.More[1].Off || len(l.Slots) != 3 || l.Slots[2].MID == "2" {
			t.Errorf("a line that was given up and comes back: %+v, slots %+v", l.More[1], l.Slots)
		}
		w.hold()
	})
}
