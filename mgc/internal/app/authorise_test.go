package app

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/auth"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// verdicts is a checker whose verdicts come when the test gives them.
type verdicts struct{ waiting []func(auth.Decision) }

func (v *verdicts) Request(_ *headers.Msg, _ string, deliver func(auth.Decision)) {
	v.waiting = append(v.waiting, deliver)
}

func (v *verdicts) Apply(out *headers.Msg, _ auth.Decision) { auth.Strip(out) }

func (v *verdicts) Answer(req *headers.Msg, d auth.Decision) headers.Msg {
	return headers.NewResponse(req, auth.ReasonOf(d.Err).Status(), "")
}

// give gives the oldest verdict.
func (v *verdicts) give(t *testing.T, d auth.Decision) {
	t.Helper()
	if len(v.waiting) == 0 {
		t.Fatal("nothing is being looked at")
	}
	f := v.waiting[0]
	v.waiting = v.waiting[1:]
	f(d)
}

// transaction is a server transaction that notes its answers.
type transaction struct {
	id  string
	got *[]string
}

func (x transaction) ID() string { return x.id }

func (x transaction) Respond(m headers.Msg) error {
	*x.got = append(*x.got, fmt.Sprintf("%s %d", x.id, m.Status))
	return nil
}

func withToken(method string) headers.Msg {
	m := headers.Msg{Method: method, RequestURI: "sip:bob@x.example"}
	m.Add("From", "<sip:alice@x.example>;tag=1")
	m.Add("To", "<sip:bob@x.example>")
	m.Add("Authorization", "Bearer abc.def.ghi")
	return m
}

func TestREG10_RequestsWaitForTheVerdictInTheirOrder(t *testing.T) {
	v := &verdicts{}
	g := newGate(v, false, zap.NewNop())
	var got []string
	send := func(id, flow string) {
		g.pass(transaction{id, &got}, withToken("INVITE"), flow, func(req headers.Msg) {
			if req.Has("Authorization") {
				t.Errorf("%s goes on with its token", id)
			}
			got = append(got, id)
		})
	}
	expect := func(want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		got = nil
	}
	send("a1", "a")
	send("a2", "a")
	send("b1", "b")
	if len(v.waiting) != 2 {
		t.Fatalf("%d are looked at, want one of each connection", len(v.waiting))
	}
	expect()
	v.waiting[0], v.waiting[1] = v.waiting[1], v.waiting[0]
	v.give(t, auth.Decision{Action: auth.Pass})
	expect("b1")
	v.give(t, auth.Decision{Err: auth.Expired})
	expect("a1 401")
	v.give(t, auth.Decision{Action: auth.Pass})
	expect("a2")
	send("a3", "a")
	send("a4", "a")
	if !g.cancel("a4", "a") || !g.cancel("a3", "a") || g.cancel("a5", "a") || g.cancel("a3", "b") {
		t.Error("CANCEL of what waits is not taken, or of what does not wait is")
	}
	v.give(t, auth.Decision{Action: auth.Pass})
	v.give(t, auth.Decision{Err: auth.Expired})
	expect("a3 487", "a4 401")
	if g.cancel("a3", "a") || len(g.flows) != 0 {
		t.Errorf("left: %v", g.flows)
	}
	for i := range maxWaiting + 1 {
		send(fmt.Sprint("c", i), "c")
	}
	expect(fmt.Sprint("c", maxWaiting, " 503"))
}

// A CANCEL that comes once the verdict is there is the call's business.
func TestREG10_CancelAfterTheVerdictGoesToTheCall(t *testing.T) {
	v := &verdicts{}
	g := newGate(v, false, zap.NewNop())
	var got []string
	taken := true
	g.pass(transaction{"a", &got}, withToken("INVITE"), "f", func(headers.Msg) { taken = g.cancel("a", "f") })
	v.give(t, auth.Decision{Action: auth.Pass})
	if taken || len(got) != 0 {
		t.Errorf("cancelled by the gate, answers %v", got)
	}
}

func TestREG10_NoTokenTowardsTheCoreInModeDigest(t *testing.T) {
	v := &verdicts{}
	g := newGate(v, true, zap.NewNop())
	var got []string
	req := withToken("MESSAGE")
	req.Add("Proxy-Authorization", `Digest username="a", response="b", integrity-protected="auth-done"`)
	g.pass(transaction{"a", &got}, req, "f", func(out headers.Msg) {
		got = append(got, strings.Join(append(out.Values("Authorization"), out.Values("Proxy-Authorization")...), "|"))
	})
	v.give(t, auth.Decision{Action: auth.Pass})
	if len(got) != 1 || got[0] != `Digest username="a", response="b"` {
		t.Errorf("got %q", got)
	}
	if req.Get("Authorization") == "" {
		t.Error("the browser's own copy was changed")
	}
}
