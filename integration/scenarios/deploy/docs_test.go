package deploy

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// setting is one of --help.
	setting = regexp.MustCompile(`(?m)^  --([a-z0-9_.]+)=`)
	// named is what looks like a setting in a document: `core.srtp`, --core.srtp=osrtp, `core.tls.*`, `realms.access.N.ice`.
	named = regexp.MustCompile("(?:`|--)([a-z]+(?:\\.[a-z0-9_]+|\\.N)+)(\\.\\*)?")
	// block is YAML in a document.
	block = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
)

// documents are those for operators, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, pattern := range []string{"*.md", "mgc/docs/*.md", "mgw/docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		for _, f := range found {
			rel, err := filepath.Rel(root, f)
			if err != nil {
				t.Fatal(err)
			}
			docs[rel] = readFile(t, rel)
		}
	}
	return docs
}

// Each setting that a document names is one of a daemon, or the beginning of several.
func TestDocumentsNameSettingsThatThereAre(t *testing.T) {
	known, groups := map[string]bool{}, map[string]bool{}
	for _, daemon := range []string{"mgc", "mgw"} {
		help, err := exec.Command(filepath.Join(root, "bin", daemon), "--help").Output()
		if err != nil {
			t.Fatalf("%s: %v", daemon, err)
		}
		for _, m := range setting.FindAllStringSubmatch(string(help), -1) {
			known[m[1]] = true
			for name := m[1]; strings.Contains(name, "."); {
				name = name[:strings.LastIndexByte(name, '.')]
				known[name], groups[strings.SplitN(name, ".", 2)[0]] = true, true
			}
		}
	}
	seen := 0
	for doc, text := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !groups[strings.SplitN(m[1], ".", 2)[0]] {
				continue // a file, a field of Iq, a header
			}
			seen++
			if !known[strings.ReplaceAll(m[1], ".N", ".0")] {
				t.Errorf("%s: %s is no setting", doc, m[1])
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d settings were found in the documents", seen)
	}
}

// What a document shows as a configuration file is taken by the controller.
func TestDocumentsShowConfigurationThatIsTaken(t *testing.T) {
	n := 0
	for doc, text := range documents(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			n++
			cmd := exec.Command(filepath.Join(root, "bin", "mgc"), "--print-config", "--config", "/dev/stdin")
			cmd.Env, cmd.Stdin = []string{}, strings.NewReader(m[1])
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s\n%s", doc, err, out, m[1])
			}
		}
	}
	if n == 0 {
		t.Error("no document shows any")
	}
}
