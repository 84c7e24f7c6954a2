// Package badinput gives the daemons what nobody should send - over WebSocket, SIP, RTP, STUN, DTLS, TCP and in their
// configuration - and looks at the precise answer, at the counters, at the logs, at what is left behind, and at a call
// that must stay up all the while.
package badinput

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
)

const domain = "isthmus.example"

// deadline bounds every single wait; what takes longer by design has its own.
const deadline = 8 * time.Second

// bin is the folder of the daemons, built by TestMain from the tree that is tested.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "badinput")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	args := []string{"build", "-o", dir + "/", "./mgc/cmd/mgc", "./mgw/cmd/mgw", "./integration/cmd/democore"}
	if os.Getenv("ISTHMUS_RACE_DAEMONS") != "" { // what races under bad input then shows in the daemons' logs; twice as slow
		args = append([]string{"build", "-race"}, args[1:]...)
	}
	build := exec.Command("go", args...)
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build of the daemons: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// bed is one MGC, one MGW and one demo core on ports from base on.
type bed struct {
	base  int
	procs map[string]*stack.Stack
	logs  map[string]*logBuffer
	cert  string // PEM files of the wss listener
	key   string
}

// logBuffer keeps all output of one daemon.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newBed(t *testing.T, base int) *bed {
	t.Helper()
	b := &bed{base: base, procs: map[string]*stack.Stack{}, logs: map[string]*logBuffer{}}
	b.cert, b.key = certificate(t)
	t.Cleanup(func() {
		for _, name := range []string{"mgw", "mgc", "democore"} {
			if s := b.procs[name]; s != nil {
				if err := s.Close(15 * time.Second); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
	return b
}

// at is the address with the port base+offset.
func (b *bed) at(offset int) string { return fmt.Sprintf("127.0.0.1:%d", b.base+offset) }

// Offsets of the ports.
const (
	portIq, portAdmin, portHTTP       = 0, 1, 2 // of the MGC
	portGWIq, portGWAdmin, portGWHTTP = 20, 21, 22
	portMedia                         = 30 // access side of the MGW
	portSIP, portStatus               = 60, 61
	portCore                          = 70 // MGC towards the core
	portWS, portWSS                   = 80, 81
	portRTPMin, portRTPMax            = 100, 299
	wsPath                            = "/sip"
	allowedOrigin, otherOrigin        = "https://phone.example.com", "https://evil.example.net"
)

// coreGot requires that the demo core receives, or has received, a request of the method with a line that begins so.
func (b *bed) coreGot(t *testing.T, method, line string) {
	t.Helper()
	eventually(t, deadline, func() string {
		for _, m := range strings.Split(b.logs["democore"].text(), "\n"+method+" ")[1:] {
			head, _, _ := strings.Cut(m, "\n\n")
			if strings.Contains(head, "\n"+line) {
				return ""
			}
		}
		return fmt.Sprintf("the core got no %s with %q", method, line)
	})
}

// start runs a daemon and waits until it serves.
func (b *bed) start(t *testing.T, name, ready string, args ...string) {
	t.Helper()
	log := &logBuffer{}
	if b.logs[name] == nil {
		b.logs[name] = log
	}
	s := stack.New(b.logs[name])
	b.procs[name] = s
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Start(ctx, stack.Daemon{Name: name, Path: filepath.Join(bin, name), Args: args, Ready: ready}); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) startCore(t *testing.T) {
	args := []string{"--listen", b.at(portSIP), "--status", b.at(portStatus), "--trace"}
	for _, u := range users {
		args = append(args, "--user", u+":"+password(u))
	}
	b.start(t, "democore", "http://"+b.at(portStatus)+"/healthz", args...)
}

func (b *bed) startMGC(t *testing.T, args ...string) {
	b.start(t, "mgc", "http://"+b.at(portHTTP)+"/healthz", append([]string{
		"--core.listen=" + b.at(portCore), "--core.next_hop=sip:" + b.at(portSIP), "--access.listen=" + b.at(portWS),
		"--access.origins=" + allowedOrigin, "--access.tls.listen=" + b.at(portWSS), "--access.tls.cert=" + b.cert, "--access.tls.key=" + b.key,
		"--iq.listen=" + b.at(portIq), "--admin.listen=" + b.at(portAdmin), "--admin.http=" + b.at(portHTTP), "--log.level=debug",
	}, args...)...)
}

// startMGW runs the media gateway and waits until the MGC has it.
func (b *bed) startMGW(t *testing.T, args ...string) {
	b.start(t, "mgw", "http://"+b.at(portHTTP)+"/readyz", append([]string{
		"--mgw_id=mgw-bad", "--iq.listen=" + b.at(portGWIq), "--iq.mgc=" + b.at(portIq), "--admin.listen=" + b.at(portGWAdmin),
		"--http.listen=" + b.at(portGWHTTP), fmt.Sprintf("--realms.access.0.port=%d", b.base+portMedia), "--media.workers=2",
		fmt.Sprintf("--realms.core.0.port_min=%d", b.base+portRTPMin), fmt.Sprintf("--realms.core.0.port_max=%d", b.base+portRTPMax),
		"--log.level=debug",
	}, args...)...)
}

// certificate makes a self-signed one for 127.0.0.1 and returns its files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// eventually waits until f gives "", which else says what is missing.
func eventually(t *testing.T, within time.Duration, f func() string) {
	t.Helper()
	end := time.NewTimer(within)
	defer end.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		why := f()
		if why == "" {
			return
		}
		select {
		case <-tick.C:
		case <-end.C:
			t.Errorf("still after %v: %s", within, why)
			return
		}
	}
}
