package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/daemon"
)

// patience bounds the life of a process under test.
const patience = 30 * time.Second

// runMain makes the test binary be the daemon.
const runMain = "MGC_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is the program as a process, on loopback addresses of its own.
type process struct {
	cmd *exec.Cmd
	out bytes.Buffer
	ip  string
	tmp string
}

func newProcess(t *testing.T, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	d := &process{ip: fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254)), tmp: t.TempDir()}
	d.cmd = exec.CommandContext(ctx, exe, append([]string{"--access.listen=" + d.ip + ":8080", "--core.listen=" + d.ip + ":5070", "--iq.listen=" + d.ip + ":7400",
		"--admin.listen=" + d.ip + ":7401", "--admin.http=" + d.ip + ":7402", "--log.format=json"}, args...)...)
	d.cmd.Env = append(os.Environ(), runMain+"=1", "TMPDIR="+d.tmp)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	return d
}

// wait waits for the end of the process and returns its exit status.
func (d *process) wait(t *testing.T) int {
	t.Helper()
	err := d.cmd.Wait()
	if err != nil && d.cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return d.cmd.ProcessState.ExitCode()
}

// up waits until the process serves.
func (d *process) up(t *testing.T) {
	t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		if resp, err := client.Get("http://" + d.ip + ":7402/healthz"); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body) // the status is enough
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("it does not serve:\n%s", d.out.String())
		}
	}
}

// TestSignalsStopIt: SIGTERM and SIGINT end it in order, with status 0 and without leaving files.
func TestSignalsStopIt(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			d := newProcess(t)
			if err := d.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			d.up(t)
			if err := d.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := d.wait(t); code != 0 {
				t.Errorf("exit status %d:\n%s", code, d.out.String())
			}
			if out := d.out.String(); !strings.Contains(out, `"msg":"signal"`) || !strings.Contains(out, `"msg":"stopped"`) {
				t.Errorf("log:\n%s", out)
			}
			left, err := os.ReadDir(d.tmp)
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if lis, err := net.Listen("tcp", d.ip+":8080"); err != nil {
				t.Errorf("its port is still taken: %v", err)
			} else {
				_ = lis.Close()
			}
		})
	}
}

// TestBadConfigurationIsStatus2: refused before anything is bound, with file, line and what is allowed.
func TestBadConfigurationIsStatus2(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mgc.yaml")
	if err := os.WriteFile(name, []byte("call:\n  no_answer: 1s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ arg, want string }{
		{"--config=" + name, name + ":2: call.no_answer: 1s is out of range; allowed: 10s..10m"},
		{"--media.prefer=x", "flag --media.prefer: media.prefer: "},
		{"--nonsense=1", "unknown setting"},
		{"--log.level=loud", "log.level"},
	} {
		d := newProcess(t, c.arg)
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if code := d.wait(t); code != daemon.Config || !strings.Contains(d.out.String(), c.want) {
			t.Errorf("%s: exit status %d:\n%s\nwant %d and %q", c.arg, code, d.out.String(), daemon.Config, c.want)
		}
	}
}

// TestFailureIsStatus1: what cannot be had at the start is told.
func TestFailureIsStatus1(t *testing.T) {
	d := newProcess(t, "--access.tls.listen=127.0.0.1:0", "--access.tls.cert=/nonexistent/cert.pem", "--access.tls.key=/nonexistent/key.pem")
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if code := d.wait(t); code != daemon.Failed || !strings.Contains(d.out.String(), "/nonexistent/cert.pem") {
		t.Errorf("exit status %d:\n%s", code, d.out.String())
	}
	if left, err := os.ReadDir(d.tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestVersionAndHelp are answered with status 0.
func TestVersionAndHelp(t *testing.T) {
	for arg, want := range map[string]string{"--version": "mgc " + version, "--help": "--access.listen", "--print-config": "no_answer"} {
		d := newProcess(t, arg)
		if err := d.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if code := d.wait(t); code != 0 || !strings.Contains(d.out.String(), want) {
			t.Errorf("%s: exit status %d:\n%s", arg, code, d.out.String())
		}
	}
}

// TestReadyAsksTheRunningDaemon: --ready with the daemon's settings tells by its status whether that one is ready.
func TestReadyAsksTheRunningDaemon(t *testing.T) {
	d := newProcess(t)
	ask := func() (int, string) {
		q := newProcess(t, "--admin.http="+d.ip+":7402", "--ready")
		if err := q.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return q.wait(t), q.out.String()
	}
	if code, out := ask(); code != daemon.Failed || !strings.Contains(out, "connection refused") {
		t.Errorf("nobody there: exit status %d:\n%s", code, out)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.up(t)
	if code, out := ask(); code != daemon.Failed || !strings.Contains(out, "not ready: ") { // it has no media gateway
		t.Errorf("up, not ready: exit status %d:\n%s", code, out)
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := d.wait(t); code != 0 {
		t.Errorf("exit status %d:\n%s", code, d.out.String())
	}
}
