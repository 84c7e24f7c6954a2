package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/obs"
)

// Config is the whole configuration of the media gateway; conf.Load fills it. Start from Defaults.
type Config struct {
	MGWID  string       `conf:"mgw_id" doc:"Name of this gateway, unique in the pool: letters, digits, '.', '_', '-'. Empty: the host's name."`
	Iq     IqConfig     `conf:"iq" doc:"Control protocol with the pool of controllers."`
	Realms RealmsConfig `conf:"realms" doc:"IP realms that terminations are placed in (H.248.41)."`
	Media  MediaConfig  `conf:"media" doc:"Packet path."`
	Tones  TonesConfig  `conf:"tones" doc:"Tones that are played to peers."`

	Announcements AnnouncementsConfig `conf:"announcements" doc:"Announcements that are played to peers."`

	Contexts ContextsConfig `conf:"contexts" doc:"Limits and clean-up of contexts."`
	Admin    AdminConfig    `conf:"admin" doc:"gRPC service for operators, with reflection and health."`
	HTTP     HTTPConfig     `conf:"http" doc:"Metrics and health over HTTP."`
	TURN     TURNConfig     `conf:"turn" doc:"STUN and TURN server for browsers whose network lets no UDP through. Off without udp, tcp and tls."`
	Drain    DrainConfig    `conf:"drain" doc:"Orderly stop."`
	Log      obs.LogConfig  `conf:"log" doc:"Log, to standard error."`
}

// IqConfig is the control protocol.
type IqConfig struct {
	Listen    string        `conf:"listen" default:"127.0.0.1:7420" doc:"Address of the MediaGateway service."`
	Advertise string        `conf:"advertise" doc:"host:port under which controllers reach it. Empty: listen."`
	MGC       []string      `conf:"mgc" default:"127.0.0.1:7400" doc:"Controllers (host:port) to register with, in order of preference. With TLS a controller's certificate must carry that host: a name as DNS name, an address as IP address."`
	Cert      string        `conf:"cert" doc:"PEM file of our certificate; it must carry mgw_id as a name. Read again when it changes."`
	Key       string        `conf:"key" doc:"PEM file of its key."`
	CA        string        `conf:"ca" doc:"PEM file of the authorities that sign controllers' certificates."`
	Insecure  bool          `conf:"insecure" doc:"Allow plaintext beyond loopback."`
	Keep      time.Duration `conf:"keep_replies" default:"90s" range:"60s..1h" doc:"How long replies are kept for repeated transactions."`
	InFlight  int           `conf:"max_in_flight" default:"512" range:"1..100000" doc:"Most transactions executed at once."`
	Restart   time.Duration `conf:"restart_delay" default:"0s" range:"0s..10m" doc:"The first registration waits a random part of it, against avalanches after a power failure."`
}

// RealmsConfig lists the realms.
type RealmsConfig struct {
	Access []AccessConfig `conf:"access" doc:"Towards browsers: one UDP port per worker."`
	Core   []CoreConfig   `conf:"core" doc:"Towards the core network: a port pair per call."`
	Hold   time.Duration  `conf:"hold" default:"1s" range:"0s..1m" doc:"How long an interface must be down, or a realm's address be gone, before the pool is told and calls there end."`
}

// AccessConfig is a realm towards browsers.
type AccessConfig struct {
	Name      string     `conf:"name" default:"access" doc:"Name, as commands give it."`
	Listen    netip.Addr `conf:"listen" default:"127.0.0.1" doc:"Local address."`
	Advertise netip.Addr `conf:"advertise" doc:"Address in candidates. Empty: listen."`
	Second    netip.Addr `conf:"second" doc:"Local address of the other family, with the same ports: candidates of both. Empty: none."`
	SecondAdv netip.Addr `conf:"second_advertise" doc:"Its address in candidates. Empty: second."`
	Port      uint16     `conf:"port" default:"7430" range:"1..65535" doc:"UDP port of the first worker, +1 for each further one."`
	RTCPPort  uint16     `conf:"rtcp_port" default:"0" range:"0..65535" doc:"UDP port of the first worker for RTCP of clients without rtcp-mux, +1 for each further one; not among those of port. 0: such clients are refused."`
	ICE       string     `conf:"ice" default:"lite" range:"lite|full" doc:"lite: answer browsers' checks, which suits a gateway with addresses that they reach. full: check by ourselves too, for peers that are lite or have to be reached first."`
	TCP       uint16     `conf:"tcp" default:"0" range:"0..65535" doc:"TCP port for browsers whose network lets no UDP through (ICE-TCP), for all workers; often 443. 0: none."`
}

// Modes of ICE.
const iceFull = "full"

// CoreConfig is a realm towards the core network.
type CoreConfig struct {
	Name      string     `conf:"name" default:"core" doc:"Name, as commands give it."`
	Listen    netip.Addr `conf:"listen" default:"127.0.0.1" doc:"Local address."`
	Advertise netip.Addr `conf:"advertise" doc:"Address in descriptions. Empty: listen."`
	PortMin   uint16     `conf:"port_min" default:"20000" range:"1024..65534" doc:"First port of the range; RTP takes even ports, RTCP the next odd one."`
	PortMax   uint16     `conf:"port_max" default:"29999" range:"1025..65535" doc:"Last port of the range."`
}

// MediaConfig is the packet path.
type MediaConfig struct {
	Workers       int           `conf:"workers" default:"0" range:"0..256" doc:"Packet threads. 0: one per core, or as many as the CPU quota of a container allows."`
	Nice          int           `conf:"nice" default:"-10" range:"-20..0" doc:"Nice value of the packet threads: media goes before other work of the same control group or session; between those the system decides (cpu.weight, CPUWeight= of systemd). Needs CAP_SYS_NICE; without it they run as others do, with a warning. 0: as others."`
	Fill          int           `conf:"fill" default:"50" range:"0..90" doc:"Share of a core in % up to which a packet thread takes calls before the next one gets any: few busy threads take less processor time than many idle ones. 0: each call goes to the thread with the fewest."`
	OpusWide      int           `conf:"opus_wide_bitrate" default:"32000" range:"6000..128000" doc:"bit/s of Opus that is made of codecs with wide band. A peer's maxaveragebitrate and b=AS keep it lower."`
	OpusNarrow    int           `conf:"opus_narrow_bitrate" default:"24000" range:"6000..128000" doc:"The same of codecs with narrow band."`
	AMRWB         int           `conf:"amr_wb_bitrate" default:"23850" range:"6600..23850" doc:"bit/s that AMR-WB towards the core starts with: its highest mode that needs no more. The peer's mode-set and b=AS keep it lower, its mode requests lead elsewhere (RFC 4867)."`
	InactiveAfter time.Duration `conf:"inactive_after" default:"30s" range:"1s..1h" doc:"Default detection time of media inactivity (H.248.40)."`
	ConsentAfter  time.Duration `conf:"consent_after" default:"30s" range:"5s..10m" doc:"Default detection time of lost consent (RFC 7675)."`
	CertLife      time.Duration `conf:"cert_life" default:"168h" range:"1h..600h" doc:"Time until new calls get a new DTLS certificate (RFC 8827)."`
}

// ContextsConfig is limits and clean-up.
type ContextsConfig struct {
	Max           int           `conf:"max" default:"0" range:"0..1000000" doc:"Most contexts at once; those of high priority may exceed it by a fortieth, emergency calls as long as there are ports. 0: no limit."`
	OrphanTTL     time.Duration `conf:"orphan_ttl" default:"10m" range:"10s..24h" doc:"Time without control activity after which the pool is asked about a context (H.248.36)."`
	HangingGrace  time.Duration `conf:"hanging_grace" default:"30s" range:"1s..10m" doc:"Time from 'unknown context' to its subtraction."`
	HeadlessLimit time.Duration `conf:"headless_limit" default:"4h" range:"1m..72h" doc:"Longest life of a context while the pool is away."`
}

// AdminConfig is the admin service.
type AdminConfig struct {
	Listen   string `conf:"listen" default:"127.0.0.1:7421" doc:"Address of the service."`
	Insecure bool   `conf:"insecure" doc:"Allow an address beyond loopback; the service has no authentication."`
}

// HTTPConfig is the HTTP side.
type HTTPConfig struct {
	Listen string `conf:"listen" default:"127.0.0.1:7422" doc:"Address of /metrics, /healthz and /readyz."`
}

// DrainConfig is the orderly stop.
type DrainConfig struct {
	Grace time.Duration `conf:"grace" default:"20s" range:"0s..24h" doc:"After SIGTERM or SIGINT calls may end by themselves for this long; a second signal cuts it short."`
}

// Defaults is the configuration that works beside a controller on the same machine: one realm on each side, on loopback.
func Defaults() Config {
	return Config{Realms: RealmsConfig{Access: make([]AccessConfig, 1), Core: make([]CoreConfig, 1)}}
}

// Validate checks the rules across settings and fills mgw_id and iq.advertise when they are empty.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(path, format string, args ...any) {
		errs = append(errs, &conf.Error{Source: "configuration", Path: path, Text: fmt.Sprintf(format, args...)})
	}
	if c.MGWID == "" {
		c.MGWID = hostName()
	}
	if !validName(c.MGWID) {
		refuse("mgw_id", "%q; allowed are 1 to 63 letters, digits, '.', '_' and '-'", c.MGWID)
	}
	c.validateIq(refuse)
	c.validateRealms(refuse)
	c.TURN.validate(c.Realms, refuse)
	for path, addr := range map[string]string{"admin.listen": c.Admin.Listen, "http.listen": c.HTTP.Listen} {
		if !hostPort(addr) {
			refuse(path, "%q is no host:port", addr)
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateIq(refuse func(path, format string, args ...any)) {
	if !hostPort(c.Iq.Listen) {
		refuse("iq.listen", "%q is no host:port", c.Iq.Listen)
		return
	}
	if c.Iq.Advertise == "" {
		host, _, _ := net.SplitHostPort(c.Iq.Listen) // checked above
		if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
			refuse("iq.advertise", "is needed when iq.listen is every address (%q)", c.Iq.Listen)
		}
		c.Iq.Advertise = c.Iq.Listen
	}
	if !hostPort(c.Iq.Advertise) {
		refuse("iq.advertise", "%q is no host:port", c.Iq.Advertise)
	}
	if len(c.Iq.MGC) == 0 {
		refuse("iq.mgc", "at least one controller is needed")
	}
	for i, a := range c.Iq.MGC {
		if !hostPort(a) {
			refuse("iq.mgc."+strconv.Itoa(i), "%q is no host:port", a)
		}
	}
	if n := len(c.Iq.Cert) * len(c.Iq.Key) * len(c.Iq.CA); n == 0 && c.Iq.Cert+c.Iq.Key+c.Iq.CA != "" {
		refuse("iq.cert", "cert, key and ca go together")
	}
}

func (c *Config) validateRealms(refuse func(path, format string, args ...any)) {
	if len(c.Realms.Access) == 0 || len(c.Realms.Core) == 0 {
		refuse("realms", "at least one realm on each side is needed")
	}
	names := map[string]bool{}
	check := func(path, name string, listen, advertise netip.Addr) {
		switch {
		case !validName(name):
			refuse(path+".name", "%q; allowed are 1 to 63 letters, digits, '.', '_' and '-'", name)
		case names[name]:
			refuse(path+".name", "%q is the name of another realm", name)
		}
		names[name] = true
		if !listen.IsValid() {
			refuse(path+".listen", "an IP address is needed")
		} else if listen.IsUnspecified() && !advertise.IsValid() {
			refuse(path+".advertise", "is needed when listen is every address")
		}
	}
	for i, r := range c.Realms.Access {
		path := "realms.access." + strconv.Itoa(i)
		check(path, r.Name, r.Listen, r.Advertise)
		switch {
		case !r.Second.IsValid():
		case r.Second.Unmap().Is6() == r.Listen.Unmap().Is6():
			refuse(path+".second", "%s is of the same family as listen, %s", r.Second, r.Listen)
		case r.Second.IsUnspecified() && !r.SecondAdv.IsValid():
			refuse(path+".second_advertise", "is needed when second is every address")
		}
	}
	for i, r := range c.Realms.Core {
		path := "realms.core." + strconv.Itoa(i)
		check(path, r.Name, r.Listen, r.Advertise)
		if r.PortMax <= r.PortMin {
			refuse(path+".port_max", "%d; it must be above port_min, %d", r.PortMax, r.PortMin)
		}
	}
}

func hostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// validName is what the pool takes for ids and what termination ids may contain.
func validName(s string) bool {
	if s == "" || len(s) > 63 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}) < 0
}

// hostName is the host's name as far as it may be an id.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || !validName(name) {
		return "mgw"
	}
	return name
}
