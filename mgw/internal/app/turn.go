package app

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/isthmus-gateway/isthmus/mgw/internal/flow"
	"github.com/isthmus-gateway/isthmus/mgw/internal/turnserver"
	"github.com/isthmus-gateway/isthmus/pkg/tlsfiles"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

// TURNConfig is the embedded STUN and TURN server.
type TURNConfig struct {
	UDP        []netip.AddrPort  `conf:"udp" doc:"Addresses and ports for clients over UDP, such as 0.0.0.0:3478. A machine with several addresses lists each: answers must come from the one that was asked."`
	TCP        []netip.AddrPort  `conf:"tcp" doc:"Addresses and ports for clients over TCP."`
	TLS        []netip.AddrPort  `conf:"tls" doc:"Addresses and ports for clients over TLS; 443 passes most firewalls."`
	Cert       string            `conf:"cert" doc:"PEM file with the certificate chain for tls. Read again when it changes."`
	Key        string            `conf:"key" doc:"PEM file with its private key."`
	Realm      string            `conf:"realm" default:"isthmus" doc:"Realm of the credentials (RFC 8489 §9.2)."`
	SecretFile string            `conf:"secret_file" doc:"File with the secrets shared with the controllers, one a line, # for comments; any of them is accepted. Read again when it changes."`
	Secrets    []turnauth.Secret `conf:"secrets" doc:"The like without a file: 16 to 256 bytes each. Better given as environment variable than as flag."`
	Relay      TURNRelayConfig   `conf:"relay" doc:"Relayed addresses."`
	Peers      []netip.Prefix    `conf:"peers" doc:"Prefixes that may be reached through a relayed address, any port, besides this gateway's own access media: the access addresses of the pool's other gateways. Whoever may call may send there."`
	Quota      TURNQuotaConfig   `conf:"quota" doc:"Limits."`
	MaxAge     time.Duration     `conf:"max_age" default:"12h" range:"1m..168h" doc:"Longest life of an allocation. A credential that expires meanwhile keeps it, but gets no new one."`
	Skew       time.Duration     `conf:"skew" default:"30s" range:"1s..10m" doc:"How long a credential is accepted after its expiry, for clocks that differ."`
}

// TURNRelayConfig is where relayed addresses are.
type TURNRelayConfig struct {
	Listen    netip.Addr `conf:"listen" doc:"Local address. Empty: that of the first access realm."`
	Advertise netip.Addr `conf:"advertise" doc:"Address told to clients. Empty: that of the first access realm, or listen when given."`
	PortMin   uint16     `conf:"port_min" default:"30000" range:"1024..65535" doc:"First UDP port. Only this gateway's own access ports and peers send there."`
	PortMax   uint16     `conf:"port_max" default:"31999" range:"1024..65535" doc:"Last UDP port; one per allocation."`
}

// TURNQuotaConfig bounds what clients take.
type TURNQuotaConfig struct {
	Total       int `conf:"total" default:"1000" range:"1..60000" doc:"Allocations. A browser takes one per server URL and network interface."`
	PerUser     int `conf:"per_user" default:"24" range:"1..60000" doc:"Allocations of one user."`
	PerSource   int `conf:"per_source" default:"200" range:"1..60000" doc:"Allocations of one client address (IPv6: /64), behind which may be many users, and half of its connections."`
	Connections int `conf:"connections" default:"2000" range:"1..1000000" doc:"TCP and TLS connections."`
	Bandwidth   int `conf:"bandwidth" default:"2000" range:"16..1000000" doc:"kbit/s of payload per allocation and direction; more is dropped."`
	Requests    int `conf:"requests" default:"50" range:"1..100000" doc:"STUN requests and connections per second from one address, four times as many at once; more are dropped."`
}

// on reports whether there is a server at all.
func (c *TURNConfig) on() bool { return len(c.UDP)+len(c.TCP)+len(c.TLS) > 0 }

// validate resolves the relay's addresses from the realms, which have been looked at.
func (c *TURNConfig) validate(realms RealmsConfig, refuse func(path, format string, args ...any)) {
	if !c.on() || len(realms.Access) == 0 {
		return
	}
	for path, list := range map[string][]netip.AddrPort{"turn.udp": c.UDP, "turn.tcp": c.TCP, "turn.tls": c.TLS} {
		for i, a := range list {
			if !a.IsValid() || a.Port() == 0 {
				refuse(fmt.Sprintf("%s.%d", path, i), "an address and port is needed")
			}
		}
	}
	if (len(c.TLS) > 0 || c.Cert+c.Key != "") && (c.Cert == "" || c.Key == "") {
		refuse("turn.cert", "turn.tls needs cert and key, which go together")
	}
	if c.SecretFile == "" {
		if err := turnauth.Check(turnauth.Texts(c.Secrets)); err != nil {
			refuse("turn.secrets", "%v; give secrets or secret_file", err)
		}
	}
	if c.Realm == "" || len(c.Realm) > 127 {
		refuse("turn.realm", "1 to 127 bytes are needed")
	}
	c.resolve(realms.Access[0])
	c.validateRelay(realms, refuse)
}

func (c *TURNConfig) resolve(access AccessConfig) {
	r := &c.Relay
	if !r.Listen.IsValid() {
		r.Listen = access.Listen
		if !r.Advertise.IsValid() {
			r.Advertise = access.Advertise
		}
	}
	if !r.Advertise.IsValid() {
		r.Advertise = r.Listen
	}
}

func (c *TURNConfig) validateRelay(realms RealmsConfig, refuse func(path, format string, args ...any)) {
	r := c.Relay
	switch {
	case r.Advertise.IsUnspecified():
		refuse("turn.relay.advertise", "is needed when listen is every address")
	case r.Advertise.Is4() != r.Listen.Is4():
		refuse("turn.relay.advertise", "%v is not of the family of listen, %v", r.Advertise, r.Listen)
	case r.PortMax < r.PortMin:
		refuse("turn.relay.port_max", "%d; it must not be below port_min, %d", r.PortMax, r.PortMin)
	}
	for i, core := range realms.Core {
		same := core.Listen == r.Listen || core.Listen.IsUnspecified() || r.Listen.IsUnspecified()
		if same && r.PortMin <= core.PortMax && core.PortMin <= r.PortMax {
			refuse("turn.relay.port_min", "%d-%d meets realms.core.%d, %d-%d", r.PortMin, r.PortMax, i, core.PortMin, core.PortMax)
		}
	}
}

// openTURN starts the TURN server when there is one.
func (a *App) openTURN(reg prometheus.Registerer) (err error) {
	c := a.cfg.TURN
	if !c.on() {
		return nil
	}
	log := a.log.Named("turn")
	if a.turnSecrets, err = turnauth.Load(c.SecretFile, turnauth.Texts(c.Secrets), 0, log); err != nil {
		return fmt.Errorf("turn: %w", err)
	}
	cfg := a.turnConfig()
	cfg.Secrets, cfg.Metrics, cfg.Log = a.turnSecrets.All, reg, log
	if c.Cert != "" {
		if a.turnCert, err = tlsfiles.Load(c.Cert, c.Key, 0, log); err != nil {
			return fmt.Errorf("turn: %w", err)
		}
		cfg.Certificate = a.turnCert.GetCertificate
	}
	a.turn, err = turnserver.New(cfg)
	return err
}

// turnConfig is what the settings say of the server.
func (a *App) turnConfig() turnserver.Config {
	c := &a.cfg.TURN
	return turnserver.Config{
		UDP: c.UDP, TCP: c.TCP, TLS: c.TLS, Realm: c.Realm,
		Relay: turnserver.Relay{Listen: c.Relay.Listen, Advertise: c.Relay.Advertise, PortMin: c.Relay.PortMin, PortMax: c.Relay.PortMax},
		Peers: turnserver.Peers{Own: a.accessPorts(), Prefixes: c.Peers},
		Quota: turnserver.Quota{Total: c.Quota.Total, PerUser: c.Quota.PerUser, PerSource: c.Quota.PerSource, Connections: c.Quota.Connections,
			Bandwidth: 1000 * c.Quota.Bandwidth, Requests: c.Quota.Requests},
		MaxAge: c.MaxAge, Skew: c.Skew,
	}
}

// accessPorts are the ports that browsers' media comes to, one per worker and realm, of RTCP too, and of the second address where that is of the relay's
// family.
func (a *App) accessPorts() (own []turnserver.OwnPeer) {
	workers := a.cfg.Media.Workers
	if workers == 0 {
		workers = flow.Cores() // as flow takes it
	}
	add := func(r AccessConfig, listen, advertise netip.Addr) {
		o := turnserver.OwnPeer{Local: listen, Advertise: advertise, PortMin: r.Port, PortMax: r.Port + uint16(workers-1)}
		if !o.Advertise.IsValid() {
			o.Advertise = listen
		}
		own = append(own, o)
		if r.RTCPPort != 0 {
			o.PortMin, o.PortMax = r.RTCPPort, r.RTCPPort+uint16(workers-1)
			own = append(own, o)
		}
	}
	for _, r := range a.cfg.Realms.Access {
		add(r, r.Listen, r.Advertise)
		if r.Second.IsValid() && r.Second.Unmap().Is4() == a.cfg.TURN.Relay.Listen.Unmap().Is4() {
			add(r, r.Second, r.SecondAdv)
		}
	}
	return own
}

func (a *App) closeTURN() {
	if a.turn != nil {
		a.turn.Close()
	}
	if a.turnCert != nil {
		_ = a.turnCert.Close() // never fails
	}
	if a.turnSecrets != nil {
		_ = a.turnSecrets.Close() // never fails
	}
}
