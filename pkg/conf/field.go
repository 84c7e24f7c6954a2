package conf

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// field is one setting: where it is stored and what its tags say.
type field struct {
	value reflect.Value
	rng   string
	doc   string
	def   string
	has   bool // has a default tag
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func isLeaf(t reflect.Type) bool {
	if t == durationType || reflect.PointerTo(t).Implements(textType) {
		return true
	}
	switch t.Kind() {
	case reflect.Struct:
		return false
	case reflect.Slice:
		return isLeaf(t.Elem())
	default:
		return true
	}
}

// fieldsOf returns the declared settings of a struct by name, in order.
func fieldsOf(v reflect.Value) (names []string, fields []field) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, ok := sf.Tag.Lookup("conf")
		if !ok {
			continue
		}
		def, has := sf.Tag.Lookup("default")
		names = append(names, name)
		fields = append(fields, field{value: v.Field(i), rng: sf.Tag.Get("range"), doc: sf.Tag.Get("doc"), def: def, has: has})
	}
	return names, fields
}

// walk visits the leaves beneath v, list elements by index.
func walk(v reflect.Value, prefix string, visit func(path string, f field)) {
	names, fields := fieldsOf(v)
	for i, name := range names {
		path := join(prefix, name)
		f := fields[i]
		switch {
		case isLeaf(f.value.Type()):
			visit(path, f)
		case f.value.Kind() == reflect.Struct:
			walk(f.value, path, visit)
		default:
			for j := range f.value.Len() {
				walk(f.value.Index(j), join(path, strconv.Itoa(j)), visit)
			}
		}
	}
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// setDefaults applies the default tags beneath v. A broken default is a defect of the program.
func (l *loader) setDefaults(v reflect.Value) {
	_, fields := fieldsOf(v)
	for _, f := range fields {
		switch {
		case isLeaf(f.value.Type()):
			if f.has && f.value.IsZero() {
				if err := assign(f, f.def); err != nil {
					panic(fmt.Sprintf("conf: default %q: %v", f.def, err))
				}
			}
		case f.value.Kind() == reflect.Struct:
			l.setDefaults(f.value)
		default:
			for j := range f.value.Len() {
				l.setDefaults(f.value.Index(j))
			}
		}
	}
}

// lookup finds the setting with the dotted path. grow appends one list element when the index is the length.
func (l *loader) lookup(path string, grow bool) (field, error) {
	v := l.root
	f := field{value: v}
	for part := range strings.SplitSeq(path, ".") {
		switch {
		case v.Kind() == reflect.Slice && !isLeaf(v.Type()):
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i > v.Len() || (i == v.Len() && !grow) {
				return f, fmt.Errorf("%q is no index of a list of %d", part, v.Len())
			}
			if i == v.Len() {
				el := reflect.New(v.Type().Elem()).Elem()
				l.setDefaults(el)
				v.Set(reflect.Append(v, el))
			}
			v = v.Index(i)
			f = field{value: v}
		case v.Kind() == reflect.Struct && !isLeaf(v.Type()):
			names, fields := fieldsOf(v)
			i := slices.Index(names, part)
			if i < 0 {
				return f, errors.New(unknownText(part, names))
			}
			f, v = fields[i], fields[i].value
		default:
			return f, fmt.Errorf("unknown setting")
		}
	}
	if !isLeaf(v.Type()) {
		return f, errors.New("is a group of settings, not one")
	}
	return f, nil
}

func unknownText(name string, names []string) string {
	best, bestD := "", 3
	for _, n := range names {
		if d := distance(name, n); d < bestD {
			best, bestD = n, d
		}
	}
	if best != "" {
		return fmt.Sprintf("unknown setting %q; did you mean %q?", name, best)
	}
	return fmt.Sprintf("unknown setting %q; known here: %s", name, strings.Join(names, ", "))
}

// distance is the Levenshtein distance of two short names.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		diag := prev[0]
		prev[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost = 1 + min(diag, prev[j], prev[j+1])
			}
			diag, prev[j+1] = prev[j+1], cost
		}
	}
	return prev[len(b)]
}

// assign parses text into f and checks the range. Lists are separated by commas.
func assign(f field, text string) error {
	v := f.value
	if v.Kind() == reflect.Slice && v.Type() != durationType && !reflect.PointerTo(v.Type()).Implements(textType) {
		out := reflect.MakeSlice(v.Type(), 0, 4)
		if strings.TrimSpace(text) != "" {
			for part := range strings.SplitSeq(text, ",") {
				el := reflect.New(v.Type().Elem()).Elem()
				if err := assign(field{value: el, rng: f.rng}, strings.TrimSpace(part)); err != nil {
					return err
				}
				out = reflect.Append(out, el)
			}
		}
		v.Set(out)
		return nil
	}
	parsed := reflect.New(v.Type()).Elem()
	if err := parse(parsed, text); err != nil {
		return fmt.Errorf("%q is %w%s", text, err, allowedText(f.rng))
	}
	if err := inRange(parsed, f.rng); err != nil {
		return fmt.Errorf("%s is out of range%s", text, allowedText(f.rng))
	}
	v.Set(parsed)
	return nil
}

func allowedText(rng string) string {
	if rng == "" {
		return ""
	}
	return "; allowed: " + rng
}

func parse(v reflect.Value, text string) error {
	if v.Type() == durationType {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("no duration (like 500ms, 30s, 2h)")
		}
		v.SetInt(int64(d))
		return nil
	}
	if tu, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if text == "" {
			return nil
		}
		if err := tu.UnmarshalText([]byte(text)); err != nil {
			return fmt.Errorf("no %s (%w)", strings.ToLower(v.Type().Name()), err)
		}
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("neither true nor false")
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return errors.New("no whole number of the allowed size")
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return errors.New("no whole number of the allowed size")
		}
		v.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil {
			return errors.New("no number")
		}
		v.SetFloat(n)
	default:
		return fmt.Errorf("of an unsupported type %s", v.Type())
	}
	return nil
}

var errRange = errors.New("out of range")

// inRange checks v against "low..high" or "a|b|c". A zero text value (empty word) passes only when listed.
func inRange(v reflect.Value, rng string) error {
	if rng == "" {
		return nil
	}
	low, high, ok := strings.Cut(rng, "..")
	if !ok {
		if slices.Contains(strings.Split(rng, "|"), fmt.Sprint(v.Interface())) {
			return nil
		}
		return errRange
	}
	lo, hi := reflect.New(v.Type()).Elem(), reflect.New(v.Type()).Elem()
	if err := errors.Join(parse(lo, low), parse(hi, high)); err != nil {
		panic("conf: bad range tag " + rng)
	}
	if less(v, lo) || less(hi, v) {
		return errRange
	}
	return nil
}

func less(a, b reflect.Value) bool {
	switch {
	case a.CanInt():
		return a.Int() < b.Int()
	case a.CanUint():
		return a.Uint() < b.Uint()
	default:
		return a.Float() < b.Float()
	}
}
