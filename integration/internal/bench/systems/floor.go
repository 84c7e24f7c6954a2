package systems

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
)

// Floor is the kernel floor in a process of its own.
type Floor struct {
	cmd *exec.Cmd

	mu    sync.Mutex // guards both
	feed  io.WriteCloser
	reply *bufio.Reader
}

// StartFloor runs a command that calls floor.Serve with its standard input and output.
func StartFloor(path string, args ...string) (*Floor, error) {
	f := &Floor{cmd: exec.Command(path, args...)}
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if f.feed, err = f.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("floor: %w", err)
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("floor: %w", err)
	}
	f.reply = bufio.NewReader(out)
	if err := f.cmd.Start(); err != nil {
		return nil, fmt.Errorf("floor: %w", err)
	}
	return f, nil
}

// Name implements System.
func (f *Floor) Name() string { return "kernel floor" }

// Pid implements System.
func (f *Floor) Pid() int { return f.cmd.Process.Pid }

// Connect implements System.
func (f *Floor) Connect(_ context.Context, o load.Offer) (load.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := fmt.Fprintln(f.feed, o.Browser, o.Core); err != nil {
		return load.Answer{}, fmt.Errorf("floor: %w", err)
	}
	var shared, call uint32
	if _, err := fmt.Fscan(f.reply, &shared, &call); err != nil {
		return load.Answer{}, fmt.Errorf("floor: %w", err)
	}
	access, err1 := endpoint("127.0.0.1", shared)
	core, err2 := endpoint("127.0.0.1", call)
	return load.Answer{Access: access, Core: core}, errors.Join(err1, err2)
}

// Begin implements System.
func (f *Floor) Begin() error {
	if _, err := fmt.Fprintln(f.feed, "run"); err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	return nil
}

// Close implements System.
func (f *Floor) Close() error {
	err := f.feed.Close()
	if werr := f.cmd.Wait(); werr != nil {
		err = fmt.Errorf("floor: %w", werr)
	}
	return err
}
