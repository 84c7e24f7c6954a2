package conf

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// printConfig writes the effective configuration as YAML with the docs as comments; it reads back to the same values.
func (l *loader) printConfig() error {
	var b strings.Builder
	printStruct(&b, l.root, "", false)
	_, err := fmt.Fprint(l.opt.Out, b.String())
	return err
}

func printStruct(b *strings.Builder, v reflect.Value, indent string, item bool) {
	names, fields := fieldsOf(v)
	for i, name := range names {
		f, lead := fields[i], indent
		if item && i == 0 {
			lead = strings.TrimSuffix(indent, "  ") + "- "
		} else if f.doc != "" {
			fmt.Fprintf(b, "%s# %s\n", indent, docText(f))
		}
		switch {
		case isLeaf(f.value.Type()):
			fmt.Fprintf(b, "%s%s: %s\n", lead, name, leafText(f.value))
		case f.value.Kind() == reflect.Struct:
			fmt.Fprintf(b, "%s%s:\n", lead, name)
			printStruct(b, f.value, indent+"  ", false)
		case f.value.Len() == 0:
			fmt.Fprintf(b, "%s%s: []\n", lead, name)
		default:
			fmt.Fprintf(b, "%s%s:\n", lead, name)
			for j := range f.value.Len() {
				printStruct(b, f.value.Index(j), indent+"    ", true)
			}
		}
	}
}

// docText is the doc with the allowed range as one sentence.
func docText(f field) string {
	if f.rng == "" {
		return f.doc
	}
	return strings.TrimSuffix(f.doc, ".") + allowedText(f.rng) + "."
}

func leafText(v reflect.Value) string {
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8 {
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = leafText(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	text := ""
	switch x := v.Interface().(type) {
	case time.Duration:
		text = x.String()
	case encoding.TextMarshaler:
		raw, _ := x.MarshalText() // the value came from UnmarshalText
		text = string(raw)
	case string:
		text = x
	default:
		return fmt.Sprint(x)
	}
	return scalar(text)
}

// plain is text that needs no quotes in any place, also inside of a [list]; whether it is a word of YAML the encoder knows.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@*-]*$`)

// scalar writes text on one line so that YAML reads it back.
func scalar(text string) string {
	var value any = text
	if !plain.MatchString(text) {
		value = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: text}
	}
	out, _ := yaml.Marshal(value) // text always marshals
	return strings.TrimSuffix(string(out), "\n")
}

// showElements gives empty lists of groups one element with its defaults, so that the help shows its settings.
func (l *loader) showElements(v reflect.Value) {
	_, fields := fieldsOf(v)
	for _, f := range fields {
		switch {
		case isLeaf(f.value.Type()):
		case f.value.Kind() == reflect.Struct:
			l.showElements(f.value)
		case f.value.Len() == 0:
			el := reflect.New(f.value.Type().Elem()).Elem()
			l.setDefaults(el)
			l.showElements(el)
			f.value.Set(reflect.Append(f.value, el))
		}
	}
}

// printHelp writes the flags with defaults, ranges and docs.
func (l *loader) printHelp() error {
	l.setDefaults(l.root)
	l.showElements(l.root)
	var b strings.Builder
	fmt.Fprintf(&b, "%s - %s\n\nUsage: %s [--config FILE] [--SETTING VALUE ...]\n\n", l.opt.Name, l.opt.About, l.opt.Name)
	fmt.Fprintf(&b, "  --config FILE      YAML configuration file (also %s_CONFIG)\n", l.opt.EnvPrefix)
	b.WriteString("  --print-config     print the effective configuration with comments, and exit\n")
	b.WriteString("  --ready            ask the daemon that runs with these settings whether it is ready, and exit with 0 or 1\n")
	b.WriteString("  --version          print the version, and exit\n  --help             print this, and exit\n\nSettings (flag, default, meaning; each also as environment variable and in the file):\n\n")
	walk(l.root, "", func(path string, f field) {
		fmt.Fprintf(&b, "  --%s=%s\n        %s\n", path, leafText(f.value), docText(f))
	})
	b.WriteString("\nA flag goes before an environment variable, that before the file. Values of a list are separated by commas: A,B.\n")
	b.WriteString("Lists of groups (settings with .0. in their names) grow: the next element is .1., and so on.\n")
	fmt.Fprintf(&b, "\nExample of an environment variable: %s\n", envName(l.opt.EnvPrefix, "log.level")+"=debug")
	_, err := fmt.Fprint(l.opt.Out, b.String())
	return err
}
