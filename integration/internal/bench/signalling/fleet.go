package signalling

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// fleet is the browsers of one system, and its core.
type fleet struct {
	sys      *system
	core     *core
	ledger   *ledger
	browsers []*browser
	next     int // browser of the next registration or call
	calls    int // begun so far, for ids
	regs     int
}

// addresses is how many the browsers share: the edge bounds connections (200) and registrations (50 per s) from one address.
const addresses = 100

// lifetime of bindings in the load, s: none ends during a run.
const lifetime = 7200

func source(n int) net.IP { return net.IPv4(127, 0, 1, byte(1+n%addresses)) }

// connect opens n more connections and registers their users.
func (f *fleet) connect(ctx context.Context, n int, secure bool, hold time.Duration) error {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards f.browsers, first
	var first error
	slots := make(chan struct{}, 16)
	if secure { // one handshake at a time: Kamailio 5.6 with OpenSSL 3 does not always survive two
		slots = make(chan struct{}, 1)
	}
	base := len(f.browsers)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			b, err := connect(fmt.Sprintf("u%d", base+i), source(base+i), f.sys.access(secure), secure, f.ledger, hold)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				f.browsers = append(f.browsers, b)
			} else if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	if first == nil {
		first = ctx.Err()
	}
	if first != nil {
		return first
	}
	return f.all(ctx, f.browsers[base:], lifetime)
}

// all registers browsers at a bounded rate; expires 0 ends their registrations.
func (f *fleet) all(ctx context.Context, browsers []*browser, expires int) error {
	const rate = 1000 // per s
	f.ledger.reset()
	begin := time.Now()
	for i, b := range browsers {
		if err := until(ctx, begin.Add(time.Duration(i)*time.Second/rate)); err != nil {
			return err
		}
		f.regs++
		b.register(fmt.Sprintf("r%d", f.regs), expires)
	}
	f.ledger.settle(patience)
	if c := f.ledger.read(); c.bad > 0 {
		return fmt.Errorf("%s: %d of %d registrations failed: %s", f.sys.name, c.bad, len(browsers), c.why)
	}
	return nil
}

// until waits for the time or the end of ctx.
func until(ctx context.Context, at time.Time) error {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fleet) close() {
	var wg sync.WaitGroup
	for _, b := range f.browsers {
		wg.Go(b.close)
	}
	wg.Wait()
}

// patience is how long anything may take to finish.
const patience = 15 * time.Second

// window is a measurement.
type window struct {
	length   time.Duration
	used     time.Duration // CPU of the system
	done     [2]int        // by kind
	bad      int
	why      string
	p50, p99 time.Duration // from INVITE to 2xx at the caller
}

// offer is the rates of a window.
type offer struct {
	registrations, calls float64 // per s
	warm, length         time.Duration
}

// run offers the load, and measures after the warm-up. All that was begun must end well.
func (f *fleet) run(ctx context.Context, o offer, used func() (time.Duration, error)) (w window, err error) {
	f.ledger.reset()
	begin := time.Now()
	var regs, calls int
	pace := func(end time.Time) error {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for time.Now().Before(end) {
			since := time.Since(begin).Seconds()
			for ; float64(regs) < since*o.registrations; regs++ {
				f.register()
			}
			for ; float64(calls) < since*o.calls; calls++ {
				f.call()
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	if err := pace(begin.Add(o.warm)); err != nil {
		return w, err
	}
	start, before := time.Now(), f.ledger.read()
	cpu, err := used()
	if err != nil {
		return w, err
	}
	if err := pace(start.Add(o.length)); err != nil {
		return w, err
	}
	after := f.ledger.read()
	if w.used, err = used(); err != nil {
		return w, err
	}
	w.used, w.length = w.used-cpu, time.Since(start)
	for i := range w.done {
		w.done[i] = after.done[i] - before.done[i]
	}
	f.ledger.settle(patience)
	c := f.ledger.read()
	w.bad, w.why = c.bad, c.why
	w.p50, w.p99 = f.ledger.setUpTime(0.5), f.ledger.setUpTime(0.99)
	return w, nil
}

// register has the next browser that is not registering register again; when all are, the load has failed.
func (f *fleet) register() {
	f.regs++
	id := fmt.Sprintf("r%d", f.regs)
	for range f.browsers {
		b := f.browsers[f.next%len(f.browsers)]
		f.next++
		if b.register(id, lifetime) {
			return
		}
	}
	f.ledger.fail(id, "the last registration of every browser is still open")
}

// call begins one, every other one at the core.
func (f *fleet) call() {
	b := f.browsers[f.next%len(f.browsers)]
	f.next++
	f.calls++
	if f.calls%2 == 0 {
		id := fmt.Sprintf("c%d", f.calls)
		f.ledger.begin(id, call)
		b.call(id)
		return
	}
	id := fmt.Sprintf("k%d", f.calls)
	f.ledger.begin(id, call)
	f.core.call(id, b.name)
}
