package app

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// TestR8827_CertificateRotatesByItself: after media.cert_life new calls get a new certificate, again and again, until the daemon stops.
func TestR8827_CertificateRotatesByItself(t *testing.T) {
	e, err := flow.New(flow.Config{Workers: 1, Access: []flow.AccessRealm{{Name: "access", Listen: netip.MustParseAddr("127.0.0.1")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	a := &App{engine: e, log: zap.NewNop()}
	a.cfg.Media.CertLife = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.rotate(ctx) }()
	seen := map[flow.Fingerprint]bool{}
	wait.Until(t, "three certificates", func() bool {
		seen[e.Fingerprint()] = true
		return len(seen) >= 3
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
