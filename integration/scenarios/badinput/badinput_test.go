package badinput

import (
	"testing"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// TestBadInput sends everything to one pair of daemons while a call is up, group after group, and looks at the end for what
// is left behind and for what the logs say.
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := newBed(t, 16000)
	b.startCore(t)
	b.startMGC(t)
	b.startMGW(t)
	t.Run("once without", func(t *testing.T) { // pools and connections that stay are there after it
		b.register(t, "bob", nil).call(t, "sip:tone@"+domain, tone.Silence{})
	})
	b.holds(t, held{})
	goroutines := b.value(t, "mgc", "go_goroutines")
	t.Run("while a call is up", func(t *testing.T) {
		w := newWitness(t, b, "alice", nil)
		finish := slowClients(t, b)
		for _, group := range []struct {
			name string
			run  func(*testing.T, *bed)
		}{
			{"WebSocket", webSockets}, {"SIP", sipFromBrowsers}, {"Core", coreSide}, {"Media", media},
		} {
			t.Run(group.name, func(t *testing.T) { group.run(t, b) })
			w.check(t)
		}
		finish(t)
		w.check(t)
	})
	b.holds(t, held{registrations: 1}) // erin's WebSocket was dropped: her binding waits for her until it expires
	b.settled(t, goroutines)
	b.logsAreClean(t, "json")
}
