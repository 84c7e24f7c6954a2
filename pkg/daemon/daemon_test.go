package daemon

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type config struct {
	Log  obs.LogConfig `conf:"log" doc:"Log."`
	HTTP string        `conf:"http" default:"127.0.0.1:1" doc:"Health."`
}

// fake tells when it drains and runs until it may end.
type fake struct {
	drains chan struct{}
	err    error
}

func (f *fake) Run(ctx context.Context, now <-chan struct{}) error {
	<-ctx.Done()
	close(f.drains)
	<-now
	return f.err
}

func start(args []string, signals <-chan os.Signal, d Daemon, err error) (status int, stderr string) {
	var cfg config
	var out bytes.Buffer
	status = run(&cfg, &cfg.Log, &cfg.HTTP, conf.Options{Name: "test", About: "test", EnvPrefix: "ISTHMUS_TEST_DAEMON", Args: args, Version: "1"},
		func(*zap.Logger) (Daemon, error) { return d, err }, signals, &out, &out)
	return status, out.String()
}

// TestSignalsDrainThenStop: the first signal drains, the second stops, and a failure is told by the exit status.
func TestSignalsDrainThenStop(t *testing.T) {
	for want, err := range map[int]error{Ended: nil, Failed: errors.New("broken")} {
		signals, f := make(chan os.Signal), &fake{drains: make(chan struct{}), err: err}
		got := make(chan int)
		go func() {
			status, _ := start([]string{"--log.level=error"}, signals, f, nil)
			got <- status
		}()
		signals <- syscall.SIGTERM
		<-f.drains
		signals <- syscall.SIGINT
		if status := <-got; status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
}

// TestNothingRunsWithoutConfiguration: a refused configuration is status 2 with the reason, a daemon that cannot be made 1.
func TestNothingRunsWithoutConfiguration(t *testing.T) {
	if status, out := start([]string{"--nothing=1"}, nil, nil, nil); status != Config || !strings.Contains(out, "nothing") {
		t.Errorf("status %d, %q", status, out)
	}
	if status, _ := start([]string{"--log.level=error"}, nil, nil, errors.New("no port")); status != Failed {
		t.Errorf("status %d", status)
	}
}

// TestReadyAsksTheRunningDaemon: --ready starts nothing; its status tells whether the daemon of the configuration is ready.
func TestReadyAsksTheRunningDaemon(t *testing.T) {
	ready := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ready || r.URL.Path != "/readyz" {
			http.Error(w, "no core", http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	at := "--http=" + srv.Listener.Addr().String()
	if status, out := start([]string{at, "--ready"}, nil, nil, nil); status != Failed || !strings.Contains(out, "no core") {
		t.Errorf("status %d, %q", status, out)
	}
	ready = true
	if status, out := start([]string{at, "--ready"}, nil, nil, nil); status != Ended || out != "ready\n" {
		t.Errorf("status %d, %q", status, out)
	}
}
