package nat

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
)

// behaviour is what a probe finds out about a translator (RFC 4787).
type behaviour struct {
	mapping   string // of a port inside to one outside: "endpoint" independent, "address", "port" dependent
	filtering string // who may answer: "endpoint" (anybody), "address", "port"
}

// translator is one kind of NAT: rules for a router whose interfaces are called lan and wan.
type translator struct {
	rules string
	is    behaviour
}

// unasked drops what comes for the router itself: for no mapping.
const unasked = `
	chain unasked { type filter hook input priority 0; iifname wan udp dport != 0 drop; }
`

// plainHome is a router that translates TCP only: the phone's connection goes on over any change of rules.
const plainHome = `table ip nat {
	chain out { type nat hook postrouting priority srcnat; oifname wan meta l4proto tcp masquerade; }
	}`

// portRange is a translator with these ports for UDP: the first and the last go in.
const portRange = `table ip nat {
	chain out { type nat hook postrouting priority srcnat; oifname wan meta l4proto udp masquerade to :%d-%d; oifname wan masquerade; }` + unasked + `}`

var (
	// masquerade keeps the port where it is free: the same mapping for all.
	portRestricted = translator{`table ip nat {
	chain out { type nat hook postrouting priority srcnat; oifname wan masquerade; }` + unasked + `}`, behaviour{"endpoint", "port"}}

	// Linux by itself filters by address and port. A port that somebody inside has sent from is remembered with its owner, and with whom it has
	// sent to where that matters; what comes for it is passed on.
	addressRestricted = translator{`table ip nat {
	map owner { type inet_service : ipv4_addr; flags dynamic,timeout; timeout 1m; }
	set asked { type inet_service . ipv4_addr; flags dynamic,timeout; timeout 1m; }
	chain note { type filter hook forward priority 0; iifname lan oifname wan meta l4proto udp update @owner { udp sport : ip saddr } update @asked { udp sport . ip daddr }; }
	chain in { type nat hook prerouting priority dstnat; iifname wan udp dport . ip saddr @asked dnat to udp dport map @owner; }
	chain out { type nat hook postrouting priority srcnat; oifname wan masquerade; }` + unasked + `}`, behaviour{"endpoint", "address"}}

	fullCone = translator{`table ip nat {
	map owner { type inet_service : ipv4_addr; flags dynamic,timeout; timeout 1m; }
	chain note { type filter hook forward priority 0; iifname lan oifname wan meta l4proto udp update @owner { udp sport : ip saddr }; }
	chain in { type nat hook prerouting priority dstnat; iifname wan meta l4proto udp dnat to udp dport map @owner; }
	chain out { type nat hook postrouting priority srcnat; oifname wan masquerade; }` + unasked + `}`, behaviour{"endpoint", "endpoint"}}

	// A new port for each destination.
	symmetric = translator{`table ip nat {
	chain out { type nat hook postrouting priority srcnat; oifname wan meta l4proto udp masquerade random,fully-random; oifname wan masquerade; }` + unasked + `}`, behaviour{"port", "port"}}
)

// rules makes a router what the rules say, as if it had been switched on just now.
func rules(t *testing.T, router *netns.Space, text string) {
	t.Helper()
	nft(t, router, "flush ruleset\n"+text)
	forget(t, router)
}

func nft(t *testing.T, at *netns.Space, script string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	if at != nil {
		cmd = at.Command("nft", "-f", "-")
	}
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}

// forget makes a router forget all mappings (conntrack -F): IPCTNL_MSG_CT_DELETE that names none (linux/netfilter/nfnetlink_conntrack.h).
func forget(t *testing.T, router *netns.Space) {
	t.Helper()
	scenario.Must(t, router.Do(func() error {
		s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		const ctnetlink, ctDelete = 1, 2
		m := make([]byte, unix.SizeofNlMsghdr+4)
		binary.NativeEndian.PutUint32(m, uint32(len(m)))
		binary.NativeEndian.PutUint16(m[4:], ctnetlink<<8|ctDelete)
		binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		m[unix.SizeofNlMsghdr] = unix.AF_INET
		if err := unix.Sendto(s, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return err
		}
		reply := make([]byte, 256)
		n, _, err := unix.Recvfrom(s, reply, 0)
		if err != nil {
			return err
		}
		if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(reply[4:]) != unix.NLMSG_ERROR {
			return fmt.Errorf("conntrack: %x", reply[:n])
		}
		if code := int32(binary.NativeEndian.Uint32(reply[unix.SizeofNlMsghdr:])); code != 0 {
			return fmt.Errorf("conntrack: %w", unix.Errno(-code))
		}
		return nil
	}))
}
