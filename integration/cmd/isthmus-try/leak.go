package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

// leakCalls is how many calls the leak check places.
const leakCalls = 200

// leakCheck places many short calls and compares what both daemons hold before and after.
func leakCheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	ua, err := webua.Dial(ctx, webua.Config{URL: "ws://127.0.0.1:8080/sip", Domain: "isthmus.example", User: "bob", Password: "builder"})
	if err != nil {
		return err
	}
	defer ua.Close()
	if err := ua.Register(ctx, 10*time.Minute); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	before, err := settled(ctx, 0)
	if err != nil {
		return err
	}
	for n := range leakCalls {
		call, err := ua.Call(ctx, "sip:tone@isthmus.example", tone.Silence{})
		if err != nil {
			return fmt.Errorf("call %d: %w", n, err)
		}
		if err := call.Hangup(ctx); err != nil {
			return fmt.Errorf("call %d: %w", n, err)
		}
	}
	after, err := settled(ctx, before.goroutines)
	if err != nil {
		return err
	}
	fmt.Printf("leak check: %d calls; MGC goroutines %d -> %d, calls %d; MGW contexts 0, port pairs 0\n", leakCalls, before.goroutines, after.goroutines, after.calls)
	return nil
}

type held struct{ goroutines, calls int }

// settled waits until the daemons hold no call and the MGC no more goroutines than limit (0: any).
func settled(ctx context.Context, limit int) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, 45*time.Second) // transactions of ended calls linger for 32 s (RFC 3261 timer J, RFC 6026)
	defer cancel()
	if r, err := idle(ctx, 0); err != nil || r.Contexts != 0 || r.PortPairs != 0 {
		return held{}, fmt.Errorf("the MGW still holds %v: %w", r, err)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last held
	for {
		var err error
		if last, err = scrape(ctx); err == nil && last.calls == 0 && (limit == 0 || last.goroutines <= limit) {
			return last, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("the MGC still holds %d calls, %d goroutines (before: %d): %w", last.calls, last.goroutines, limit, ctx.Err())
		}
	}
}

// scrape reads the MGC's metrics.
func scrape(ctx context.Context) (held, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:7402/metrics", nil)
	if err != nil {
		return held{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return held{}, err
	}
	defer resp.Body.Close()
	h := held{-1, -1}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		n, err := strconv.Atoi(value)
		switch {
		case err != nil:
		case name == "go_goroutines":
			h.goroutines = n
		case name == "isthmus_mgc_calls_active":
			h.calls = n
		}
	}
	if h.goroutines < 0 || h.calls < 0 {
		return h, fmt.Errorf("metrics of the MGC lack the counts")
	}
	return h, nil
}
