package app

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// soundNames are the tones that call.announce may name.
var soundNames = map[string]string{"busy": "cg/bt", "congestion": "cg/ct", "special": "cg/sit"}

// maxAnnouncement bounds the name of an announcement, as media gateways do.
const maxAnnouncement = 64

// foreign reports whether names of announcements have no such character; media gateways take up no file with one.
func foreign(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
}

// sounds is what browsers hear before the answer. The error names the value.
func (c *CallConfig) sounds() (callcore.Sounds, error) {
	out := callcore.Sounds{Ringback: c.Ringback == "gateway", Longest: c.Announced}
	for i, entry := range c.Announce {
		refuse := func(text string) (callcore.Sounds, error) {
			return out, fmt.Errorf("call.announce.%d: %q %s", i, entry, text)
		}
		status, what, ok := strings.Cut(entry, "=")
		n, err := strconv.Atoi(status)
		switch {
		case !ok || err != nil || n < 400 || n > 699:
			return refuse("is not STATUS=SIGNAL with a status from 400 to 699")
		case n == 401 || n == 407:
			return refuse("names a challenge, which the browser has to answer at once")
		case out.Failure[status] != callcore.Sound{}:
			return refuse("names a status again")
		}
		s := callcore.Sound{Signal: soundNames[what]}
		if file, isFile := strings.CutPrefix(what, "file:"); isFile {
			if file == "" || len(file) > maxAnnouncement || strings.ContainsFunc(file, foreign) {
				return refuse("names no announcement: 1 to 64 letters, digits, '.', '_' and '-', without .wav")
			}
			s = callcore.Sound{Signal: "an/apf", Announcement: file}
		}
		if s.Signal == "" {
			return refuse("names no signal; allowed: busy, congestion, special, file:NAME")
		}
		if out.Failure == nil {
			out.Failure = map[string]callcore.Sound{}
		}
		out.Failure[status] = s
	}
	return out, nil
}

// play plays an operator's signals.
func (a *App) play(ctx context.Context, key string, toBrowser bool, signals []*iqv1.Signal) error {
	leg := callcore.LegCore
	if toBrowser {
		leg = callcore.LegAccess
	}
	return a.calls.Play(ctx, key, leg, signals)
}
