package app

import (
	"fmt"
	"testing"
)

// BenchmarkSetUpRelease is a call's two transactions over gRPC on loopback with real media: sockets, ICE agent, DTLS endpoint.
func BenchmarkSetUpRelease(b *testing.B) {
	g := startGateway(b, startController(b), "--realms.core.0.port_min=10000", "--realms.core.0.port_max=31999") // ports rest 2 s after use
	n := 0
	for b.Loop() {
		n++
		rep := g.transact(setUp(fmt.Sprintf("s-%d", n)))
		if rep.Actions[0].GetError() != nil {
			b.Fatal(rep)
		}
		g.transact(onContext(fmt.Sprintf("r-%d", n), rep.Actions[0].ContextId, subtractAll()))
	}
}
