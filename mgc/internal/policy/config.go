package policy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Config says which policy function there is.
type Config struct {
	Agent       string         `conf:"agent" default:"none" range:"none|n5" doc:"Policy function: none, or n5 for Npcf_PolicyAuthorization."`
	PCF         []string       `conf:"pcf" doc:"API roots of the PCF, https://host[:port][/prefix]; a later one serves new calls while those before it are down."`
	Hosts       []string       `conf:"hosts" doc:"Further hosts (host or host:port) that the PCF may name in Location; they get our access token too."`
	Insecure    bool           `conf:"insecure" default:"false" doc:"Allow http:// beyond loopback."`
	Failure     string         `conf:"failure" default:"allow" range:"allow|refuse" doc:"What becomes of a call when the PCF gives no usable answer. Emergency calls always go on."`
	UnknownUser string         `conf:"unknown_user" default:"allow" range:"allow|refuse" doc:"What becomes of a call when the PCF has no PDU session of the browser's address."`
	Limits      LimitConfig    `conf:"limits" doc:"Time and number."`
	Network     NetworkConfig  `conf:"network" doc:"What the PCF is told of every call."`
	TLS         TLSConfig      `conf:"tls" doc:"TLS towards PCF and NRF."`
	Token       TokenConfig    `conf:"token" doc:"OAuth 2.0 access tokens (TS 29.510)."`
	Callback    CallbackConfig `conf:"callback" doc:"Where the PCF reports events."`
}

// LimitConfig bounds time and number of requests.
type LimitConfig struct {
	Timeout   time.Duration `conf:"timeout" default:"1s" range:"50ms..10s" doc:"Longest wait of a call for the PCF."`
	Late      time.Duration `conf:"late" default:"30s" range:"1s..5m" doc:"How long an answer that comes too late is waited for, to delete what it made."`
	Hold      time.Duration `conf:"hold" default:"5s" range:"100ms..5m" doc:"How long a PCF that did not answer, or is overloaded without saying for how long, is left alone."`
	DeleteFor time.Duration `conf:"delete_for" default:"5m" range:"1s..1h" doc:"How long the deletion of an application session is tried."`
	InFlight  int           `conf:"in_flight" default:"256" range:"1..10000" doc:"Most requests of calls under way; more are refused as overload."`
	Deleters  int           `conf:"deleters" default:"8" range:"1..100" doc:"Deletions at a time."`
	Events    int           `conf:"events" default:"1024" range:"1..100000" doc:"Most events waiting for their calls; beyond, the PCF is told to come again."`
}

// NetworkConfig is told of every call.
type NetworkConfig struct {
	Application string `conf:"application" default:"urn:urn-7:3gpp-service.ims.icsi.mmtel" doc:"AF application identifier of calls without an ICSI."`
	Provider    string `conf:"provider" doc:"Application service provider (aspId); empty: not told."`
	DNN         string `conf:"dnn" default:"ims" doc:"Data network name; empty: not told."`
	IPDomain    string `conf:"ip_domain" doc:"IP address domain where private addresses overlap; empty: not told."`
	Slice       string `conf:"slice" doc:"S-NSSAI, SST or SST-SD, e.g. 1 or 1-0000FF; empty: not told."`
	MPS         string `conf:"mps_id" default:"NGN GETS" doc:"Name of the multimedia priority service (mpsId), told of calls of the core with Resource-Priority in ets or wps; empty: only the priority is told."`
	Location    bool   `conf:"location" default:"false" doc:"Ask for the location of the user, for P-Access-Network-Info."`
}

// TLSConfig is our identity towards the PCF and the NRF. Certificate and key are read for each connection.
type TLSConfig struct {
	CA   string `conf:"ca" doc:"PEM file of accepted CAs; empty: those of the system."`
	Cert string `conf:"cert" doc:"PEM file of the client certificate; empty: none."`
	Key  string `conf:"key" doc:"PEM file of its key."`
}

// TokenConfig says where access tokens come from.
type TokenConfig struct {
	URL        string `conf:"url" doc:"Token endpoint of the NRF, https://host/oauth2/token; empty: requests carry no token."`
	Instance   string `conf:"instance" doc:"Our NF instance id, a UUID."`
	Type       string `conf:"type" default:"PCSCF" doc:"Our NF type: PCSCF or AF."`
	Client     string `conf:"client" doc:"Client name for HTTP Basic at the token endpoint; empty: the TLS certificate tells who we are."`
	SecretFile string `conf:"secret_file" doc:"File with the client's secret; read for each token."`
}

// CallbackConfig is where the PCF reaches us.
type CallbackConfig struct {
	Listen    string `conf:"listen" default:"127.0.0.1:7403" doc:"Address and port for notifications of the PCF, HTTP/2."`
	Advertise string `conf:"advertise" doc:"URL that the PCF is told; in a pool one that reaches this instance while it lives, and another one after. Empty: made of listen."`
	Cert      string `conf:"cert" doc:"PEM file with the certificate chain; empty: no TLS."`
	Key       string `conf:"key" doc:"PEM file with the private key."`
	ClientCA  string `conf:"client_ca" doc:"PEM file of CAs of which the PCF must show a certificate; empty: none is asked for."`
}

var (
	slicePattern    = regexp.MustCompile(`^[0-9]{1,3}(-[0-9A-Fa-f]{6})?$`)
	instancePattern = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

// Validate implements conf.Validator; a Config whose Agent is none is not looked at.
func (c *Config) Validate() error {
	if c.Agent != "n5" {
		return nil
	}
	var errs []error
	fail := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if len(c.PCF) == 0 {
		fail("policy.pcf: needed with agent n5")
	}
	for _, root := range append([]string{c.Callback.base()}, c.PCF...) {
		if err := c.checkURL(root); err != nil {
			fail("policy: %w", err)
		}
	}
	if c.Network.Slice != "" && !slicePattern.MatchString(c.Network.Slice) {
		fail("policy.network.slice: %q is no SST or SST-SD", c.Network.Slice)
	}
	if c.Token.URL != "" {
		if err := c.checkURL(c.Token.URL); err != nil {
			fail("policy.token.url: %w", err)
		}
		if !instancePattern.MatchString(c.Token.Instance) {
			fail("policy.token.instance: must be a UUID")
		}
		if (c.Token.Client == "") != (c.Token.SecretFile == "") {
			fail("policy.token: client and secret_file belong together")
		}
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") || (c.Callback.Cert == "") != (c.Callback.Key == "") {
		fail("policy: cert and key belong together")
	}
	if c.Callback.ClientCA != "" && c.Callback.Cert == "" {
		fail("policy.callback.client_ca: needs cert and key")
	}
	if c.Limits.Late < c.Limits.Timeout {
		fail("policy.limits.late: must not be less than timeout")
	}
	return errors.Join(errs...)
}

// checkURL accepts https, and http on loopback or when plaintext is allowed.
func (c *Config) checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q is no URL of the form https://host[:port][/path]", s)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && (c.Insecure || isLoopback(u.Hostname())):
		return nil
	}
	return fmt.Errorf("%q: must be https (http only on loopback, or with insecure)", s)
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// slice returns the S-NSSAI; nil: none.
func (c *NetworkConfig) slice() *snssai {
	if !slicePattern.MatchString(c.Slice) {
		return nil
	}
	sst, sd, _ := strings.Cut(c.Slice, "-")
	n, _ := strconv.Atoi(sst) // matched digits
	return &snssai{SST: n, SD: sd}
}

// base is the URL below which we are called back.
func (c *CallbackConfig) base() string {
	if c.Advertise != "" {
		return strings.TrimSuffix(c.Advertise, "/")
	}
	scheme := "http"
	if c.Cert != "" {
		scheme = "https"
	}
	if host, port, err := net.SplitHostPort(c.Listen); err == nil {
		return scheme + "://" + net.JoinHostPort(host, port)
	}
	return scheme + "://" + c.Listen
}
