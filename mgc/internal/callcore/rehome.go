package callcore

import "strings"

// retargets is how often a peer is told where its requests go from now on, if it does not agree.
const retargets = 5

// onRehomed takes the Contacts of the instance that runs the call now. The core's peer learns it by a refresh of its own, as its next request would
// go where nobody is; browsers send over their connection. Dialogs that are being set up learn it with the next message.
func (s *State) onRehomed(e Rehomed) {
	for l, host := range [2]string{LegAccess: e.AccessHost, LegCore: e.CoreHost} {
		g := &s.d.Legs[l]
		contact := rehost(g.Contact, host)
		if contact == g.Contact {
			continue
		}
		g.Contact = contact
		if Leg(l) != LegCore {
			continue
		}
		for tag, f := range s.d.Forks.Parked {
			f.Contact = contact
			s.d.Forks.Parked[tag] = f
		}
		if b := s.d.Forks.Blank; b != nil {
			b.Contact = contact
		}
		if s.d.Phase == phaseUp {
			g.Retarget = retargets
			s.sendRefresh(LegCore)
		}
	}
}

// rehost is our Contact URI with another host:port.
func rehost(contact, host string) string {
	user, rest, _ := strings.Cut(contact, "@")
	_, params, more := strings.Cut(rest, ";")
	if more {
		params = ";" + params
	}
	return user + "@" + host + params
}
