package badinput

import (
	"testing"
)

// TestBadInput sends everything to one pair of daemons while a call is up, group after group, and looks at the end for what
// is left behind and for what the logs say.
func TestBadInput(t *testing.T) {
	t.Parallel()
	b := newBed(t, 16000)
	b.startCore(t)
	b.startMGC(t)
	b.startMGW(t)
	b.settled(t, 1e6)
	goroutines := b.value(t, "mgc", "go_goroutines")
	t.Run("while a call is up", func(t *testing.T) {
		w := newWitness(t, b, "alice", nil)
		for _, group := range []struct {
			name string
			run  func(*testing.T, *bed)
		}{
			{"WebSocket", webSockets}, {"SIP", sipFromBrowsers}, {"Core", coreSide}, {"Media", media},
		} {
			t.Run(group.name, func(t *testing.T) { group.run(t, b) })
			w.check(t)
		}
	})
	b.holds(t, held{})
	b.settled(t, goroutines)
	b.logsAreClean(t)
}

func sipFromBrowsers(t *testing.T, b *bed) {}
func coreSide(t *testing.T, b *bed)        {}
func media(t *testing.T, b *bed)           {}
