package wsedge

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestErrorLogLevels(t *testing.T) {
	core, seen := observer.New(zapcore.DebugLevel)
	l := ErrorLog(zap.New(core))
	l.Printf("http: TLS handshake error from %s: EOF", "192.0.2.1:5")
	l.Print("http: panic serving 192.0.2.1:5: \x1b[31m\ngoroutine 1")
	got := seen.All()
	if len(got) != 2 || got[0].Level != zapcore.DebugLevel || got[1].Level != zapcore.WarnLevel {
		t.Fatalf("%+v", got)
	}
	text := got[1].ContextMap()["text"].(string)
	if strings.ContainsAny(text, "\x1b\n") || !strings.Contains(text, "panic serving") {
		t.Errorf("%q", text)
	}
}
