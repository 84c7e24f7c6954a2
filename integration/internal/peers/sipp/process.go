package sipp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrMissing reports that sipp is not installed.
var ErrMissing = errors.New("sipp is not installed: install the Debian package sip-tester, or run integration/scripts/need.sh test")

// Wrapper changes a command so that it runs elsewhere, as netns.Space.Wrap does; the process id must be the program's own.
type Wrapper func(name string, args ...string) (string, []string)

// Config describes one run of sipp.
type Config struct {
	Scenario  string         // XML text
	Transport string         // "udp" or "tcp"
	Local     netip.AddrPort // where sipp listens and sends from; media is on its address
	Media     uint16         // port of the media that its descriptions name
	Control   uint16         // its UDP control port
	Remote    netip.AddrPort // where calls go; invalid: sipp waits for calls
	Calls     int            // ends after that many; 0: 1
	Rate      int            // new calls per second; 0: 10
	Lost      int            // per cent of messages that sipp loses, sent and received
	Echo      bool           // send received RTP back
	Inject    []string       // values for [field0], [field1] ... of one call each, separated by ';'; used round and round
	Dir       string         // for its files
	Wrap      Wrapper        // runs it elsewhere; nil: here
	Timeout   time.Duration  // sipp fails when it is not done by then; whole seconds, 0: 30 s
}

// args are sipp's command line.
func (c *Config) args() []string {
	or := func(v, def int) string {
		if v == 0 {
			v = def
		}
		return strconv.Itoa(v)
	}
	mode := "u1"
	if c.Transport == "tcp" {
		mode = "t1"
	}
	host := c.Local.Addr().String()
	args := []string{
		"-sf", c.file("scenario.xml"), "-t", mode, "-i", host, "-p", or(int(c.Local.Port()), 0), "-bind_local",
		"-mi", host, "-mp", or(int(c.Media), 0), "-ci", host, "-cp", or(int(c.Control), 0),
		"-m", or(c.Calls, 1), "-r", or(c.Rate, 10), "-nostdin", "-default_behaviors", "all,-bye",
		"-timeout", or(int(c.Timeout/time.Second), 30) + "s", "-timeout_error", "-max_retrans", "10",
		"-max_recv_loops", "1", // else it takes the next of two messages at once before it has answered the first, and calls that unexpected
		"-trace_msg", "-message_file", c.file("messages.log"), "-trace_err", "-error_file", c.file("errors.log"),
		"-trace_stat", "-stf", c.file("stat.csv"), "-fd", "1",
	}
	if c.Lost > 0 {
		args = append(args, "-lost", strconv.Itoa(c.Lost))
	}
	if len(c.Inject) > 0 {
		args = append(args, "-inf", c.file("inject.csv"))
	}
	if c.Echo {
		args = append(args, "-rtp_echo")
	}
	if c.Remote.IsValid() {
		args = append(args, c.Remote.String())
	}
	return args
}

func (c *Config) file(name string) string { return filepath.Join(c.Dir, name) }

// Process is a running sipp.
type Process struct {
	cfg  Config
	cmd  *exec.Cmd
	done chan struct{} // closed when it has been reaped
}

// Start runs sipp and returns when its socket is bound, so that a call can be sent to it; one that calls by itself may be done
// by then. The caller must Wait for it or Stop it.
func Start(ctx context.Context, cfg Config) (*Process, error) {
	path, err := exec.LookPath("sipp")
	if err != nil {
		return nil, ErrMissing
	}
	if err := os.WriteFile(cfg.file("scenario.xml"), []byte(cfg.Scenario), 0o600); err != nil {
		return nil, fmt.Errorf("sipp: %w", err)
	}
	inject := "SEQUENTIAL\n" + strings.Join(cfg.Inject, "\n") + "\n"
	if err := os.WriteFile(cfg.file("inject.csv"), []byte(inject), 0o600); err != nil {
		return nil, fmt.Errorf("sipp: %w", err)
	}
	out, err := os.Create(cfg.file("screen.log"))
	if err != nil {
		return nil, fmt.Errorf("sipp: %w", err)
	}
	defer out.Close() // the process has its own
	args := cfg.args()
	if cfg.Wrap != nil {
		path, args = cfg.Wrap(path, args...)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = cfg.Dir, out, out
	cmd.Env = append(os.Environ(), "TERM=dumb")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("sipp: %w", err)
	}
	p := &Process{cfg: cfg, cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // told by ProcessState
		close(p.done)
	}()
	if err := p.await(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// await waits until the socket is bound or the process has ended.
func (p *Process) await(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if bound(p.cmd.Process.Pid, p.cfg.Transport, p.cfg.Local) {
			return nil
		}
		select {
		case <-p.done:
			if p.cfg.Remote.IsValid() && p.cmd.ProcessState.ExitCode() >= 0 {
				return nil // quicker than our look
			}
			return fmt.Errorf("sipp ended: %s %s", p.tail("errors.log"), p.tail("screen.log"))
		case <-ctx.Done():
			return fmt.Errorf("sipp does not listen on %s: %w", p.cfg.Local, ctx.Err())
		case <-tick.C:
		}
	}
}

// bound reports whether some socket of the process's network has the local address. A TCP caller has none of its own.
func bound(pid int, transport string, at netip.AddrPort) bool {
	table, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, transport))
	if err != nil {
		return false
	}
	ip := at.Addr().As4()
	return strings.Contains(string(table), fmt.Sprintf(": %02X%02X%02X%02X:%04X ", ip[3], ip[2], ip[1], ip[0], at.Port()))
}

// Done is closed when sipp has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for sipp to end by itself and returns what it did; when ctx ends first, it is killed and that is an error.
func (p *Process) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.result()
	case <-ctx.Done():
		p.Stop()
		r, err := p.result()
		return r, errors.Join(fmt.Errorf("sipp was still busy: %w", ctx.Err()), err)
	}
}

// Trace lists the messages so far. The last one may be cut short.
func (p *Process) Trace() []Entry {
	log, err := os.ReadFile(p.cfg.file("messages.log"))
	if err != nil {
		return nil // none yet
	}
	return readTrace(log)
}

// Stop kills sipp if it runs and waits for its end.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Kill() // it may end meanwhile
	<-p.done
}

// tail returns the end of one of sipp's files, for error texts.
func (p *Process) tail(name string) string {
	b, err := os.ReadFile(p.cfg.file(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}
