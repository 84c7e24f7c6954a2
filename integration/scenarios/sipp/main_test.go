package sipp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// firstPort is that of the first sipp; theirs follow from it.
const firstPort = 19000

var (
	programs scenario.Programs
	gateway  = scenario.Pair{Programs: &programs, Base: 18000}
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
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(parallel)); err != nil {
		fmt.Fprintln(os.Stderr, "sipp:", err)
		os.Exit(1)
	}
	os.Exit(programs.Main(scenario.RunnerFunc(func() int {
		code, err := run(m)
		if err != nil {
			fmt.Fprintln(os.Stderr, "sipp:", err)
			code = 1
		}
		return code
	})))
}

// run starts the stack, runs the tests and looks for what they left behind. Requests from the core are expected from sipp on 127.0.0.1, the address of
// the registrar, which has the demo core's place.
func run(m *testing.M) (code int, err error) {
	if _, err := exec.LookPath("sipp"); err != nil {
		return 1, peer.ErrMissing
	}
	world.core = netip.MustParseAddrPort(gateway.At(scenario.PortCore))
	if world.registrar, err = newRegistrar(gateway.At(scenario.PortSIP)); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.registrar.Close()) }()
	s := stack.New(nil)
	defer func() { err = errors.Join(err, s.Close(15*time.Second)) }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, d := range []stack.Daemon{
		gateway.MGC("--core.t1="+t1.String(), "--log.level=warn"),
		gateway.MGW("mgw-sipp", fmt.Sprintf("--realms.core.0.port_min=%d", gateway.Base+500), fmt.Sprintf("--realms.core.0.port_max=%d", gateway.Base+999), "--log.level=warn"),
	} {
		if err := s.Start(ctx, d); err != nil {
			return 1, err
		}
	}
	for offset, use := range map[int]func(*grpc.ClientConn){
		scenario.PortAdmin:   func(c *grpc.ClientConn) { world.mgc = adminv1.NewControllerAdminClient(c) },
		scenario.PortGWAdmin: func(c *grpc.ClientConn) { world.mgw = adminv1.NewGatewayAdminClient(c) },
	} {
		conn, err := grpc.NewClient(gateway.At(offset), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return 1, err
		}
		defer conn.Close()
		use(conn)
	}
	code = m.Run()
	return code, settled()
}
