package webidentity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/democore"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/pcf"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

// statusOf is the final response that the error holds.
func statusOf(err error) *webua.StatusError {
	var s *webua.StatusError
	if errors.As(err, &s) {
		return s
	}
	return &webua.StatusError{}
}

// TestIMS is one world; its parts follow each other.
func TestIMS(t *testing.T) {
	w := newWorld(t)
	t.Run("REG05_REG08_REG11_RefusedTokens", func(t *testing.T) { w.t = t; w.refusedTokens() })
	t.Run("REG06_TokenOfTheUpgrade", func(t *testing.T) { w.t = t; w.upgraded() })
	t.Run("REG05_REG07_PCC02_PCC04_PCC06_CHG01_AuthorisedAndChargedCall", func(t *testing.T) { w.t = t; w.call() })
	t.Run("PCC05_PCC06_REL02_PolicyFunctionEndsTheCall", func(t *testing.T) { w.t = t; w.terminated() })
	t.Run("PCC06_CHG01_RefusedByThePolicyFunction", func(t *testing.T) { w.t = t; w.refusedCall() })
	t.Run("REG12_TokenEnds", func(t *testing.T) { w.t = t; w.tokenEnds() })
	t.Run("REG10_NoTokenLeaves", func(t *testing.T) { w.t = t; w.noTokenLeft() })
	w.t = t
}

func (w *world) refusedTokens() {
	for _, c := range []struct {
		name, token string
		status      int
		challenge   string
	}{
		{"none", "", 401, `authz_server="` + w.issuer.URL + `"`},
		{"of bob", w.token("bob", time.Hour), 403, ""},
		{"expired", w.token("alice", -time.Hour), 401, `error="invalid_token"`},
		{"forged", strings.TrimRight(w.token("alice", time.Hour), "0123456789abcdefABCDEF") + "AAAA", 401, `error="invalid_token"`},
	} {
		u := w.browser("alice", c.token)
		err := u.Register(w.within(), 10*time.Minute)
		if s := statusOf(err); s.Code != c.status || !strings.Contains(s.Header["WWW-Authenticate"], c.challenge) {
			w.t.Errorf("%s: %v %q", c.name, err, s.Header["WWW-Authenticate"])
		}
		u.Close()
	}
	if s := w.logs["democore"].String(); strings.Contains(s, "REGISTER") {
		w.t.Errorf("a refused registration reached the core:\n%s", s)
	}
}

// upgraded registers with a token that came with the WebSocket's HTTP request.
func (w *world) upgraded() {
	u, err := webua.Dial(w.within(), webua.Config{URL: gateway.WebSocket() + "?access_token=" + w.token("carol", time.Hour), Domain: domain, User: "carol"})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := u.Register(w.within(), 10*time.Minute); err != nil {
		w.t.Errorf("%v", err)
	}
	u.Close()
	if _, err := webua.Dial(w.within(), webua.Config{URL: gateway.WebSocket() + "?access_token=a%20b", Domain: domain, User: "carol"}); err == nil {
		w.t.Error("a malformed token is taken")
	}
}

// registered is alice, registered with a good token.
func (w *world) registered() *webua.UA {
	w.t.Helper()
	u := w.browser("alice", w.token("alice", time.Hour))
	if err := u.Register(w.within(), 10*time.Minute); err != nil {
		w.t.Fatalf("%v\n%s", err, w.logs["mgc"])
	}
	return u
}

// flows returns the packet filters of a request's first media component.
func flows(r pcf.Request) string {
	raw, _ := json.Marshal(r.Data["medComponents"]) // came as JSON
	return string(raw)
}

// byAlice is in every registration of alice at the core.
const byAlice = `username="alice@isthmus.example"`

// coreSaid counts text in what the core has written so far, at least 1.
func (w *world) coreSaid(text string) int {
	w.t.Helper()
	n := 0
	w.eventually(func() string {
		if n = strings.Count(w.logs["democore"].String(), text); n == 0 {
			return "the core has not said " + text
		}
		return ""
	})
	return n
}

// atCore is what the core has written, alice's n-th registration included: what happened before it is in there.
func (w *world) atCore(n int) (s string) {
	w.t.Helper()
	w.eventually(func() string {
		if s = w.logs["democore"].String(); strings.Count(s, byAlice) < n {
			return fmt.Sprintf("registration %d has not come to the core:\n%s", n, s)
		}
		return ""
	})
	return s
}

func (w *world) call() {
	u := w.registered()
	if s := w.atCore(w.coreSaid(byAlice)); !strings.Contains(s, `integrity-protected="auth-done"`) || strings.Contains(s, "401 Unauthorized") {
		w.t.Errorf("at the core:\n%s", s)
	}
	c, err := u.Call(w.within(), "sip:tone@"+domain, tone.NewSine(440, -12))
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.logs["mgc"])
	}
	if err := c.WaitAudio(w.within(), democore.ToneHz); err != nil {
		w.t.Fatal(err)
	}
	var log []pcf.Request
	w.eventually(func() string { // the answer, and the pair that ICE selected, in one update or two
		if log = w.pcf.Log(); len(log) < 2 || !strings.Contains(flows(log[len(log)-1]), "permit in 17 from 127.0.0.1 ") {
			return fmt.Sprintf("told %+v", log)
		}
		return ""
	})
	if n := len(w.records()); n != 1 {
		w.t.Errorf("%d records while the call is up", n)
	}
	if err := c.Hangup(w.within()); err != nil {
		w.t.Fatal(err)
	}
	w.eventually(func() string {
		if w.pcf.Open() != 0 || len(w.records()) != 2 {
			return fmt.Sprintf("%d application sessions open, records %+v", w.pcf.Open(), w.records())
		}
		return ""
	})
	log = w.pcf.Log()
	create, last := log[0], log[len(log)-1]
	if create.Op != "create" || create.Data["servInfStatus"] != "PRELIMINARY" || create.Data["ueIpv4"] != "127.0.0.1" || !strings.Contains(flows(create), "permit out 17 from 127.0.0.1 ") {
		w.t.Errorf("create %+v", create)
	}
	if last.Op != "delete" || last.Session != create.Session {
		w.t.Errorf("last %+v", last)
	}
	for i, r := range log[1 : len(log)-1] {
		if r.Op != "update" || r.Session != create.Session || r.Data["servInfStatus"] != "FINAL" {
			w.t.Errorf("request %d: %+v", i+1, r)
		}
	}
	r := w.records()
	if start, stop := r[0], r[1]; start.Type != "start" || stop.Type != "stop" || start.Seq != 1 || stop.Seq != 2 || start.Call != stop.Call || start.Calling != "sip:alice@"+domain || start.Called != "sip:tone@"+domain ||
		start.ICID == "" || create.Data["afChargId"] != start.ICID || start.OrigIOI != "home.example" || start.UE != "127.0.0.1" || stop.Cause != "hangup_access" || stop.CauseCode != 0 || stop.Duration == 0 || len(stop.Streams) != 2 || stop.Streams[0].PacketsReceived == 0 {
		w.t.Errorf("records %+v", r)
	}
	u.Close()
}

func (w *world) terminated() {
	u := w.registered()
	c, err := u.Call(w.within(), "sip:tone@"+domain, tone.NewSine(440, -12))
	if err != nil {
		w.t.Fatal(err)
	}
	log := w.pcf.Log()
	id, before := log[len(log)-1].Session, len(w.records())
	if status, err := w.pcf.Terminate(w.within(), id, "PDU_SESSION_TERMINATION"); err != nil || status != http.StatusNoContent {
		w.t.Fatalf("%d, %v", status, err)
	}
	select {
	case <-c.Ended():
	case <-w.within().Done():
		w.t.Fatal("the browser was not hung up on")
	}
	w.eventually(func() string {
		if r := w.records(); w.pcf.Open() != 0 || len(r) < before+1 || r[len(r)-1].Type != "stop" {
			return fmt.Sprintf("%d application sessions open, records %+v", w.pcf.Open(), r)
		}
		return ""
	})
	r := w.records()
	if last := r[len(r)-1]; last.Cause != "released" || last.CauseCode != 1 {
		w.t.Errorf("record %+v", last)
	}
	deleted := 0
	for _, x := range w.pcf.Log() {
		if x.Op == "delete" && x.Session == id {
			deleted++
		}
	}
	if deleted != 1 {
		w.t.Errorf("deleted %d times", deleted)
	}
	w.coreSaid(`Reason: SIP;cause=503;text="Policy function ended the session"`)
	u.Close()
}

func (w *world) refusedCall() {
	w.pcf.Refuse(&pcf.Problem{Status: 403, Cause: "REQUESTED_SERVICE_NOT_AUTHORIZED"})
	defer w.pcf.Refuse(nil)
	n := w.coreSaid(byAlice)
	u := w.registered()
	invites := strings.Count(w.atCore(n+1), "\nINVITE ")
	_, err := u.Call(w.within(), "sip:tone@"+domain, tone.NewSine(440, -12))
	if s := statusOf(err); s.Code != 403 {
		w.t.Errorf("%v", err)
	}
	if err := u.Register(w.within(), 10*time.Minute); err != nil {
		w.t.Fatal(err)
	}
	if n := strings.Count(w.atCore(n+2), "\nINVITE "); n != invites {
		w.t.Error("the callee was called all the same")
	}
	w.eventually(func() string {
		if r := w.records(); r[len(r)-1].Type != "event" || r[len(r)-1].Status != 403 {
			return fmt.Sprintf("last record %+v", r[len(r)-1])
		}
		return ""
	})
	u.Close()
}

// coreBindings is what the core's status says of its registrations.
func (w *world) coreBindings() string {
	resp, err := http.Get("http://" + gateway.At(scenario.PortStatus) + "/status")
	if err != nil {
		return err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	var s democore.Status
	raw, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(raw, &s) != nil {
		return "unreadable status"
	}
	var users []string
	for _, r := range s.Registrations {
		users = append(users, r.User)
	}
	return strings.Join(users, " ")
}

func (w *world) tokenEnds() {
	u := w.browser("bob", w.token("bob", 3*time.Second))
	if err := u.Register(w.within(), 10*time.Minute); err != nil {
		w.t.Fatal(err)
	}
	if s := w.coreBindings(); !strings.Contains(s, "bob") {
		w.t.Fatalf("registered: %s", s)
	}
	select {
	case <-u.Done():
	case <-w.within().Done():
		w.t.Fatal("the connection outlives the token")
	}
	w.eventually(func() string {
		if s := w.coreBindings(); strings.Contains(s, "bob") {
			return "still registered: " + s
		}
		if !strings.Contains(w.logs["democore"].String(), "\nExpires: 0\n") { // not only by its own time
			return "the core was not told"
		}
		return ""
	})
}

// noTokenLeft looks for what was given out in all that the daemons sent to the core and wrote.
func (w *world) noTokenLeft() {
	for name, l := range w.logs {
		text := l.String()
		if strings.Contains(text, "DATA RACE") {
			w.t.Errorf("race in %s:\n%s", name, text)
		}
		for _, s := range w.tokens {
			if i := strings.LastIndexByte(s, '.'); strings.Contains(text, s[:i]) {
				w.t.Errorf("a token is in the output of %s", name)
			}
		}
		if name == "democore" && strings.Contains(strings.ToLower(text), "bearer") {
			w.t.Error("Bearer reached the core")
		}
	}
}
