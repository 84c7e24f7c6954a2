package baresip

import (
	"io"
	"sync"
)

// transcript keeps all that baresip printed: its log and, by -s, each SIP message.
type transcript struct {
	mu   sync.Mutex // guards buf
	buf  []byte
	next io.Writer // may be nil
}

// Write implements io.Writer.
func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if t.next != nil {
		return t.next.Write(p)
	}
	return len(p), nil
}

func (t *transcript) tail(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-n):])
}
