package siptransport

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// StampReceived notes in the top Via of a request where it really came from: received when sent-by is a name or another
// address (RFC 3261 §18.2.1), rport and received when the client asks for it by an empty rport (RFC 3581 §4). What the
// sender wrote into received or a filled rport itself is replaced or removed: it would direct our responses elsewhere.
func StampReceived(m *headers.Msg, remote netip.AddrPort) {
	via, err := headers.TopVia(m)
	if err != nil {
		return // validation lets none of these through
	}
	via.Params.Del("received")
	addr := remote.Addr().Unmap()
	if via.Params.Has("rport") {
		via.Params.Set("rport", strconv.Itoa(int(remote.Port())))
		via.Params.Set("received", addr.String())
	} else if host, perr := netip.ParseAddr(via.Host); perr != nil || host.Unmap() != addr {
		via.Params.Set("received", addr.String())
	}
	headers.SetTopVia(m, via)
}

// ReplyAddr returns where the response to a stamped request goes on an unreliable transport: maddr is not followed, as it
// would let a request aim responses at others; then received with rport, else the sent-by port (RFC 3261 §18.2.2, RFC 3581 §4).
func ReplyAddr(via headers.Via, source netip.AddrPort) netip.AddrPort {
	if p, err := strconv.ParseUint(via.Params.Value("rport"), 10, 16); err == nil && p != 0 {
		return netip.AddrPortFrom(source.Addr(), uint16(p))
	}
	port := via.Port
	if port == 0 {
		port = headers.DefaultPort(via.Transport)
	}
	if r, err := netip.ParseAddr(strings.Trim(via.Params.Value("received"), "[]")); err == nil {
		return netip.AddrPortFrom(r, port)
	}
	if h, err := netip.ParseAddr(via.Host); err == nil {
		return netip.AddrPortFrom(h.Unmap(), port)
	}
	return netip.AddrPortFrom(source.Addr(), port)
}
