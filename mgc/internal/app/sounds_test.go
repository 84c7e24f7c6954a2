package app

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
)

func TestSoundsOfTheConfiguration(t *testing.T) {
	c := CallConfig{Ringback: "gateway", Announced: time.Minute, Announce: []string{"486=busy", "480=file:away", "503=congestion", "404=special"}}
	want := callcore.Sounds{Ringback: true, Longest: time.Minute, Failure: map[string]callcore.Sound{
		"486": {Signal: "cg/bt"}, "480": {Signal: "an/apf", Announcement: "away"}, "503": {Signal: "cg/ct"}, "404": {Signal: "cg/sit"},
	}}
	if got, err := c.sounds(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for entry, text := range map[string]string{
		"busy": "STATUS=SIGNAL", "200=busy": "400 to 699", "401=busy": "challenge", "486=loud": "allowed: busy", "486=file:": "no announcement", "486=file:a/b": "no announcement", "486=file:a\xffb": "no announcement", "486=": "names no signal",
	} {
		c.Announce = []string{entry}
		if _, err := c.sounds(); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "call.announce.0") {
			t.Errorf("%q: %v, want %q", entry, err, text)
		}
	}
	c.Announce = []string{"486=busy", "486=special"}
	if _, err := c.sounds(); err == nil || !strings.Contains(err.Error(), "call.announce.1") {
		t.Errorf("twice: %v", err)
	}
}
