// Package stack runs the daemons as processes, for the self-test and for tests against foreign stacks. Floor 1 of the
// integration module. Owner: Stack owns the processes it started; Close ends them and waits.
package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Daemon is one process to run.
type Daemon struct {
	Name  string
	Path  string // executable
	Args  []string
	Ready string // URL that answers 200 when the daemon can be used; empty: at once
	Forks bool   // it has child processes, which are to end with it whatever happens; needs the right to make namespaces
}

// Stack is a set of running daemons.
type Stack struct {
	procs []*proc
	log   io.Writer // may be nil
}

type proc struct {
	name string
	cmd  *exec.Cmd
	tail *tail
	done chan struct{} // closed when the process has been reaped
}

// New returns an empty stack whose daemons write their output to log (may be nil).
func New(log io.Writer) *Stack { return &Stack{log: log} }

// Start runs a daemon and waits until it is ready, has ended, or ctx ends. An error carries the daemon's last lines.
func (s *Stack) Start(ctx context.Context, d Daemon) error {
	cmd := exec.Command(d.Path, d.Args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if d.Forks {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID // the kernel ends a process namespace with its first process
	}
	t := &tail{out: s.log}
	cmd.Stdout, cmd.Stderr = t, t
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", d.Name, err)
	}
	p := &proc{name: d.Name, cmd: cmd, tail: t, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // told by tail and done
		close(p.done)
	}()
	s.procs = append(s.procs, p)
	if d.Ready == "" {
		return nil
	}
	return p.await(ctx, d.Ready)
}

func (p *proc) await(ctx context.Context, url string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for {
		if last = probe(ctx, url); last == "" {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended: %s", p.name, p.tail.text())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%s): %w; its last lines: %s", p.name, last, ctx.Err(), p.tail.text())
		case <-tick.C:
		}
	}
}

// probe asks the URL and returns "" when it is ready, else why not.
func probe(ctx context.Context, url string) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(r.Body, 200)) // only for the text
	if r.StatusCode != http.StatusOK {
		return strings.TrimSpace(string(body))
	}
	return ""
}

// Pid returns the process id of a daemon; 0 when it was not started.
func (s *Stack) Pid(name string) int {
	for _, p := range s.procs {
		if p.name == name {
			return p.cmd.Process.Pid
		}
	}
	return 0
}

// Done is closed when the named daemon has ended; nil, which never is, when it was not started.
func (s *Stack) Done(name string) <-chan struct{} {
	for _, p := range s.procs {
		if p.name == name {
			return p.done
		}
	}
	return nil
}

// Close asks the daemons to stop in reverse order, kills what does not stop within the grace time, and waits.
func (s *Stack) Close(grace time.Duration) error {
	var errs []error
	for i := len(s.procs) - 1; i >= 0; i-- {
		p := s.procs[i]
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-p.done:
		case <-time.After(grace):
			_ = p.cmd.Process.Kill()
			<-p.done
			errs = append(errs, fmt.Errorf("%s did not stop within %v", p.name, grace))
		}
		if code := p.cmd.ProcessState.ExitCode(); code > 0 {
			errs = append(errs, fmt.Errorf("%s ended with status %d: %s", p.name, code, p.tail.text()))
		}
	}
	s.procs = nil
	return errors.Join(errs...)
}

// tail keeps the last lines of a daemon's output and passes all on.
type tail struct {
	mu  sync.Mutex // guards buf
	buf []byte
	out io.Writer
}

const tailBytes = 4096

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	if t.out != nil {
		return t.out.Write(p)
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.buf), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-8):], []byte("\n")))
}

// Bin returns the path of a program beside the running executable.
func Bin(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := self[:strings.LastIndexByte(self, '/')+1] + name
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not built: run make build: %w", name, err)
	}
	return path, nil
}
