package auth

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/conf"
)

// daemon embeds the configuration as the controller does.
type daemon struct {
	Auth Config `conf:"auth" doc:"Tokens."`
}

func (d *daemon) Validate() error { return d.Auth.Validate() }

func load(t *testing.T, yaml string) (Config, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(name, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	var d daemon
	err := conf.Load(&d, conf.Options{Name: "x", EnvPrefix: "X", Args: []string{"--config", name}, Env: []string{}})
	return d.Auth, err
}

const goodYAML = `auth:
  mode: token
  issuers:
    - issuer: https://waf.example
      audience: [gateway]
`

func TestREG05_ConfigurationDefaults(t *testing.T) {
	c, err := load(t, "auth:\n  realm: x\n")
	if err != nil || c.Mode != ModeDigest {
		t.Fatalf("%+v %v", c, err)
	}
	if c, err = load(t, goodYAML); err != nil {
		t.Fatal(err)
	}
	is := c.Issuers[0]
	if is.Method != "jwt" || len(is.Keys.Algorithms) != 4 || is.Keys.Refresh != 15*time.Minute || is.Introspection.Failures != 5 || c.Skew != 30*time.Second || c.InDialog != InDialogOff {
		t.Errorf("%+v", c)
	}
	a, err := New(c, Deps{Domain: domain, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}

func TestREG05_ConfigurationIsChecked(t *testing.T) {
	introspection := "      method: introspection\n      introspection: {url: https://waf.example/i, client_id: a, secret_file: /x}\n"
	cases := map[string]struct{ yaml, want string }{
		"no issuer":              {"auth:\n  mode: token\n", "issuers"},
		"mode":                   {"auth:\n  mode: maybe\n", "digest|token|both"},
		"plain HTTP":             {strings.Replace(goodYAML, "https://waf", "http://waf", 1), "must be https"},
		"no audience":            {strings.Replace(goodYAML, "audience: [gateway]", "scopes: [x]", 1), "audience"},
		"keys over HTTP":         {goodYAML + "      keys: {url: http://waf.example/keys}\n", "keys.url"},
		"password in a URL":      {goodYAML + "      keys: {url: 'https://a:b@waf.example/keys'}\n", "user information"},
		"algorithm none":         {goodYAML + "      keys: {algorithms: [RS256, none]}\n", "RS256|ES256|PS256|EdDSA"},
		"algorithm HS256":        {goodYAML + "      keys: {algorithms: [HS256]}\n", "RS256|ES256|PS256|EdDSA"},
		"no introspection":       {goodYAML + "      method: introspection\n", "introspection.url"},
		"template":               {goodYAML + "      mapping: {impus: ['sip:alice@ims.example']}\n", "names no claim"},
		"pool without entries":   {goodYAML + "      mapping: {pool: true}\n", "pool.impi"},
		"pool without number":    {goodYAML + "  pool: {impi: 'guest@ims.example', impu: 'sip:guest{n}@ims.example'}\n", "{n}"},
		"entity":                 {goodYAML + "  entity_param: 'a b'\n", "entity_param"},
		"authz_server":           {goodYAML + "  authz_server: http://waf.example\n", "authz_server"},
		"issuer twice":           {goodYAML + "    - {issuer: 'https://waf.example', audience: [x]}\n", "twice"},
		"two that introspect":    {goodYAML + introspection + "    - issuer: https://b.example\n      audience: [x]\n" + introspection, "only one"},
		"skew":                   {goodYAML + "  skew: 1h\n", "0s..5m"},
		"an unknown setting too": {goodYAML + "  skw: 1s\n", "did you mean"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, c.yaml); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for _, ok := range []string{"https://waf.example", "http://127.0.0.1:8080/x", "http://localhost", "http://[::1]:1"} {
		if err := checkURL(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "waf.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example", "ftp://127.0.0.1", "https://", "https://a#b", "http://10.0.0.1"} {
		if err := checkURL(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestREG05_FilesThatCannotBeRead(t *testing.T) {
	c, err := load(t, goodYAML)
	if err != nil {
		t.Fatal(err)
	}
	c.CA = filepath.Join(t.TempDir(), "ca.pem")
	if _, err := New(c, Deps{Domain: domain, Log: zap.NewNop()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(c.CA, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(c, Deps{Domain: domain, Log: zap.NewNop()}); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("%v", err)
	}
}

func TestREG05_IssuerOverTLSWithItsOwnCA(t *testing.T) {
	p := newIDP(jwkOf("ec", ecKey()))
	srv := httptest.NewUnstartedServer(p)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // the handshake that we refuse
	srv.StartTLS()
	t.Cleanup(srv.Close)
	p.url = srv.URL
	cfg := p.config()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]Reason{"": Unavailable, ca: Accepted} {
		cfg.CA = file
		a := start(t, cfg, Deps{})
		if _, r := check(t, a, p.token(t, "alice")); r != want {
			t.Errorf("ca %q: %v, want %v", file, r, want)
		}
		a.Close()
	}
}
