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

// priority is what a call of the core asks for by Resource-Priority; a browser's word is worth nothing (RFC 4412, standards MO-07).
func (m *Manager) priority(leg callcore.Leg, req *headers.Msg) uint32 {
	if leg != callcore.LegCore {
		return 0
	}
	return m.cfg.Trust.Priority(req)
}

// limit is the most calls that there may be for one more of the priority, 0: any number. Priority calls have a reserve of a fortieth, as in media
// gateways (TS 23.334 §5.14).
func (m *Manager) limit(priority uint32) int {
	if priority > 0 {
		return m.cfg.MaxCalls + m.cfg.MaxCalls/40
	}
	return m.cfg.MaxCalls
}

// refuseCrowded refuses a further call: who calls is asked to wait, who is called is busy.
func (m *Manager) refuseCrowded(leg callcore.Leg, tx ServerTx, req *headers.Msg) {
	if leg == callcore.LegAccess {
		m.refuse(tx, req, 503, "Too Many Calls", "user_full")
		return
	}
	m.refuse(tx, req, 486, "", "user_full")
}
