package mgc

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/archtest"
)

// TestFloors: imports only go down. The table is policy: changing it to fix a build needs an ADR.
func TestFloors(t *testing.T) {
	const root = "github.com/isthmus-gateway/isthmus"
	pure := []string{"net", "os", "go.uber.org/zap", "math/rand", "math/rand/v2", "crypto/rand"}
	bad, err := archtest.Floors{
		Module: root + "/mgc",
		Floor: map[string]int{
			"": 0, "web": 0, "internal/headers": 0, "internal/precond": 0, "internal/heap": 0,
			"internal/offeranswer": 1, "internal/flowtoken": 1, "internal/siptransport": 1, "internal/store": 1, "internal/bus": 1,
			"internal/auth": 1, "internal/policy": 1, "internal/cdr": 1, "internal/offeranswer/peertest": 1, "internal/trust": 1,
			"internal/emergency": 1, "internal/turncred": 1, "internal/reginfo": 1,
			"internal/callcore": 2, "internal/siptx": 2, "internal/siptx/siptxtest": 2,
			"internal/call": 3, "internal/registrar": 3, "internal/mgwpool": 3,
			"internal/wsedge": 4, "internal/coreedge": 4, "internal/iqlink": 4, "internal/admin": 4, "internal/webphone": 4,
			"internal/app": 5,
			"cmd/mgc":      6, "cmd/isthmusctl": 6,
		},
		Foreign: map[string][]string{"*": {root + "/mgw/...", root + "/integration/..."}, "internal/callcore": pure, "internal/offeranswer": pure, "internal/precond": pure, "internal/trust": pure, "internal/emergency": pure, "internal/reginfo": pure},
	}.Violations(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bad {
		t.Error(b)
	}
}
