package obs

import (
	"errors"
	"net"
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

func TestAskReady(t *testing.T) {
	var notReady error
	srv := httptest.NewUnstartedServer(Handler(NewMetrics(), func() error { return notReady }))
	var err error
	if srv.Listener, err = net.Listen("tcp", ":0"); err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1") // nobody there: must not be asked, which Go would do for addresses other than loopback
	addrs := []string{"127.0.0.1:" + port, "0.0.0.0:" + port, ":" + port, "[::]:" + port}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if p, ok := a.(*net.IPNet); ok && p.IP.IsGlobalUnicast() && p.IP.To4() != nil {
			addrs = append(addrs, net.JoinHostPort(p.IP.String(), port))
		}
	}
	for _, addr := range addrs {
		notReady = nil
		if err := AskReady(t.Context(), addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		notReady = errors.New("draining")
		if err := AskReady(t.Context(), addr); err == nil || err.Error() != "not ready: draining" {
			t.Errorf("%s while draining: %v", addr, err)
		}
	}
	srv.Close()
	for _, addr := range []string{"127.0.0.1:" + port, "nonsense"} {
		if err := AskReady(t.Context(), addr); err == nil || !strings.Contains(err.Error(), addr) {
			t.Errorf("%s, where nobody is: %v", addr, err)
		}
	}
}
