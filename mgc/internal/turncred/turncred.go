// Package turncred tells registered browsers of the TURN servers and gives them time-limited credentials for these, in a header field of
// the 200 to REGISTER. Floor 1 of mgc; no goroutine of its own.
package turncred

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

// Header is the field of the 200: urls="turn:a:3478 turns:a:443?transport=tcp";username="...";credential="...";ttl=7200. ttl in seconds.
const Header = "Isthmus-ICE-Servers"

// Config is what an operator sets.
type Config struct {
	URLs       []string          `conf:"urls" doc:"TURN and STUN servers for browsers, those of the media gateways (turn.* there): turn:203.0.113.7:3478, turn:203.0.113.7:3478?transport=tcp, turns:turn.example.com:443?transport=tcp. Empty: none."`
	SecretFile string            `conf:"secret_file" doc:"File with the secrets shared with the servers, one a line, # for comments; the first is used. Read again when it changes."`
	Secrets    []turnauth.Secret `conf:"secrets" doc:"The like without a file: 16 to 256 bytes each. Better given as environment variable than as flag."`
	Lifetime   time.Duration     `conf:"lifetime" default:"2h" range:"10m..168h" doc:"Life of a credential. Each registration brings a new one; calls outlive it."`
}

// maxURLs keeps the header field within what a REGISTER answer may carry.
const maxURLs = 16

// Validate tells what is wrong.
func (c *Config) Validate() error {
	if len(c.URLs) == 0 {
		return nil
	}
	var errs []error
	if len(c.URLs) > maxURLs {
		errs = append(errs, fmt.Errorf("turn.urls: %d; at most %d", len(c.URLs), maxURLs))
	}
	for i, u := range c.URLs {
		if err := checkURL(u); err != nil {
			errs = append(errs, fmt.Errorf("turn.urls.%d: %w", i, err))
		}
	}
	if c.SecretFile == "" {
		if err := turnauth.Check(turnauth.Texts(c.Secrets)); err != nil {
			errs = append(errs, fmt.Errorf("turn.secrets: %w; give secrets or secret_file", err))
		}
	}
	return errors.Join(errs...)
}

// checkURL takes URIs of RFC 7064 and RFC 7065, since a browser refuses a call with any that it cannot read.
func checkURL(text string) error {
	scheme, rest, _ := strings.Cut(text, ":")
	host, query, asked := strings.Cut(rest, "?")
	bad := fmt.Errorf("%q is no turn:host:port, turns: or stun: URI", text)
	switch scheme {
	case "turn", "turns":
		if asked && query != "transport=udp" && query != "transport=tcp" {
			return fmt.Errorf("%q: transport=udp or transport=tcp may follow ?", text)
		}
	case "stun", "stuns":
		if asked {
			return fmt.Errorf("%q: nothing may follow ? in a stun URI", text)
		}
	default:
		return bad
	}
	u, err := url.Parse("turn://" + host)
	if err != nil || u.Hostname() == "" || u.Host != host || strings.ContainsAny(text, " \"\\,;<>/@#%") {
		return bad
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && err != nil {
		return bad
	}
	return nil
}

// Issuer makes the header field. Safe for concurrent use; it does not block.
type Issuer struct {
	cfg     Config
	secrets *turnauth.Secrets
	issued  prometheus.Counter
	now     func() time.Time
}

// New returns an issuer on secrets of the caller's, for a configuration with URLs.
func New(cfg Config, secrets *turnauth.Secrets, metrics prometheus.Registerer) *Issuer {
	i := &Issuer{cfg: cfg, secrets: secrets, now: time.Now, issued: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "isthmus_mgc_turn_credentials_total", Help: "TURN credentials given to registered browsers.",
	})}
	metrics.MustRegister(i.issued)
	return i
}

// Offer puts servers and a new credential for the user into a 200 to REGISTER. The user name in it is a code: it goes over the network in
// the clear, and stands for the same user as long as the secret lives.
func (i *Issuer) Offer(resp *headers.Msg, aor string) {
	secret := i.secrets.First()
	c := turnauth.Issue(secret, codeOf(secret, aor), i.now(), i.cfg.Lifetime)
	resp.Set(Header, "urls="+headers.Quote(strings.Join(i.cfg.URLs, " "))+";username="+headers.Quote(c.Username)+
		";credential="+headers.Quote(c.Password)+";ttl="+strconv.Itoa(int(i.cfg.Lifetime.Seconds())))
	i.issued.Inc()
}

func codeOf(secret, aor string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("turn user\x00" + aor))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])
}
