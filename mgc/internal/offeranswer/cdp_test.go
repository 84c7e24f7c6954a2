package offeranswer

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// chromium is a real browser, driven over a pipe with the Chrome DevTools Protocol. One page at a time.
type chromium struct {
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	id      int
	session string
}

// interfaces makes a network namespace in which Chromium gathers candidates: with loopback alone, as on a machine without a network, it never ends to.
const interfaces = `PATH=$PATH:/usr/sbin:/sbin
ip link set lo up && ip link add browser type veth peer name other && ip addr add 10.77.2.1/30 dev browser &&
ip link set browser up && ip link set other up && ip route add default via 10.77.2.2 && exec "$0" "$@"`

// launch starts Chromium with an empty profile; the test ends it.
func launch(t *testing.T) *chromium {
	t.Helper()
	bin := os.Getenv("CHROMIUM")
	if bin == "" {
		bin = "chromium"
	}
	if _, err := exec.LookPath(bin); err != nil {
		t.Fatalf("%v: `integration/scripts/need.sh test` installs it, or set CHROMIUM", err)
	}
	cmd := exec.Command("/bin/sh", "-c", interfaces, bin, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--allow-loopback-in-peer-connection",
		"--autoplay-policy=no-user-gesture-required", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // file descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirIn.Close(), theirOut.Close()
	if err := errors.Join(in.SetWriteDeadline(time.Now().Add(3*time.Minute)), out.SetReadDeadline(time.Now().Add(3*time.Minute))); err != nil {
		t.Fatal(err)
	}
	c := &chromium{t: t, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = c.call("Browser.close", nil, nil) // it may be gone
		_ = in.Close()
		done := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait() // its exit status says nothing
		done.Stop()
		_ = out.Close()
	})
	return c
}

// open makes a new page with the script and leaves the old one.
func (c *chromium) open(script string) {
	c.t.Helper()
	var target struct{ TargetID string }
	var attached struct{ SessionID string }
	c.session = ""
	c.must(c.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target))
	c.must(c.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached))
	c.session = attached.SessionID
	c.eval(script, nil)
}

func (c *chromium) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// eval runs an expression in the page, waits for its promise and reads its value into v.
func (c *chromium) eval(expression string, v any) {
	c.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails struct {
			Exception struct{ Description string }
		}
	}
	c.must(c.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &r))
	if d := r.ExceptionDetails.Exception.Description; d != "" {
		c.t.Fatalf("Chromium: %s", d)
	}
	if v != nil {
		c.must(json.Unmarshal(r.Result.Value, v))
	}
}

// call performs a command of the protocol and skips the events that come before its reply.
func (c *chromium) call(method string, params, result any) error {
	c.id++
	msg := map[string]any{"id": c.id, "method": method}
	if params != nil {
		msg["params"] = params
	}
	if c.session != "" && method != "Browser.close" {
		msg["sessionId"] = c.session
	}
	raw, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	if _, err := c.in.Write(append(raw, 0)); err != nil {
		return err
	}
	for {
		line, err := c.out.ReadBytes(0)
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		var reply struct {
			ID     int
			Error  *struct{ Message string }
			Result json.RawMessage
		}
		if err := json.Unmarshal(line[:len(line)-1], &reply); err != nil {
			return err
		}
		switch {
		case reply.ID != c.id:
		case reply.Error != nil:
			return fmt.Errorf("%s: %s", method, reply.Error.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(reply.Result, result)
		}
	}
}
