// Package democore is the SIP core to try Isthmus with: a registrar with digest, a record-routing
// transaction-stateful proxy (RFC 3261 §16), and built-in users that echo, play, call back or refuse.
// Floor 3 of the integration module.
//
// Owner: Core owns a sipnode.Node, the built-in users' ua.Agent and the status server; Close ends all
// and waits. The registrar's and the proxy's state is guarded by Core's lock.
package democore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
	"gopkg.in/yaml.v3"
)

// User is somebody who may register.
type User struct {
	Name     string `yaml:"name"`
	Password string `yaml:"password"`
}

// Config describes a Core. In YAML the keys are as in the tags; durations are written "60s".
type Config struct {
	Listen     string        `yaml:"listen"`      // SIP address for UDP and TCP, no wildcard; default 127.0.0.1:5060
	Status     string        `yaml:"status"`      // HTTP status address, "" for none; default 127.0.0.1:5080
	Domain     string        `yaml:"domain"`      // default isthmus.example
	Users      []User        `yaml:"users"`       // default DefaultUsers
	Digest     string        `yaml:"digest"`      // md5 (default), sha256, or both, SHA-256 preferred
	MinExpires time.Duration `yaml:"min_expires"` // shorter registrations get 423; default 60 s, at least 1 s
	MaxExpires time.Duration `yaml:"max_expires"` // longer ones are cut to it; default 1 h
	Trusted    string        `yaml:"trusted"`     // IP address of a P-CSCF that authenticates users itself: its REGISTER with integrity-protected="auth-done" is not challenged; default none
	EarlyFor   time.Duration `yaml:"early_for"`   // how long user early plays ringback before it answers; default 3 s
	CallBack   time.Duration `yaml:"call_back"`   // pause before user callback calls; default 1 s

	Timers sipnode.Timers                                          `yaml:"-"` // for tests
	Log    func(line string)                                       `yaml:"-"` // gets one line per event; may be nil, must not block
	Trace  func(direction string, peer sipnode.Target, msg []byte) `yaml:"-"` // see sipnode.Config
}

// DefaultUsers are the accounts that exist when none are configured.
func DefaultUsers() []User {
	return []User{{"alice", "wonderland"}, {"bob", "builder"}, {"carol", "singer"}}
}

// ErrConfig reports a configuration that cannot be used.
var ErrConfig = errors.New("democore: bad configuration")

// DefaultConfig is the configuration without file or flags.
func DefaultConfig() Config {
	return Config{
		Listen: "127.0.0.1:5060", Status: "127.0.0.1:5080", Domain: "isthmus.example", Users: DefaultUsers(),
		Digest: "md5", MinExpires: time.Minute, MaxExpires: time.Hour, EarlyFor: 3 * time.Second, CallBack: time.Second,
	}
}

// LoadConfig reads the YAML file over cfg. Unknown keys are refused with file and line.
func LoadConfig(cfg Config, path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return cfg, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return cfg, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
	}
	return cfg, nil
}

var userName = regexp.MustCompile(`^[a-zA-Z0-9_.+-]{1,64}$`)

// Check reports the first value that cannot be used, with the allowed range.
func (c *Config) Check() error {
	ap, err := netip.ParseAddrPort(c.Listen)
	switch {
	case err != nil:
		return fmt.Errorf("%w: listen %q: want ip:port", ErrConfig, c.Listen)
	case ap.Addr().IsUnspecified():
		return fmt.Errorf("%w: listen %q: need the address that peers can reach, not a wildcard", ErrConfig, c.Listen)
	case c.Trusted != "" && !isAddr(c.Trusted):
		return fmt.Errorf("%w: trusted %q: want an IP address", ErrConfig, c.Trusted)
	case c.Domain == "":
		return fmt.Errorf("%w: domain is empty", ErrConfig)
	case c.Digest != "md5" && c.Digest != "sha256" && c.Digest != "both":
		return fmt.Errorf("%w: digest %q: want md5, sha256 or both", ErrConfig, c.Digest)
	case c.MinExpires < time.Second || c.MaxExpires < c.MinExpires:
		return fmt.Errorf("%w: min_expires %s, max_expires %s: want 1s <= min <= max", ErrConfig, c.MinExpires, c.MaxExpires)
	}
	seen := map[string]bool{}
	for _, u := range c.Users {
		switch {
		case !userName.MatchString(u.Name):
			return fmt.Errorf("%w: user %q: want 1 to 64 of letters, digits and _.+-", ErrConfig, u.Name)
		case u.Password == "":
			return fmt.Errorf("%w: user %s has no password", ErrConfig, u.Name)
		case seen[u.Name] || builtin(u.Name) != nil:
			return fmt.Errorf("%w: user %s is there twice or is built in", ErrConfig, u.Name)
		}
		seen[u.Name] = true
	}
	return nil
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
