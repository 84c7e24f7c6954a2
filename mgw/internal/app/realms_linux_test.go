package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/wait"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// inNamespace runs the test in a network namespace of its own, in a process of its own, and reports whether this is that process.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const inside = "ISTHMUS_TEST_NETNS"
	if os.Getenv(inside) == t.Name() {
		shell(t, "ip link set lo up")
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

func shell(t *testing.T, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if out, err := exec.Command("sh", "-c", c).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c, err, out)
		}
	}
}

// interfaceChanges are the service changes of interfaces so far, e.g. "FORCED 906 c0 core,core-b".
func (c *controller) interfaceChanges() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, r := range c.changes {
		if r.GetInterfaceId() != "" || len(r.GetRealms()) > 0 {
			out = append(out, fmt.Sprintf("%s %d %s %s", strings.TrimPrefix(r.GetMethod().String(), "METHOD_"), r.GetReason(), r.GetInterfaceId(), strings.Join(r.GetRealms(), ",")))
		}
	}
	return out
}

func (c *controller) lastUnavailable() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.unavailable)
}

// TestIQ03_IQ04_RealmsOfAMultiHomedGateway: realms on several interfaces of which one fails in each of the ways that there are, and comes back: one
// message for all that is on it, nothing is placed there meanwhile, other realms go on.
func TestIQ03_IQ04_RealmsOfAMultiHomedGateway(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t,
		"ip link add c0 type veth peer name c1", "ip addr add 10.2.0.1/24 dev c0", "ip addr add 10.2.0.2/24 dev c0", "ip link set c0 up", "ip link set c1 up",
		"ip link add e0 type veth peer name e1", "ip addr add 10.3.0.1/24 dev e0", "ip link set e0 up", "ip link set e1 up")
	for _, name := range []string{"c0", "e0"} {
		wait.Until(t, "carrier of "+name, func() bool {
			i, err := net.InterfaceByName(name)
			return err == nil && i.Flags&net.FlagRunning != 0
		})
	}
	c := startController(t)
	g := startGateway(t, c, "--realms.hold=0s", "--realms.core.0.listen=10.2.0.1", "--realms.core.1.name=core-b", "--realms.core.1.listen=10.2.0.2",
		"--realms.core.2.name=core-e", "--realms.core.2.listen=10.3.0.1")
	n := 0
	add := func(realm string) (*iqv1.CommandReply, *iqv1.ErrorDescriptor) {
		t.Helper()
		n++
		req := setUp(fmt.Sprintf("t-%d", n))
		req.Actions[0].Commands[1].GetAdd().Descriptor_.Realm = realm
		rep := g.transact(req).Actions[0]
		if rep.Error != nil {
			return nil, rep.Error
		}
		return rep.Commands[1], nil
	}
	place := func(realm, on string) {
		t.Helper()
		rep, err := add(realm)
		if err != nil || rep.InterfaceId != on || !strings.HasPrefix(rep.TerminationId, "ip/"+realm+"/") {
			t.Fatalf("in %s: %v, %v", realm, rep, err)
		}
		if a := rep.Resolved.Streams[0].Local.Address; netip.MustParseAddr(a).IsLoopback() {
			t.Errorf("in %s: address %s", realm, a)
		}
	}
	refused := func(realm string, code uint32, text string) {
		t.Helper()
		before := g.resources()
		if _, err := add(realm); err.GetCode() != code || !strings.Contains(err.GetText(), text) {
			t.Fatalf("in %s: %v, want %d", realm, err, code)
		}
		if r := g.resources(); r.Contexts != before.Contexts || r.Terminations != before.Terminations || r.PortPairs != before.PortPairs {
			t.Errorf("in %s: the refused call left something: %v, %v", realm, before, r)
		}
	}
	place("core", "c0")
	place("core-b", "c0")
	place("core-e", "e0")
	refused("nowhere", 449, `unknown realm "nowhere"`)

	var want []string
	expect := func(change string, unavailable ...string) {
		t.Helper()
		want = append(want, change)
		wait.Until(t, change, func() bool { return len(c.interfaceChanges()) >= len(want) })
		if got := c.interfaceChanges(); !slices.Equal(got, want) {
			t.Fatalf("told %q, want %q", got, want)
		}
		wait.Until(t, "heartbeat", func() bool { return slices.Equal(c.lastUnavailable(), unavailable) })
		down := g.unavailable()
		if !slices.Equal(down, unavailable) {
			t.Errorf("capabilities and operators: %q, want %q", down, unavailable)
		}
	}
	for how, cmd := range map[string][2]string{
		"interface down": {"ip link set c0 down", "ip link set c0 up"},
		"no carrier":     {"ip link set c1 down", "ip link set c1 up"},
	} {
		t.Log(how)
		shell(t, cmd[0])
		expect("FORCED 906 c0 core,core-b", "core", "core-b")
		refused("core", 530, "c0")
		place("core-e", "e0")
		shell(t, cmd[1])
		expect("RESTART 900 c0 core,core-b")
		place("core", "c0")
	}
	shell(t, "ip addr del 10.2.0.2/24 dev c0")
	expect("FORCED 906 c0 core-b", "core-b")
	refused("core-b", 530, "10.2.0.2")
	place("core", "c0")
	shell(t, "ip addr add 10.2.0.2/24 dev c0")
	expect("RESTART 900 c0 core-b")
	place("core-b", "c0")
	if m := g.metrics(); !strings.Contains(m, "isthmus_mgw_realm_failures_total 5") || !strings.Contains(m, "isthmus_mgw_realm_refusals_total 3") ||
		!strings.Contains(m, `isthmus_mgw_realm_available{realm="core-b"} 1`) {
		t.Error(m)
	}
}

// unavailable is the realms that are not available by capabilities, which operators and metrics are told too.
func (g *gateway) unavailable() []string {
	g.t.Helper()
	caps, err := g.iq.AuditCapabilities(g.t.Context(), &iqv1.AuditCapabilitiesRequest{})
	if err != nil {
		g.t.Fatal(err)
	}
	list, err := adminv1.NewGatewayAdminClient(g.admin).ListRealms(g.t.Context(), &adminv1.ListRealmsRequest{})
	if err != nil {
		g.t.Fatal(err)
	}
	var down []string
	for i, r := range caps.GetRealms() {
		row := list.GetRealms()[i]
		if row.GetName() != r.GetName() || row.GetAvailable() == r.GetUnavailable() || row.GetSince() == nil || (row.GetReason() != "") == row.GetAvailable() {
			g.t.Errorf("operators: %v; capabilities: %v", row, r)
		}
		if shown := strings.Contains(g.metrics(), fmt.Sprintf("isthmus_mgw_realm_available{realm=%q} 0", r.GetName())); shown != r.GetUnavailable() {
			g.t.Errorf("metric of %s: %v", r.GetName(), shown)
		}
		if r.GetUnavailable() {
			down = append(down, r.GetName())
		}
	}
	return down
}

func (g *gateway) metrics() string {
	g.t.Helper()
	_, _, addr := g.app.Addresses()
	res, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	defer http.DefaultClient.CloseIdleConnections()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(b)
}
