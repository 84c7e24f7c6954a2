package app

import (
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/conf"
)

// load is the configuration that the arguments make, checked.
func load(args ...string) error {
	var c Config
	return conf.Load(&c, conf.Options{Name: "mgc", EnvPrefix: "X", Args: args, Env: []string{}})
}

func TestREG05_REG06_PCC01_CHG01_ConfigurationIsChecked(t *testing.T) {
	if err := load(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	token := []string{"--auth.mode=token", "--auth.issuers.0.issuer=https://idp.example", "--auth.issuers.0.audience=isthmus"}
	if err := load(token...); err != nil {
		t.Errorf("an issuer: %v", err)
	}
	for want, args := range map[string][]string{
		"auth.issuers":        {"--auth.mode=token"},
		"audience":            token[:2],
		"auth.upgrade.cookie": append([]string{"--auth.upgrade.cookie=at", "--access.origins=https://a.example,*"}, token...),
		"policy.pcf":          {"--policy.agent=n5"},
		"cdr.queue":           {"--cdr.dir=/x", "--cdr.queue=3"},
	} {
		if err := load(args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s in it", args, err, want)
		}
	}
}
