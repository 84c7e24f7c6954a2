// Package bencode writes and reads the encoding of rtpengine's control protocol: strings, integers, lists and dictionaries.
// Floor 0 of the integration module; pure.
package bencode

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Dict is a dictionary; it is written with its keys in byte order.
type Dict map[string]any

// List is a list.
type List []any

// ErrSyntax says that the input is no bencode, or not all of it.
var ErrSyntax = errors.New("bencode: malformed")

// maxDepth bounds the nesting that Parse follows.
const maxDepth = 16

// Append writes v after dst: a string, an int, a List, a []string or a Dict. Any other type is a fault of the caller and panics.
func Append(dst []byte, v any) []byte {
	switch v := v.(type) {
	case string:
		dst = strconv.AppendInt(dst, int64(len(v)), 10)
		dst = append(dst, ':')
		return append(dst, v...)
	case int:
		dst = append(dst, 'i')
		dst = strconv.AppendInt(dst, int64(v), 10)
		return append(dst, 'e')
	case []string:
		dst = append(dst, 'l')
		for _, s := range v {
			dst = Append(dst, s)
		}
		return append(dst, 'e')
	case List:
		dst = append(dst, 'l')
		for _, x := range v {
			dst = Append(dst, x)
		}
		return append(dst, 'e')
	case Dict:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		dst = append(dst, 'd')
		for _, k := range keys {
			dst = Append(Append(dst, k), v[k])
		}
		return append(dst, 'e')
	}
	panic(fmt.Sprintf("bencode: cannot write %T", v))
}

// Parse reads one value that fills b: string, int, List or Dict. Strings are copies. Errors: ErrSyntax.
func Parse(b []byte) (any, error) {
	v, rest, err := value(b, 0)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d octets after the value", ErrSyntax, len(rest))
	}
	return v, nil
}

func value(b []byte, depth int) (any, []byte, error) {
	if len(b) == 0 || depth > maxDepth {
		return nil, nil, fmt.Errorf("%w: ends early or nests too deep", ErrSyntax)
	}
	switch c := b[0]; {
	case c == 'i':
		return number(b[1:], 'e')
	case c == 'l':
		return list(b[1:], depth+1)
	case c == 'd':
		return dict(b[1:], depth+1)
	case c >= '0' && c <= '9':
		return text(b)
	}
	return nil, nil, fmt.Errorf("%w: %q begins no value", ErrSyntax, b[0])
}

// number reads digits up to the octet end.
func number(b []byte, end byte) (any, []byte, error) {
	i := slices.Index(b, end)
	if i < 0 {
		return nil, nil, fmt.Errorf("%w: unterminated number", ErrSyntax)
	}
	n, err := strconv.Atoi(string(b[:i]))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: number %q", ErrSyntax, b[:i])
	}
	return n, b[i+1:], nil
}

func text(b []byte) (any, []byte, error) {
	n, rest, err := number(b, ':')
	if err != nil {
		return nil, nil, err
	}
	size := n.(int)
	if size < 0 || size > len(rest) {
		return nil, nil, fmt.Errorf("%w: string of %d octets, %d left", ErrSyntax, size, len(rest))
	}
	return string(rest[:size]), rest[size:], nil
}

func list(b []byte, depth int) (any, []byte, error) {
	out := List{}
	for len(b) > 0 && b[0] != 'e' {
		v, rest, err := value(b, depth)
		if err != nil {
			return nil, nil, err
		}
		out, b = append(out, v), rest
	}
	if len(b) == 0 {
		return nil, nil, fmt.Errorf("%w: unterminated list", ErrSyntax)
	}
	return out, b[1:], nil
}

func dict(b []byte, depth int) (any, []byte, error) {
	out := Dict{}
	for len(b) > 0 && b[0] != 'e' {
		k, rest, err := text(b)
		if err != nil {
			return nil, nil, err
		}
		v, rest, err := value(rest, depth)
		if err != nil {
			return nil, nil, err
		}
		out[k.(string)], b = v, rest
	}
	if len(b) == 0 {
		return nil, nil, fmt.Errorf("%w: unterminated dictionary", ErrSyntax)
	}
	return out, b[1:], nil
}
