package app

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"

	"github.com/isthmus-gateway/isthmus/mgw/internal/turnserver"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

const turnSecret = "a secret of 24 bytes...."

// loadTURN reads a configuration from flags.
func loadTURN(out *bytes.Buffer, args ...string) (Config, error) {
	cfg := Defaults()
	err := conf.Load(&cfg, conf.Options{Name: "mgw", EnvPrefix: "ISTHMUS_MGW_TEST", Args: args, Env: []string{"ISTHMUS_MGW_TEST_TURN_SECRETS=" + turnSecret}, Out: out})
	return cfg, err
}

func TestTURNConfiguration(t *testing.T) {
	cfg, err := loadTURN(nil)
	if err != nil || cfg.TURN.on() {
		t.Errorf("by default: %v, on %v", err, cfg.TURN.on())
	}
	cfg, err = loadTURN(nil, "--turn.udp=0.0.0.0:3478", "--realms.access.0.listen=10.0.0.9", "--realms.access.0.advertise=203.0.113.7")
	if r := cfg.TURN.Relay; err != nil || r.Listen.String() != "10.0.0.9" || r.Advertise.String() != "203.0.113.7" {
		t.Errorf("relay of the access realm: %+v %v", r, err)
	}
	for want, args := range map[string][]string{
		"turn.cert: turn.tls needs":             {"--turn.tls=0.0.0.0:5349"},
		"turn.secrets: secret 1 has 5 bytes":    {"--turn.udp=0.0.0.0:3478", "--turn.secrets=short"},
		"turn.udp.0: an address and port":       {"--turn.udp=0.0.0.0:0"},
		"turn.relay.port_max: 30000; it must":   {"--turn.udp=0.0.0.0:3478", "--turn.relay.port_min=30001", "--turn.relay.port_max=30000"},
		"turn.relay.port_min: 29000-31999 meet": {"--turn.udp=0.0.0.0:3478", "--turn.relay.port_min=29000"},
		"turn.relay.advertise: is needed":       {"--turn.udp=0.0.0.0:3478", "--turn.relay.listen=0.0.0.0"},
	} {
		if _, err := loadTURN(nil, args...); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "short") {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
	var out bytes.Buffer
	if _, err := loadTURN(&out, "--turn.udp=0.0.0.0:3478", "--print-config"); !errors.Is(err, conf.ErrDone) || strings.Contains(out.String(), turnSecret) {
		t.Errorf("%v, the secret is printed: %v", err, strings.Contains(out.String(), turnSecret))
	}
}

// What an operator sets is what the server is told.
func TestTURNSettingsReachTheServer(t *testing.T) {
	cfg, err := loadTURN(nil, "--turn.udp=10.0.0.9:3478", "--turn.tcp=10.0.0.9:3479", "--turn.realm=there", "--turn.max_age=3h", "--turn.skew=7s", "--turn.peers=10.1.0.0/24",
		"--turn.relay.port_min=31000", "--turn.relay.port_max=31007", "--turn.quota.total=11", "--turn.quota.per_user=12", "--turn.quota.per_source=13",
		"--turn.quota.connections=14", "--turn.quota.bandwidth=15000", "--turn.quota.requests=16")
	if err != nil {
		t.Fatal(err)
	}
	got := (&App{cfg: cfg}).turnConfig()
	quota := turnserver.Quota{Total: 11, PerUser: 12, PerSource: 13, Connections: 14, Bandwidth: 15_000_000, Requests: 16}
	if got.Quota != quota || got.MaxAge != 3*time.Hour || got.Skew != 7*time.Second || got.Realm != "there" || got.Relay.PortMin != 31000 || got.Relay.PortMax != 31007 ||
		fmt.Sprint(got.UDP, got.TCP, got.TLS, got.Peers.Prefixes) != "[10.0.0.9:3478] [10.0.0.9:3479] [] [10.1.0.0/24]" {
		t.Errorf("%+v", got)
	}
}

// A relayed address reaches all ports that the gateway tells browsers in candidates of its family: those of RTCP and of a second address too.
func TestR8656_OwnPortsAreReachable(t *testing.T) {
	const v4, v6 = "10.0.0.9", "2001:db8::9"
	args := []string{"--turn.udp=0.0.0.0:3478", "--media.workers=2", "--realms.access.0.listen=" + v4, "--realms.access.0.advertise=203.0.113.7",
		"--realms.access.0.second=" + v6, "--realms.access.0.port=7430", "--realms.access.0.rtcp_port=7440"}
	for relay, want := range map[string][]string{
		v4: {"203.0.113.7 7430-7431 at " + v4, "203.0.113.7 7440-7441 at " + v4},
		v6: {"203.0.113.7 7430-7431 at " + v4, "203.0.113.7 7440-7441 at " + v4, v6 + " 7430-7431 at " + v6, v6 + " 7440-7441 at " + v6},
	} {
		cfg, err := loadTURN(nil, append(args, "--turn.relay.listen="+relay)...)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range (&App{cfg: cfg}).accessPorts() {
			got = append(got, fmt.Sprintf("%v %d-%d at %v", o.Advertise, o.PortMin, o.PortMax, o.Local))
		}
		if !slices.Equal(got, want) {
			t.Errorf("relay at %s reaches %q, want %q", relay, got, want)
		}
	}
}

// The gateway's own TURN server relays to its own access port and nowhere else, and counts.
func TestR8656_TURNServerOfTheGateway(t *testing.T) {
	at := fmt.Sprintf("127.0.0.1:%d", freeports.Port(t))
	low, high := freeports.UDPPairs(t, 5)
	g := startGateway(t, startController(t), "--turn.tcp="+at, "--turn.secrets="+turnSecret, fmt.Sprintf("--turn.relay.port_min=%d", low), fmt.Sprintf("--turn.relay.port_max=%d", high))
	cred := turnauth.Issue(turnSecret, "alice", time.Now(), time.Minute)
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := turn.NewClient(&turn.ClientConfig{STUNServerAddr: at, TURNServerAddr: at, Conn: turn.NewSTUNConn(conn), Username: cred.Username,
		Password: cred.Password, Realm: "isthmus", LoggerFactory: quiet(), RTO: wait.Limit}) // what is repeated, over TCP too, would count twice
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Listen(); err != nil {
		t.Fatal(err)
	}
	relayed, err := client.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	var refused *stun.TurnError
	if err := client.CreatePermission(&net.UDPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 7430}); !errors.As(err, &refused) || refused.ErrorCodeAttr.Code != stun.CodeForbidden {
		t.Errorf("permission for another address: %v", err)
	}
	if err := client.CreatePermission(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7430}); err != nil {
		t.Errorf("permission for the access address: %v", err)
	}
	_, _, httpAddr := g.app.Addresses()
	page := get(t, "http://"+httpAddr+"/metrics", http.StatusOK)
	for _, want := range []string{"isthmus_mgw_turn_allocations 1", `isthmus_mgw_turn_refused_total{reason="peer"} 1`, `isthmus_mgw_turn_allocations_total{transport="tcp"} 1`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	_ = relayed.Close()
	wait.Until(t, "the allocation to be gone", func() bool { return g.app.turn.Allocations() == 0 })
}

func quiet() logging.LoggerFactory {
	f := logging.NewDefaultLoggerFactory()
	f.DefaultLogLevel = logging.LogLevelDisabled
	return f
}
