package policy

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func another(n int) Facts {
	f := offer()
	f.Call = fmt.Sprintf("call-%d", n)
	return f
}

func TestPCC08_OverloadedPCFIsLeftAlone(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		live := must(a.Create(t.Context(), another(1)))(t)
		p.set(func() {
			p.hook = func(string, *http.Request) *answer { return &answer{503, map[string]string{"Retry-After": "20"}, ""} }
		})
		_, err := a.Create(t.Context(), another(2))
		refusal(t, err)
		<-time.After(5 * time.Second)
		_, err = a.Create(t.Context(), another(3))
		if r := refusal(t, err); r.Verdict != Overload || r.RetryAfter != 16*time.Second || p.count("create") != 2 {
			t.Errorf("%+v %v", r, p.ops())
		}
		f := answered()
		if _, err = a.Update(t.Context(), live, f); refusal(t, err).Verdict != Overload || p.count("update") != 0 {
			t.Errorf("%v %v", err, p.ops())
		}
		f = another(4)
		f.Emergency = true
		if s, err := a.Create(t.Context(), f); err != nil || s.Open() {
			t.Errorf("emergency: %+v %v", s, err)
		}
		p.set(func() { p.hook = nil })
		<-time.After(16 * time.Second)
		if s := must(a.Create(t.Context(), another(5)))(t); !s.Open() {
			t.Error("not asked again")
		}
	})
}

func TestPCC01_DeadPCFCostsCallsNothing(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, ln *pipes) {
		ln.mu.Lock()
		ln.down = true
		ln.mu.Unlock()
		for n := range 5 {
			started := time.Now()
			if s, err := a.Create(t.Context(), another(n)); err != nil || s.Open() || time.Since(started) != 0 {
				t.Errorf("%d: %+v %v after %s", n, s, err, time.Since(started))
			}
		}
		ln.mu.Lock()
		dials := ln.dials
		ln.down = false
		ln.mu.Unlock()
		if dials != 1 || testutil.ToFloat64(a.deps.Metrics.passed.WithLabelValues("unreachable")) != 5 {
			t.Errorf("%d dials", dials)
		}
		<-time.After(5 * time.Second)
		if s := must(a.Create(t.Context(), another(9)))(t); !s.Open() {
			t.Error("not asked again")
		}
	})
}

func TestPCC01_SilentPCFIsLeftAloneAfterThree(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		p.hook = func(_ string, r *http.Request) *answer { <-r.Context().Done(); return nil }
		for n := range 6 {
			started, want := time.Now(), time.Second
			if n >= silences {
				want = 0
			}
			if _, err := a.Create(t.Context(), another(n)); err != nil || time.Since(started) != want {
				t.Errorf("%d: %v after %s", n, err, time.Since(started))
			}
		}
	})
}

func TestPCC08_NextRootServesWhenTheFirstIsDown(t *testing.T) {
	world(t, []string{"--pcf=http://127.0.0.1:1,http://127.0.0.1:7777", "--failure=refuse"}, func(t *testing.T, a *N5, p *fakePCF, ln *pipes) {
		lost := func(op string, r *http.Request) *answer {
			if r.Host == "127.0.0.1:1" {
				return &answer{} // the stream breaks after the request: it may have been done
			}
			return nil
		}
		p.set(func() { p.hook = lost })
		for n := range silences {
			if _, err := a.Create(t.Context(), another(1)); refusal(t, err).Verdict != Unreachable || p.count("create") != n+1 {
				t.Errorf("a POST that may have been done is repeated: %v %v", err, p.ops())
			}
		}
		if s := must(a.Create(t.Context(), another(2)))(t); s.URI != "http://127.0.0.1:7777/npcf-policyauthorization/v1/app-sessions/s1" {
			t.Errorf("%+v %v", s, p.ops())
		}
	})
}

func TestPCC08_RefusedConnectionGoesToTheNextRoot(t *testing.T) {
	world(t, []string{"--pcf=http://127.0.0.1:1,http://127.0.0.1:7777", "--failure=refuse"}, func(t *testing.T, a *N5, p *fakePCF, ln *pipes) {
		ln.mu.Lock()
		ln.refuse = "127.0.0.1:1"
		ln.mu.Unlock()
		if s := must(a.Create(t.Context(), another(1)))(t); !s.Open() || p.count("create") != 1 {
			t.Errorf("%+v %v", s, p.ops())
		}
	})
}

func TestPCC08_PatchIsRepeatedOnceAndThenPasses(t *testing.T) {
	world(t, nil, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		s := must(a.Create(t.Context(), offer()))(t)
		p.set(func() { p.hook = func(string, *http.Request) *answer { return &answer{} } })
		f := answered()
		f.Media = append(f.Media, Media{Number: 3, Type: "text"})
		next, err := a.Update(t.Context(), s, f)
		if err != nil || p.count("update") != 2 || len(next.Sent) != 3 || len(next.RTCP) != 1 {
			t.Errorf("%+v %v %v", next, err, p.ops())
		}
	})
}

func TestPCC01_CallsAreBounded(t *testing.T) {
	world(t, []string{"--limits.in_flight=2"}, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
		p.hook = func(_ string, r *http.Request) *answer { <-time.After(500 * time.Millisecond); return nil }
		errs := make(chan error, 3)
		for n := range 3 {
			go func() { _, err := a.Create(t.Context(), another(n)); errs <- err }()
		}
		refused := 0
		for range 3 {
			var r *Refusal
			if err := <-errs; errors.As(err, &r) && r.Verdict == Overload {
				refused++
			}
		}
		if refused != 1 || p.count("create") != 2 {
			t.Errorf("%d refused, %v", refused, p.ops())
		}
	})
}
