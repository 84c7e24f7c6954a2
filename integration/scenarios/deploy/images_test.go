package deploy

import (
	"debug/elf"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dockerfiles are the images, with the modules that their builds need.
var dockerfiles = map[string][]string{
	"mgc/Dockerfile":                         {"mgc", "pkg", "proto"},
	"mgw/Dockerfile":                         {"mgw", "pkg", "proto"},
	"integration/deploy/democore.Dockerfile": {"integration", "pkg", "proto"},
}

// stage is one stage of a Dockerfile: its base image and its instructions, continued lines joined, in order.
type stage struct {
	base  string
	lines []string
}

// stages reads a Dockerfile.
func stages(t *testing.T, name string) []stage {
	t.Helper()
	var out []stage
	for line := range strings.Lines(strings.ReplaceAll(readFile(t, name), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		switch base, isFrom := strings.CutPrefix(line, "FROM "); {
		case line == "" || line[0] == '#':
		case isFrom:
			out = append(out, stage{base: strings.Fields(base)[0]})
		default:
			out[len(out)-1].lines = append(out[len(out)-1].lines, line)
		}
	}
	return out
}

// words are the arguments of all instructions of a kind, such as EXPOSE.
func (s stage) words(instruction string) [][]string {
	var out [][]string
	for _, l := range s.lines {
		if f := strings.Fields(l); f[0] == instruction {
			out = append(out, f[1:])
		}
	}
	return out
}

// libraries are the packages lib... that a stage installs.
func (s stage) libraries() []string {
	var out []string
	for _, run := range s.words("RUN") {
		for _, w := range run {
			if strings.HasPrefix(w, "lib") {
				out = append(out, w)
			}
		}
	}
	slices.Sort(out)
	return out
}

// ofBase are the libraries of libc6, which each Debian has.
var ofBase = regexp.MustCompile(`^(libc|libm|libpthread|libdl|librt|libresolv|ld-linux.*)\.so`)

// The image of the media gateway has the packages of the libraries that its binary loads, and no other; a controller loads none.
func TestImagesHaveTheLibraries(t *testing.T) {
	for daemon, cgo := range map[string]bool{"mgc": false, "mgw": true} {
		f, err := elf.Open(filepath.Join(root, "bin", daemon))
		if err != nil {
			t.Fatalf("%v (make build makes it)", err)
		}
		sonames, err := f.ImportedLibraries()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, s := range sonames {
			if ofBase.MatchString(s) {
				continue
			}
			name, version, _ := strings.Cut(s, ".so.") // named by Debian Policy §8.1
			if last := name[len(name)-1]; last >= '0' && last <= '9' {
				name += "-"
			}
			want = append(want, name+version)
		}
		slices.Sort(want)
		all := stages(t, daemon+"/Dockerfile")
		if got := all[len(all)-1].libraries(); !slices.Equal(got, want) || (len(want) > 0) != cgo {
			t.Errorf("%s: the image has %v, the binary loads %v", daemon, got, want)
		}
	}
}

// The build of the media gateway's image installs what make build does, and runs where what it built with is the same.
func TestImagesAreBuiltLikeMakeDoes(t *testing.T) {
	need := readFile(t, "integration/scripts/need.sh")
	proofs := regexp.MustCompile(`(?m)^build="(.*)"`).FindStringSubmatch(need)
	if proofs == nil {
		t.Fatal("need.sh has no build")
	}
	var want []string
	for _, m := range regexp.MustCompile(`\[(\S+?)\]=(\S+)`).FindAllStringSubmatch(need, -1) {
		if slices.Contains(strings.Fields(proofs[1]), m[1]) && strings.HasPrefix(m[2], "lib") {
			want = append(want, m[2])
		}
	}
	slices.Sort(want)
	if got := stages(t, "mgw/Dockerfile")[0].libraries(); !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("mgw/Dockerfile builds with %v, make with %v", got, want)
	}
	for name, modules := range dockerfiles {
		all := stages(t, name)
		golang, debian := all[len(all)-2].base, all[len(all)-1].base
		release := regexp.MustCompile(`^debian:(\w+)-slim$`).FindStringSubmatch(debian)
		if release == nil || !strings.HasSuffix(golang, "-"+release[1]) {
			t.Errorf("%s: built in %s, runs in %s", name, golang, debian)
		}
		for _, m := range modules {
			directive := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readFile(t, m+"/go.mod"))
			if !strings.HasPrefix(golang, "golang:"+directive[1]+"-") {
				t.Errorf("%s: %s, but %s/go.mod says go %s", name, golang, m, directive[1])
			}
		}
	}
}

// ignored reports whether a path is left out of what a build is sent (last matching line wins).
func ignored(lines []string, name string) bool {
	out := false
	for _, l := range lines {
		pattern, kept := strings.CutPrefix(strings.TrimSpace(l), "!")
		for p := name; p != "." && pattern != ""; p = path.Dir(p) {
			if ok, err := path.Match(pattern, p); ok && err == nil {
				out = !kept
			}
		}
	}
	return out
}

// A build is sent what it copies and the go.mod of each module that it names; what it runs it has made, and does not run as root.
func TestImagesAreMadeOfWhatIsThere(t *testing.T) {
	for name, modules := range dockerfiles {
		ignore := strings.Split(readFile(t, name+".dockerignore"), "\n")
		var wanted []string
		for _, m := range modules {
			wanted = append(wanted, m+"/go.mod", m+"/go.sum")
		}
		all := stages(t, name)
		last := all[len(all)-1]
		copied := map[string]bool{}
		for _, s := range all {
			for _, c := range s.words("COPY") {
				from := c[:len(c)-1]
				if strings.HasPrefix(from[0], "--from=") {
					continue
				}
				for _, f := range from {
					if copied[strings.TrimSuffix(f, "/")] = true; f != "." {
						wanted = append(wanted, f)
					}
				}
			}
		}
		for _, w := range wanted {
			if _, err := os.Stat(filepath.Join(root, w)); err != nil || ignored(ignore, w) {
				t.Errorf("%s: %s is not sent to the build: ignored %v, %v", name, w, ignored(ignore, w), err)
			}
		}
		for _, m := range modules {
			if !copied[m] && !copied["."] {
				t.Errorf("%s: does not copy module %s", name, m)
			}
		}
		user, entry := last.words("USER"), last.words("ENTRYPOINT")
		if len(user) != 1 || !regexp.MustCompile(`^[1-9]\d*(:[1-9]\d*)?$`).MatchString(user[0][0]) {
			t.Errorf("%s: USER %v, want a number that is not root's", name, user)
		}
		program := strings.Trim(strings.Join(entry[0], ""), `[]"`)
		var built bool
		for _, c := range last.words("COPY") {
			for _, f := range c[1 : len(c)-1] {
				target := c[len(c)-1]
				if strings.HasSuffix(target, "/") {
					target += path.Base(f)
				}
				built = built || target == program
			}
		}
		if !built {
			t.Errorf("%s: nothing is copied to %s", name, program)
		}
	}
}

// row is a line of the table of ports in README.md.
var row = regexp.MustCompile(`(?m)^\| ([^|]*) \| (mgc|mgw) \| `)

// port is one port of such a line, 7430.../udp for several.
var port = regexp.MustCompile(`(\d+)(?:\.\.\.)?(?:/(udp\+tcp|udp|tcp)|,)`)

// Each port that a daemon listens on by default is in EXPOSE and in README.md, and so is each that docker-compose.yml uses.
func TestImagesExposeWhatListens(t *testing.T) {
	var mgc mgcConfig
	var mgw mgwConfig
	effective(t, "mgc", nil, &mgc)
	effective(t, "mgw", nil, &mgw)
	listens := map[string]ports{"mgc": {}, "mgw": {}}
	for _, a := range []string{mgc.Access.Listen, mgc.Core.Listen, mgc.Iq.Listen, mgc.Admin.Listen, mgc.Admin.HTTP, mgc.Policy.Callback.Listen} {
		_, n := split(t, a)
		listens["mgc"].add("tcp", n)
	}
	_, sip := split(t, mgc.Core.Listen)
	listens["mgc"].add("udp", sip)
	for _, a := range []string{mgw.Iq.Listen, mgw.Admin.Listen, mgw.HTTP.Listen} {
		_, n := split(t, a)
		listens["mgw"].add("tcp", n)
	}
	listens["mgw"].add("udp", mgw.Realms.Access[0].Port)
	readme := map[string]ports{"mgc": {}, "mgw": {}}
	for _, r := range row.FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		proto := "tcp"
		if strings.Contains(r[1], "/udp") {
			proto = "udp"
		}
		for _, p := range port.FindAllStringSubmatch(r[1], -1) {
			if strings.Contains(r[1], "e.g.") || strings.Contains(r[1], p[1]+"-") || strings.Contains(r[1], "-"+p[1]) {
				continue // an example; a range of core media or of relayed addresses
			}
			for _, proto := range strings.Split(orElse(p[2], proto), "+") {
				readme[r[2]].add(proto, number(t, p[1]))
			}
		}
	}
	f := compose(t, map[string]string{"TURN_SECRET": "0123456789abcdef"})
	for daemon, l := range listens {
		if m := readme[daemon].lacks(l); len(m) > 0 {
			t.Errorf("README.md does not name %v of %s", m, daemon)
		}
		all, exposed := stages(t, daemon+"/Dockerfile"), ports{}
		for _, line := range all[len(all)-1].words("EXPOSE") {
			for _, p := range line {
				exposed.addRange(t, p)
			}
		}
		want := maps.Clone(l)
		maps.Copy(want, readme[daemon])
		maps.Copy(want, f.Services[daemon].published(t))
		if m := exposed.lacks(want); len(m) > 0 {
			t.Errorf("%s/Dockerfile does not expose %v", daemon, m)
		}
	}
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
