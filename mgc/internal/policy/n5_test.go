package policy

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// world runs f in a bubble of fake time with an agent, its PCF and the network between them.
func world(t *testing.T, lines []string, f func(t *testing.T, a *N5, p *fakePCF, ln *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, ln := newFakePCF(t), newPipes()
		f(t, newAgent(t, testConfig(t, lines...), ln, p), p, ln)
	})
}

// quiesce lets everything that needs no time happen.
func quiesce() { synctest.Wait() }

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func refusal(t *testing.T, err error) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("no refusal: %v", err)
	}
	return r
}

func TestPCC02_PCC06_LifeOfASession(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		ctx := t.Context()
		s := must(a.Create(ctx, offer()))(t)
		if s.URI != "http://127.0.0.1:7777/npcf-policyauthorization/v1/app-sessions/s1" || s.Features != "A000030" || !reflect.DeepEqual(s.Sent, []int{1, 2}) || !reflect.DeepEqual(s.RTCP, []int{2}) {
			t.Fatalf("%+v", s)
		}
		if got := p.resource("s1"); got["servInfStatus"] != "PRELIMINARY" || got["afChargId"] != "icid-1" {
			t.Errorf("offer: %v", got)
		}
		if _, err := a.Create(ctx, offer()); !errors.Is(err, ErrExists) {
			t.Errorf("second session of a call: %v", err)
		}
		s = must(a.Update(ctx, s, answered()))(t)
		comps := p.resource("s1")["medComponents"].(map[string]any)
		audio, video := comps["1"].(map[string]any), comps["2"].(map[string]any)
		if p.resource("s1")["servInfStatus"] != "FINAL" || audio["marBwUl"] != "64 Kbps" || video["fStatus"] != "REMOVED" || video["marBwDl"] != nil {
			t.Errorf("answer: %v", comps)
		}
		if flows := audio["medSubComps"].(map[string]any)["1"].(map[string]any)["fDescs"].([]any); flows[1] != "permit in 17 from 10.45.0.2 51000 to 192.0.2.10 40000" {
			t.Errorf("flows: %v", flows)
		}
		if got := testutil.ToFloat64(a.deps.Metrics.sessions); got != 1 {
			t.Errorf("sessions: %v", got)
		}
		a.Delete(s)
		a.Delete(s)
		quiesce()
		a.Delete(s)
		quiesce()
		if p.count("delete") != 1 || len(p.open()) != 0 || testutil.ToFloat64(a.deps.Metrics.sessions) != 0 {
			t.Errorf("%v, open %v", p.ops(), p.open())
		}
		if err := a.Close(ctx); err != nil {
			t.Error(err)
		}
		if _, err := a.Create(ctx, offer()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := a.Update(ctx, s, offer()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestPCC07_ForkingIsToldAndEndsWithTheAnswer(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		f := offer()
		s := must(a.Create(t.Context(), f))(t)
		f.Forks = [][]Media{{{Number: 1, Type: "audio", BandwidthUp: 128000, BandwidthDown: 40000}}}
		s = must(a.Update(t.Context(), s, f))(t)
		if r := p.resource("s1"); r["fork"] != "SEVERAL_DIALOGUES" || r["medComponents"].(map[string]any)["1"].(map[string]any)["marBwUl"] != "128 Kbps" {
			t.Errorf("fork: %v", r)
		}
		f = answered()
		f.Forks = [][]Media{{{Number: 1, Type: "audio", BandwidthUp: 128000}}}
		must(a.Update(t.Context(), s, f))(t)
		if r := p.resource("s1"); r["fork"] != "SINGLE_DIALOGUE" || r["medComponents"].(map[string]any)["1"].(map[string]any)["marBwUl"] != "64 Kbps" {
			t.Errorf("answer: %v", r)
		}
	})
}

func TestPCC07_NotToldToAPCFWithoutIMSFeatures(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		p.feat = "8000000"
		s := must(a.Create(t.Context(), offer()))(t)
		must(a.Update(t.Context(), s, answered()))(t)
		if s.Features != "8000000" || p.resource("s1")["fork"] != nil {
			t.Errorf("%+v %v", s, p.resource("s1"))
		}
	})
}

func TestPCC08_Refusals(t *testing.T) {
	emergency := offer()
	emergency.ServiceURN = "urn:service:sos"
	acceptable := `{"status":403,"cause":"REQUESTED_SERVICE_NOT_AUTHORIZED","acceptableServInfo":{"marBwUl":"100 Kbps","accBwMedComps":{"1":{"medCompN":1,"marBwUl":"40 Kbps","marBwDl":"41 Kbps"}}}}`
	for name, c := range map[string]struct {
		lines   []string
		say     answer
		f       Facts
		verdict Verdict // "": goes on
		status  int
		after   time.Duration
	}{
		"narrower":            {nil, answer{403, nil, acceptable}, offer(), NotAcceptable, 488, 0},
		"forbidden":           {nil, answer{403, nil, `{"cause":"REQUESTED_SERVICE_NOT_AUTHORIZED"}`}, offer(), Forbidden, 403, 0},
		"forbidden, no body":  {nil, answer{status: 403}, offer(), Forbidden, 403, 0},
		"not now":             {nil, answer{403, map[string]string{"Retry-After": "12"}, `{"cause":"REQUESTED_SERVICE_TEMPORARILY_NOT_AUTHORIZED"}`}, offer(), Overload, 503, 12 * time.Second},
		"bad media":           {nil, answer{400, nil, `{"cause":"FILTER_RESTRICTIONS"}`}, offer(), NotAcceptable, 488, 0},
		"overload":            {nil, answer{503, map[string]string{"Retry-After": "7"}, ""}, offer(), Overload, 503, 7 * time.Second},
		"too many":            {nil, answer{429, nil, "not json"}, offer(), Overload, 503, 0},
		"broken, open":        {nil, answer{500, nil, "{"}, offer(), "", 0, 0},
		"broken, closed":      {[]string{"--failure=refuse"}, answer{500, nil, "{"}, offer(), Unreachable, 503, 0},
		"unknown user":        {nil, answer{500, nil, `{"cause":"PDU_SESSION_NOT_AVAILABLE"}`}, offer(), "", 0, 0},
		"unknown user, no":    {[]string{"--unknown_user=refuse"}, answer{400, nil, `{"cause":"PDU_SESSION_NOT_AVAILABLE"}`}, offer(), Forbidden, 403, 0},
		"emergency":           {[]string{"--failure=refuse"}, answer{403, nil, acceptable}, emergency, "", 0, 0},
		"emergency, overload": {[]string{"--failure=refuse"}, answer{503, map[string]string{"Retry-After": "7"}, ""}, emergency, "", 0, 0},
		"foreign location":    {[]string{"--failure=refuse"}, answer{201, map[string]string{"Location": "https://evil.example/npcf-policyauthorization/v1/app-sessions/1"}, ""}, offer(), Unreachable, 503, 0},
		"no location":         {[]string{"--failure=refuse"}, answer{status: 201}, offer(), Unreachable, 503, 0},
		"stream broken":       {[]string{"--failure=refuse"}, answer{}, offer(), Unreachable, 503, 0},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, c.lines, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
				p.hook = func(string, *http.Request) *answer { return &c.say }
				s, err := a.Create(t.Context(), c.f)
				if s.Open() || s.Call != "call-1" {
					t.Errorf("%+v", s)
				}
				if c.verdict == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				r := refusal(t, err)
				if r.Verdict != c.verdict || r.Status != c.status || r.RetryAfter != c.after {
					t.Errorf("%+v", r)
				}
				if name == "narrower" && !reflect.DeepEqual(r.Acceptable, &Acceptable{Up: 100000, Media: map[int]Bandwidth{1: {40000, 41000}}}) {
					t.Errorf("acceptable: %+v", r.Acceptable)
				}
			})
		})
	}
}

func TestPCC08_UpdateRefusedKeepsTheSession(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		p.set(func() { p.hook = func(string, *http.Request) *answer { return &answer{status: 403} } })
		next, err := a.Update(t.Context(), s, answered())
		if refusal(t, err).Verdict != Forbidden || !reflect.DeepEqual(next, s) {
			t.Errorf("%v %+v", err, next)
		}
		p.set(func() { p.hook = nil })
		a.Delete(next)
		quiesce()
		if len(p.open()) != 0 {
			t.Error("left behind")
		}
	})
}

func TestPCC01_UnknownUserIsAskedOnce(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		p.hook = func(string, *http.Request) *answer { return &answer{404, nil, `{"cause":"PDU_SESSION_NOT_AVAILABLE"}`} }
		s := must(a.Create(t.Context(), offer()))(t)
		if s = must(a.Update(t.Context(), s, answered()))(t); !s.Absent || p.count("create") != 1 {
			t.Errorf("%+v %v", s, p.ops())
		}
	})
}

func TestPCC06_LateSessionIsDeleted(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, a *N5) error{
		"timeout": func(t *testing.T, a *N5) error { _, err := a.Create(t.Context(), offer()); return err },
		"cancelled": func(t *testing.T, a *N5) error {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := a.Create(ctx, offer())
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, []string{"--failure=refuse"}, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
				p.hook = func(op string, _ *http.Request) *answer {
					if op == "create" {
						<-time.After(10 * time.Second)
					}
					return nil
				}
				started := time.Now()
				err := leave(t, a)
				switch took := time.Since(started); {
				case name == "timeout" && (refusal(t, err).Verdict != Unreachable || took != time.Second):
					t.Errorf("%v after %s", err, took)
				case name == "cancelled" && (!errors.Is(err, context.DeadlineExceeded) || took != 100*time.Millisecond):
					t.Errorf("%v after %s", err, took)
				}
				// Close waits for the late answer and for the deletion of what it made.
				if err := a.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if p.deleted["s1"] != 1 || len(p.open()) != 0 || time.Since(started) != 10*time.Second {
					t.Errorf("%v, open %v", p.ops(), p.open())
				}
			})
		})
	}
}

func TestPCC06_LateSessionBesideANewOne(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		first := true
		p.hook = func(op string, _ *http.Request) *answer {
			p.mu.Lock()
			slow := first && op == "create"
			first = false
			p.mu.Unlock()
			if slow {
				<-time.After(3 * time.Second)
			}
			return nil
		}
		s := must(a.Create(t.Context(), offer()))(t) // goes on without
		s = must(a.Update(t.Context(), s, answered()))(t)
		if !s.Open() {
			t.Fatalf("%+v %v", s, p.ops())
		}
		<-time.After(3 * time.Second)
		quiesce()
		if got := p.open(); len(got) != 1 || "http://127.0.0.1:7777/npcf-policyauthorization/v1/app-sessions/"+got[0] != s.URI {
			t.Errorf("open %v, ours %s", got, s.URI)
		}
	})
}

func TestPCC06_LateAnswerForASessionInUse(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		n := 0
		p.after = func(op string, _ *http.Request) *answer {
			p.mu.Lock()
			n++
			first := n == 1
			p.mu.Unlock()
			switch {
			case first:
				<-time.After(3 * time.Second)
			case op == "create": // the PCF finds that it serves these media already
				return &answer{303, map[string]string{"Location": resource + "/events-subscription"}, ""}
			}
			return nil
		}
		must(a.Create(t.Context(), offer()))(t) // goes on without
		s := must(a.Create(t.Context(), offer()))(t)
		<-time.After(3 * time.Second)
		quiesce()
		if s.URI != resource || p.count("delete") != 0 {
			t.Errorf("%+v %v", s, p.ops())
		}
	})
}

func TestPCC06_DeletionIsRepeatedUntilItIsDone(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, ln *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		failures := 4
		p.set(func() {
			p.after = func(op string, _ *http.Request) *answer { // it is done each time, only nobody hears of it
				if failures--; op == "delete" && failures >= 0 {
					return &answer{}
				}
				return nil
			}
		})
		a.Delete(s)
		started := time.Now()
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if p.deleted["s1"] != 1 || p.count("delete") != 5 || time.Since(started) != 15*time.Second {
			t.Errorf("%v after %s", p.ops(), time.Since(started))
		}
	})
}

func TestPCC06_DeletionIsGivenUpInTheEnd(t *testing.T) {
	world(t, []string{"--limits.delete_for=1m"}, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		p.set(func() { p.hook = func(string, *http.Request) *answer { return &answer{status: 500} } })
		a.Delete(s)
		<-time.After(2 * time.Minute)
		if got := testutil.ToFloat64(a.deps.Metrics.abandoned); got != 1 || testutil.ToFloat64(a.deps.Metrics.deletes) != 0 {
			t.Errorf("abandoned %v", got)
		}
		p.set(func() { p.hook = func(string, *http.Request) *answer { return &answer{status: 405} } })
		s = must(a.Create(t.Context(), offer()))(t)
		_ = s
		a.Delete(Session{Call: "x", URI: "http://127.0.0.1:7777/npcf-policyauthorization/v1/app-sessions/hopeless"})
		quiesce()
		if got := testutil.ToFloat64(a.deps.Metrics.abandoned); got != 2 {
			t.Errorf("hopeless one: abandoned %v", got)
		}
	})
}

func TestPCC06_CloseEndsWithItsContext(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		p.set(func() { p.hook = func(_ string, r *http.Request) *answer { <-r.Context().Done(); return nil } })
		a.Delete(s)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := a.Close(ctx); err == nil {
			t.Error("nothing left behind")
		}
	})
}

func TestPCC01_SuccessorGoesOn(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, ln *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		b, err := New(testConfig(t), Deps{Sealer: testSealer(t), Metrics: NewMetrics(prometheus.NewRegistry()), Log: a.deps.Log, Dial: ln.dial})
		if err != nil {
			t.Fatal(err)
		}
		s = must(b.Update(t.Context(), s, answered()))(t)
		if got := testutil.ToFloat64(b.deps.Metrics.sessions); got != 1 {
			t.Errorf("the successor has %v sessions", got)
		}
		b.Delete(s)
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if p.deleted["s1"] != 1 {
			t.Errorf("%v", p.ops())
		}
	})
}

func TestPCC01_LostSessionIsMadeAnew(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		p.set(func() { clear(p.sessions) }) // the PCF restarts; video is gone by then, and not told
		s = must(a.Update(t.Context(), s, answered()))(t)
		if got := p.open(); !reflect.DeepEqual(got, []string{"s2"}) || p.resource("s2")["servInfStatus"] != "FINAL" || !reflect.DeepEqual(s.Sent, []int{1}) {
			t.Errorf("%v %+v", got, s)
		}
	})
}

func TestPCC03_NewAddressIsANewSession(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		f := answered()
		f.UE = netip.MustParseAddr("10.45.0.3")
		s = must(a.Update(t.Context(), s, f))(t)
		quiesce()
		if got := p.open(); !reflect.DeepEqual(got, []string{"s2"}) || p.resource("s2")["ueIpv4"] != "10.45.0.3" || p.deleted["s1"] != 1 {
			t.Errorf("%v %v", got, p.ops())
		}
		if s.UE != f.UE {
			t.Errorf("%+v", s)
		}
	})
}

func TestPCC08_TokenIsKeptRenewedAndReplaced(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := []string{"--token.url=http://127.0.0.1:7778/oauth2/token", "--token.instance=" + testInstance, "--token.client=isthmus", "--token.secret_file=" + secret, "--failure=refuse"}
	world(t, lines, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		p.token = true
		s := must(a.Create(t.Context(), offer()))(t)
		s = must(a.Update(t.Context(), s, answered()))(t)
		if p.count("token") != 1 {
			t.Errorf("not kept: %v", p.ops())
		}
		<-time.After(280 * time.Second) // within its margin: used, and renewed beside
		s = must(a.Update(t.Context(), s, answered()))(t)
		quiesce()
		if p.count("token") != 2 {
			t.Errorf("not renewed ahead: %v", p.ops())
		}
		<-time.After(time.Hour) // expired
		s = must(a.Update(t.Context(), s, answered()))(t)
		if p.count("token") != 3 || p.count("update") != 3 {
			t.Errorf("not renewed after its end: %v", p.ops())
		}
		p.set(func() { clear(p.tokens) }) // revoked: one 401, one new token
		s = must(a.Update(t.Context(), s, answered()))(t)
		if p.count("token") != 4 || p.count("update") != 5 {
			t.Errorf("after a 401: %v", p.ops())
		}
		p.set(func() {
			p.hook = func(op string, _ *http.Request) *answer {
				if op == "update" {
					return &answer{status: 401}
				}
				return nil
			}
		})
		if _, err := a.Update(t.Context(), s, answered()); refusal(t, err).Verdict != Unreachable || p.count("update") != 7 {
			t.Errorf("401 for ever: %v %v", err, p.ops())
		}
	})
}

func TestPCC08_NoToken(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lines := []string{"--token.url=http://127.0.0.1:7778/oauth2/token", "--token.instance=" + testInstance, "--token.client=isthmus", "--token.secret_file=" + secret, "--failure=refuse"}
	for name, say := range map[string]answer{
		"refused": {401, nil, `{"error":"invalid_client"}`}, "no JSON": {200, nil, "<html>"}, "no token": {200, nil, `{"token_type":"Bearer"}`},
		"other kind": {200, nil, `{"access_token":"x","token_type":"mac"}`}, "two lines": {200, nil, `{"access_token":"x\ny","token_type":"Bearer"}`},
	} {
		t.Run(name, func(t *testing.T) {
			world(t, lines, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
				p.hook = func(string, *http.Request) *answer { return &say }
				for range 3 {
					_, err := a.Create(t.Context(), offer())
					if r := refusal(t, err); r.Verdict != Unreachable || !errors.Is(r, errToken) {
						t.Errorf("%v", err)
					}
				}
				if p.count("token") != 1 || p.count("create") != 0 {
					t.Errorf("the NRF is asked too often: %v", p.ops())
				}
				<-time.After(2 * time.Second)
				_, _ = a.Create(t.Context(), offer()) // refused again
				if p.count("token") != 2 {
					t.Errorf("the NRF is not asked again: %v", p.ops())
				}
			})
		})
	}
}

func TestPCC08_Restoration(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		if err := a.Restored(t.Context(), netip.MustParseAddr("2001:db8::2"), "imsi-001010000000001"); err != nil || p.count("restoration") != 1 {
			t.Errorf("%v %v", err, p.ops())
		}
		p.set(func() { p.hook = func(string, *http.Request) *answer { return &answer{status: 403} } })
		if err := a.Restored(t.Context(), netip.MustParseAddr("10.0.0.1"), ""); refusal(t, err).Verdict != Forbidden {
			t.Error(err)
		}
	})
}

func TestPCC08_RedirectionIsFollowedToKnownHostsOnly(t *testing.T) {
	world(t, []string{"--hosts=pcf2.example", "--failure=refuse", "--insecure"}, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		to := "http://pcf2.example/npcf-policyauthorization/v1/app-sessions"
		p.hook = func(_ string, r *http.Request) *answer {
			if r.Host != "pcf2.example" {
				return &answer{307, map[string]string{"Location": to}, ""}
			}
			return nil
		}
		s := must(a.Create(t.Context(), offer()))(t)
		if p.count("create") != 2 || !s.Open() {
			t.Errorf("%v", p.ops())
		}
		p.set(func() { to = "http://evil.example/npcf-policyauthorization/v1/app-sessions" })
		f := offer()
		f.Call = "call-2"
		if _, err := a.Create(t.Context(), f); !errors.Is(refusal(t, err), errForeign) || p.count("create") != 3 {
			t.Errorf("%v %v", err, p.ops())
		}
	})
}
