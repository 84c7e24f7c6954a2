// Package turn lets coturn's client judge the media gateway's TURN server: UDP, TCP and TLS, indications and channels, good and bad
// credentials. It runs in a network namespace of its own.
package turn

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
)

var programs scenario.Programs

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

const (
	secret = "known_to_this_test_only"
	peer   = "127.0.0.3" // echoes, allowed by turn.peers
	other  = "127.0.0.4" // echoes, not allowed
	port   = "3480"
)

func TestR8656_CoturnsClient(t *testing.T) {
	cert, key := tlstest.SelfSigned(t, "turn").Write(t, t.TempDir(), "turn")
	scenario.Start(t, scenario.LogTo(t, "mgw"), server("--turn.tcp=127.0.0.1:3478", "--turn.tls=127.0.0.1:5349", "--turn.cert="+cert, "--turn.key="+key))
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
			out, err := exec.CommandContext(scenario.Within(t, 30*time.Second), "turnutils_uclient", args...).CombinedOutput()
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

// server is the media gateway with its TURN server on UDP, and more flags.
func server(more ...string) stack.Daemon {
	return stack.Daemon{Name: "mgw", Path: programs.Path("mgw"), Ready: "http://127.0.0.1:7422/healthz", Args: append([]string{
		"--mgw_id=mgw-1", "--turn.udp=127.0.0.1:3478", "--turn.secrets=" + secret, "--turn.peers=" + peer + "/32", "--drain.grace=0s",
	}, more...)}
}
