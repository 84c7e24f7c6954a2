package scenario

import (
	"fmt"

	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
)

// Ports of a Pair, from its base on. The MGW's media towards the core has those from PortRTPMin to PortRTPMax.
const (
	PortIq, PortAdmin, PortHTTP       = 0, 1, 2 // of the MGC
	PortGWIq, PortGWAdmin, PortGWHTTP = 20, 21, 22
	PortMedia                         = 30 // access side of the MGW
	PortSIP, PortStatus               = 60, 61
	PortCore                          = 70 // MGC towards the core
	PortWS                            = 80
	PortRTPMin, PortRTPMax            = 100, 199
)

// Pair is one MGC with one MGW and a demo core, on 127.0.0.1.
type Pair struct {
	*Programs     // where they come from
	Base      int // of the ports
}

// At is the address with the port Base+offset.
func (p Pair) At(offset int) string { return fmt.Sprintf("127.0.0.1:%d", p.Base+offset) }

// WebSocket is the URL of the MGC for browsers.
func (p Pair) WebSocket() string { return "ws://" + p.At(PortWS) + "/sip" }

// Democore is the demo core, with more flags.
func (p Pair) Democore(more ...string) stack.Daemon {
	return stack.Daemon{Name: "democore", Path: p.Path("democore"), Ready: "http://" + p.At(PortStatus) + "/healthz",
		Args: append([]string{"--listen=" + p.At(PortSIP), "--status=" + p.At(PortStatus)}, more...)}
}

// MGC is the controller, with more flags.
func (p Pair) MGC(more ...string) stack.Daemon {
	return stack.Daemon{Name: "mgc", Path: p.Path("mgc"), Ready: "http://" + p.At(PortHTTP) + "/healthz", Args: append([]string{
		"--access.listen=" + p.At(PortWS), "--core.listen=" + p.At(PortCore), "--core.next_hop=sip:" + p.At(PortSIP),
		"--iq.listen=" + p.At(PortIq), "--admin.listen=" + p.At(PortAdmin), "--admin.http=" + p.At(PortHTTP),
	}, more...)}
}

// MGW is the media gateway, with an id for the MGC and more flags. It serves when the MGC has it.
func (p Pair) MGW(id string, more ...string) stack.Daemon {
	return stack.Daemon{Name: "mgw", Path: p.Path("mgw"), Ready: "http://" + p.At(PortHTTP) + "/readyz", Args: append([]string{
		"--mgw_id=" + id, "--iq.listen=" + p.At(PortGWIq), "--iq.mgc=" + p.At(PortIq), "--admin.listen=" + p.At(PortGWAdmin), "--http.listen=" + p.At(PortGWHTTP),
		fmt.Sprintf("--realms.access.0.port=%d", p.Base+PortMedia),
		fmt.Sprintf("--realms.core.0.port_min=%d", p.Base+PortRTPMin), fmt.Sprintf("--realms.core.0.port_max=%d", p.Base+PortRTPMax),
	}, more...)}
}
