package sipp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// settled waits until neither daemon holds anything of a test.
func settled() error {
	return until(func(ctx context.Context) error { return errors.Join(held(ctx), registered(ctx)) })
}

// until waits until check is satisfied.
func until(check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var err error
	if !scenario.Poll(ctx, func() bool { err = check(ctx); return err == nil }) {
		return fmt.Errorf("left behind: %w", err)
	}
	return nil
}

// held says what the daemons hold of calls: records, contexts, terminations, port pairs.
func held(ctx context.Context) error {
	calls, err := world.mgc.ListCalls(ctx, &adminv1.ListCallsRequest{})
	if err != nil {
		return err
	}
	if n := len(calls.Calls); n > 0 {
		return fmt.Errorf("%d calls, the first %v", n, calls.Calls[0])
	}
	r, err := world.mgw.Resources(ctx, &adminv1.ResourcesRequest{})
	if err != nil {
		return err
	}
	if r.Contexts+r.Terminations+r.PortPairs > 0 {
		return fmt.Errorf("the media gateway holds %v", r)
	}
	return nil
}

// registered says which registrations there are.
func registered(ctx context.Context) error {
	regs, err := world.mgc.ListRegistrations(ctx, &adminv1.ListRegistrationsRequest{})
	if err != nil {
		return err
	}
	if n := len(regs.Registrations); n > 0 {
		return fmt.Errorf("%d registrations, the first %v", n, regs.Registrations[0])
	}
	return nil
}

// contexts lists what the media gateway holds, for error texts.
func contexts() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := world.mgw.ListContexts(ctx, &adminv1.ListContextsRequest{})
	if err != nil {
		return err.Error()
	}
	return r.String()
}

// metric reads one value of the controller's metrics; series is the name with its labels as exposed. A series that does not
// exist yet is 0.
func metric(t *testing.T, series string) float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(scenario.Within(t, 5*time.Second), http.MethodGet, "http://"+gateway.At(scenario.PortHTTP)+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			v, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				t.Fatalf("metric %s: %v", series, err)
			}
			return v
		}
	}
	return 0
}

// disconnected waits until the controller has noticed that the user's WebSocket is gone.
func disconnected(ctx context.Context, t *testing.T, user string) {
	t.Helper()
	scenario.Until(ctx, t, user+" to be disconnected", func() (bool, any) {
		regs, err := world.mgc.ListRegistrations(ctx, &adminv1.ListRegistrationsRequest{})
		scenario.Must(t, err)
		return slices.ContainsFunc(regs.Registrations, func(r *adminv1.Registration) bool {
			return r.Aor == "sip:"+user+"@"+domain && !r.Connected
		}), regs
	})
}
