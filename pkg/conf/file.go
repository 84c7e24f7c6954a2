package conf

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

const maxFileBytes = 1 << 20

// readFile applies a YAML file. Every key must be known and appear once; values go through the same checks as flags.
func (l *loader) readFile(name string) {
	info, err := os.Stat(name)
	if err != nil {
		l.errs = append(l.errs, &Error{Source: "flag --config", Text: err.Error()})
		return
	}
	if info.Size() > maxFileBytes {
		l.errs = append(l.errs, &Error{File: name, Line: 1, Text: "file is larger than 1 MiB"})
		return
	}
	data, err := os.ReadFile(name)
	if err != nil {
		l.errs = append(l.errs, &Error{Source: "flag --config", Text: err.Error()})
		return
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		line := yamlLine(err)
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		l.errs = append(l.errs, &Error{File: name, Line: line, Text: strings.TrimPrefix(text, fmt.Sprintf("line %d: ", line))})
		return
	}
	if len(doc.Content) == 0 {
		return // an empty file sets nothing
	}
	l.readNode(name, doc.Content[0], l.root, "")
}

// yamlLine digs the line out of yaml's "yaml: line 3: ..." text, which has no typed form.
func yamlLine(err error) int {
	_, rest, ok := strings.Cut(err.Error(), "line ")
	n := 0
	for _, r := range rest {
		if !ok || r < '0' || r > '9' {
			break
		}
		n = n*10 + int(r-'0')
	}
	return max(n, 1)
}

func (l *loader) refuse(file string, n *yaml.Node, path, text string) {
	l.errs = append(l.errs, &Error{File: file, Line: n.Line, Path: path, Text: text})
}

// readNode applies a mapping to the struct v.
func (l *loader) readNode(file string, n *yaml.Node, v reflect.Value, prefix string) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		l.refuse(file, n, prefix, "expected a group of settings (name: value lines)")
		return
	}
	names, fields := fieldsOf(v)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		idx := slices.Index(names, key.Value)
		if idx < 0 {
			l.refuse(file, key, prefix, unknownText(key.Value, names))
			continue
		}
		path := join(prefix, key.Value)
		if seen[key.Value] {
			l.refuse(file, key, path, "given twice")
			continue
		}
		seen[key.Value] = true
		l.readValue(file, val, fields[idx], path)
	}
}

func (l *loader) readValue(file string, n *yaml.Node, f field, path string) {
	switch {
	case !isLeaf(f.value.Type()) && f.value.Kind() == reflect.Struct:
		l.readNode(file, n, f.value, path)
	case !isLeaf(f.value.Type()):
		l.readList(file, n, f, path)
	case n.Kind == yaml.SequenceNode:
		l.readScalars(file, n, f, path)
	case n.Kind != yaml.ScalarNode:
		l.refuse(file, n, path, "expected a single value")
	default:
		text := n.Value
		if n.Tag == "!!null" {
			text = ""
		}
		if err := assign(f, text); err != nil {
			l.refuse(file, n, path, err.Error())
		}
	}
}

// readList replaces a list of groups.
func (l *loader) readList(file string, n *yaml.Node, f field, path string) {
	if n.Kind != yaml.SequenceNode {
		l.refuse(file, n, path, "expected a list (lines that begin with -)")
		return
	}
	out := reflect.MakeSlice(f.value.Type(), 0, len(n.Content))
	for _, item := range n.Content {
		el := reflect.New(f.value.Type().Elem()).Elem()
		l.setDefaults(el)
		l.readNode(file, item, el, path)
		out = reflect.Append(out, el)
	}
	f.value.Set(out)
}

func (l *loader) readScalars(file string, n *yaml.Node, f field, path string) {
	if f.value.Kind() != reflect.Slice {
		l.refuse(file, n, path, "expected a single value, not a list")
		return
	}
	out := reflect.MakeSlice(f.value.Type(), 0, len(n.Content))
	for _, item := range n.Content {
		el := reflect.New(f.value.Type().Elem()).Elem()
		if err := assign(field{value: el, rng: f.rng}, item.Value); err != nil {
			l.refuse(file, item, path, err.Error())
			continue
		}
		out = reflect.Append(out, el)
	}
	f.value.Set(out)
}
