package badinput

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
)

// TestConfiguration starts both daemons with what they cannot use: they end at once, with a status and a text that name the
// place and what is allowed.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cert, key := tlstest.SelfSigned(t, "badinput", "127.0.0.1").Write(t, t.TempDir(), "tls")
	const refused, failed = 2, 1
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, tc := range map[string]struct {
		daemon string
		file   string // content of the configuration file; "": none
		args   []string
		env    string
		status int
		want   []string // in the text; FILE stands for the file's path
	}{
		"mgc: syntax":             {"mgc", "call:\n  no_answer: 20s\n bad\n", nil, "", refused, []string{"FILE:2: did not find expected key"}},
		"mgw: syntax":             {"mgw", "iq:\n\t- x\n", nil, "", refused, []string{"FILE:2: "}},
		"mgc: unknown key":        {"mgc", "call:\n  no_anwser: 20s\n", nil, "", refused, []string{`FILE:2: call: unknown setting "no_anwser"; did you mean "no_answer"?`}},
		"mgw: unknown key":        {"mgw", "\nmdeia:\n  workers: 1\n", nil, "", refused, []string{`FILE:2: unknown setting "mdeia"; did you mean "media"?`}},
		"mgc: out of range":       {"mgc", "call:\n  no_answer: 1s\n", nil, "", refused, []string{"FILE:2: call.no_answer: 1s is out of range; allowed: 10s..10m"}},
		"mgw: out of range":       {"mgw", "realms:\n  core:\n    - name: core\n      port_min: 80\n", nil, "", refused, []string{"FILE:4: realms.core.port_min: 80 is out of range; allowed: 1024..65534"}},
		"mgc: word out of set":    {"mgc", "media:\n  prefer: mp3\n", nil, "", refused, []string{"FILE:2: media.prefer: mp3 is out of range; allowed: auto|relay|core|opus"}},
		"mgw: no number":          {"mgw", "media:\n  workers: many\n", nil, "", refused, []string{`FILE:2: media.workers: "many" is no whole number`, "allowed: 0..256"}},
		"mgc: no address":         {"mgc", "core:\n  listen: everywhere\n", nil, "", refused, []string{"FILE:2: core.listen"}},
		"mgc: twice":              {"mgc", "domain: a.example\ndomain: b.example\n", nil, "", refused, []string{"FILE:2: "}},
		"mgc: list for a value":   {"mgc", "domain: [a, b]\n", nil, "", refused, []string{"FILE:1: domain: expected a single value, not a list"}},
		"mgw: value for a list":   {"mgw", "realms:\n  core: yes\n", nil, "", refused, []string{"FILE:2: realms.core: expected a list"}},
		"mgc: all faults at once": {"mgc", "call:\n  no_answer: 1s\nfoo: 1\nstore:\n  replicas: 9\n", nil, "", refused, []string{"FILE:2: ", "FILE:3: ", "FILE:5: store.replicas: 9 is out of range; allowed: 1..5"}},
		"mgc: binary file":        {"mgc", "\x7fELF\x02\x01\x00\x00", nil, "", refused, []string{"FILE:1: "}},
		"mgc: aliases":            {"mgc", bomb, nil, "", refused, []string{"FILE:1: "}},
		"mgw: huge file":          {"mgw", strings.Repeat("# nothing\n", 200_000), nil, "", refused, []string{"FILE:1: file is larger than 1 MiB"}},
		"mgc: escape in a key":    {"mgc", "\"\\e[31mred\": 1\n", nil, "", refused, []string{"FILE:1: unknown setting"}},
		"mgc: no file":            {"mgc", "", []string{"--config=/nonexistent/mgc.yaml"}, "", refused, []string{"/nonexistent/mgc.yaml: no such file"}},
		"mgw: a folder":           {"mgw", "", []string{"--config=/tmp"}, "", refused, []string{"/tmp"}},
		"mgc: unknown flag":       {"mgc", "", []string{"--call.no_anwser=20s"}, "", refused, []string{"flag --call.no_anwser", `did you mean "no_answer"?`}},
		"mgw: unknown flag":       {"mgw", "", []string{"--nothing"}, "", refused, []string{"flag --nothing"}},
		"mgc: value of a flag":    {"mgc", "", []string{"--access.max_per_ip=0"}, "", refused, []string{"flag --access.max_per_ip: ", "0 is out of range; allowed: 1..100000"}},
		"mgw: value of a flag":    {"mgw", "", []string{"--contexts.orphan_ttl=1s"}, "", refused, []string{"flag --contexts.orphan_ttl: ", "allowed: 10s..24h"}},
		"mgc: flag without value": {"mgc", "", []string{"--domain"}, "", refused, []string{"flag --domain: needs a value"}},
		"mgw: argument":           {"mgw", "", []string{"start"}, "", refused, []string{`argument "start"`}},
		"mgc: environment":        {"mgc", "", nil, "ISTHMUS_MGC_CALL_SET_UP=1h", refused, []string{"environment variable ISTHMUS_MGC_CALL_SET_UP: ", "allowed: 2s..2m"}},
		"mgw: environment":        {"mgw", "", nil, "ISTHMUS_MGW_NOTHING=1", refused, []string{"environment variable ISTHMUS_MGW_NOTHING", "unknown setting"}},
		"mgw: range upside down":  {"mgw", "", []string{"--realms.core.0.port_min=20000", "--realms.core.0.port_max=19000"}, "", refused, []string{"realms.core.0.port_max: 19000; it must be above port_min, 20000"}},
		"mgw: realm twice":        {"mgw", "realms:\n  core:\n    - name: core\n    - name: core\n", nil, "", refused, []string{`realms.core.1.name: "core" is the name of another realm`}},
		"mgw: half of TLS":        {"mgw", "", []string{"--iq.cert=" + cert}, "", refused, []string{"iq.cert: cert, key and ca go together"}},
		"mgc: half of TLS":        {"mgc", "", []string{"--access.tls.listen=127.0.0.1:0", "--access.tls.cert=" + cert}, "", refused, []string{"access.tls: listen needs cert and key"}},
		"mgc: no certificate":     {"mgc", "", []string{"--access.tls.listen=127.0.0.1:0", "--access.tls.cert=/nonexistent/c.pem", "--access.tls.key=" + key}, "", failed, []string{"access.tls", "/nonexistent/c.pem"}},
		"mgc: key of another":     {"mgc", "", []string{"--access.tls.listen=127.0.0.1:0", "--access.tls.cert=" + cert, "--access.tls.key=" + cert}, "", failed, []string{"access.tls", cert}},
		"mgw: no certificate":     {"mgw", "", []string{"--iq.cert=/nonexistent/c.pem", "--iq.key=/nonexistent/k.pem", "--iq.ca=/nonexistent/a.pem"}, "", failed, []string{"/nonexistent/"}},
		"mgc: no Iq certificate":  {"mgc", "", []string{"--iq.cert=/nonexistent/c.pem", "--iq.key=/nonexistent/k.pem", "--iq.ca=/nonexistent/a.pem"}, "", failed, []string{"iq", "/nonexistent/"}},
		"mgc: origin":             {"mgc", "", []string{"--access.origins=phone.example.com"}, "", failed, []string{"phone.example.com", "want scheme://host[:port]"}},
		"mgc: next hop":           {"mgc", "", []string{"--core.next_hop=the core"}, "", failed, []string{"next hop", "the core", "no SIP URI"}},
		"mgc: plaintext afar":     {"mgc", "", []string{"--iq.listen=0.0.0.0:0"}, "", failed, []string{"iq.listen: plaintext beyond loopback needs"}},
		"mgc: port is taken":      {"mgc", "", []string{"--access.listen=" + taken.Addr().String()}, "", failed, []string{"listen", taken.Addr().String(), "address already in use"}},
		"mgw: port is taken":      {"mgw", "", []string{"--http.listen=" + taken.Addr().String()}, "", failed, []string{taken.Addr().String(), "address already in use"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			args := append(harmless[tc.daemon], tc.args...)
			file := filepath.Join(t.TempDir(), "daemon.yaml")
			if tc.file != "" {
				if err := os.WriteFile(file, []byte(tc.file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config="+file)
			}
			cmd := exec.CommandContext(ctx, programs.Path(tc.daemon), args...)
			cmd.Env = append(os.Environ(), tc.env)
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != tc.status {
				t.Errorf("status %d (%v), want %d\n%s", code, err, tc.status, out)
			}
			for _, w := range tc.want {
				if !strings.Contains(string(out), strings.ReplaceAll(w, "FILE", file)) {
					t.Errorf("text lacks %q:\n%s", w, out)
				}
			}
			if strings.ContainsAny(string(out), "\x1b\x00") || strings.Contains(string(out), "goroutine ") {
				t.Errorf("text steers the terminal or is a panic: %q", out)
			}
		})
	}
}

// harmless are settings that let the daemons start beside others: ports of the system's choice.
var harmless = map[string][]string{
	"mgc": {"--access.listen=127.0.0.1:0", "--core.listen=127.0.0.1:0", "--iq.listen=127.0.0.1:0", "--admin.listen=127.0.0.1:0", "--admin.http=127.0.0.1:0", "--log.level=error"},
	"mgw": {"--iq.listen=127.0.0.1:0", "--admin.listen=127.0.0.1:0", "--http.listen=127.0.0.1:0", "--realms.access.0.port=18430", "--media.workers=1", "--log.level=error"},
}
