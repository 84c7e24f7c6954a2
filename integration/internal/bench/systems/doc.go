// Package systems runs what the bench compares, each as a process of its own, and sets calls up in it: Isthmus' media gateway over Iq,
// rtpengine over its ng protocol, and the kernel floor. Floor 2 of the integration module. Linux only, loopback only.
package systems

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
)

// System is a process under test. Connect is safe from several goroutines; the others are for the one that started it.
type System interface {
	// Name is for people.
	Name() string
	// Pid is that of the process.
	Pid() int
	// Connect sets a call up.
	Connect(context.Context, load.Offer) (load.Answer, error)
	// Begin is called when all calls are set up.
	Begin() error
	// Close ends the process and waits. The error tells when it did not end as asked.
	Close() error
}

// Port ranges for calls, below those that the kernel picks from for sockets without a port.
const (
	isthmusMin, isthmusMax     = 20000, 23499
	rivalMin, rivalMax         = 23500, 26999
	rtpengineMin, rtpengineMax = 27000, 31999
)

// endpoint joins an IP literal and a port.
func endpoint(ip string, port uint32) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(ip)
	if err != nil || !a.Is4() || port == 0 || port > 65535 {
		return netip.AddrPort{}, fmt.Errorf("systems: %s port %d is no address to send to", ip, port)
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}
