package policy

import (
	"net/netip"
	"strconv"
	"strings"
)

// descriptions returns the packet filters of a flow, towards the browser ("out") and from it ("in"), as IPFilterRule
// (RFC 6733 §4.3.1, TS 29.214 §5.3.8).
//
// The browser's end is the candidate that ICE selected; before, its signalling address with any port. Through a TURN server the packets
// on the access are those between browser and TURN server (TS 29.213 §C.2.3): the other end is then the server, and the browser's
// port is known only from the candidate's related address.
func (fl Flow) descriptions(ue netip.Addr) []string {
	near := end{addr: fl.Local.Addr(), port: fl.Local.Port()}
	far := end{addr: ue}
	proto := "17"
	switch c := fl.Remote; {
	case c.Type == "relay":
		proto = protocol(c.Transport)
		near = end{addr: c.Addr.Addr()}
		if c.Server.IsValid() {
			near = end{addr: c.Server.Addr(), port: c.Server.Port()}
		}
		if c.Related.IsValid() && !c.Related.Addr().IsUnspecified() && c.Related.Port() > 9 {
			far = end{addr: c.Related.Addr(), port: c.Related.Port()}
		}
		if proto == "ip" { // a filter for any protocol has no ports
			near.port, far.port = 0, 0
		}
	case c.Type != "" && c.Addr.IsValid():
		far = end{addr: c.Addr.Addr(), port: c.Addr.Port()}
	}
	return []string{
		"permit out " + proto + " from " + near.String() + " to " + far.String(),
		"permit in " + proto + " from " + far.String() + " to " + near.String(),
	}
}

// end is one end of a filter; port 0: any.
type end struct {
	addr netip.Addr
	port uint16
}

func (e end) String() string {
	s := "any"
	if e.addr.IsValid() {
		s = e.addr.Unmap().WithZone("").String()
	}
	if e.port != 0 {
		s += " " + strconv.Itoa(int(e.port))
	}
	return s
}

func protocol(transport string) string {
	switch strings.ToLower(transport) {
	case "udp":
		return "17"
	case "tcp", "tls":
		return "6"
	}
	return "ip"
}
