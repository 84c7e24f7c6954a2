package trust

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// highest is the priority of the most important calls that are no emergency calls, which have 15.
const highest = 14

// Priority returns the priority, 10 to 14, of a context for a request of the core with Resource-Priority in the namespaces of priority services, ets and wps,
// whose values go from 4 to 0, the highest (RFC 4412 §10, TS 23.334 §5.14); 0: none, other namespaces among that. A core that is not in the trust domain
// gives none.
func (p Profile) Priority(m *headers.Msg) (best uint32) {
	if !p.Asserts {
		return 0
	}
	for _, v := range headers.List(m, "Resource-Priority") {
		namespace, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(v)), ".")
		if (namespace == "ets" || namespace == "wps") && len(value) == 1 && value[0] >= '0' && value[0] <= '4' {
			best = max(best, highest-uint32(value[0]-'0'))
		}
	}
	return best
}
