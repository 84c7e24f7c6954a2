package scenario

import (
	"bytes"
	"os"
	"sync"
	"testing"
)

// Log keeps all that a program prints. The zero value is ready; any goroutine may use it.
type Log struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// LogTo collects a program's output and shows it when the test has failed and ISTHMUS_LOGS is set.
func LogTo(t testing.TB, name string) *Log {
	l := &Log{}
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("ISTHMUS_LOGS") != "" {
			t.Logf("%s printed:\n%s", name, l)
		}
	})
	return l
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String is all output so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Contains reports whether the text was printed.
func (l *Log) Contains(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.buf.Bytes(), []byte(text))
}
