package policy

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"
)

// callbackPath is where notifications come in, below the callback's URL; a token follows, then the kind of notification.
const callbackPath = "/n5/v1/"

// Handler serves the notifications of the PCF (TS 29.514 §5.5). The token in the path is the authority: it names the call and only this
// pool can make it. A notification is taken whole or refused with 503 when nobody reads the events.
func (a *N5) Handler() http.Handler { return http.HandlerFunc(a.serve) }

func (a *N5) serve(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, reason, cause string) {
		a.deps.Metrics.callbacks.WithLabelValues(reason).Inc()
		writeProblem(w, status, cause)
	}
	rest, ok := strings.CutPrefix(r.URL.Path, callbackPath)
	token, kind, _ := strings.Cut(rest, "/")
	if !ok || kind != "notify" && kind != "terminate" {
		refuse(http.StatusNotFound, "path", "RESOURCE_URI_STRUCTURE_NOT_FOUND")
		return
	}
	call, err := a.deps.Sealer.Open(KindCallback, token)
	if err != nil {
		refuse(http.StatusNotFound, "forged", "")
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(http.StatusMethodNotAllowed, "method", "")
		return
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		refuse(http.StatusUnsupportedMediaType, "content_type", "")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		refuse(http.StatusRequestEntityTooLarge, "length", "")
		return
	} else if err != nil {
		refuse(http.StatusBadRequest, "broken", "")
		return
	}
	events, resource, cause := readNotification(kind, string(call), body)
	switch {
	case cause != "":
		refuse(http.StatusBadRequest, "malformed", cause)
	case a.orphan(string(call), resource):
		w.WriteHeader(http.StatusNoContent)
	case !a.deliver(events):
		w.Header().Set("Retry-After", "1")
		refuse(http.StatusServiceUnavailable, "full", "NF_CONGESTION")
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// readNotification reads a body; cause names what is wrong with it.
func readNotification(kind, call string, body []byte) (events []Event, resource, cause string) {
	if kind == "terminate" {
		var t terminationInfo
		switch {
		case json.Unmarshal(body, &t) != nil:
			return nil, "", "INVALID_MSG_FORMAT"
		case t.TermCause == "" || t.ResURI == "":
			return nil, "", "MANDATORY_IE_MISSING"
		}
		return []Event{{Call: call, Resource: t.ResURI, Kind: Terminated, Cause: t.TermCause}}, t.ResURI, ""
	}
	var n eventsNotification
	switch {
	case json.Unmarshal(body, &n) != nil:
		return nil, "", "INVALID_MSG_FORMAT"
	case n.check() != "":
		return nil, "", "MANDATORY_IE_MISSING"
	}
	resource = strings.TrimSuffix(n.EvSubsURI, "/events-subscription")
	return n.events(call, resource), resource, ""
}

// orphan deals with an application session that call does not have: it was made by a request whose answer was lost, and goes.
func (a *N5) orphan(call, resource string) bool {
	a.mu.Lock()
	ours := a.calls[call]
	a.mu.Unlock()
	if ours == "" {
		return false // under way, or a call of another instance
	}
	x, err1 := url.Parse(ours)
	y, err2 := url.Parse(resource)
	if err1 != nil || err2 != nil || x.Path == y.Path || !strings.Contains(y.Path, "/app-sessions/") || !a.allowed(y) {
		return false
	}
	a.deps.Metrics.late.Inc()
	a.deps.Log.Info("orphaned application session is deleted", zap.String("call", call))
	a.Delete(Session{Call: call, URI: resource})
	return true
}

// deliver hands events to the reader, all or none.
func (a *N5) deliver(events []Event) bool {
	a.evMu.Lock()
	defer a.evMu.Unlock()
	if cap(a.events)-len(a.events) < len(events) {
		return false
	}
	for _, e := range events {
		a.deps.Metrics.events.WithLabelValues(string(e.Kind)).Inc()
		a.events <- e
	}
	return true
}

// offer hands on events that came with a response, which cannot come again.
func (a *N5) offer(events []Event) {
	if len(events) > 0 && !a.deliver(events) {
		a.deps.Metrics.dropped.Add(float64(len(events)))
	}
}

func writeProblem(w http.ResponseWriter, status int, cause string) {
	body, _ := json.Marshal(struct { // plain values
		Status int    `json:"status"`
		Title  string `json:"title"`
		Cause  string `json:"cause,omitempty"`
	}{status, http.StatusText(status), cause})
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the peer may be gone; nothing is lost
}
