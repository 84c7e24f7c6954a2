package coreedge

import (
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// naming are the fields of ours that hold our address: where the peer shall send to.
var naming = []string{"Contact", "Path", "Record-Route"}

// us is our address as peers see it.
type us struct {
	host string // as in a URI, IPv6 without brackets
	port uint16 // 0: none is written
}

func (u us) String() string { return headers.HostPort(u.host, u.port) }

// parseUs reads host[:port].
func parseUs(hostport string) (us, error) {
	u, err := headers.ParseURI("sip:" + hostport)
	return us{strings.ToLower(u.Host), u.Port}, err
}

// names holds the address of every listener. The layers above know one of them, the home; what crosses over another listener is
// changed on its way: the peer sees the one that it can reach, of its address family and transport.
type names struct {
	home us
	all  map[us]bool
	tcp  bool // the next hop is spoken to over TCP by configuration: it shall do the same
}

// Localize implements siptransport.Network.
func (e *Edge) Localize(m, req *headers.Msg, over siptransport.Flow) {
	if over.Edge != siptransport.EdgeCore {
		return
	}
	here, ok := e.listener(over)
	if !ok {
		return
	}
	transport := ""
	switch {
	case over.Transport == "TLS":
		transport = "tls"
	case over.Transport == "TCP" && e.names.tcp:
		transport = "tcp"
	}
	if here == e.names.home && transport == "" {
		return
	}
	sips := over.Transport == "TLS" && isSecure(req)
	copied := false
	for i := range m.Fields {
		if !slices.ContainsFunc(naming, func(n string) bool { return strings.EqualFold(n, m.Fields[i].Name) }) {
			continue
		}
		if v, ok := e.names.there(m.Fields[i].Value, here, transport, sips); ok {
			if !copied {
				m.Fields, copied = slices.Clone(m.Fields), true
			}
			m.Fields[i].Value = v
		}
	}
}

// listener returns our address on the socket of a flow.
func (e *Edge) listener(f siptransport.Flow) (us, bool) {
	for _, l := range e.sockets {
		if l.transport == f.Transport && l.local == f.Local {
			return l.name, true
		}
	}
	return us{}, false
}

// there puts another of our addresses into a header value that names the home; false when it does not.
func (n *names) there(value string, to us, transport string, sips bool) (string, bool) {
	a, err := headers.ParseAddress(value)
	if err != nil {
		return "", false
	}
	u, err := headers.ParseURI(a.URI)
	if err != nil || !u.IsSIP() || (us{strings.ToLower(u.Host), u.Port}) != n.home {
		return "", false
	}
	u.Host, u.Port = to.host, to.port
	if sips { // RFC 3261 §8.1.1.8, §12.1.1; transport says nothing more there (RFC 5630 §3.1.1)
		u.Scheme, transport = "sips", ""
	}
	if transport != "" {
		u.Params.Set("transport", transport)
	}
	a.URI = u.String()
	return a.String(), true
}

// isSecure reports whether a request has a SIPS URI as its target, its next hop, or where it has come from.
func isSecure(req *headers.Msg) bool {
	sips := func(s string) bool { return len(s) > 5 && strings.EqualFold(s[:5], "sips:") }
	if sips(req.RequestURI) {
		return true
	}
	for _, name := range [...]string{"Route", "Record-Route"} {
		if v := headers.List(req, name); len(v) > 0 {
			a, err := headers.ParseAddress(v[0])
			return err == nil && sips(a.URI)
		}
	}
	return false
}

// arrived turns our address in the target and the top Route of a request into the home.
func (e *Edge) arrived(m *headers.Msg, _ siptransport.Flow) {
	if uri, ok := e.names.back(m.RequestURI); ok {
		m.RequestURI = uri
	}
	for i := range m.Fields {
		if !strings.EqualFold(m.Fields[i].Name, "Route") {
			continue
		}
		list := headers.SplitList(m.Fields[i].Value)
		if len(list) == 0 {
			return
		}
		a, err := headers.ParseAddress(list[0])
		if err != nil {
			return
		}
		if uri, ok := e.names.back(a.URI); ok {
			a.URI = uri
			list[0] = a.String()
			m.Fields[i].Value = strings.Join(list, ", ")
		}
		return
	}
}

// back undoes there.
func (n *names) back(uri string) (string, bool) {
	if len(n.all) < 2 && !n.tcp {
		return "", false
	}
	u, err := headers.ParseURI(uri)
	if err != nil || !u.IsSIP() || !n.all[us{strings.ToLower(u.Host), u.Port}] {
		return "", false
	}
	u.Scheme, u.Host, u.Port = "sip", n.home.host, n.home.port
	u.Params.Del("transport")
	return u.String(), true
}
