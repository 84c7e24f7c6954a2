package app

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/coreedge"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
)

// CoreListener is one more listener towards the core, of another address family, interface or transport.
type CoreListener struct {
	Transport string         `conf:"transport" default:"udp" range:"udp|tcp|tls" doc:"Transport."`
	Listen    netip.AddrPort `conf:"listen" doc:"Address and port."`
	Advertise string         `conf:"advertise" doc:"host:port in Via, Path and Contact over this listener; empty: listen."`
}

// CoreTLSConfig is SIP over TLS towards the core.
type CoreTLSConfig struct {
	Listen      netip.AddrPort `conf:"listen" doc:"Address and port of SIP over TLS, e.g. 10.0.0.9:5071; empty: no TLS."`
	Advertise   string         `conf:"advertise" doc:"host:port in Via, Path and Contact over TLS; empty: listen."`
	Cert        string         `conf:"cert" doc:"PEM file with our certificate chain, shown to peers on both sides of a connection; read again when it changes."`
	Key         string         `conf:"key" doc:"PEM file with its private key."`
	CA          string         `conf:"ca" doc:"PEM file with the authorities that peers' certificates must come from; empty: those of the system, with mutual=false."`
	Mutual      bool           `conf:"mutual" default:"true" doc:"Refuse peers that connect without a certificate of ca."`
	Trust       string         `conf:"trust" default:"address" range:"address|certificate" doc:"Who may send requests over TLS: address: the next hop and core.trusted, as over UDP and TCP; certificate: who shows one of ca, too."`
	Peers       []string       `conf:"peers" doc:"With trust=certificate only those that name one of these SIP domains, hosts or addresses (RFC 5922)."`
	NextHopName string         `conf:"next_hop_name" doc:"What the next hop's certificate must name; empty: the host of core.next_hop."`
}

// BlacklistConfig is what becomes of targets that fail.
type BlacklistConfig struct {
	For time.Duration `conf:"for" default:"30s" range:"1s..1h" doc:"How long a target of the core that failed is tried last; each further failure in a row doubles it."`
	Max time.Duration `conf:"max" default:"10m" range:"1s..24h" doc:"Longest such time, Retry-After of a 503 included."`
}

// KeepAliveConfig keeps the ways to the core open.
type KeepAliveConfig struct {
	CRLF     string        `conf:"crlf" default:"auto" range:"auto|on|off" doc:"Keep-alives on TCP and TLS connections that we opened (RFC 5626). auto: when the peer agrees to them in Via (RFC 6223)."`
	Interval time.Duration `conf:"interval" default:"95s" range:"1s..1h" doc:"Longest time between two of them."`
	Options  time.Duration `conf:"options" default:"0s" range:"0s..1h" doc:"Interval of OPTIONS to each target of the next hop; 0: none. A blacklisted target that answers is used again at once."`
}

// validate checks the rules across fields.
func (c *CoreConfig) validate() error {
	var errs []error
	if err := c.validateSRTP(); err != nil {
		errs = append(errs, err)
	}
	if c.Listen.Addr().IsUnspecified() && c.Advertise == "" {
		errs = append(errs, errors.New("core.advertise: needed when core.listen is an unspecified address"))
	}
	tls := c.TLS.Listen.IsValid()
	if tls && c.TLS.Listen.Addr().IsUnspecified() && c.TLS.Advertise == "" {
		errs = append(errs, errors.New("core.tls.advertise: needed when core.tls.listen is an unspecified address"))
	}
	for i, l := range c.Listeners {
		switch {
		case !l.Listen.IsValid():
			errs = append(errs, fmt.Errorf("core.listeners.%d.listen: missing", i))
		case l.Listen.Addr().IsUnspecified() && l.Advertise == "":
			errs = append(errs, fmt.Errorf("core.listeners.%d.advertise: needed when listen is an unspecified address", i))
		}
		tls = tls || l.Transport == "tls"
	}
	if !tls {
		return errors.Join(errs...)
	}
	if c.TLS.Cert == "" || c.TLS.Key == "" {
		errs = append(errs, errors.New("core.tls: listen needs cert and key"))
	}
	if c.TLS.CA == "" && (c.TLS.Mutual || c.TLS.Trust == "certificate") {
		errs = append(errs, errors.New("core.tls.ca: needed by mutual and by trust=certificate"))
	}
	return errors.Join(errs...)
}

// edge is the configuration of the core edge. home is our name in Contact and Path.
func (c *CoreConfig) edge(home string) coreedge.Config {
	out := coreedge.Config{
		Listen: []coreedge.Listen{
			{Transport: "UDP", Addr: c.Listen, Advertise: c.Advertise},
			{Transport: "TCP", Addr: c.Listen, Advertise: c.Advertise},
		},
		Home: home, NextHop: c.NextHop, Allow: c.Trusted, Reach: c.Reach, DNS: c.DNS,
		Blacklist: coreedge.Blacklist{For: c.Blacklist.For, Max: c.Blacklist.Max}, Probe: c.KeepAlive.Options,
		TLS: coreedge.TLS{
			Cert: c.TLS.Cert, Key: c.TLS.Key, CA: c.TLS.CA, Mutual: c.TLS.Mutual, Trusted: c.TLS.Trust == "certificate",
			Peers: c.TLS.Peers, NextHopName: c.TLS.NextHopName,
		},
	}
	if c.TLS.Listen.IsValid() {
		out.Listen = append(out.Listen, coreedge.Listen{Transport: "TLS", Addr: c.TLS.Listen, Advertise: c.TLS.Advertise})
	}
	for _, l := range c.Listeners {
		out.Listen = append(out.Listen, coreedge.Listen{Transport: l.Transport, Addr: l.Listen, Advertise: l.Advertise})
	}
	modes := map[string]siptransport.KeepMode{"auto": siptransport.KeepNegotiated, "on": siptransport.KeepAlways, "off": siptransport.KeepNever}
	out.TCP.KeepAlive = siptransport.KeepAlive{Mode: modes[c.KeepAlive.CRLF], Interval: c.KeepAlive.Interval}
	return out
}

// askCore sends a probe of the core edge.
func (a *App) askCore(req headers.Msg, to siptransport.Target, done func(status int)) error {
	_, err := a.layer.Request(req, to, func(r siptx.ClientResult) {
		if r.Kind != siptx.Provisional && !r.Retransmission {
			done(r.Msg.Status)
		}
	})
	return err
}
