// Package badinput gives the daemons what nobody should send - over WebSocket, SIP, RTP, STUN, DTLS, TCP and in their
// configuration - and looks at the precise answer, at the counters, at the logs, at what is left behind, and at a call
// that must stay up all the while.
package badinput

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
)

const domain = "isthmus.example"

// deadline bounds every single wait; what takes longer by design has its own.
const deadline = 8 * time.Second

var programs scenario.Programs

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

// bed is one MGC, one MGW and one demo core.
type bed struct {
	scenario.Pair
	procs map[string]*stack.Stack
	logs  map[string]*scenario.Log // by daemon, over restarts
	cert  string                   // PEM files of the wss listener
	key   string
}

func newBed(t *testing.T, base int) *bed {
	t.Helper()
	b := &bed{Pair: scenario.Pair{Programs: &programs, Base: base}, procs: map[string]*stack.Stack{}, logs: map[string]*scenario.Log{}}
	b.cert, b.key = tlstest.SelfSigned(t, "badinput", "127.0.0.1").Write(t, t.TempDir(), "tls")
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

const (
	portWSS                    = 81 // of the MGC, as an offset
	portRTPMax                 = 299
	wsPath                     = "/sip"
	allowedOrigin, otherOrigin = "https://phone.example.com", "https://evil.example.net"
)

// coreGot requires that the demo core receives, or has received, a request of the method with a line that begins so.
func (b *bed) coreGot(t *testing.T, method, line string) {
	t.Helper()
	eventually(t, deadline, func() string {
		for _, m := range strings.Split(b.logs["democore"].String(), "\n"+method+" ")[1:] {
			head, _, _ := strings.Cut(m, "\n\n")
			if strings.Contains(head, "\n"+line) {
				return ""
			}
		}
		return fmt.Sprintf("the core got no %s with %q", method, line)
	})
}

// start runs a daemon and waits until it serves.
func (b *bed) start(t *testing.T, d stack.Daemon) {
	t.Helper()
	if b.logs[d.Name] == nil {
		b.logs[d.Name] = &scenario.Log{}
	}
	b.procs[d.Name] = stack.New(b.logs[d.Name])
	scenario.Launch(t, b.procs[d.Name], d)
}

func (b *bed) startCore(t *testing.T) {
	args := []string{"--trace"}
	for _, u := range users {
		args = append(args, "--user", u+":"+password(u))
	}
	b.start(t, b.Democore(args...))
}

func (b *bed) startMGC(t *testing.T, args ...string) {
	b.start(t, b.MGC(append([]string{
		"--access.origins=" + allowedOrigin, "--access.tls.listen=" + b.At(portWSS), "--access.tls.cert=" + b.cert, "--access.tls.key=" + b.key, "--log.level=debug",
	}, args...)...))
}

// startMGW runs the media gateway and waits until the MGC has it.
func (b *bed) startMGW(t *testing.T, args ...string) {
	b.start(t, b.MGW("mgw-bad", append([]string{
		"--media.workers=2", fmt.Sprintf("--realms.core.0.port_max=%d", b.Base+portRTPMax), "--log.level=debug",
	}, args...)...))
}

// eventually waits until f gives "", which else says what is missing.
func eventually(t *testing.T, within time.Duration, f func() string) {
	t.Helper()
	if why := scenario.Still(scenario.Within(t, within), f); why != "" {
		t.Errorf("still after %v: %s", within, why)
	}
}
