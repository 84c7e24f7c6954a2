package trust

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// TestWarningLosesItsAgent: code and text cross, in both directions, the host does not.
func TestWarningLosesItsAgent(t *testing.T) {
	for in, want := range map[string]string{
		`399 scscf1.core.internal:5060 "no, not now"`:       `399 isthmus "no, not now"`,
		`370 10.0.0.5 "a", 399 [2001:db8::5]:5060   "b, c"`: `370 isthmus "a", 399 isthmus "b, c"`,
		`399 isthmus "Incompatible \"media\""`:              `399 isthmus "Incompatible \"media\""`,
		`399 scscf1.core.internal`:                          `399 isthmus ""`,
	} {
		m := msg("Warning: " + in)
		for name, out := range map[string][]headers.Field{"to the browser": Profile{}.ToBrowser(m), "to the core": Profile{}.ToCore(m)} {
			if len(out) != 1 || out[0].Value != want {
				t.Errorf("%s: %s crosses as %v, want %s", name, in, out, want)
			}
		}
	}
}
