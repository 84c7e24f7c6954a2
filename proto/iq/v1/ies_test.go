package iqv1_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	elementTable = "../../docs/iq-ies.md"
	protoSource  = "../../isthmus/iq/v1/iq.proto"
	eventType    = "EventType"
)

// filler are words of an element's name that the place and the type of a field say.
var filler = strings.Fields("bearer call connection handling host id identifier indicator information ip local notify received remote request required requirement resource termination traffic")

// alike are words of fields, and what the elements say instead.
var alike = map[string]string{
	"crypto": "cryptographic sdes attribute", "dscp": "diffserv code point", "fingerprint": "certificate fingerprint", "latch": "latching", "pwd": "password",
	"result": "connectivity check result",
}

// row is a line of the table.
type row struct {
	field, element, seen, source, name string
}

// TestIQ33_FieldsAndElements: each field of the protocol, and each event, has a row that says which information element of TS 23.334 it is, or that it is none
// and why; its name is the element's by the rule that the table states, or the row says why not, and the comment in iq.proto names the element.
func TestIQ33_FieldsAndElements(t *testing.T) {
	rows := readTable(t)
	comments := readComments(t)
	have, elements := map[string]bool{}, map[string]string{}
	for _, r := range rows {
		if have[r.field] {
			t.Errorf("%s: two rows", r.field)
		}
		have[r.field] = true
		if err := r.check(comments[r.field]); err != nil {
			t.Errorf("%s: %v", r.field, err)
		}
		if r.name != "same" {
			continue
		}
		message, _, _ := strings.Cut(r.field, ".")
		for e := range strings.SplitSeq(r.element, "; ") {
			if other := elements[message+"."+e]; other != "" {
				t.Errorf("%s is %s and %s", e, other, r.field)
			}
			elements[message+"."+e] = r.field
		}
	}
	want := fieldNames()
	for _, f := range want {
		if !have[f] {
			t.Errorf("%s has no row in %s", f, elementTable)
		}
	}
	for f := range have {
		if !slices.Contains(want, f) {
			t.Errorf("the table has %s, the protocol has not", f)
		}
	}
	if len(want) < 250 || len(elements) < 25 {
		t.Errorf("%d fields, %d elements: the walk does not reach them all", len(want), len(elements))
	}
}

// TestIQ33_Rule: what the rule takes for the same name, and what not.
func TestIQ33_Rule(t *testing.T) {
	for _, c := range []struct {
		field, element string
		same           bool
	}{
		{"ContextAttributes.emergency", "Emergency Call Indicator", true},
		{"IceParameters.ufrag", "ICE Ufrag request", true},
		{"Stream.local", "Local IP Resources", true},
		{"Policing.sustained_rate", "Sustainable Data Rate", false},
		{"Policing.rate", "Sustainable Data Rate", false},
		{"Stream.remote", "Local IP Resources", false},
		{"LocalControl.latch", "Latching Requirement", true},
		{"LocalControl.latches_always", "Latching Requirement", false},
	} {
		if got := sameName(c.field, c.element); got != c.same {
			t.Errorf("%s and %s: %v", c.field, c.element, got)
		}
	}
}

// check tells what is wrong with a row.
func (r row) check(comment string) error {
	cites := regexp.MustCompile(`^(TS 23\.334 §[568]|TS 29\.334 §5|H\.248\.|RFC \d+|ITU-T [A-Z]\.\d+|proto3$|Iq$)`)
	why, departs := strings.CutPrefix(r.name, "departs: ")
	switch {
	case !cites.MatchString(r.source):
		return fmt.Errorf("%q is no source", r.source)
	case r.element == "own":
		if r.seen != "-" || r.name == "same" || departs || len(r.name) < 8 {
			return fmt.Errorf("%q does not say why there is no element", r.name)
		}
		return nil
	case r.seen != "S" && r.seen != "K":
		return fmt.Errorf("seen %q", r.seen)
	case departs && len(why) < 8, !departs && r.name != "same":
		return fmt.Errorf("%q neither is the same nor says why not", r.name)
	case !strings.Contains(comment, "IE: "+r.element+" ("+r.source+")."):
		return fmt.Errorf("the comment in iq.proto does not name %q (%s)", r.element, r.source)
	}
	same := true
	for e := range strings.SplitSeq(r.element, "; ") {
		same = same && sameName(r.field, e)
	}
	if same == departs {
		return fmt.Errorf("the table says %q of %s, the rule the contrary", r.name, r.element)
	}
	return nil
}

// sameName is the rule of the table.
func sameName(field, element string) bool {
	message, name, _ := strings.Cut(field, ".")
	own, theirs := words(strings.TrimSuffix(name, "_id")), words(element)
	said := words(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(message, "$1 $2"))
	for _, w := range own {
		said = append(said, w)
		if long := words(alike[w]); len(long) > 0 && strings.Contains(strings.Join(theirs, " "), strings.Join(long, " ")) {
			said = append(said, long...)
		} else if !slices.Contains(theirs, w) {
			return false
		}
	}
	return !slices.ContainsFunc(theirs, func(w string) bool { return !slices.Contains(said, w) && !slices.Contains(filler, w) })
}

// words are those of a name, in lower case and without a plural s.
func words(name string) []string {
	out := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') })
	for i, w := range out {
		out[i] = strings.TrimSuffix(w, "s")
	}
	return out
}

// fieldNames are those that the compiled protocol has, "Message.field", and its events, "EventType.NAME".
func fieldNames() []string {
	var out []string
	var walk func(protoreflect.MessageDescriptors)
	walk = func(ms protoreflect.MessageDescriptors) {
		for i := range ms.Len() {
			m := ms.Get(i)
			for j := range m.Fields().Len() {
				if !m.IsMapEntry() {
					out = append(out, strings.TrimPrefix(string(m.Fields().Get(j).FullName()), "isthmus.iq.v1."))
				}
			}
			walk(m.Messages())
		}
	}
	walk(iqv1.File_isthmus_iq_v1_iq_proto.Messages())
	for _, name := range iqv1.EventType_name {
		out = append(out, eventType+"."+strings.TrimPrefix(name, "EVENT_TYPE_"))
	}
	return out
}

func readTable(t *testing.T) []row {
	t.Helper()
	raw, err := os.ReadFile(elementTable)
	if err != nil {
		t.Fatal(err)
	}
	var out []row
	for line := range strings.Lines(string(raw)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| field |") {
			continue
		}
		if len(cells) != 5 {
			t.Fatalf("%d cells: %s", len(cells), line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		out = append(out, row{cells[0], cells[1], cells[2], cells[3], cells[4]})
	}
	return out
}

// readComments are the comments in front of fields and events of iq.proto.
func readComments(t *testing.T) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(protoSource)
	if err != nil {
		t.Fatal(err)
	}
	begin := regexp.MustCompile(`^\s*(message|enum|oneof|service) (\w+) \{(\}?)`)
	field := regexp.MustCompile(`^\s*[\w.<>, ]*?(\w+) = \d+;`)
	out := map[string]string{}
	var open []string
	comment := ""
	for line := range strings.Lines(string(raw)) {
		text := strings.TrimSpace(line)
		if b := begin.FindStringSubmatch(line); b != nil {
			name := b[2]
			if b[1] == "oneof" {
				name = open[len(open)-1]
			}
			if open = append(open, name); b[3] != "" {
				open = open[:len(open)-1]
			}
		} else if f := field.FindStringSubmatch(line); f != nil && len(open) > 0 {
			out[open[len(open)-1]+"."+strings.TrimPrefix(f[1], "EVENT_TYPE_")] = comment
		} else if text == "}" && len(open) > 0 {
			open = open[:len(open)-1]
		}
		if strings.HasPrefix(text, "//") {
			comment += text + "\n"
		} else {
			comment = ""
		}
	}
	return out
}
