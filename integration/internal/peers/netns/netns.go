// Package netns puts tests and foreign programs into network namespaces of their own: ports and addresses are always free,
// nothing reaches the machine's network, and nothing stays behind, since a namespace ends with its last process. Floor 1 of
// the integration module. Linux only; needs root or a kernel that lets users make namespaces.
package netns

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inside marks a process that Main has moved.
const inside = "ISTHMUS_TEST_NETNS"

// Main runs the tests of a package in a network namespace that has a loopback interface and nothing else: it starts the test
// binary again, inside, and returns that one's exit status. To be called from TestMain, whose os.Exit takes the status.
func Main(m interface{ Run() int }) int {
	if os.Getenv(inside) != "" {
		if err := ip("link", "set", "lo", "up"); err != nil {
			fmt.Fprintln(os.Stderr, "netns:", err)
			return 1
		}
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return max(1, ended.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "netns: no network namespace for the tests (run them as root):", err)
		return 1
	}
	return 0
}

// Space is a second network namespace, joined to the caller's by a veth pair. Owner: the caller, who ends the processes in it
// and then calls Close.
type Space struct {
	hold  *exec.Cmd // keeps the namespace until its standard input closes, so also when we die
	input io.Closer
	link  string // our end of the pair; "" without one
}

// The two ends of the veth pair.
const (
	Here  = "10.77.0.1" // in the caller's namespace
	There = "10.77.0.2" // in the Space
)

// New makes a Space.
func New() (*Space, error) {
	s, err := Alone()
	if err != nil {
		return nil, err
	}
	s.link = "veth-here"
	if err := s.join(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Alone makes a Space that nothing leads to: it has a loopback interface. Join gives it links.
func Alone() (*Space, error) {
	hold := exec.Command("cat")
	hold.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	input, err := hold.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	if err := hold.Start(); err != nil {
		return nil, fmt.Errorf("netns: %w", err)
	}
	s := &Space{hold: hold, input: input}
	if err := run(s.Command("ip", "link", "set", "lo", "up")); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Join joins two namespaces by a veth pair, both ends up, with these names and addresses ("10.1.0.1/30"). b nil is the caller's own.
func (s *Space) Join(name, addr string, b *Space, nameB, addrB string) error {
	at := strconv.Itoa(os.Getpid())
	if b != nil {
		at = strconv.Itoa(b.hold.Process.Pid)
	}
	for _, args := range []string{"link add " + name + " type veth peer name " + nameB + " netns " + at, "addr add " + addr + " dev " + name, "link set " + name + " up"} {
		if err := s.IP(args); err != nil {
			return err
		}
	}
	for _, args := range []string{"addr add " + addrB + " dev " + nameB, "link set " + nameB + " up"} {
		if err := b.IP(args); err != nil {
			return err
		}
	}
	return nil
}

// IP runs ip with arguments that have no spaces in them; a nil Space is the caller's namespace.
func (s *Space) IP(args string) error {
	if s == nil {
		return ip(strings.Fields(args)...)
	}
	return run(s.Command("ip", strings.Fields(args)...))
}

// Do runs f in the Space. Sockets that it opens stay there; goroutines that it starts do not, nor may it start programs.
func (s *Space) Do(f func() error) error {
	runtime.LockOSThread() // it must live on: programs that it has started end with it (Pdeathsig)
	defer runtime.UnlockOSThread()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	defer here.Close()
	there, err := os.Open("/proc/" + strconv.Itoa(s.hold.Process.Pid) + "/ns/net")
	if err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	err = f()
	if back := unix.Setns(int(here.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(fmt.Sprintf("netns: a thread is lost: %v", back))
	}
	return err
}

func (s *Space) join() error {
	pid := strconv.Itoa(s.hold.Process.Pid)
	for _, args := range []string{
		"link add veth-here type veth peer name veth-there netns " + pid,
		"addr add " + Here + "/30 dev veth-here",
		"link set veth-here up",
	} {
		if err := ip(strings.Fields(args)...); err != nil {
			return err
		}
	}
	for _, args := range []string{"addr add " + There + "/30 dev veth-there", "link set veth-there up"} {
		if err := s.IP(args); err != nil {
			return err
		}
	}
	return nil
}

// Wrap gives the program and arguments that run name with args in the Space. nsenter replaces itself by the program, so the
// process id is the program's own.
func (s *Space) Wrap(name string, args ...string) (string, []string) {
	return "nsenter", append([]string{"--net=/proc/" + strconv.Itoa(s.hold.Process.Pid) + "/ns/net", "--", name}, args...)
}

// Command is like exec.Command for a program that runs in the Space.
func (s *Space) Command(name string, args ...string) *exec.Cmd {
	name, args = s.Wrap(name, args...)
	return exec.Command(name, args...)
}

// Close lets go of the namespace; it ends with the last process in it. The veth pair ends at once, so that another Space can be made.
func (s *Space) Close() error {
	if s.link != "" {
		_ = ip("link", "del", s.link) // not there when New has failed
	}
	_ = s.input.Close() // ends cat
	if err := s.hold.Wait(); err != nil {
		return fmt.Errorf("netns: %w", err)
	}
	return nil
}

func ip(args ...string) error { return run(exec.Command("ip", args...)) }

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("netns: %s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
