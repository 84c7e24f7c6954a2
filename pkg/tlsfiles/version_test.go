package tlsfiles

import (
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
)

// TestR7118_1_OldTLSIsRefused: browsers are served over TLS 1.2 and later only (RFC 7118 §9.1, RFC 8996).
func TestR7118_1_OldTLSIsRefused(t *testing.T) {
	certFile, keyFile := filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	cert, key := pair(t, "gw.example")
	tlstest.Put(t, certFile, cert)
	tlstest.Put(t, keyFile, key)
	c, err := Load(certFile, keyFile, time.Hour, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for version, taken := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		ours, theirs := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = tls.Server(ours, c.Config()).Handshake()
			_ = ours.Close()
		}()
		client := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err := client.Handshake(); (err == nil) != taken {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		_ = theirs.Close()
		<-done
	}
}
