package auth

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Modes of authentication.
const (
	ModeDigest = "digest" // the core authenticates; tokens are taken out and not looked at
	ModeToken  = "token"  // every registration needs a token
	ModeBoth   = "both"   // a token when there is one, else the core authenticates
)

// Policies for tokens in other requests than REGISTER (REG-10).
const (
	InDialogOff     = "off"
	InDialogWarn    = "warn"
	InDialogEnforce = "enforce"
)

// Config is the configuration of web-identity tokens. Validate is to be called by the daemon's own Validate.
type Config struct {
	Mode        string         `conf:"mode" default:"digest" range:"digest|token|both" doc:"digest: the core authenticates; token: registrations need a web-identity token; both: a token, or else digest."`
	Realm       string         `conf:"realm" doc:"Realm of the Bearer challenge; empty: the home domain."`
	AuthzServer string         `conf:"authz_server" doc:"HTTPS URL of the authorization server told to browsers; empty: the first issuer."`
	InDialog    string         `conf:"require_bearer_in_dialog" default:"off" range:"off|warn|enforce" doc:"Whether requests other than REGISTER must carry the token; one that does is always verified."`
	EntityParam string         `conf:"entity_param" doc:"Parameter of the core's Authorization that names the token's issuer, like authorization-entity; empty: none."`
	MaxToken    int            `conf:"max_token" default:"8192" range:"256..32768" doc:"Longest token in bytes."`
	MaxInFlight int            `conf:"max_in_flight" default:"512" range:"1..100000" doc:"Verifications at once; more are refused with 503."`
	Deadline    time.Duration  `conf:"deadline" default:"6s" range:"500ms..30s" doc:"Longest verification of one request."`
	Timeout     time.Duration  `conf:"timeout" default:"3s" range:"100ms..30s" doc:"Longest HTTP exchange with an issuer."`
	Skew        time.Duration  `conf:"skew" default:"30s" range:"0s..5m" doc:"Clock difference between issuers and us that is forgiven."`
	MaxLifetime time.Duration  `conf:"max_lifetime" default:"24h" range:"1m..720h" doc:"Longest use of one token, whatever its exp says."`
	CA          string         `conf:"ca" doc:"PEM file of the CAs of issuers; empty: those of the system."`
	Upgrade     UpgradeConfig  `conf:"upgrade" doc:"Tokens in the HTTP upgrade of a WebSocket."`
	Pool        PoolConfig     `conf:"pool" doc:"Pooled identities."`
	Issuers     []IssuerConfig `conf:"issuers" doc:"Who issues tokens."`
}

// UpgradeConfig says where a token may stand in the HTTP upgrade; an empty name closes the place.
type UpgradeConfig struct {
	Subprotocol string `conf:"subprotocol" doc:"Prefix of a Sec-WebSocket-Protocol entry whose rest is the token, like access_token."`
	Cookie      string `conf:"cookie" doc:"Name of a cookie that holds the token; restrict access.origins when set."`
	Query       string `conf:"query" doc:"Name of a query parameter that holds the token; URLs end up in logs of proxies."`
}

// PoolConfig is the pool of identities that we assign, and how exclusive pooled ones are.
type PoolConfig struct {
	IMPI       string        `conf:"impi" doc:"Private identity of a pooled entry with {n} for its number, like guest{n}@ims.example; empty: no pool of our own."`
	IMPU       string        `conf:"impu" doc:"Public identity of a pooled entry with {n} for its number."`
	First      int           `conf:"first" default:"1" range:"0..1000000000" doc:"Number of the first entry."`
	Size       int           `conf:"size" default:"100" range:"1..100000" doc:"Entries of the pool."`
	Request    string        `conf:"request" default:"sip:anonymous@anonymous.invalid" doc:"To and From of a REGISTER that asks for a pooled identity."`
	Shared     bool          `conf:"shared" default:"false" doc:"Let all clients of one web identity share a pooled one; else one client each."`
	Quarantine time.Duration `conf:"quarantine" default:"30s" range:"1s..1h" doc:"How long a returned identity is kept from others."`
}

// IssuerConfig is one issuer of tokens: an authorization server or WWSF.
type IssuerConfig struct {
	Issuer        string              `conf:"issuer" doc:"The iss of its tokens, an HTTPS URL."`
	Method        string              `conf:"method" default:"jwt" range:"jwt|introspection" doc:"jwt: signed tokens checked with its keys; introspection: each token is asked for (RFC 7662)."`
	Audience      []string            `conf:"audience" doc:"One of these must be in aud."`
	AnyAudience   bool                `conf:"any_audience" default:"false" doc:"Accept tokens made for any audience. Tokens that users gave to other services then work here too."`
	Scopes        []string            `conf:"scopes" doc:"Scopes that a token must have; those of the first issuer are told to browsers."`
	Keys          KeysConfig          `conf:"keys" doc:"Its keys, for method jwt."`
	Introspection IntrospectionConfig `conf:"introspection" doc:"Its introspection endpoint, for method introspection."`
	Mapping       MappingConfig       `conf:"mapping" doc:"From claims to IMS identities."`
}

// KeysConfig is an issuer's key set (RFC 7517).
type KeysConfig struct {
	URL        string        `conf:"url" doc:"HTTPS URL of the key set; empty: jwks_uri of issuer/.well-known/openid-configuration."`
	Algorithms []string      `conf:"algorithms" default:"RS256,ES256,PS256,EdDSA" range:"RS256|ES256|PS256|EdDSA" doc:"Signature algorithms that are accepted."`
	Refresh    time.Duration `conf:"refresh" default:"15m" range:"10s..24h" doc:"Time between two fetches."`
	Refetch    time.Duration `conf:"refetch" default:"30s" range:"1s..1h" doc:"Shortest time between two fetches because of an unknown key."`
	MaxStale   time.Duration `conf:"max_stale" default:"24h" range:"1m..720h" doc:"How long keys are used while the issuer cannot be reached."`
}

// IntrospectionConfig is an introspection endpoint and what is remembered of its answers.
type IntrospectionConfig struct {
	URL        string        `conf:"url" doc:"HTTPS URL of the endpoint."`
	ClientID   string        `conf:"client_id" doc:"Our client identifier there."`
	SecretFile string        `conf:"secret_file" doc:"File with our client secret; read for each request, so that it can be changed."`
	Cache      time.Duration `conf:"cache" default:"60s" range:"0s..1h" doc:"How long a good answer is believed, at most until the token ends."`
	Negative   time.Duration `conf:"negative" default:"5s" range:"0s..1m" doc:"How long a bad answer is believed."`
	CacheSize  int           `conf:"cache_size" default:"20000" range:"1..1000000" doc:"Answers remembered."`
	Failures   int           `conf:"failures" default:"5" range:"1..1000" doc:"Failures in a row after which the endpoint is left alone."`
	CoolDown   time.Duration `conf:"cool_down" default:"10s" range:"1s..10m" doc:"For how long it is."`
}

// MappingConfig makes IMS identities from claims. A claim name in braces stands for its value; one that begins with / is a path
// into nested objects. A template of nothing but one name takes complete identities from the claim.
type MappingConfig struct {
	IMPI        string   `conf:"impi" doc:"Private identity, like {sub}@ims.example; empty: sub at the home domain."`
	IMPUs       []string `conf:"impus" doc:"Public identities, like sip:{sub}@ims.example, tel:{phone_number} or {impus}; empty: sip: and sub at the home domain."`
	Domains     []string `conf:"domains" doc:"Domains that identities may be of; empty: the home domain."`
	TelPrefixes []string `conf:"tel_prefixes" doc:"Beginnings of the tel numbers that are accepted, like +49; empty: no tel identity."`
	Wildcard    bool     `conf:"wildcard" default:"false" doc:"Accept wildcarded public identities, sip:user!expression!@domain, from claims."`
	PooledClaim string   `conf:"pooled_claim" doc:"Claim whose presence says that the identity is one of a pool; empty: none is."`
	Pool        bool     `conf:"pool" default:"false" doc:"Assign an identity of our pool instead of using claims."`
}

// Validate checks the rules between settings; nil in mode digest, whatever else is set.
func (c *Config) Validate() error {
	if c.Mode == ModeDigest || c.Mode == "" {
		return nil
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("auth."+format, args...)) }
	if len(c.Issuers) == 0 {
		fail("issuers: mode %s needs one", c.Mode)
	}
	if c.AuthzServer != "" {
		if err := checkURL(c.AuthzServer); err != nil {
			fail("authz_server: %w", err)
		}
	}
	if c.EntityParam != "" && !isToken(c.EntityParam) {
		fail("entity_param: no parameter name")
	}
	seen, introspected := map[string]bool{}, 0
	for i := range c.Issuers {
		is := &c.Issuers[i]
		if seen[is.Issuer] {
			fail("issuers.%d.issuer: occurs twice", i)
		}
		seen[is.Issuer] = true
		if is.Method == "introspection" {
			introspected++
		}
		for _, err := range is.problems() {
			fail("issuers.%d.%w", i, err)
		}
		if is.Mapping.Pool && c.Pool.IMPI == "" {
			fail("issuers.%d.mapping.pool: auth.pool.impi is not set", i)
		}
	}
	if introspected > 1 {
		// An opaque token does not say whose it is; asking several would give each the others' tokens.
		fail("issuers: only one may use introspection")
	}
	if err := c.Pool.problem(); err != nil {
		fail("pool.%w", err)
	}
	return errors.Join(errs...)
}

// problems lists what is wrong with one issuer, each beginning with the setting's name.
func (c *IssuerConfig) problems() (errs []error) {
	if err := checkURL(c.Issuer); err != nil {
		errs = append(errs, fmt.Errorf("issuer: %w", err))
	}
	if len(c.Audience) == 0 && !c.AnyAudience {
		errs = append(errs, errors.New("audience: needed, or any_audience"))
	}
	if c.Method == "introspection" {
		if err := checkURL(c.Introspection.URL); err != nil {
			errs = append(errs, fmt.Errorf("introspection.url: %w", err))
		}
		if c.Introspection.ClientID == "" || c.Introspection.SecretFile == "" {
			errs = append(errs, errors.New("introspection: needs client_id and secret_file"))
		}
	} else {
		if c.Keys.URL != "" {
			if err := checkURL(c.Keys.URL); err != nil {
				errs = append(errs, fmt.Errorf("keys.url: %w", err))
			}
		}
		if len(c.Keys.Algorithms) == 0 {
			errs = append(errs, errors.New("keys.algorithms: none"))
		}
	}
	if _, err := newMapper(c.Mapping, "invalid"); err != nil {
		errs = append(errs, err)
	}
	return errs
}

func (c *PoolConfig) problem() error {
	if c.IMPI == "" && c.IMPU == "" {
		return nil
	}
	if strings.Count(c.IMPI, "{n}") != 1 || strings.Count(c.IMPU, "{n}") != 1 {
		return errors.New("impi, impu: both must hold {n} once")
	}
	if headers.AOR("sip:"+c.entry(c.IMPI, 0)) == "" || headers.AOR(c.entry(c.IMPU, 0)) == "" {
		return errors.New("impi, impu: must be user@domain and a SIP or tel URI")
	}
	if headers.AOR(c.Request) == "" {
		return errors.New("request: no URI")
	}
	return nil
}

// checkURL accepts https, and http to this machine, without user information and fragment.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return errors.New("no URL")
	case u.User != nil || u.Fragment != "":
		return errors.New("user information or a fragment")
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("must be https")
}
