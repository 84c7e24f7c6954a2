package netwatch

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	four, six = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	core      = netip.MustParseAddr("10.0.0.1")
)

// host is a table of interfaces that tests change.
type host struct {
	mu     sync.Mutex
	ifaces []iface
	err    error
	hint   chan<- struct{}
	told   [][]State
}

func (h *host) config(hold time.Duration, realms ...Realm) Config {
	return Config{
		Realms: realms, Hold: hold,
		Changed: func(s []State) { h.mu.Lock(); h.told = append(h.told, s); h.mu.Unlock() },
		look:    func() ([]iface, error) { h.mu.Lock(); defer h.mu.Unlock(); return slices.Clone(h.ifaces), h.err },
		watch:   func(ctx context.Context, c chan<- struct{}) error { h.hint = c; <-ctx.Done(); return nil },
	}
}

func (h *host) calls() [][]State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told)
}

func (h *host) set(err error, ifaces ...iface) {
	h.mu.Lock()
	h.ifaces, h.err = ifaces, err
	h.mu.Unlock()
	h.hint <- struct{}{}
	synctest.Wait()
}

// TestIQ03_IQ04_InterfaceGoesAndComesBack: link down and address removed count after the hold time and are told at once for all realms of the
// interface; what is back in between is not told; the return is told at once.
func TestIQ03_IQ04_InterfaceGoesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		eth0 := iface{name: "eth0", up: true, addrs: []netip.Addr{four, six}}
		eth1 := iface{name: "eth1", up: true, addrs: []netip.Addr{core}}
		h := &host{ifaces: []iface{eth0, eth1}}
		w, err := New(h.config(time.Second,
			Realm{"access-v4", []netip.Addr{four}}, Realm{"access-v6", []netip.Addr{six}}, Realm{"both", []netip.Addr{core, four}}, Realm{"core", []netip.Addr{core}},
			Realm{"any", []netip.Addr{netip.IPv4Unspecified()}}, Realm{"local", []netip.Addr{netip.MustParseAddr("127.0.0.5")}}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		synctest.Wait()
		down := eth0
		down.up = false
		h.set(nil, down, eth1)
		time.Sleep(999 * time.Millisecond)
		h.set(nil, eth0, eth1)
		time.Sleep(time.Hour)
		if len(h.calls()) != 0 || len(w.Unavailable()) != 0 {
			t.Fatalf("a short failure was told: %+v", h.calls())
		}
		h.set(nil, down, eth1)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := w.Unavailable(); !slices.Equal(got, []string{"access-v4", "access-v6"}) || len(h.calls()) != 1 || len(h.calls()[0]) != 2 {
			t.Fatalf("unavailable %v, told %+v", got, h.calls())
		}
		if s := h.calls()[0][0]; s.Interface != "eth0" || s.Available || !strings.Contains(s.Reason, "eth0") || s.Since.IsZero() {
			t.Errorf("%+v", s)
		}
		h.set(errors.New("no memory"), down, eth1) // nothing is known: states stay
		if len(h.calls()) != 1 {
			t.Fatalf("told %+v", h.calls())
		}
		h.set(nil, eth0, iface{name: "eth1", up: true})
		if len(h.calls()) != 2 || !h.calls()[1][0].Available || h.calls()[1][0].Reason != "" {
			t.Fatalf("the return: %+v", h.calls())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		// A realm with an address left stays.
		if got := w.Unavailable(); !slices.Equal(got, []string{"core"}) {
			t.Fatalf("unavailable %v", got)
		}
		if s := h.calls()[2][0]; s.Realm != "core" || s.Interface != "eth1" || !strings.Contains(s.Reason, core.String()) {
			t.Errorf("%+v", s)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestUnavailableFromTheStart: what cannot be used when the gateway starts is known before anything is told.
func TestUnavailableFromTheStart(t *testing.T) {
	h := &host{ifaces: []iface{{name: "eth0", up: false, addrs: []netip.Addr{four}}}}
	w, err := New(h.config(time.Hour, Realm{"access", []netip.Addr{four}}))
	if err != nil || !slices.Equal(w.Unavailable(), []string{"access"}) {
		t.Errorf("%v, %v", w.States(), err)
	}
	h.err = errors.New("no memory")
	if _, err := New(h.config(0)); err == nil {
		t.Error("no error")
	}
}

// TestKernelsTable: the loopback interface is there and up, and the kernel's watch ends with its context.
func TestKernelsTable(t *testing.T) {
	list, err := interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if name, why := find(netip.MustParseAddr("127.0.0.1"), list); name == "" || why != "" {
		t.Errorf("%q %q in %+v", name, why, list)
	}
	if _, why := find(netip.MustParseAddr("192.0.2.77"), list); why == "" {
		t.Error("an address that nobody has")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- watchKernel(ctx, make(chan struct{}, 1)) }()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
