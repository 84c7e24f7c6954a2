package turnauth

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/filewatch"
)

// Secret is a secret in a configuration. It prints as "hidden", which is too short to be read back as one.
type Secret string

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Secret) UnmarshalText(text []byte) error { *s = Secret(text); return nil }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String implements fmt.Stringer.
func (s Secret) String() string { return "hidden" }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// Texts are the secrets as they are.
func Texts(list []Secret) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = string(s)
	}
	return out
}

// Bounds of a secret, in bytes, and of their number.
const (
	MinSecret  = 16
	MaxSecret  = 256
	MaxSecrets = 8
)

// maxFile bounds the file with the secrets, in bytes.
const maxFile = 64 << 10

// Secrets are the shared secrets of the moment: credentials are made with the first, and any is good to check them. Safe for
// concurrent use.
type Secrets struct {
	fixed []string
	file  string
	now   atomic.Pointer[[]string]
	watch *filewatch.Watcher // nil: no file
}

// Load takes the secrets of a file, one a line, in which # begins a comment line, and after them those given as they are. The file is
// read again when it changes, looked at each interval (0: filewatch.Interval). To change a secret: put the new one second on both sides, then
// first, and take the old one out when the last credential made with it has expired. Errors name the file, never what is in it.
func Load(file string, fixed []string, interval time.Duration, log *zap.Logger) (*Secrets, error) {
	s := &Secrets{fixed: fixed, file: file}
	if file == "" {
		_, err := s.reload()
		return s, err
	}
	var err error
	s.watch, err = filewatch.Watch("TURN secrets", []string{file}, interval, log, s.reload)
	if err != nil {
		return nil, fmt.Errorf("turnauth: %w", err)
	}
	return s, nil
}

// All returns the secrets, at least one. The caller must not change it.
func (s *Secrets) All() []string { return *s.now.Load() }

// First is the secret that new credentials are made with.
func (s *Secrets) First() string { return s.All()[0] }

// Close stops to look at the file; the secrets stay.
func (s *Secrets) Close() error {
	if s.watch == nil {
		return nil
	}
	return s.watch.Close()
}

// Check tells what is wrong with a list of secrets, without them.
func Check(list []string) error {
	switch {
	case len(list) == 0:
		return errors.New("no secret")
	case len(list) > MaxSecrets:
		return fmt.Errorf("%d secrets; at most %d", len(list), MaxSecrets)
	}
	for i, v := range list {
		if len(v) < MinSecret || len(v) > MaxSecret {
			return fmt.Errorf("secret %d has %d bytes; allowed are %d to %d", i+1, len(v), MinSecret, MaxSecret)
		}
	}
	return nil
}

func (s *Secrets) reload() (time.Time, error) {
	list, err := s.read()
	if err == nil {
		list = append(list, s.fixed...)
		err = Check(list)
	}
	if err != nil {
		if s.file != "" {
			return time.Time{}, fmt.Errorf("turnauth: %s: %w", s.file, err)
		}
		return time.Time{}, fmt.Errorf("turnauth: %w", err)
	}
	list = slices.Clone(list)
	s.now.Store(&list)
	return time.Time{}, nil
}

func (s *Secrets) read() (list []string, err error) {
	if s.file == "" {
		return nil, nil
	}
	f, err := os.Open(s.file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, errors.New("too long")
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			list = append(list, line)
		}
	}
	return list, nil
}
