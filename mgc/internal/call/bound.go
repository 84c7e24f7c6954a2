package call

import (
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// crowded reports whether the binding has as many calls as one user may have: nobody uses up the ports of all.
func (m *Manager) crowded(binding string) bool {
	if m.cfg.MaxPerUser == 0 {
		return false
	}
	n := 0
	for _, o := range m.snapshot() {
		if o.binding == binding {
			n++
		}
	}
	return n >= m.cfg.MaxPerUser
}

// refuseCrowded refuses a further call: who calls is asked to wait, who is called is busy.
func (m *Manager) refuseCrowded(leg callcore.Leg, tx ServerTx, req *headers.Msg) {
	if leg == callcore.LegAccess {
		m.refuse(tx, req, 503, "Too Many Calls", "user_full")
		return
	}
	m.refuse(tx, req, 486, "", "user_full")
}
