package policy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestPCC06_NothingIsLeftBehind: calls come, fork, change, give up at any moment and end, while the PCF answers late or refuses, and its
// answers to deletions get lost. In the end the PCF has no application session, and none was deleted twice.
func TestPCC06_NothingIsLeftBehind(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			world(t, []string{"--limits.late=1m"}, func(t *testing.T, a *N5, p *fakePCF, _ *pipes) {
				var mu sync.Mutex // guards rnd
				rnd := rand.New(rand.NewPCG(seed, 1))
				dice := func(n int) int { mu.Lock(); defer mu.Unlock(); return rnd.IntN(n) }
				p.hook = func(op string, r *http.Request) *answer {
					<-time.After(time.Duration(dice(400)) * time.Millisecond)
					switch k := dice(20); {
					case k == 0:
						<-time.After(time.Duration(dice(20)) * time.Second)
					case k == 1:
						return &answer{status: 500}
					case k == 2 && op == "create":
						return &answer{status: 403}
					}
					return nil
				}
				p.after = func(op string, _ *http.Request) *answer {
					if op != "create" && dice(10) == 0 {
						return &answer{}
					}
					return nil
				}
				var calls sync.WaitGroup
				for n := range 40 {
					calls.Go(func() { oneCall(t, a, another(n), dice) })
				}
				calls.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				if err := a.Close(ctx); err != nil {
					t.Error(err)
				}
				<-time.After(time.Minute) // requests that were given up are still with the PCF
				if open := p.open(); len(open) != 0 || testutil.ToFloat64(a.deps.Metrics.sessions) != 0 || len(a.calls) != 0 {
					t.Errorf("left behind: %v, sessions %v, calls %v", open, testutil.ToFloat64(a.deps.Metrics.sessions), a.calls)
				}
				for id, n := range p.deleted {
					if n != 1 {
						t.Errorf("%s deleted %d times", id, n)
					}
				}
			})
		})
	}
}

// oneCall lives one call; refusals and failures are part of its life.
func oneCall(t *testing.T, a *N5, f Facts, dice func(int) int) {
	<-time.After(time.Duration(dice(5000)) * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50+dice(3000))*time.Millisecond) // the caller may give up
	defer cancel()
	s, err := a.Create(ctx, f)
	if err != nil && s.Open() {
		t.Errorf("a session with an error: %+v %v", s, err)
	}
	for range dice(4) {
		f.Forks = nil
		if dice(2) == 0 {
			f.Forks = [][]Media{{{Number: 1, Type: "audio", BandwidthUp: uint64(dice(1000))}}}
		}
		if dice(3) == 0 {
			f.Status = Final
		}
		if s, err = a.Update(t.Context(), s, f); err != nil && dice(2) == 0 {
			break
		}
	}
	a.Delete(s)
	if dice(3) == 0 {
		a.Delete(s)
	}
}
