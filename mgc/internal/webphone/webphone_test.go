package webphone

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestServesPageAndSettings(t *testing.T) {
	dist := fstest.MapFS{
		"dist/index.html":    {Data: []byte("<html>phone</html>")},
		"dist/assets/a-1.js": {Data: []byte("1")},
		"dist/.keep":         {Data: []byte("")},
		"outside/secret.txt": {Data: []byte("x")},
	}
	h, err := Handler(dist, Settings{Domain: "a.example", WSPath: "/sip"})
	if err != nil {
		t.Fatal(err)
	}
	if w := get(t, h, "/"); w.Code != 200 || !strings.Contains(w.Body.String(), "phone") || w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("page: %d %q", w.Code, w.Body)
	}
	if w := get(t, h, "/assets/a-1.js"); w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("asset: %d %v", w.Code, w.Header())
	}
	for _, path := range []string{"/.keep", "/none.js", "/../outside/secret.txt", "/outside/secret.txt"} {
		if w := get(t, h, path); w.Code == 200 {
			t.Errorf("%s is served", path)
		}
	}
	w := get(t, h, "/phone-config.json")
	var s map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s["domain"] != "a.example" || s["wsPath"] != "/sip" {
		t.Errorf("settings %q: %v", w.Body, err)
	}
}

func TestSaysHowToBuildThePhone(t *testing.T) {
	h, err := Handler(fstest.MapFS{"dist/.keep": {}}, Settings{})
	if err != nil {
		t.Fatal(err)
	}
	if w := get(t, h, "/"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "make web") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}
