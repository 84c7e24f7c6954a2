package obs

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	var notReady error
	h := Handler(NewMetrics(), func() error { return notReady })
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if c, b := get("/metrics"); c != 200 || !strings.Contains(b, "go_goroutines") {
		t.Errorf("/metrics: %d", c)
	}
	if c, _ := get("/readyz"); c != 200 {
		t.Errorf("/readyz: %d", c)
	}
	notReady = errors.New("draining")
	if c, b := get("/readyz"); c != 503 || !strings.Contains(b, "draining") {
		t.Errorf("/readyz while draining: %d %q", c, b)
	}
	if c, _ := get("/healthz"); c != 200 {
		t.Errorf("/healthz: %d", c)
	}
}

func TestNewLogger(t *testing.T) {
	if _, err := NewLogger(LogConfig{Level: "loud"}, "x"); err == nil {
		t.Error("level loud accepted")
	}
	l, err := NewLogger(LogConfig{Level: "warn", Format: "json"}, "x")
	if err != nil || l.Core().Enabled(0) || !l.Core().Enabled(1) {
		t.Errorf("level not applied: %v", err)
	}
}
