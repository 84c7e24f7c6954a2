// Package netwatch tells whether the local addresses of IP realms can be used: on an interface that is up, with carrier (TS 23.334 §6.1.15,
// H.248.41). Floor 1. Run is its one goroutine; the other methods are safe from any.
package netwatch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Realm is what to watch.
type Realm struct {
	Name  string
	Addrs []netip.Addr // local ones; unspecified and loopback addresses are always usable
}

// State is a realm's state at one moment.
type State struct {
	Realm     string
	Interface string // of its first address, the last one known; "": listens on every address, or never seen
	Available bool   // one of its addresses can be used
	Since     time.Time
	Reason    string // why not, for people; "" when available
}

// Config is what a Watcher needs.
type Config struct {
	Realms []Realm
	// Hold is how long an address must be gone before it counts; the return counts at once. 0: at once.
	Hold time.Duration
	// Changed is called with the realms whose availability has changed, from Run, one call per moment. It may block.
	Changed func([]State)
	Logger  *zap.Logger // nil: none

	look  func() ([]iface, error)                            // nil: the kernel's; for tests
	watch func(context.Context, chan<- struct{}) (err error) // nil: the kernel's; for tests
}

// iface is a network interface.
type iface struct {
	name  string
	up    bool // administratively and with carrier
	addrs []netip.Addr
}

// again is how often the interfaces are looked at without any hint of the kernel.
const again = 30 * time.Second

// Watcher keeps the state of realms.
type Watcher struct {
	cfg  Config
	gone []time.Time // by realm: since when it cannot be used; zero: it can. Owned by Run.

	mu     sync.Mutex // guards states
	states []State
}

// New looks once. Errors: the interfaces cannot be read.
func New(cfg Config) (*Watcher, error) {
	if cfg.look == nil {
		cfg.look = interfaces
	}
	if cfg.watch == nil {
		cfg.watch = watchKernel
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	w := &Watcher{cfg: cfg, gone: make([]time.Time, len(cfg.Realms))}
	ifaces, err := cfg.look()
	if err != nil {
		return nil, fmt.Errorf("netwatch: %w", err)
	}
	now := time.Now()
	for i, r := range cfg.Realms {
		name, why := evaluate(r, ifaces)
		if why != "" {
			w.gone[i] = now
		}
		w.states = append(w.states, State{Realm: r.Name, Interface: name, Available: why == "", Since: now, Reason: why})
	}
	return w, nil
}

// States is the realms as configured.
func (w *Watcher) States() []State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.states)
}

// Unavailable is the names of the realms that are not available.
func (w *Watcher) Unavailable() []string {
	var out []string
	for _, s := range w.States() {
		if !s.Available {
			out = append(out, s.Realm)
		}
	}
	return out
}

// Run follows the interfaces until ctx ends; then it returns nil. Without the kernel's hints it looks from time to time.
func (w *Watcher) Run(ctx context.Context) error {
	hints := make(chan struct{}, 1)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(ctx)
	go func() { // owner: Run, which ends ctx and waits
		defer close(done)
		if err := w.cfg.watch(ctx, hints); err != nil && ctx.Err() == nil {
			w.cfg.Logger.Warn("the kernel gives no hints of interfaces; they are looked at from time to time", zap.Error(err))
		}
	}()
	defer func() {
		cancel()
		<-done
	}()
	for {
		wait := time.NewTimer(w.refresh())
		select {
		case <-ctx.Done():
			wait.Stop()
			return nil
		case <-hints:
			wait.Stop()
		case <-wait.C:
		}
	}
}

// refresh looks at the interfaces, tells what has changed, and returns the time until the next look.
func (w *Watcher) refresh() time.Duration {
	ifaces, err := w.cfg.look()
	if err != nil {
		w.cfg.Logger.Warn("interfaces cannot be read; their states stay", zap.Error(err))
		return again
	}
	now, next := time.Now(), again
	var changed []State
	w.mu.Lock()
	for i, r := range w.cfg.Realms {
		s := &w.states[i]
		name, why := evaluate(r, ifaces)
		if why == "" {
			w.gone[i] = time.Time{}
			if name != "" {
				s.Interface = name
			}
			if !s.Available {
				s.Available, s.Since, s.Reason = true, now, ""
				changed = append(changed, *s)
			}
			continue
		}
		if w.gone[i].IsZero() {
			w.gone[i] = now
		}
		left := w.cfg.Hold - now.Sub(w.gone[i])
		switch {
		case !s.Available:
			s.Reason = why
		case left > 0:
			next = min(next, left)
		default:
			s.Available, s.Since, s.Reason = false, now, why
			changed = append(changed, *s)
		}
	}
	w.mu.Unlock()
	if len(changed) > 0 && w.cfg.Changed != nil {
		w.cfg.Changed(changed)
	}
	return next
}

// evaluate returns the interface of the realm's first address, and why none of its addresses can be used; "": one can.
func evaluate(r Realm, ifaces []iface) (name, why string) {
	usable := false
	for i, a := range r.Addrs {
		on, reason := find(a, ifaces)
		usable = usable || reason == ""
		if i == 0 {
			name = on
		}
		if why == "" {
			why = reason
		}
	}
	if usable || len(r.Addrs) == 0 {
		return name, ""
	}
	return name, why
}

// find returns the interface that has the address, and why it cannot be used.
func find(a netip.Addr, ifaces []iface) (name, why string) {
	a = a.Unmap()
	for _, i := range ifaces {
		if !slices.Contains(i.addrs, a.WithZone("")) {
			continue
		}
		if !i.up && !a.IsLoopback() {
			return i.name, fmt.Sprintf("interface %s of %s is down", i.name, a)
		}
		return i.name, ""
	}
	if a.IsUnspecified() || a.IsLoopback() {
		return "", ""
	}
	return "", fmt.Sprintf("no interface has the address %s", a)
}

// interfaces reads those of the kernel.
func interfaces() ([]iface, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []iface
	for _, n := range list {
		i := iface{name: n.Name, up: n.Flags&net.FlagUp != 0 && n.Flags&net.FlagRunning != 0}
		addrs, err := n.Addrs()
		if err != nil {
			continue // gone between the two calls
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				i.addrs = append(i.addrs, p.Addr().Unmap())
			}
		}
		out = append(out, i)
	}
	if len(out) == 0 {
		return nil, errors.New("no network interface")
	}
	return out, nil
}
