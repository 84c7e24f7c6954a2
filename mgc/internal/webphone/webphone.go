// Package webphone serves the built-in web phone and its configuration over HTTP. Floor 4 of mgc; it has no goroutine.
package webphone

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// Settings is what the phone is told at GET /phone-config.json. Demo users and targets are for trials only: their
// passwords are public.
type Settings struct {
	Domain        string       `json:"domain"`                  // home domain, for addresses typed without one
	WSPath        string       `json:"wsPath"`                  // path of SIP over WebSocket
	RegistrarHint string       `json:"registrarHint,omitempty"` // sentence beneath the account form
	DemoUsers     []DemoUser   `json:"demoUsers,omitempty"`     // accounts offered in the form
	DemoTargets   []DemoTarget `json:"demoTargets,omitempty"`   // buttons in the dial box
	ICEServers    []ICEServer  `json:"iceServers"`              // RTCIceServer of the W3C; empty: none
}

// DemoUser is a trial account.
type DemoUser struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// DemoTarget is somebody to call in a trial.
type DemoTarget struct {
	URI   string `json:"uri"`
	Label string `json:"label"`
}

// ICEServer is an RTCIceServer.
type ICEServer struct {
	URLs []string `json:"urls"`
}

// policy keeps the page to its own origin. Media and WebSocket go where the user's configuration says, hence connect-src.
const policy = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob: mediastream:; " +
	"style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; script-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// Handler serves the files of dist (the phone's build output, a folder "dist" inside) and the settings. Without a built
// phone it answers 503 with the command that builds it.
func Handler(dist fs.FS, s Settings) (http.Handler, error) {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("webphone: %w", err)
	}
	config, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("webphone: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /phone-config.json", func(w http.ResponseWriter, _ *http.Request) {
		setHeaders(w)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(config) // the peer may be gone; nothing is lost
	})
	mux.Handle("GET /", page(files))
	return mux, nil
}

func setHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Permissions-Policy", "microphone=(self), camera=()")
}

// page serves files; names made by the bundler carry a hash and may be kept for ever, the page itself is asked for anew.
func page(files fs.FS) http.Handler {
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w)
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
		if name == "" {
			if _, err := fs.Stat(files, "index.html"); errors.Is(err, fs.ErrNotExist) {
				http.Error(w, "The web phone is not part of this build: run \"make web\" and build again.", http.StatusServiceUnavailable)
				return
			}
		}
		if base := path.Base(name); strings.HasPrefix(base, ".") && base != "." {
			http.NotFound(w, r)
			return
		}
		if strings.HasPrefix(name, "assets/") {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "no-cache")
		}
		server.ServeHTTP(w, r)
	})
}
