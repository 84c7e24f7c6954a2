// Package deploy checks docker-compose.yml and the Dockerfiles without a container engine: against the configuration that the
// daemons of bin/ make of the same environment, the libraries that they load, and the ports that README.md names.
package deploy

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// root is the root of the repository, seen from this package.
const root = "../../.."

// composeFile is what of docker-compose.yml is checked.
type composeFile struct {
	Services map[string]*service `yaml:"services"`
	Networks map[string]struct {
		IPAM struct {
			Config []struct {
				Subnet netip.Prefix `yaml:"subnet"`
			} `yaml:"config"`
		} `yaml:"ipam"`
	} `yaml:"networks"`
}

type service struct {
	Build       struct{ Dockerfile string } `yaml:"build"`
	Environment map[string]string           `yaml:"environment"`
	Command     []string                    `yaml:"command"`
	Ports       []string                    `yaml:"ports"`
	ReadOnly    bool                        `yaml:"read_only"`
	CapDrop     []string                    `yaml:"cap_drop"`
	SecurityOpt []string                    `yaml:"security_opt"`
	Tmpfs       []string                    `yaml:"tmpfs"`
	StopGrace   time.Duration               `yaml:"stop_grace_period"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
	Networks map[string]struct {
		Address netip.Addr `yaml:"ipv4_address"`
	} `yaml:"networks"`
}

// mgcConfig and mgwConfig are what of --print-config is checked.
type mgcConfig struct {
	Access struct{ Listen, Advertise string } `yaml:"access"`
	Core   struct {
		Listen  string `yaml:"listen"`
		NextHop string `yaml:"next_hop"`
	} `yaml:"core"`
	Iq     struct{ Listen string }       `yaml:"iq"`
	Admin  struct{ Listen, HTTP string } `yaml:"admin"`
	Policy struct {
		Callback struct{ Listen string } `yaml:"callback"`
	} `yaml:"policy"`
	TURN struct{ URLs []string } `yaml:"turn"`
}

type mgwConfig struct {
	Iq struct {
		Listen string
		MGC    []string
	} `yaml:"iq"`
	Realms struct {
		Access []struct {
			Listen, Advertise string
			Port, TCP         int
		}
		Core []struct{ Listen string }
	} `yaml:"realms"`
	Media struct{ Workers int }            `yaml:"media"`
	Admin struct{ Listen string }          `yaml:"admin"`
	HTTP  struct{ Listen string }          `yaml:"http"`
	TURN  struct{ UDP, TCP, TLS []string } `yaml:"turn"`
	Drain struct{ Grace time.Duration }    `yaml:"drain"`
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// compose reads docker-compose.yml as Compose does in the environment vars.
func compose(t *testing.T, vars map[string]string) composeFile {
	t.Helper()
	var f composeFile
	if err := yaml.Unmarshal([]byte(expand(readFile(t, "docker-compose.yml"), vars)), &f); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mgc", "mgw", "democore"} {
		if f.Services[name] == nil {
			t.Fatalf("docker-compose.yml has no service %s", name)
		}
	}
	return f
}

// expand replaces ${NAME}, ${NAME:-else} and ${NAME:+then}, also within one another.
func expand(s string, vars map[string]string) string {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, "${")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		depth, end := 1, 0
		for ; end < len(after) && depth > 0; end++ {
			switch {
			case strings.HasPrefix(after[end:], "${"):
				depth++
			case after[end] == '}':
				depth--
			}
		}
		name, word, _ := strings.Cut(after[:end-1], ":")
		value := vars[name]
		switch then, isThen := strings.CutPrefix(word, "+"); {
		case isThen && value != "":
			value = then
		case !isThen && value == "":
			value = strings.TrimPrefix(word, "-")
		}
		out.WriteString(expand(value, vars))
		s = after[end:]
	}
}

// effective reads the configuration that a daemon of bin/ makes of the environment; it refuses what it does not understand.
func effective(t *testing.T, daemon string, env map[string]string, cfg any) {
	t.Helper()
	cmd := exec.Command(filepath.Join(root, "bin", daemon), "--print-config")
	cmd.Env = []string{}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s --print-config: %v (make build makes it)\n%s", daemon, err, &stderr)
	}
	if err := yaml.Unmarshal(out, cfg); err != nil {
		t.Fatal(err)
	}
}

// ports is a set of "7430/udp" and the like.
type ports map[string]bool

func (p ports) add(proto string, n ...int) {
	for _, n := range n {
		p[fmt.Sprintf("%d/%s", n, proto)] = true
	}
}

// addRange adds "7430-7437/udp" or "8080"; tcp when it does not say.
func (p ports) addRange(t *testing.T, s string) {
	t.Helper()
	span, proto, ok := strings.Cut(s, "/")
	if !ok {
		proto = "tcp"
	}
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		last = first
	}
	for n := number(t, first); n <= number(t, last); n++ {
		p.add(proto, n)
	}
}

func (p ports) lacks(of ports) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(of)), func(k string) bool { return p[k] })
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%q is no port", s)
	}
	return n
}

// split is host and port of an address.
func split(t *testing.T, addr string) (string, int) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, number(t, port)
}

// published are the ports of the machine that lead to the service; inside they must be the same, since they are in candidates.
func (s *service) published(t *testing.T) ports {
	t.Helper()
	p := ports{}
	for _, m := range s.Ports {
		outside, inside, ok := strings.Cut(m, ":")
		if span, _, _ := strings.Cut(inside, "/"); !ok || span != outside {
			t.Errorf("port %s: the number outside must be that inside", m)
		}
		p.addRange(t, inside)
	}
	return p
}

// turn are the ports on which the gateway is a TURN server.
func (c *mgwConfig) turn(t *testing.T) ports {
	t.Helper()
	p := ports{}
	for proto, list := range map[string][]string{"udp": c.TURN.UDP, "tcp": slices.Concat(c.TURN.TCP, c.TURN.TLS)} {
		for _, a := range list {
			_, port := split(t, a)
			p.add(proto, port)
		}
	}
	return p
}

// turn are the ports of the TURN servers that browsers are told of, all at one address.
func (c *mgcConfig) turn(t *testing.T, address string) ports {
	t.Helper()
	p := ports{}
	for _, u := range c.TURN.URLs {
		addr, transport, _ := strings.Cut(strings.TrimPrefix(u, "turn:"), "?transport=")
		host, port := split(t, addr)
		if p.add(orElse(transport, "udp"), port); host != address {
			t.Errorf("turn.urls has %s, want address %s", u, address)
		}
	}
	return p
}

// Each port that a browser is told is published with the same number, and no other; both daemons have the same TURN secret.
func TestComposePublishesWhatBrowsersAreTold(t *testing.T) {
	const secret = "0123456789abcdef"
	for name, vars := range map[string]map[string]string{
		"as it is":  {},
		"TURN":      {"TURN_SECRET": secret},
		"elsewhere": {"TURN_SECRET": secret, "ADVERTISE": "203.0.113.7", "ICE_TCP": "443"},
	} {
		t.Run(name, func(t *testing.T) {
			f := compose(t, vars)
			var mgc mgcConfig
			var mgw mgwConfig
			effective(t, "mgc", f.Services["mgc"].Environment, &mgc)
			effective(t, "mgw", f.Services["mgw"].Environment, &mgw)
			advertise := vars["ADVERTISE"]
			if advertise == "" {
				advertise = "127.0.0.1"
			}
			web, media := ports{}, ports{}
			_, port := split(t, mgc.Access.Listen)
			web.add("tcp", port)
			if want := net.JoinHostPort(advertise, strconv.Itoa(port)); mgc.Access.Advertise != want {
				t.Errorf("access.advertise is %s, want %s", mgc.Access.Advertise, want)
			}
			for _, a := range mgw.Realms.Access {
				for i := range mgw.Media.Workers {
					media.add("udp", a.Port+i)
				}
				if media.add("tcp", a.TCP); a.Advertise != advertise || a.TCP == 0 || mgw.Media.Workers == 0 {
					t.Errorf("media: %+v with %d workers, want advertised %s, ICE-TCP, and a number of workers", a, mgw.Media.Workers, advertise)
				}
			}
			turn, told := mgw.turn(t), mgc.turn(t, advertise)
			ours, theirs := f.Services["mgc"].Environment["ISTHMUS_MGC_TURN_SECRETS"], f.Services["mgw"].Environment["ISTHMUS_MGW_TURN_SECRETS"]
			if !maps.Equal(told, turn) || ours != theirs || ours != vars["TURN_SECRET"] || (len(turn) > 0) != (ours != "") {
				t.Errorf("TURN: served %v, told %v; secrets %q and %q", turn, told, theirs, ours)
			}
			maps.Copy(media, turn)
			published := f.Services["mgw"].published(t)
			if m := published.lacks(media); len(m) > 0 {
				t.Errorf("mgw: not published: %v", m)
			}
			if m := media.lacks(published); len(m) > 0 && len(turn) > 0 {
				t.Errorf("mgw: published for nobody: %v", m)
			}
			if p := f.Services["mgc"].published(t); !maps.Equal(p, web) {
				t.Errorf("mgc: published are %v, want %v", p, web)
			}
		})
	}
}

// The daemons meet at addresses that are theirs.
func TestComposeAddressesMeet(t *testing.T) {
	f := compose(t, map[string]string{"TURN_SECRET": "0123456789abcdef"})
	addr := map[string]string{}
	for name, s := range f.Services {
		a := s.Networks["isthmus"].Address
		if !f.Networks["isthmus"].IPAM.Config[0].Subnet.Contains(a) {
			t.Errorf("%s: %s is not of the network", name, a)
		}
		addr[name] = a.String()
	}
	var mgc mgcConfig
	var mgw mgwConfig
	effective(t, "mgc", f.Services["mgc"].Environment, &mgc)
	effective(t, "mgw", f.Services["mgw"].Environment, &mgw)
	for _, c := range []struct{ what, got, want string }{
		{"mgc core.listen", host(mgc.Core.Listen), addr["mgc"]},
		{"mgc iq.listen", host(mgc.Iq.Listen), addr["mgc"]},
		{"mgw iq.listen", host(mgw.Iq.Listen), addr["mgw"]},
		{"mgw realms.access.0.listen", mgw.Realms.Access[0].Listen, addr["mgw"]},
		{"mgw realms.core.0.listen", mgw.Realms.Core[0].Listen, addr["mgw"]},
		{"mgw turn.udp", host(mgw.TURN.UDP[0]), addr["mgw"]},
		{"mgw iq.mgc", mgw.Iq.MGC[0], mgc.Iq.Listen},
		{"mgc core.next_hop", strings.TrimPrefix(mgc.Core.NextHop, "sip:"), f.Services["democore"].Command[1]},
		{"democore -listen", host(f.Services["democore"].Command[1]), addr["democore"]},
	} {
		if c.got != c.want {
			t.Errorf("%s is %s, want %s", c.what, c.got, c.want)
		}
	}
}

func host(addr string) string {
	h, _, _ := net.SplitHostPort(addr) // "" is no address of a service
	return h
}
