package app

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode"
)

// What the controller plans with: every codec of the build, AMR and AMR-WB among them where their libraries are.
func TestCapabilitiesNameTheCodecs(t *testing.T) {
	var got []string
	for _, c := range capabilities(Config{}, "1").GetCodecs() {
		got = append(got, c.GetName())
	}
	want := []string{"opus", "AMR-WB", "G722", "AMR", "PCMA", "PCMU"}
	if len(transcode.Available()) < len(want) { // a build without cgo
		want = []string{"G722", "PCMA", "PCMU"}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("codecs %v, want %v", got, want)
	}
}

// TestCapabilitiesOfEveryConfiguration: a controller does not use what is not told.
func TestCapabilitiesOfEveryConfiguration(t *testing.T) {
	if got := strings.Join(capabilities(Config{}, "1").GetFeatures(), " "); got != "sdes sdes-mki streams signals quality rtcp-xr inactivity-rtcp" {
		t.Errorf("features %q", got)
	}
}
