package sipp

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// settled waits until neither daemon holds a call, context, port pair or registration.
func settled() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := held(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("left behind: %w", err)
		}
	}
}

// held says what the daemons hold.
func held(ctx context.Context) error {
	calls, err := world.mgc.ListCalls(ctx, &adminv1.ListCallsRequest{})
	if err != nil {
		return err
	}
	if n := len(calls.Calls); n > 0 {
		return fmt.Errorf("%d calls, the first %v", n, calls.Calls[0])
	}
	regs, err := world.mgc.ListRegistrations(ctx, &adminv1.ListRegistrationsRequest{})
	if err != nil {
		return err
	}
	if n := len(regs.Registrations); n > 0 {
		return fmt.Errorf("%d registrations, the first %v", n, regs.Registrations[0])
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
	req, err := http.NewRequestWithContext(deadline(t, 5*time.Second), http.MethodGet, "http://"+mgcHTTPAddr+"/metrics", nil)
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
