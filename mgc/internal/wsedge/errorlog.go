package wsedge

import (
	"log"
	"strings"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// ErrorLog is the error log for NewHTTPServer: what a stranger can cause at will, failed TLS handshakes, is for debugging;
// anything else is a warning. The text stands in a field, escaped.
func ErrorLog(to *zap.Logger) *log.Logger { return log.New(errorLog{to}, "", 0) }

type errorLog struct{ to *zap.Logger }

// longestError is how much of a text is kept: a panic comes with its stack.
const longestError = 4000

// Write implements io.Writer; one call is one line.
func (e errorLog) Write(p []byte) (int, error) {
	text := zap.String("text", headers.ForLog(strings.TrimSuffix(string(p), "\n"), longestError))
	if strings.HasPrefix(string(p), "http: TLS handshake error") {
		e.to.Debug("TLS handshake failed", text)
	} else {
		e.to.Warn("HTTP server", text)
	}
	return len(p), nil
}
