package sipp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// Ports of this package; those of sipp follow from firstPort.
const (
	registrarAddr = "127.0.0.1:18060"
	coreAddr      = "127.0.0.1:18070"
	accessAddr    = "127.0.0.1:18080"
	mgcIqAddr     = "127.0.0.1:18400"
	mgcAdminAddr  = "127.0.0.1:18401"
	mgcHTTPAddr   = "127.0.0.1:18402"
	mgwIqAddr     = "127.0.0.1:18420"
	mgwAdminAddr  = "127.0.0.1:18421"
	mgwHTTPAddr   = "127.0.0.1:18422"
	firstPort     = 19000
)

// t1 is the round-trip estimate that the controller runs with. Less than the default shortens every wait; much less makes a busy
// machine look like loss. timerB is 64 of it.
const (
	t1     = 300 * time.Millisecond
	timerB = 64 * t1
)

// parallel is how many tests run at once: nearly all they do is wait for repetitions.
const parallel = 6

// world is what all tests share; it is set by TestMain and never changed.
var world struct {
	core      netip.AddrPort // the controller towards the core
	registrar *registrar
	mgc       adminv1.ControllerAdminClient
	mgw       adminv1.GatewayAdminClient
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sipp:", err)
		code = 1
	}
	os.Exit(code)
}

// run starts the stack, runs the tests and looks for what they left behind.
func run(m *testing.M) (code int, err error) {
	if _, err := exec.LookPath("sipp"); err != nil {
		return 1, peer.ErrMissing
	}
	bin, err := binaries()
	if err != nil {
		return 1, err
	}
	world.core = netip.MustParseAddrPort(coreAddr)
	if world.registrar, err = newRegistrar(); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.registrar.Close()) }()
	s := stack.New(nil)
	defer func() { err = errors.Join(err, s.Close(15*time.Second)) }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := start(ctx, s, bin); err != nil {
		return 1, err
	}
	for addr, use := range map[string]func(*grpc.ClientConn){
		mgcAdminAddr: func(c *grpc.ClientConn) { world.mgc = adminv1.NewControllerAdminClient(c) },
		mgwAdminAddr: func(c *grpc.ClientConn) { world.mgw = adminv1.NewGatewayAdminClient(c) },
	} {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return 1, err
		}
		defer conn.Close()
		use(conn)
	}
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, settled()
}

// binaries finds bin/ at the root of the workspace.
func binaries() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.work above the package")
		}
		dir = filepath.Dir(dir)
	}
	for _, name := range []string{"mgc", "mgw"} {
		if _, err := os.Stat(filepath.Join(dir, "bin", name)); err != nil {
			return "", fmt.Errorf("bin/%s is not built: run make build", name)
		}
	}
	return filepath.Join(dir, "bin"), nil
}

// start runs controller and media gateway. Requests from the core are expected from sipp on 127.0.0.1, the address of the
// registrar.
func start(ctx context.Context, s *stack.Stack, bin string) error {
	for _, d := range []stack.Daemon{
		{Name: "mgc", Ready: "http://" + mgcHTTPAddr + "/healthz", Args: []string{
			"--access.listen=" + accessAddr, "--core.listen=" + coreAddr, "--core.next_hop=sip:" + registrarAddr, "--core.t1=" + t1.String(),
			"--iq.listen=" + mgcIqAddr, "--admin.listen=" + mgcAdminAddr, "--admin.http=" + mgcHTTPAddr, "--log.level=warn",
		}},
		{Name: "mgw", Ready: "http://" + mgcHTTPAddr + "/readyz", Args: []string{
			"--mgw_id=mgw-sipp", "--iq.listen=" + mgwIqAddr, "--iq.advertise=" + mgwIqAddr, "--iq.mgc=" + mgcIqAddr,
			"--realms.access.0.port=18430", "--realms.core.0.port_min=18500", "--realms.core.0.port_max=18999",
			"--admin.listen=" + mgwAdminAddr, "--http.listen=" + mgwHTTPAddr, "--log.level=warn",
		}},
	} {
		d.Path = filepath.Join(bin, d.Name)
		if err := s.Start(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
