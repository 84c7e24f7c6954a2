package badinput

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// secretSource remembers all browsers' messages, so that their secrets can be looked for in the logs.
type secretSource struct {
	mu       sync.Mutex // guards browsers
	browsers map[*bed][]*browser
}

var secrets = secretSource{browsers: map[*bed][]*browser{}}

func (s *secretSource) watch(b *browser) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.browsers[b.bed] = append(s.browsers[b.bed], b)
}

// patterns find what nobody may read in a log, by name.
var patterns = map[string]*regexp.Regexp{
	"digest response": regexp.MustCompile(`[ ,]response="([^"]{8,})"`),
	"digest cnonce":   regexp.MustCompile(`cnonce="([^"]{8,})"`),
	"ICE password":    regexp.MustCompile(`a=ice-pwd:(\S+)`),
	"token":           regexp.MustCompile(`(?:<sip:|;tag=)([a-z2-7]{60,})`),
	"SDES key":        regexp.MustCompile(`inline:(\S+)`),
}

// found returns the secrets of a bed, by value.
func (s *secretSource) found(b *bed) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for _, br := range s.browsers[b] {
		out[password(br.user)] = "password"
		for _, m := range append(br.in.all(), br.out.all()...) {
			for what, p := range patterns {
				for _, hit := range p.FindAllStringSubmatch(m, -1) {
					out[hit[1]] = what
				}
			}
		}
	}
	return out
}

// consoleLine is how a line of the console format begins.
var consoleLine = regexp.MustCompile(`^20\d\d-\d\d-\d\dT[0-9:.]+Z?\S*\t(DEBUG|INFO|WARN|ERROR)\t`)

// logsAreClean looks at all that both daemons wrote: whole lines of the format, nothing that steers a terminal, no secret, no panic.
func (b *bed) logsAreClean(t *testing.T, formatOfMGC string) {
	t.Helper()
	hidden := secrets.found(b)
	kinds := map[string]int{}
	for _, what := range hidden {
		kinds[what]++
	}
	for what := range patterns {
		if kinds[what] == 0 && what != "SDES key" {
			t.Errorf("no %s was seen in the messages: the search of the logs proves nothing", what)
		}
	}
	for _, daemon := range []string{"mgc", "mgw"} {
		text := b.logs[daemon].String()
		if !utf8.ValidString(text) {
			t.Errorf("%s logs what is no UTF-8", daemon)
		}
		for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			if console := daemon == "mgc" && formatOfMGC == "console"; console && !consoleLine.MatchString(line) {
				t.Errorf("%s: line does not begin as one: %q", daemon, line)
			} else if !console && !json.Valid([]byte(line)) {
				t.Errorf("%s: line is no JSON: %q", daemon, line)
			}
			if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f }); i >= 0 {
				t.Errorf("%s: control character at %d of %q", daemon, i, line)
			}
			for value, what := range hidden {
				if strings.Contains(line, value) {
					t.Errorf("%s: %s in the log: %s", daemon, what, line)
				}
			}
			if strings.Contains(line, `"mgc.http"`) && !strings.Contains(line, `"level":"debug"`) {
				t.Errorf("%s: a stranger fills the log: %s", daemon, line)
			}
			if strings.Contains(line, "panic") || strings.Contains(line, "DATA RACE") {
				t.Errorf("%s: %s", daemon, line)
			}
		}
	}
}
