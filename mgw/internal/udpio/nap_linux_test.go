//go:build linux && !portable

package udpio

import (
	"testing"
	"time"
)

func TestWakeEndsANap(t *testing.T) {
	p := poller(t)
	done := make(chan struct{})
	go func() { defer close(done); p.Nap(time.Hour, false) }()
	p.Wake()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("still asleep")
	}
	if _, woken, err := p.Wait(0, false); !woken || err != nil {
		t.Errorf("the wake is not there for Wait: %v", err)
	}
}
