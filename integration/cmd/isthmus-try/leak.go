package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// leakCalls is how many calls the leak check places.
const leakCalls = 200

// settleTime is how long the daemons have to become idle: transactions of ended calls linger for 32 s (RFC 3261 §17, RFC 6026).
const settleTime = 45 * time.Second

// leakCheck places many short calls and compares what both daemons and the store hold before and after.
func leakCheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	ua, err := webua.Dial(ctx, webua.Config{URL: "ws://127.0.0.1:8080/sip", Domain: "isthmus.example", User: "bob", Password: "builder"})
	if err != nil {
		return err
	}
	defer ua.Close()
	if err := ua.Register(ctx, 10*time.Minute); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	c, err := newCensus()
	if err != nil {
		return err
	}
	defer c.close()
	if err := shortCall(ctx, ua); err != nil { // what is made once and kept is made now
		return fmt.Errorf("first call: %w", err)
	}
	before, err := c.settle(ctx, nil)
	if err != nil {
		return err
	}
	for n := range leakCalls {
		if err := shortCall(ctx, ua); err != nil {
			return fmt.Errorf("call %d: %w", n, err)
		}
	}
	after, err := c.settle(ctx, before)
	if err != nil {
		return err
	}
	fmt.Printf("leak check: %d calls; before -> after:\n  %s\n", leakCalls, compare(before, after))
	return nil
}

func shortCall(ctx context.Context, ua *webua.UA) error {
	call, err := ua.Call(ctx, "sip:tone@isthmus.example", tone.Silence{})
	if err != nil {
		return err
	}
	return call.Hangup(ctx)
}

// held is what the daemons hold, by name.
type held map[string]int64

// perCall are the entries that must be 0 when no call is up, whatever they were before.
var perCall = []string{"mgc calls", "mgc server transactions", "mgc client transactions", "store call", "mgw contexts", "mgw terminations", "mgw port pairs"}

// over lists what is above the limit; limit nil bounds only what belongs to calls.
func (h held) over(limit held) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		switch was, known := limit[name]; {
		case slices.Contains(perCall, name):
			if h[name] != 0 {
				out = append(out, fmt.Sprintf("%s %d, want 0", name, h[name]))
			}
		case limit != nil && h[name] > was:
			text := fmt.Sprintf("%s %d, was %d", name, h[name], was)
			if !known {
				text = fmt.Sprintf("%s %d, was not there", name, h[name])
			}
			out = append(out, text)
		}
	}
	return out
}

func compare(before, after held) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(after)) {
		out = append(out, fmt.Sprintf("%s %d -> %d", name, before[name], after[name]))
	}
	return strings.Join(out, ", ")
}

// census asks both daemons over connections that stay, so that the asking itself changes nothing.
type census struct {
	conns [2]*grpc.ClientConn
	mgc   adminv1.ControllerAdminClient
	mgw   adminv1.GatewayAdminClient
}

func newCensus() (*census, error) {
	c := &census{}
	for i, addr := range []string{"127.0.0.1:7401", "127.0.0.1:7421"} {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns[i] = conn
	}
	c.mgc, c.mgw = adminv1.NewControllerAdminClient(c.conns[0]), adminv1.NewGatewayAdminClient(c.conns[1])
	return c, nil
}

func (c *census) close() {
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.Close() // an error says that it is closed
		}
	}
}

// take counts what both daemons hold now.
func (c *census) take(ctx context.Context) (held, error) {
	mgc, err := c.mgc.ControllerResources(ctx, &adminv1.ControllerResourcesRequest{})
	if err != nil {
		return nil, fmt.Errorf("admin service of the MGC: %w", err)
	}
	mgw, err := c.mgw.Resources(ctx, &adminv1.ResourcesRequest{})
	if err != nil {
		return nil, fmt.Errorf("admin service of the MGW: %w", err)
	}
	h := held{
		"mgc calls": int64(mgc.Calls), "mgc registrations": int64(mgc.Registrations), "mgc goroutines": int64(mgc.Goroutines),
		"mgc server transactions": int64(mgc.ServerTransactions), "mgc client transactions": int64(mgc.ClientTransactions),
		"mgw contexts": int64(mgw.Contexts), "mgw terminations": int64(mgw.Terminations), "mgw port pairs": int64(mgw.PortPairs),
		"mgw goroutines": int64(mgw.Goroutines), "mgw buffers out": mgw.BuffersOut, "store call": 0,
	}
	if len(mgc.StoreKeys) == 0 {
		return nil, errors.New("the store of the MGC counts no key, not even that of this instance")
	}
	for kind, n := range mgc.StoreKeys {
		h["store "+kind] = int64(n)
	}
	return h, nil
}

// settle waits until no call is held and nothing is above the limit.
func (c *census) settle(ctx context.Context, limit held) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var last held
	for {
		h, err := c.take(ctx)
		if err == nil {
			if last = h; len(h.over(limit)) == 0 {
				return h, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, fmt.Errorf("not back where it was: %s: %w", strings.Join(last.over(limit), "; "), errors.Join(ctx.Err(), err))
		}
	}
}
