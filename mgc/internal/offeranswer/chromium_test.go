package offeranswer

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

//go:embed testdata/page.js
var page string

// webCall is a call between a real Chromium and a phone that says what the test wants, with the planner between them.
type webCall struct {
	t       *testing.T
	c       *chromium
	m       Media
	mgw     peertest.Gateway
	version int
	wants   sdp.Direction // of the phone
	lines   int           // audio lines of the phone; 0: one
	bundles bool          // false: the planner does not see that the browser could
}

func newWebCall(t *testing.T, c *chromium, prefer Preference, config string, kinds ...string) *webCall {
	p := DefaultPolicy()
	p.Prefer = prefer
	c.t = t
	c.open(page)
	list, _ := json.Marshal(append([]string{}, kinds...))
	c.eval(fmt.Sprintf("open_(%s, %s)", config, list), nil)
	return &webCall{t: t, c: c, m: New(p, 1, 2, strings.Repeat("t", 32)), wants: sdp.SendRecv, bundles: true}
}

func quoted(s []byte) string {
	b, _ := json.Marshal(string(s))
	return string(b)
}

// js runs a statement in the page.
func (w *webCall) js(s string) { w.t.Helper(); w.c.eval(s, nil) }

func (w *webCall) parse(b []byte) *sdp.Description {
	w.t.Helper()
	d, err := sdp.Parse(b)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, b)
	}
	return d
}

// phone is the phone's description.
func (w *webCall) phone(dir sdp.Direction) *sdp.Description {
	w.version++
	text := fmt.Sprintf("v=0\r\no=- 9 %d IN IP4 10.9.0.7\r\ns=-\r\nc=IN IP4 10.9.0.7\r\nt=0 0\r\n", w.version)
	for i := range max(w.lines, 1) {
		text += fmt.Sprintf("m=audio %d RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=%s\r\n", 4000+4*i, dir)
	}
	return w.parse([]byte(text))
}

func (w *webCall) add() {
	w.t.Helper()
	for _, s := range []Side{Access, Core} {
		m, err := w.m.Resolve(s, w.mgw.Add(s == Core))
		if err != nil {
			w.t.Fatal(err)
		}
		w.m = m.Made(s, w.mgw.Streams(s == Core, m.AddDescriptor(s, "r", Closed)))
	}
}

// streams are made for lines that an offer in the call adds.
func (w *webCall) streams() {
	for _, s := range []Side{Access, Core} {
		w.m = w.m.Made(s, w.mgw.Streams(s == Core, w.m.NewDescriptor(s)))
	}
}

// browserOffers lets the page offer and answers it.
func (w *webCall) browserOffers(options string) {
	w.t.Helper()
	var text string
	w.c.eval("offer("+options+")", &text)
	if !w.bundles {
		text = group.ReplaceAllString(text, "")
	}
	first := w.m.Lines[Access].Said == nil && w.m.Lines[Core].Said == nil
	m, ch, err := w.m.Offer(Access, w.parse([]byte(text)))
	if err != nil {
		w.t.Fatalf("%v\n%s", err, text)
	}
	if w.m = m; first {
		w.add()
	}
	w.streams()
	if first || ch.Tell {
		m, body, err := w.m.MakeOffer(Core, sdp.DirUnset)
		if err != nil {
			w.t.Fatal(err)
		}
		offered := w.parse(body).Media[0].Direction
		w.lines = len(w.parse(body).Media)
		if w.m, err = m.Answer(Core, w.phone(w.wants.And(offered.Reverse()))); err != nil {
			w.t.Fatal(err)
		}
	}
	if ch.ICERestart {
		if w.m, err = w.m.Resolve(Access, &iqv1.TerminationDescriptor{Transport: w.mgw.Restart()}); err != nil {
			w.t.Fatal(err)
		}
	}
	m, body, err := w.m.MakeAnswer(Access)
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = m
	w.t.Logf("offer\n%s\nanswer\n%s", text, body)
	w.js("accept(" + quoted(body) + ")")
	w.check()
}

// phoneOffers lets the phone offer; the browser is told when it has to be.
func (w *webCall) phoneOffers(dir sdp.Direction, more ...uint16) {
	w.t.Helper()
	w.wants = dir
	first := w.m.Lines[Core].Said == nil
	offer := w.phone(dir)
	for _, port := range more { // further lines
		m := offer.Media[0]
		m.Port = port
		offer.Media = append(offer.Media, m)
	}
	m, ch, err := w.m.Offer(Core, offer)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.m = m; first {
		w.add()
	}
	w.streams()
	if first || ch.Tell {
		w.tell()
	}
	if w.m, _, err = w.m.MakeAnswer(Core); err != nil {
		w.t.Fatal(err)
	}
	w.check()
}

// tell offers to the browser and takes its answer.
func (w *webCall) tell() {
	w.t.Helper()
	m, body, err := w.m.MakeOffer(Access, sdp.DirUnset)
	if err != nil {
		w.t.Fatal(err)
	}
	var text string
	w.c.eval("take("+quoted(body)+")", &text)
	w.t.Logf("our offer\n%s\nanswer\n%s", body, text)
	if w.m, err = m.Answer(Access, w.parse([]byte(text))); err != nil {
		w.t.Fatalf("%v\n%s", err, text)
	}
}

var group = regexp.MustCompile(`a=group:BUNDLE[^\r]*\r\n`)

// check compares what the browser has agreed to with the planner.
func (w *webCall) check() {
	w.t.Helper()
	var s struct {
		Signaling, Direction string
		Codecs, Directions   []string
	}
	w.c.eval("state()", &s)
	l := w.m.Lines[Access]
	if s.Signaling != "stable" || s.Direction != l.Dir.Reverse().String() {
		w.t.Fatalf("browser is %s and %s, the planner has %s", s.Signaling, s.Direction, l.Dir)
	}
	for i, m := range l.More {
		want := m.Dir.Reverse().String()
		if m.Off {
			want = "stopped"
		}
		if i := i + 1; m.Audio >= 0 && (i < len(s.Directions) || !m.Off) && (i >= len(s.Directions) || s.Directions[i] != want) {
			w.t.Fatalf("browser's lines are %v, the planner has %s for line %d", s.Directions, want, i)
		}
	}
	want := fmt.Sprintf("%d %s", l.Chosen.PT, l.Chosen.Name)
	if l.Dir.Sends() && (len(s.Codecs) == 0 || !containsFold(s.Codecs, want)) {
		w.t.Fatalf("browser receives %v, chosen %s", s.Codecs, want)
	}
}

func containsFold(list []string, s string) bool {
	for _, l := range list {
		if strings.EqualFold(l, s) {
			return true
		}
	}
	return false
}

// TestR8829_ChromiumTakesEveryDescription: all that the planner makes for a browser goes through setRemoteDescription of a real one.
func TestR8829_ChromiumTakesEveryDescription(t *testing.T) {
	c := launch(t)
	for _, prefer := range []Preference{PreferRelay, PreferOpus} {
		t.Run("browser calls "+string(prefer), func(t *testing.T) {
			w := newWebCall(t, c, prefer, "{}", "audio")
			w.browserOffers("{}")
			w.hold()
			w.restart()
		})
		t.Run("phone calls "+string(prefer), func(t *testing.T) {
			w := newWebCall(t, c, prefer, "{}")
			w.phoneOffers(sdp.SendRecv)
			w.hold()
			w.restart()
		})
	}
	for _, bundle := range []string{"balanced", "max-bundle", "max-compat"} {
		for _, kinds := range [][]string{{"audio", "video", "data"}, {"video", "audio"}, {"data", "audio", "video"}} {
			t.Run(bundle+" "+strings.Join(kinds, " "), func(t *testing.T) {
				w := newWebCall(t, c, PreferRelay, fmt.Sprintf("{bundlePolicy: %q}", bundle), kinds...)
				w.browserOffers("{}")
				w.hold()
				w.restart()
			})
		}
	}
	for _, kinds := range [][]string{{"audio"}, {"audio", "video", "data"}, {"video", "audio"}} {
		t.Run("R9143 no BUNDLE "+strings.Join(kinds, " "), func(t *testing.T) {
			w := newWebCall(t, c, PreferRelay, `{bundlePolicy: "max-compat"}`, kinds...)
			w.bundles = false
			w.browserOffers("{}")
			w.hold()
			w.restart()
		})
	}
	t.Run("lines added in the call", func(t *testing.T) {
		w := newWebCall(t, c, PreferRelay, "{}")
		w.phoneOffers(sdp.SendRecv)
		for range 2 { // a line that was rejected is used again (RFC 9429 §5.2.2)
			w.js("add('video')")
			w.browserOffers("{}")
			w.phoneOffers(sdp.SendOnly)
			w.js("add('data')")
			w.browserOffers("{}")
			w.phoneOffers(sdp.SendRecv)
		}
	})
	t.Run("refused offer", func(t *testing.T) {
		w := newWebCall(t, c, PreferRelay, "{}", "audio")
		w.browserOffers("{}")
		w.js("(async () => { direct('sendonly'); await offer({}); await rollback(); direct('sendrecv'); })()")
		w.phoneOffers(sdp.Inactive)
		w.browserOffers("{}")
		w.phoneOffers(sdp.SendRecv)
	})
}

// hold holds and resumes from both sides, also at once.
func (w *webCall) hold() {
	w.t.Helper()
	for _, d := range []string{"sendonly", "inactive", "recvonly", "sendrecv"} {
		w.js("direct('" + d + "')")
		w.browserOffers("{}")
	}
	for _, d := range []sdp.Direction{sdp.SendOnly, sdp.Inactive, sdp.RecvOnly, sdp.SendRecv, sdp.SendOnly} {
		w.phoneOffers(d)
	}
	w.js("direct('sendonly')")
	w.browserOffers("{}") // both hold
	w.phoneOffers(sdp.SendRecv)
	w.js("direct('sendrecv')")
	w.browserOffers("{}")
}

func (w *webCall) restart() {
	w.t.Helper()
	w.browserOffers("{iceRestart: true}")
	w.js("direct('sendonly')")
	w.browserOffers("{iceRestart: true}") // at once with hold
	w.phoneOffers(sdp.Inactive)
	w.phoneOffers(sdp.SendRecv)
	w.js("direct('sendrecv')")
	w.browserOffers("{}")
}
