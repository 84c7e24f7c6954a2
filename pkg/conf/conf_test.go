package conf

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type realm struct {
	Name   string     `conf:"name" doc:"Name."`
	Listen netip.Addr `conf:"listen" default:"127.0.0.1" doc:"Address."`
	Port   uint16     `conf:"port" default:"5060" range:"1..65535" doc:"Port."`
}

type config struct {
	ID   string        `conf:"id" default:"m1" doc:"Instance."`
	Wait time.Duration `conf:"wait" default:"10s" range:"1s..1m" doc:"How long."`
	Log  struct {
		Level string `conf:"level" default:"info" range:"debug|info" doc:"Level."`
		Color bool   `conf:"color" doc:"Colour."`
	} `conf:"log" doc:"Logging."`
	Hosts  []string `conf:"hosts" default:"a,b" doc:"Hosts."`
	Realms []realm  `conf:"realms" doc:"Realms."`
}

func load(t *testing.T, yaml string, env []string, args ...string) (config, error) {
	t.Helper()
	var c config
	if yaml != "" {
		name := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(name, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config", name}, args...)
	}
	if env == nil {
		env = []string{}
	}
	err := Load(&c, Options{Name: "x", EnvPrefix: "X", Args: args, Env: env})
	return c, err
}

func TestSourcesInOrder(t *testing.T) {
	c, err := load(t, "id: file\nwait: 20s\nlog:\n  level: debug\nrealms:\n  - name: core\n    port: 7\n", []string{"X_WAIT=30s", "X_ID=env", "OTHER=1"}, "--id=flag", "--log.color", "--hosts", "c", "--realms.0.listen=::1")
	if err != nil {
		t.Fatal(err)
	}
	if c.ID != "flag" || c.Wait != 30*time.Second || c.Log.Level != "debug" || !c.Log.Color || len(c.Hosts) != 1 {
		t.Errorf("got %+v", c)
	}
	want := realm{"core", netip.MustParseAddr("::1"), 7}
	if len(c.Realms) != 1 || c.Realms[0] != want {
		t.Errorf("realms = %+v, want %+v", c.Realms, want)
	}
}

func TestRefusals(t *testing.T) {
	cases := map[string]struct {
		yaml string
		env  []string
		args []string
		want []string
	}{
		"range":       {yaml: "id: a\nwait: 2h\n", want: []string{"c.yaml:2: wait: 2h is out of range; allowed: 1s..1m"}},
		"word":        {yaml: "log:\n  level: loud\n", want: []string{"c.yaml:2: log.level", "allowed: debug|info"}},
		"unknown":     {yaml: "\nwiat: 2s\n", want: []string{"c.yaml:2: unknown setting \"wiat\"; did you mean \"wait\"?"}},
		"twice":       {yaml: "id: a\nid: b\n", want: []string{"c.yaml:2"}},
		"no list":     {yaml: "realms: 3\n", want: []string{"c.yaml:1: realms: expected a list"}},
		"port":        {yaml: "realms:\n  - port: 70000\n", want: []string{"c.yaml:2: realms.port", "1..65535"}},
		"address":     {yaml: "realms:\n  - listen: host\n", want: []string{"c.yaml:2: realms.listen"}},
		"syntax":      {yaml: "id: [\n", want: []string{"c.yaml:1: did not find"}},
		"both said":   {yaml: "wait: 2h\nfoo: 1\n", want: []string{"c.yaml:1", "c.yaml:2"}},
		"env unknown": {env: []string{"X_WIAT=1s"}, want: []string{"environment variable X_WIAT", "did you mean"}},
		"env value":   {env: []string{"X_WAIT=1"}, want: []string{"environment variable X_WAIT", "duration", "1s..1m"}},
		"flag":        {args: []string{"--nope=1"}, want: []string{"flag --nope", "unknown setting"}},
		"flag value":  {args: []string{"--wait"}, want: []string{"flag --wait: needs a value"}},
		"argument":    {args: []string{"run"}, want: []string{`argument "run"`}},
		"no file":     {args: []string{"--config", "/nonexistent.yaml"}, want: []string{"no such file"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tc.yaml, tc.env, tc.args...)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, w := range tc.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
			var ce *Error
			if !errors.As(err, &ce) {
				t.Errorf("%T is no *Error", err)
			}
		})
	}
}

func TestPrintConfigReadsBack(t *testing.T) {
	var out bytes.Buffer
	var c config
	args := []string{"--realms.0.name=a b: c", "--realms.1.name=second", "--wait=5s", "--print-config"}
	if err := Load(&c, Options{Name: "x", EnvPrefix: "X", Args: args, Env: []string{}, Out: &out}); !errors.Is(err, ErrDone) {
		t.Fatal(err)
	}
	if w := "# How long; allowed: 1s..1m.\nwait: 5s\n"; !strings.Contains(out.String(), w) {
		t.Errorf("printed configuration lacks %q:\n%s", w, out.String())
	}
	back, err := load(t, out.String(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if back.Realms[0] != c.Realms[0] || back.Realms[1] != c.Realms[1] || back.Wait != c.Wait || back.ID != c.ID {
		t.Errorf("read back %+v, want %+v", back, c)
	}
}

// --ready needs the settings, to know whom to ask: they are read and checked first.
func TestReadyReadsTheSettings(t *testing.T) {
	var c config
	opt := Options{Name: "x", EnvPrefix: "X", Args: []string{"--ready", "--wait=5s"}, Env: []string{"X_ID=m7"}}
	if err := Load(&c, opt); !errors.Is(err, ErrReady) || c.ID != "m7" || c.Wait != 5*time.Second {
		t.Errorf("%v, %+v", err, c)
	}
	opt.Args = []string{"--ready", "--wait=5h"}
	if err := Load(&c, opt); err == nil || errors.Is(err, ErrReady) {
		t.Errorf("a bad setting: %v", err)
	}
}

func TestHelpNamesEverySetting(t *testing.T) {
	var out bytes.Buffer
	var c config
	if err := Load(&c, Options{Name: "x", EnvPrefix: "X", Args: []string{"--help"}, Env: []string{}, Out: &out}); !errors.Is(err, ErrDone) {
		t.Fatal(err)
	}
	for _, w := range []string{"--id=m1", "--wait=10s", "How long; allowed: 1s..1m.\n", "--log.level=info", "X_LOG_LEVEL", "--realms.0.name=", "grow: the next element is .1."} {
		if !strings.Contains(out.String(), w) {
			t.Errorf("help lacks %q:\n%s", w, out.String())
		}
	}
}
