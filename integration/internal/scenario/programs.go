// Package scenario is what the tests that run whole daemons have in common: programs built from the tree or found in bin/, a gateway pair on ports of
// its own, logs, and waiting with a bound. What a test looks at stays with the test. Floor 2 of the integration module: above stack and netns. Owner: the test;
// what is started here ends with it.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
)

// Root is the workspace, seen from the folder of a scenario, which is where go test runs it.
const Root = "../../.."

const (
	startLimit = 30 * time.Second // for one daemon to serve
	grace      = 20 * time.Second // for one daemon to end when it is asked
)

// Programs are the daemons built from the tree that is tested, for as long as a package's tests run. The zero value is ready for Main.
type Programs struct {
	dir string // "" unless Main runs
}

// built names a folder that has the programs already; it is used as it is.
const built = "ISTHMUS_PROGRAMS"

// Runner runs tests: *testing.M, or what does something more before and after.
type Runner interface{ Run() int }

// RunnerFunc is a function as a Runner.
type RunnerFunc func() int

// Run implements Runner.
func (f RunnerFunc) Run() int { return f() }

// Main builds mgc, mgw and democore, and the packages that more names relative to the workspace, runs the tests in a network namespace of their own
// (netns.Main) and removes the programs. It returns the exit status, for TestMain's os.Exit. ISTHMUS_PROGRAMS may name a folder where they are built
// already. With ISTHMUS_RACE_DAEMONS set races show in the daemons' logs, which then are twice as slow.
func (p *Programs) Main(m Runner, more ...string) int {
	if p.dir = os.Getenv(built); p.dir == "" {
		dir, err := build(more)
		if err != nil {
			fmt.Fprintln(os.Stderr, "scenario:", err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := os.Setenv(built, dir); err != nil { // for the process in the namespace
			fmt.Fprintln(os.Stderr, "scenario:", err)
			return 1
		}
	}
	return netns.Main(m)
}

// build makes the programs in a new folder, which the caller removes.
func build(more []string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "scenario"); err != nil {
		return "", err
	}
	args := []string{"build"}
	if os.Getenv("ISTHMUS_RACE_DAEMONS") != "" {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(append(args, "-o", dir+"/", "./mgc/cmd/mgc", "./mgw/cmd/mgw", "./integration/cmd/democore"), more...)...)
	cmd.Dir = Root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build of the daemons: %w\n%s", err, out), os.RemoveAll(dir))
	}
	return dir, nil
}

// Path returns the executable of the name that Main has built.
func (p *Programs) Path(name string) string { return filepath.Join(p.dir, name) }

// Bin returns the executable of the name in the workspace's bin/, where `make build` puts it; Need tells whether it is there.
func Bin(name string) string { return filepath.Join(Root, "bin", name) }

// Phone is what a test needs that runs daemons of bin/ and the web phone in Chromium, for Need.
var Phone = []string{"bin/mgc", "bin/mgw", "mgc/web/dist/index.html", "mgc/web/node_modules/playwright-core"}

// Need says which of the files, relative to the workspace, is missing, and what makes it; nil when all are there.
func Need(files ...string) error {
	for _, f := range files {
		target := "build"
		if strings.HasPrefix(f, "mgc/web/") {
			target = "web"
		}
		if _, err := os.Stat(filepath.Join(Root, f)); err != nil {
			return fmt.Errorf("%s is missing: run `make %s` first", f, target)
		}
	}
	return nil
}

// Start runs daemons one after the other until the test ends, and waits for each until it serves; one that does not, or that later ends badly, fails
// the test. log takes their output and may be nil.
func Start(t testing.TB, log io.Writer, daemons ...stack.Daemon) *stack.Stack {
	t.Helper()
	s := stack.New(log)
	Closing(t, func() error { return s.Close(grace) })
	Launch(t, s, daemons...)
	return s
}

// Launch is Start for a stack that the caller closes.
func Launch(t testing.TB, s *stack.Stack, daemons ...stack.Daemon) {
	t.Helper()
	for _, d := range daemons {
		ctx, cancel := context.WithTimeout(t.Context(), startLimit)
		err := s.Start(ctx, d)
		cancel()
		Must(t, err)
	}
}
