package badinput

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isthmus-gateway/isthmus/integration/internal/democore"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// scraper asks every time anew, so that no idle connection counts among the goroutines of a daemon.
var scraper = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// series are the samples of a daemon, by name with labels as they stand on /metrics.
type series map[string]float64

func (b *bed) metrics(daemon string) (series, error) {
	at := map[string]string{"mgc": b.At(scenario.PortHTTP), "mgw": b.At(scenario.PortGWHTTP)}[daemon]
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := scraper.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := series{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil && !strings.HasPrefix(name, "#") {
			out[name] = n
		}
	}
	return out, nil
}

// sum adds up the samples of a metric that carry all labels, written name{k="v",k="v"}.
func (s series) sum(metric string) (total float64) {
	name, rest, _ := strings.Cut(metric, "{")
	labels := strings.Split(strings.TrimSuffix(rest, "}"), ",")
	for k, v := range s {
		n, have, _ := strings.Cut(k, "{")
		ok := n == name
		for _, l := range labels {
			ok = ok && (l == "" || strings.Contains(","+strings.TrimSuffix(have, "}")+",", ","+l+","))
		}
		if ok {
			total += v
		}
	}
	return total
}

func (b *bed) value(t *testing.T, daemon, metric string) float64 {
	t.Helper()
	s, err := b.metrics(daemon)
	if err != nil {
		t.Fatal(err)
	}
	return s.sum(metric)
}

// counts runs f and requires that the metric of the daemon then has grown by n.
func (b *bed) counts(t *testing.T, daemon, metric string, n float64, f func()) {
	t.Helper()
	before := b.value(t, daemon, metric)
	f()
	eventually(t, deadline, func() string {
		s, err := b.metrics(daemon)
		if err != nil {
			return err.Error()
		}
		if grown := s.sum(metric) - before; grown < n {
			return fmt.Sprintf("%s: %s grew by %v, want at least %v", daemon, metric, grown, n)
		}
		return ""
	})
}

// status is what the demo core sees.
func (b *bed) status() (democore.Status, error) {
	var s democore.Status
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.At(scenario.PortStatus)+"/status", nil)
	if err != nil {
		return s, err
	}
	resp, err := scraper.Do(req)
	if err != nil {
		return s, err
	}
	defer resp.Body.Close()
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// telephone is the newest call of a built-in user with the caller, as the demo core has it.
func (b *bed) telephone(caller string) (democore.MediaStatus, error) {
	s, err := b.status()
	if err != nil {
		return democore.MediaStatus{}, err
	}
	for i := len(s.Media) - 1; i >= 0; i-- {
		if strings.Contains(s.Media[i].Peer, caller+"@") {
			return s.Media[i], nil
		}
	}
	return democore.MediaStatus{}, fmt.Errorf("the demo core has no call with %s", caller)
}

// admin calls f with the admin services of both daemons.
func (b *bed) admin(t *testing.T, f func(context.Context, adminv1.ControllerAdminClient, adminv1.GatewayAdminClient) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var conns []*grpc.ClientConn
	for _, at := range []string{b.At(scenario.PortAdmin), b.At(scenario.PortGWAdmin)} {
		c, err := grpc.NewClient(at, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	if err := f(ctx, adminv1.NewControllerAdminClient(conns[0]), adminv1.NewGatewayAdminClient(conns[1])); err != nil {
		t.Fatal(err)
	}
}

// held is what both daemons hold of calls.
type held struct {
	calls, registrations   int
	contexts, terminations uint32
	ports                  uint32
	buffers                int64
}

func (b *bed) held(t *testing.T) (h held) {
	t.Helper()
	b.admin(t, func(ctx context.Context, c adminv1.ControllerAdminClient, g adminv1.GatewayAdminClient) error {
		calls, err := c.ListCalls(ctx, &adminv1.ListCallsRequest{})
		if err != nil {
			return err
		}
		regs, err := c.ListRegistrations(ctx, &adminv1.ListRegistrationsRequest{})
		if err != nil {
			return err
		}
		r, err := g.Resources(ctx, &adminv1.ResourcesRequest{})
		h = held{len(calls.GetCalls()), len(regs.GetRegistrations()), r.GetContexts(), r.GetTerminations(), r.GetPortPairs(), r.GetBuffersOut()}
		return err
	})
	return h
}

// holds waits until the daemons hold exactly that.
func (b *bed) holds(t *testing.T, want held) {
	t.Helper()
	eventually(t, 2*deadline, func() string {
		if h := b.held(t); h != want {
			return fmt.Sprintf("the daemons hold %+v, want %+v", h, want)
		}
		return ""
	})
}

// settled waits until the MGC has no transaction and no more goroutines than before. Transactions of ended calls linger
// for 32 s (RFC 3261 timers D, H, J; RFC 6026).
func (b *bed) settled(t *testing.T, goroutines float64) {
	t.Helper()
	eventually(t, 45*time.Second, func() string {
		s, err := b.metrics("mgc")
		if err != nil {
			return err.Error()
		}
		tx, g, conns := s.sum("isthmus_mgc_sip_transactions"), s.sum("go_goroutines"), s.sum("isthmus_mgc_sip_connections{transport=\"WS\"}")
		if tx != 0 || conns != 0 || g > goroutines {
			return fmt.Sprintf("the MGC holds %v transactions, %v WebSockets, %v goroutines (before: %v)", tx, conns, g, goroutines)
		}
		return ""
	})
}
