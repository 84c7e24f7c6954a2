package wsedge

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/coder/websocket"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// Subprotocol is the WebSocket subprotocol of SIP (RFC 7118 §4).
const Subprotocol = "sip"

// ServeHTTP implements http.Handler: it upgrades to SIP over WebSocket or refuses with a text that says why.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		http.Error(w, "this path speaks SIP over WebSocket (RFC 7118)", http.StatusUpgradeRequired)
		return
	}
	flow := s.flowOf(r)
	if !s.originAllowed(r) {
		s.refuse(w, r, http.StatusForbidden, "origin", "this origin is not allowed to connect")
		return
	}
	if !offersSIP(r) {
		s.refuse(w, r, http.StatusBadRequest, "subprotocol", `Sec-WebSocket-Protocol must offer "sip" (RFC 7118)`)
		return
	}
	credential, err := s.credential(r)
	if err != nil { // its text is ours and holds nothing of the credential
		s.refuse(w, r, http.StatusBadRequest, "credential", "malformed credentials")
		return
	}
	if why := s.reserve(flow.Remote.Addr()); why != "" {
		w.Header().Set("Retry-After", "5")
		s.refuse(w, r, http.StatusServiceUnavailable, "limit", why)
		return
	}
	defer s.running.Done()
	ws, err := websocket.Accept(hijacker{w, &s.buffers}, r, &websocket.AcceptOptions{
		Subprotocols: []string{Subprotocol}, CompressionMode: websocket.CompressionDisabled,
		InsecureSkipVerify: true, // the Origin has been checked above, by our own list
	})
	if err != nil {
		s.release(flow.Remote.Addr())
		s.in.Metrics.Refused(flow.Transport, "handshake")
		return
	}
	ws.SetReadLimit(int64(s.cfg.MaxMessage))
	c := newConn(s, ws, flow)
	if !s.enter(c) {
		_ = ws.CloseNow()
		s.release(flow.Remote.Addr())
		return
	}
	if credential != "" { // forgotten with OnFlowClosed, which follows in any case now
		s.cfg.Bind(flow.ID, credential)
	}
	// The reader gets a goroutine of its own: this one's stack has grown with the HTTP request and ends here.
	go c.run()
}

// refuse answers and counts; what the client sent is not echoed, and no URL is logged: it may hold a credential.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, reason, text string) {
	s.in.Metrics.Refused("WS", reason)
	s.log.Debug("WebSocket refused", zap.String("remote", r.RemoteAddr), zap.String("reason", reason),
		zap.String("origin", headers.ForLog(r.Header.Get("Origin"), 100)))
	http.Error(w, text, status)
}

func (s *Server) credential(r *http.Request) (string, error) {
	if s.cfg.Credential == nil || s.cfg.Bind == nil {
		return "", nil
	}
	return s.cfg.Credential(r)
}

func offersSIP(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for _, p := range strings.Split(line, ",") {
			if strings.EqualFold(strings.TrimSpace(p), Subprotocol) {
				return true
			}
		}
	}
	return false
}

// flowOf describes the connection of a request: the peer, or what a trusted proxy says of it.
func (s *Server) flowOf(r *http.Request) siptransport.Flow {
	f := siptransport.Flow{ID: siptransport.NewFlowID(), Transport: "WS", Edge: siptransport.EdgeAccess}
	if r.TLS != nil {
		f.Transport = "WSS"
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		f.Local = addrPort(local)
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return f // not from a socket
	}
	f.Remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if !s.trusted(f.Remote.Addr()) {
		return f
	}
	if strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		f.Transport = "WSS"
	}
	// The last address that is not a proxy of ours is the client: everything before it is only claimed.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		a, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		f.Remote = netip.AddrPortFrom(a.Unmap().WithZone(""), f.Remote.Port())
		if !s.trusted(a.Unmap()) {
			break
		}
	}
	return f
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// originPattern is one entry of the allow-list.
type originPattern struct {
	any    bool
	scheme string
	host   string // with port when one is written
	suffix bool   // host is ".example.com", any label before it
}

func parseOrigins(list []string) ([]originPattern, error) {
	out := make([]originPattern, 0, len(list))
	for _, e := range list {
		if e == "*" {
			out = append(out, originPattern{any: true})
			continue
		}
		u, err := url.Parse(strings.Replace(e, "://*.", "://", 1))
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || strings.ContainsAny(u.Host, "*") {
			return nil, fmt.Errorf("wsedge: origin %q: want scheme://host[:port], scheme://*.domain, or *", e)
		}
		p := originPattern{scheme: strings.ToLower(u.Scheme), host: strings.ToLower(u.Host)}
		if strings.Contains(e, "://*.") {
			p.suffix, p.host = true, "."+p.host
		}
		out = append(out, p)
	}
	return out, nil
}

// originAllowed checks the Origin that browsers send (RFC 6455 §10.2).
func (s *Server) originAllowed(r *http.Request) bool {
	all := r.Header.Values("Origin")
	if len(all) == 0 {
		return !s.cfg.RequireOrigin
	}
	u, err := url.Parse(all[0])
	if len(all) > 1 || err != nil {
		return false
	}
	host := strings.ToLower(u.Host)
	if host != "" && host == strings.ToLower(r.Host) {
		return true
	}
	for _, p := range s.origins {
		switch {
		case p.any:
			return true
		case p.scheme != strings.ToLower(u.Scheme):
		case p.suffix && strings.HasSuffix(host, p.host), !p.suffix && host == p.host:
			return true
		}
	}
	return false
}
