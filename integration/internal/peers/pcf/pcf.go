// Package pcf is a policy control function as an application function sees one (TS 29.514): it keeps application sessions, says what the test
// wants, and reports events. It serves HTTP/2 in clear. Floor 1 of the integration module. Owner: PCF owns its server; Close ends it.
package pcf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const collection = "/npcf-policyauthorization/v1/app-sessions"

// Request is one request that came.
type Request struct {
	Op      string // "create", "update", "delete"; "?" for all else
	Session string // id of the application session; of a create: the one it made, "" when it was refused
	Data    map[string]any
}

// PCF is the policy control function.
type PCF struct {
	URL string // API root

	srv    *http.Server
	client *http.Client
	done   chan struct{}

	mu       sync.Mutex // guards below
	made     int
	sessions map[string]map[string]any // ascReqData by id
	log      []Request
	refuse   *Problem
}

// Problem is the answer to creations that are refused.
type Problem struct {
	Status     int
	Cause      string
	RetryAfter string
}

// Start serves a PCF on a free port of 127.0.0.1.
func Start() (*PCF, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	p := &PCF{
		URL: "http://" + ln.Addr().String(), done: make(chan struct{}), sessions: map[string]map[string]any{},
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Protocols: &protocols}},
	}
	p.srv = &http.Server{Handler: http.HandlerFunc(p.serve), Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		defer close(p.done)
		_ = p.srv.Serve(ln) // ends with Close
	}()
	return p, nil
}

// Close ends the server and waits.
func (p *PCF) Close() {
	_ = p.srv.Close() // nothing is under way that matters
	<-p.done
	p.client.CloseIdleConnections()
}

// Refuse makes further creations be refused; nil: granted.
func (p *PCF) Refuse(with *Problem) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = with
}

// Open counts the application sessions.
func (p *PCF) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sessions)
}

// Log returns the requests so far.
func (p *PCF) Log() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Request(nil), p.log...)
}

func (p *PCF) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return // the client went away
	}
	var doc struct {
		Data map[string]any `json:"ascReqData"`
	}
	if len(body) > 0 && json.Unmarshal(body, &doc) != nil {
		problem(w, Problem{Status: 400, Cause: "INVALID_MSG_FORMAT"})
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.Path, collection)
	id := strings.TrimSuffix(strings.TrimPrefix(rest, "/"), "/delete")
	_, known := p.sessions[id]
	switch {
	case !ok || r.ProtoMajor != 2:
		p.log = append(p.log, Request{Op: "?"})
		problem(w, Problem{Status: 404})
	case r.Method == http.MethodPost && rest == "":
		p.create(w, doc.Data)
	case !known:
		p.log = append(p.log, Request{Op: "?", Session: id})
		problem(w, Problem{Status: 404, Cause: "APPLICATION_SESSION_CONTEXT_NOT_FOUND"})
	case r.Method == http.MethodPatch:
		p.log = append(p.log, Request{"update", id, doc.Data})
		p.sessions[id] = merge(p.sessions[id], doc.Data)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPost && strings.HasSuffix(rest, "/delete"):
		p.log = append(p.log, Request{"delete", id, nil})
		delete(p.sessions, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		problem(w, Problem{Status: 405})
	}
}

// create makes an application session. Caller holds mu.
func (p *PCF) create(w http.ResponseWriter, data map[string]any) {
	if p.refuse != nil {
		p.log = append(p.log, Request{"create", "", data})
		problem(w, *p.refuse)
		return
	}
	p.made++
	id := fmt.Sprintf("s%d", p.made)
	p.sessions[id] = data
	p.log = append(p.log, Request{"create", id, data})
	w.Header().Set("Location", p.URL+collection+"/"+id)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"ascReqData": data, "ascRespData": map[string]any{"suppFeat": "A000030"}})
}

// merge is a merge patch (RFC 7396 §2).
func merge(target, patch map[string]any) map[string]any {
	out := maps.Clone(target)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			old, _ := out[k].(map[string]any)
			out[k] = merge(old, v)
		default:
			out[k] = v
		}
	}
	return out
}

// Terminate asks for the release of an application session's call (TS 29.514 §4.2.4.3) and returns the status of the answer.
func (p *PCF) Terminate(ctx context.Context, id, cause string) (int, error) {
	p.mu.Lock()
	uri, _ := p.sessions[id]["notifUri"].(string)
	p.mu.Unlock()
	body, err := json.Marshal(map[string]any{"termCause": cause, "resUri": p.URL + collection + "/" + id})
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, uri+"/terminate", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func problem(w http.ResponseWriter, p Problem) {
	if p.RetryAfter != "" {
		w.Header().Set("Retry-After", p.RetryAfter)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{"status": p.Status, "cause": p.Cause}) // the client may be gone
}
