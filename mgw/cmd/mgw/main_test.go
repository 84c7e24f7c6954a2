package main

import (
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/daemon"
	"github.com/isthmus-gateway/isthmus/pkg/obs"
)

// runMain makes the test binary be the daemon.
const runMain = "MGW_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
	}
	os.Exit(m.Run())
}

// run is the program's exit status with args, and what it printed.
func run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), runMain+"=1")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestReadyAsksTheRunningDaemon: --ready asks where the settings say that /readyz is.
func TestReadyAsksTheRunningDaemon(t *testing.T) {
	var controller atomic.Bool
	controller.Store(true)
	srv := httptest.NewServer(obs.Handler(obs.NewMetrics(), func() error {
		if controller.Load() {
			return nil
		}
		return errors.New("no controller")
	}))
	defer srv.Close()
	at := "--http.listen=" + strings.TrimPrefix(srv.URL, "http://")
	if status, out := run(t, at, "--ready"); status != daemon.Ended || out != "ready\n" {
		t.Errorf("status %d: %q", status, out)
	}
	controller.Store(false)
	if status, out := run(t, at, "--ready"); status != daemon.Failed || out != "not ready: no controller\n" {
		t.Errorf("status %d: %q", status, out)
	}
}

func TestSettingsAreRefused(t *testing.T) {
	if status, out := run(t, "--media.workers=many"); status != daemon.Config || !strings.Contains(out, "media.workers") {
		t.Errorf("status %d: %q", status, out)
	}
}
