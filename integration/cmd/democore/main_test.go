package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/democore"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// safeBuffer is a bytes.Buffer for two goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestRunServesAndStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out safeBuffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--user", "zoe:pass:word"}, &out, &out)
	}()
	status := regexp.MustCompile(`http://\S+/status`)
	deadline := time.After(wait.Limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !status.MatchString(out.String()) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not ready: %s", out.String())
		}
	}
	res, err := http.Get(status.FindString(out.String()))
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("status: %v, %v", res, err)
	}
	res.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	cancel()
	select {
	case c := <-code:
		if c != 0 {
			t.Errorf("exit code %d: %s", c, out.String())
		}
	case <-time.After(wait.Limit):
		t.Fatal("does not stop")
	}
	if strings.Contains(out.String(), "word") {
		t.Error("a password was printed")
	}
}

func TestHelpNamesAccountsAndUsers(t *testing.T) {
	var out bytes.Buffer
	if code := run(context.Background(), []string{"--help"}, &out, &out); code != 0 {
		t.Errorf("exit code %d", code)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range democore.DefaultUsers() {
		if !strings.Contains(out.String(), u.Password) || !strings.Contains(string(readme), "| `"+u.Name+"` | `"+u.Password+"` |") {
			t.Errorf("account %s is missing in the help or the README", u.Name)
		}
	}
	for _, a := range democore.Apps() {
		if !strings.Contains(out.String(), a.Does) || !strings.Contains(string(readme), "| `"+a.Name+"` | "+a.Does+" |") {
			t.Errorf("built-in user %s is missing in the help or the README", a.Name)
		}
	}
}

func TestBadArguments(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		p := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unknown flag", []string{"--nonsense"}, 2, "nonsense"},
		{"stray argument", []string{"extra"}, 2, "extra"},
		{"wildcard", []string{"--listen", "0.0.0.0:0"}, 2, "wildcard"},
		{"no port", []string{"--listen", "127.0.0.1"}, 2, "ip:port"},
		{"digest", []string{"--digest", "rot13"}, 2, "md5, sha256 or both"},
		{"user without password", []string{"--user", "zoe"}, 2, "name:password"},
		{"user with a built-in name", []string{"--user", "echo:x"}, 2, "built in"},
		{"user name", []string{"--user", "a b:x"}, 2, "letters"},
		{"short expiry", []string{"--min-expires", "10ms"}, 2, "1s <= min"},
		{"missing file", []string{"--config", filepath.Join(dir, "none")}, 2, "none"},
		{"unknown key", []string{"--config", file("listen: 127.0.0.1:0\nliszen: x\n")}, 2, "line 2"},
		{"address in use elsewhere", []string{"--listen", "192.0.2.1:5060"}, 1, "192.0.2.1"},
	} {
		var out bytes.Buffer
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // should it start by mistake, it ends at once with 0
		if code := run(ctx, c.args, &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: exit code %d, output %q", c.name, code, out.String())
		}
	}
}

func TestFlagsWinOverTheFile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "c.yaml")
	text := "domain: file.example\nmin_expires: 5s\nusers:\n  - {name: zoe, password: secret}\n"
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cfg, err := parse([]string{"--config", p, "--domain", "flag.example"}, &lines{w: &out}, &out)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Domain != "flag.example" || cfg.MinExpires != 5*time.Second || len(cfg.Users) != 1 || cfg.Users[0].Name != "zoe" || cfg.MaxExpires != time.Hour {
		t.Errorf("%+v", cfg)
	}
}

func TestPrintableDisarmsControlCharacters(t *testing.T) {
	if got := printable([]byte("a\r\n\x1b[31mb\x7fü\x00")); got != "a\n.[31mb.ü." {
		t.Errorf("%q", got)
	}
}
