package flow

import (
	"runtime"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// memory is what the process holds after collection, bytes: heap in use and stacks.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestMemoryPerCall holds what a relayed call with ICE, DTLS and SRTP up keeps, well below the goal of 128 KiB for resident memory; of
// goroutines one, of the association at rest. The peers are torn down first, without telling the gateway, so that only its own share is left.
func TestMemoryPerCall(t *testing.T) {
	b := newBed(t, nil)
	warm := b.connectSilently("warm")
	warm.vanish()
	const calls = 100
	before, goroutines := memory(), runtime.NumGoroutine()
	var peers []*browser
	for range calls {
		peers = append(peers, b.connectSilently("a"))
	}
	for _, p := range peers {
		p.vanish()
	}
	peers = nil
	for late := time.Now().Add(10 * time.Second); runtime.NumGoroutine()-goroutines > calls && time.Now().Before(late); {
		runtime.Gosched() // until the associations rest
	}
	if n := runtime.NumGoroutine() - goroutines; n > calls {
		t.Errorf("%d goroutines of %d calls", n, calls)
	}
	per := float64(memory()-before) / calls
	t.Logf("%.1f KiB and %.1f goroutines per call", per/1024, float64(runtime.NumGoroutine()-goroutines)/calls)
	if per > 56<<10 && !race.Enabled {
		t.Errorf("%.1f KiB per call", per/1024)
	}
}

// connectSilently sets one relayed call up and returns its browser.
func (b *bed) connectSilently(id string) *browser {
	b.t.Helper()
	a := b.access(id)
	c := b.core(id, a)
	spec := relaySpec()
	b.configure(a, spec.access)
	b.configure(c, spec.core)
	if err := b.e.Connect(a, c); err != nil {
		b.t.Fatal(err)
	}
	br := newBrowser(b.t)
	if err := a.SetRemote(br.remote(RoleServer)); err != nil {
		b.t.Fatal(err)
	}
	br.connect(a.Local())
	if err := br.secure(a.Local(), true); err != nil {
		b.t.Fatal(err)
	}
	b.ev.wait(b.t, a, DTLSConnected, 1)
	br.send(packet(8, 0xbb, 1, 160, make([]byte, 160)))
	return br
}

// vanish ends the browser without telling the gateway and lets go of all it holds, though the test's clean-up still knows it.
func (b *browser) vanish() {
	_ = b.toDTLS.Load().Close() // no close_notify gets through
	b.close()
	*b = browser{}
}
