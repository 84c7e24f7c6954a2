package sipnode

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// The two networks a Node speaks.
const (
	UDP = "udp"
	TCP = "tcp"
)

// Target is a transport address: where a message goes or came from. Comparable.
type Target struct {
	Network string // UDP or TCP
	Addr    netip.AddrPort
}

// String gives "udp:127.0.0.1:5060".
func (t Target) String() string { return t.Network + ":" + t.Addr.String() }

// TargetOf finds where a request for u goes (RFC 3263 §4 for numeric hosts and localhost; names are
// not resolved, test peers and the demo core use addresses). The transport parameter chooses TCP;
// without a port it is 5060.
func TargetOf(u *sip.Uri) (Target, error) {
	if !strings.EqualFold(u.Scheme, "sip") {
		return Target{}, fmt.Errorf("sipnode: no target for a %q URI", u.Scheme)
	}
	host := strings.Trim(u.Host, "[]")
	if v, ok := u.UriParams.Get("maddr"); ok {
		host = strings.Trim(v, "[]")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return Target{}, fmt.Errorf("sipnode: host %q is no address", host)
	}
	if u.Port < 0 || u.Port > 65535 {
		return Target{}, fmt.Errorf("sipnode: port %d of %q out of range", u.Port, host)
	}
	t := Target{Network: UDP, Addr: netip.AddrPortFrom(ip.Unmap(), 5060)}
	if u.Port != 0 {
		t.Addr = netip.AddrPortFrom(ip.Unmap(), uint16(u.Port))
	}
	switch v, _ := u.UriParams.Get("transport"); strings.ToLower(v) {
	case "", "udp":
	case "tcp":
		t.Network = TCP
	default:
		return Target{}, fmt.Errorf("sipnode: transport %q not spoken here", v)
	}
	return t, nil
}

// NextHop is where req goes: its top Route, else its Request-URI (RFC 3261 §16.6 step 6, loose
// routing only).
func NextHop(req *sip.Request) (Target, error) {
	if r := req.Route(); r != nil {
		return TargetOf(&r.Address)
	}
	return TargetOf(&req.Recipient)
}
