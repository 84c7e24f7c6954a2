package mgw

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/archtest"
)

// TestFloors: imports only go down. The table is policy: changing it to fix a build needs an ADR.
func TestFloors(t *testing.T) {
	const root = "github.com/isthmus-gateway/isthmus"
	bad, err := archtest.Floors{
		Module: root + "/mgw",
		Floor: map[string]int{
			"": 0, "internal/rtp": 0, "internal/amr": 0, "internal/bufpool": 0, "internal/bucket": 0, "internal/portset": 0, "internal/emodel": 0, "internal/pionlog": 0, "internal/prefetch": 0,
			"internal/ice": 1, "internal/icetcp": 1, "internal/dtls": 1, "internal/srtp": 1, "internal/gate": 1, "internal/jitter": 1, "internal/rtcp": 1,
			"internal/transcode": 1, "internal/dtmf": 1, "internal/signals": 1, "internal/announce": 2, "internal/stamp": 1, "internal/netwatch": 1, "internal/udpio": 1, "internal/turnserver": 1,
			"internal/audio": 2, "internal/transcode/transcodetest": 2,
			"internal/connmodel": 3, "internal/flow": 3,
			"internal/contexts": 4,
			"internal/control":  5, "internal/admin": 5,
			"internal/app": 6,
			"cmd/mgw":      7,
		},
		Foreign: map[string][]string{"*": {root + "/mgc/...", root + "/integration/..."}, "internal/connmodel": {"net", "os", "go.uber.org/zap"}},
	}.Violations(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bad {
		t.Error(b)
	}
}
