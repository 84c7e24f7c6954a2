// Package turn lets coturn's client judge the media gateway's TURN server: UDP, TCP and TLS, indications and channels, good and bad
// credentials. Needs bin/mgw; runs in a network namespace of its own.
package turn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
)

func TestMain(m *testing.M) { os.Exit(netns.Main(m)) }

const (
	secret = "known_to_this_test_only"
	peer   = "127.0.0.3" // echoes, allowed by turn.peers
	other  = "127.0.0.4" // echoes, not allowed
	port   = "3480"
)

func TestR8656_CoturnsClient(t *testing.T) {
	mgw := filepath.Join("..", "..", "..", "bin", "mgw")
	if _, err := os.Stat(mgw); err != nil {
		t.Fatalf("%s is missing: run `make build` first", mgw)
	}
	cert, key := certificate(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	procs := stack.New(nil)
	t.Cleanup(func() {
		if err := procs.Close(15 * time.Second); err != nil {
			t.Error(err)
		}
	})
	if err := procs.Start(ctx, stack.Daemon{Name: "mgw", Path: mgw, Ready: "http://127.0.0.1:7422/healthz", Args: []string{
		"--mgw_id=mgw-1", "--turn.udp=127.0.0.1:3478", "--turn.tcp=127.0.0.1:3478", "--turn.tls=127.0.0.1:5349", "--turn.cert=" + cert, "--turn.key=" + key,
		"--turn.secrets=" + secret, "--turn.peers=" + peer + "/32", "--drain.grace=0s",
	}}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{peer, other} {
		echo(t, at)
	}
	for name, c := range map[string]struct {
		args string
		pass bool
	}{
		"UDP, channels": {"-e " + peer, true}, "UDP, indications": {"-s -e " + peer, true}, "TCP, channels": {"-t -e " + peer, true},
		"TLS, channels":  {"-t -S -p 5349 -e " + peer, true},
		"forbidden peer": {"-e " + other, false}, "another secret": {"-W another_secret_than_that -e " + peer, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := []string{"-c", "-n", "5", "-m", "1", "-z", "5", "-l", "160", "-r", port, "-u", "alice", "-W", secret}
			args = append(append(args, strings.Fields(c.args)...), "127.0.0.1")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, "turnutils_uclient", args...).CombinedOutput()
			lossless := regexp.MustCompile(`tot_recv_msgs=[1-9]\d*`).Match(out) && strings.Contains(string(out), "Total lost packets 0 (0.000000%)")
			if lossless != c.pass || (err == nil) != c.pass {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// echo is coturn's echoing peer.
func echo(t *testing.T, at string) {
	t.Helper()
	cmd := exec.Command("turnutils_peer", "-L", at, "-p", port)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
}

func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "turn"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
