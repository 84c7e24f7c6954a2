package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// answer overrides what the fake PCF says.
type answer struct {
	status int
	header map[string]string
	body   string
}

// taken is a request that the fake PCF has seen.
type taken struct {
	op   string // create, update, delete, restoration, token
	id   string
	body []byte
}

// fakePCF is a PCF with its NRF, strict in everything that TS 29.514, TS 29.510 and TS 29.571 say of requests.
type fakePCF struct {
	t     testing.TB
	root  string                                   // API root that it is reached by
	token bool                                     // demand an access token
	life  int                                      // its lifetime, seconds
	feat  string                                   // its features
	hook  func(op string, r *http.Request) *answer // before anything is done; nil: go on
	after func(op string, r *http.Request) *answer // after it is done

	mu       sync.Mutex // guards all below
	next     int        // application sessions made
	issued   int        // tokens
	sessions map[string]map[string]any
	log      []taken
	tokens   map[string]time.Time
	deleted  map[string]int
}

func newFakePCF(t testing.TB) *fakePCF {
	return &fakePCF{t: t, root: "http://127.0.0.1:7777", feat: "A000030", life: 300, sessions: map[string]map[string]any{}, tokens: map[string]time.Time{}, deleted: map[string]int{}}
}

func (p *fakePCF) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 {
		p.t.Errorf("%s by %s", r.URL.Path, r.Proto)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	op, id := operation(r)
	p.mu.Lock()
	p.log = append(p.log, taken{op, id, body})
	hook, after := p.hook, p.after
	p.mu.Unlock()
	if hook != nil {
		if a := hook(op, r); a != nil {
			a.write(w)
			return
		}
	}
	out := p.handle(op, id, r, body)
	if after != nil {
		if a := after(op, r); a != nil {
			out = *a
		}
	}
	out.write(w)
}

func operation(r *http.Request) (op, id string) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/npcf-policyauthorization/v1/app-sessions")
	switch {
	case r.Method == "POST" && r.URL.Path == "/oauth2/token":
		return "token", ""
	case ok && r.Method == "POST" && rest == "":
		return "create", ""
	case ok && r.Method == "POST" && rest == "/pcscf-restoration":
		return "restoration", ""
	case ok && r.Method == "PATCH" && strings.Count(rest, "/") == 1:
		return "update", rest[1:]
	case ok && r.Method == "POST" && strings.HasSuffix(rest, "/delete"):
		return "delete", strings.TrimSuffix(rest[1:], "/delete")
	}
	return "unknown", ""
}

func (p *fakePCF) handle(op, id string, r *http.Request, body []byte) answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if op == "token" {
		return p.grant(r, body)
	}
	if p.token {
		until, ok := p.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		if !ok || !time.Now().Before(until) {
			return answer{status: 401, header: map[string]string{"WWW-Authenticate": `Bearer realm="pcf"`}}
		}
	} else if r.Header.Get("Authorization") != "" {
		p.t.Error("a token that nobody gave")
	}
	content, want := r.Header.Get("Content-Type"), map[string]string{"create": "application/json", "update": "application/merge-patch+json", "restoration": "application/json"}[op]
	if content != want {
		p.t.Errorf("%s: Content-Type %q, want %q", op, content, want)
		return answer{status: 415}
	}
	s := map[string]*schema{"create": appSessionS, "update": patchS, "restoration": restorationS}[op]
	if s == nil && len(body) > 0 {
		p.t.Errorf("%s with a body: %s", op, body)
	} else if s != nil {
		if err := s.conforms(body); err != nil {
			p.t.Errorf("%s does not conform: %v\n%s", op, err, body)
			return answer{status: 400, body: `{"status":400,"cause":"OPTIONAL_IE_INCORRECT"}`}
		}
	}
	return p.perform(op, id, body)
}

// perform does what was asked. Caller holds mu.
func (p *fakePCF) perform(op, id string, body []byte) answer {
	switch op {
	case "create":
		p.next++
		id = fmt.Sprintf("s%d", p.next)
		var doc map[string]any
		_ = json.Unmarshal(body, &doc) // conforms
		p.sessions[id] = doc["ascReqData"].(map[string]any)
		out, _ := json.Marshal(map[string]any{"ascReqData": doc["ascReqData"], "ascRespData": map[string]any{"suppFeat": p.feat}})
		return answer{201, map[string]string{"Location": p.root + "/npcf-policyauthorization/v1/app-sessions/" + id, "Content-Type": "application/json"}, string(out)}
	case "restoration":
		return answer{status: 204}
	}
	doc, ok := p.sessions[id]
	if !ok {
		return answer{404, nil, `{"status":404,"cause":"APPLICATION_SESSION_CONTEXT_NOT_FOUND"}`}
	}
	if op == "delete" {
		delete(p.sessions, id)
		p.deleted[id]++
		return answer{status: 204}
	}
	var patch map[string]any
	_ = json.Unmarshal(body, &patch) // conforms
	merged := mergePatch(doc, patch["ascReqData"]).(map[string]any)
	fork := merged["sipForkInd"]
	delete(merged, "sipForkInd") // not an attribute of the resource
	text, _ := json.Marshal(merged)
	if err := reqDataS.conforms(text); err != nil {
		p.t.Errorf("patched resource does not conform: %v\n%s", err, text)
	}
	if fork != nil {
		merged["fork"] = fork
	}
	p.sessions[id] = merged
	return answer{status: 204}
}

// mergePatch is RFC 7396 §2, written on its own.
func mergePatch(target, patch any) any {
	pm, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	tm, ok := target.(map[string]any)
	if !ok {
		tm = map[string]any{}
	}
	out := maps.Clone(tm)
	delete(out, "fork")
	for k, v := range pm {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = mergePatch(out[k], v)
		}
	}
	return out
}

// grant is the NRF. Caller holds mu.
func (p *fakePCF) grant(r *http.Request, body []byte) answer {
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	if err := r.ParseForm(); err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return answer{400, nil, `{"error":"invalid_request"}`}
	}
	for k, want := range map[string]string{"grant_type": "client_credentials", "scope": "npcf-policyauthorization", "targetNfType": "PCF", "nfType": "PCSCF", "nfInstanceId": testInstance} {
		if r.PostForm.Get(k) != want {
			p.t.Errorf("token request: %s is %q", k, r.PostForm.Get(k))
			return answer{400, nil, `{"error":"invalid_request"}`}
		}
	}
	if user, secret, _ := r.BasicAuth(); user != "isthmus" || secret != "s3cret" {
		return answer{401, nil, `{"error":"invalid_client"}`}
	}
	p.issued++
	token := fmt.Sprintf("token-%d", p.issued)
	p.tokens[token] = time.Now().Add(time.Duration(p.life) * time.Second)
	return answer{200, map[string]string{"Content-Type": "application/json"}, fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, token, p.life)}
}

func (a answer) write(w http.ResponseWriter) {
	if a.status == 0 { // break the stream
		panic(http.ErrAbortHandler)
	}
	if a.body != "" && a.status >= 400 {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

func (p *fakePCF) set(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

// ops returns the operations seen, in order.
func (p *fakePCF) ops() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, l := range p.log {
		out = append(out, l.op)
	}
	return out
}

func (p *fakePCF) count(op string) int {
	n := 0
	for _, o := range p.ops() {
		if o == op {
			n++
		}
	}
	return n
}

// open returns the ids of the application sessions.
func (p *fakePCF) open() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.sessions))
}

// resource returns the application session as it is.
func (p *fakePCF) resource(id string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessions[id]
}

// pipes is a network of net.Pipe, which the fake clock of testing/synctest can follow: a listener, and a dialler to it.
type pipes struct {
	conns  chan net.Conn
	done   chan struct{}
	once   sync.Once
	mu     sync.Mutex
	down   bool
	refuse string // address that is down
	dials  int
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	p.mu.Lock()
	down := p.down || addr == p.refuse
	p.dials++
	p.mu.Unlock()
	if down {
		return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("connection refused")}
	}
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serveH2C serves h over HTTP/2 in clear on ln until the test ends.
func serveH2C(t testing.TB, ln net.Listener, h http.Handler) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: &protocols}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends with Close
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
}
