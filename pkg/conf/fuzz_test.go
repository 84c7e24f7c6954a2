package conf

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// FuzzFile reads configuration files of any content: refused with the file's name and a line that it has, or taken; what is
// taken is printed as a file that reads back to the same values.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"", "id: x\n", "wait: 5s\nlog: {level: debug, color: yes}\n", "realms:\n  - name: a\n    port: 7\n  - listen: ::1\n", "hosts: [a, 'b,c', \"\\e[0m\"]\n",
		"wait: 2h\n", "log: 3\n", "id: [\n", "id: &a x\nhosts: [*a]\n", "<<: {id: y}\n", "? [a]\n: b\n", "id: !!binary AAAA\n", "---\nid: a\n---\nid: b\n",
		"\xff\xfe", "id: \"\\u0000\\u202e\"\n", "a: &a [*a]\n", "realms: [[]]\n", "id: null\nwait: ~\n", "id: |\n  two\n  lines\n", "\tid: x\n", "wait: 1e300s\n",
	} {
		f.Add([]byte(seed))
	}
	name := filepath.Join(f.TempDir(), "c.yaml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var c, back config
		err := Load(&c, Options{Name: "x", EnvPrefix: "X", Args: []string{"--config", name}, Env: []string{}})
		if err != nil {
			checkRefusal(t, err, name, bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r"))+1)
			return
		}
		var out bytes.Buffer
		if err := Load(&c, Options{Name: "x", EnvPrefix: "X", Args: []string{"--config", name, "--print-config"}, Env: []string{}, Out: &out}); !errors.Is(err, ErrDone) {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Load(&back, Options{Name: "x", EnvPrefix: "X", Args: []string{"--config", name}, Env: []string{}}); err != nil {
			t.Fatalf("printed configuration is refused: %v\n%s", err, out.Bytes())
		}
		if back.ID != c.ID || back.Wait != c.Wait || back.Log != c.Log || !slices.Equal(back.Realms, c.Realms) || !slices.Equal(back.Hosts, c.Hosts) {
			t.Fatalf("read back %+v, want %+v\n%s", back, c, out.Bytes())
		}
	})
}

// checkRefusal requires one line per fault, each with a place that exists.
func checkRefusal(t *testing.T, err error, file string, lines int) {
	t.Helper()
	all, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T", err)
	}
	for _, e := range all.Unwrap() {
		var ce *Error
		if !errors.As(e, &ce) || ce.File != file || ce.Line < 1 || ce.Line > lines {
			t.Fatalf("%v in a file of %d lines", e, lines)
		}
		if strings.ContainsAny(ce.Text+ce.Path, "\x00\x1b\n") {
			t.Fatalf("text steers the terminal: %q", ce.Text)
		}
	}
}
