package connmodel

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

var update = flag.Bool("update", false, "rewrite the expectations of testdata/*.txt; review the diff")

// TestIQ02_IQ37_Scripts plays testdata/*.txt: a command ("action" with an Action in text format, "fail EFFECT N CODE TEXT",
// "state"), a line of dashes, and all that it shall give, up to an empty line.
func TestIQ02_IQ37_Scripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playFile(t, file) })
	}
}

func playFile(t *testing.T, file string) {
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := &player{t: t, media: newFakeMedia(t), cx: New("mgw1.b1.7", 7), env: testEnv()}
	var got strings.Builder
	for _, block := range blocks(string(raw)) {
		got.WriteString(block.comment)
		if block.input == "" {
			continue
		}
		got.WriteString(block.input + "----\n" + p.play(block.input) + "\n")
	}
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != string(raw) {
		t.Errorf("script differs; run with -update and review\n--- got\n%s", got.String())
	}
}

type block struct{ comment, input string }

// blocks cuts a script into its commands, dropping what was expected.
func blocks(script string) []block {
	var out []block
	var cur block
	expecting := false
	sc := bufio.NewScanner(strings.NewReader(script))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case expecting && line == "":
			out, cur, expecting = append(out, cur), block{}, false
		case expecting:
		case line == "----":
			expecting = true
		case cur.input == "" && (line == "" || strings.HasPrefix(line, "#")):
			cur.comment += line + "\n"
		default:
			cur.input += line + "\n"
		}
	}
	return append(out, cur)
}

type player struct {
	t     *testing.T
	media *fakeMedia
	cx    *Context
	env   Env
}

func testEnv() Env {
	return Env{
		Realms: map[string]Realm{
			"access":     {Kind: KindAccess, InterfaceID: "eth0"},
			"core":       {Kind: KindCore, InterfaceID: "eth1"},
			"component2": {Kind: KindAccess, InterfaceID: "eth0", Component2: true},
			"full":       {Kind: KindAccess, InterfaceID: "eth0", FullICE: true},
		},
		Announcement: func(name string) bool { return name == "welcome" },
		Elsewhere:    func(id gwid.TerminationID) bool { return strings.HasSuffix(string(id), "/99.1") },
	}
}

func (p *player) play(input string) string {
	verb, rest, _ := strings.Cut(input, "\n")
	switch word, args, _ := strings.Cut(verb, " "); word {
	case "action":
		act := &iqv1.Action{}
		if err := prototext.Unmarshal([]byte(rest), act); err != nil {
			p.t.Fatalf("bad action: %v\n%s", err, rest)
		}
		p.media.log = nil
		rep := p.cx.Apply(p.env, act, p.media.perform)
		out := ""
		for _, l := range p.media.log {
			out += l + "\n"
		}
		return out + "reply " + oneLine(rep) + "\n"
	case "fail":
		var name, text string
		var n int
		var code uint32
		if _, err := fmt.Sscanf(args, "%s %d %d %q", &name, &n, &code, &text); err != nil {
			p.t.Fatalf("bad %q: %v", verb, err)
		}
		p.media.fail(name, n, gwerr.Code(code), text)
		return "ok\n"
	case "state":
		out := fmt.Sprintf("revision %d %s\n", p.cx.Revision, oneLine(p.cx.AttributesMessage()))
		for _, t := range p.cx.Terminations() {
			out += string(t.ID) + " " + oneLine(t.Descriptor()) + "\n"
		}
		return out
	}
	p.t.Fatalf("unknown command %q", verb)
	return ""
}

var spaces = regexp.MustCompile(` +`)

// oneLine is the text format without the spaces that the library varies on purpose.
func oneLine(m proto.Message) string {
	return spaces.ReplaceAllString(strings.TrimSpace(prototext.MarshalOptions{}.Format(m)), " ")
}
