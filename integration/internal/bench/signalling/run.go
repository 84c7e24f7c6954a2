package signalling

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Run measures and prints as it goes. The Results hold what was measured even when an error ends it.
func Run(ctx context.Context, c Config) (*Results, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := &runner{c: &c, out: &Results{Config: c}}
	r.say("\nsignalling: %d browsers, %.0f registrations/s, %.0f call set-ups/s, no media", c.Browsers, c.Registrations, c.Calls)
	err := r.load(ctx)
	if err == nil {
		err = r.memory(ctx)
	}
	return r.out, err
}

// runner is a run under way.
type runner struct {
	c   *Config
	out *Results
}

func (r *runner) say(format string, args ...any) { fmt.Fprintf(r.c.Out, format+"\n", args...) }

// subject is a system with its load.
type subject struct {
	sys   *system
	core  *core
	fleet *fleet
	row   *Row
}

// start runs a system with its core; no browser is connected yet.
func (r *runner) start(ctx context.Context, name string) (*subject, error) {
	l := newLedger()
	k, err := newCore(l, r.c.Hold)
	if err != nil {
		return nil, err
	}
	s := &subject{core: k, row: r.out.row(name)}
	if name == isthmus {
		s.sys, err = startIsthmus(ctx, r.c.Controller, k.self, r.c.Log)
	} else {
		s.sys, err = startKamailio(ctx, k.self, r.c.Log)
	}
	if err != nil {
		k.close()
		return nil, err
	}
	k.system = s.sys.core
	s.fleet = &fleet{sys: s.sys, core: k, ledger: l}
	return s, nil
}

func (s *subject) close() error {
	s.fleet.close()
	err := s.sys.close()
	s.core.close()
	return err
}

// names of the systems to measure.
func (r *runner) names() []string {
	if r.c.Kamailio {
		return []string{isthmus, kamailio}
	}
	return []string{isthmus}
}

// startAll runs the systems; a Kamailio that is not installed is left out.
func (r *runner) startAll(ctx context.Context) (all []*subject, err error) {
	for _, name := range r.names() {
		s, err := r.start(ctx, name)
		if errors.Is(err, errNotInstalled) {
			r.say("  %v: left out", err)
			r.c.Kamailio = false
			continue
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// load measures registrations and calls.
func (r *runner) load(ctx context.Context) error {
	all, err := r.startAll(ctx)
	defer func() {
		for _, s := range all {
			err = errors.Join(err, s.close())
		}
	}()
	if err != nil {
		return err
	}
	for _, s := range all {
		if err := r.prepare(ctx, s); err != nil {
			return err
		}
	}
	for round := range r.c.Rounds {
		for w := range works {
			for i := range all {
				if err := r.window(ctx, round, w, all[(i+round)%len(all)]); err != nil {
					return err
				}
			}
		}
	}
	return r.release(ctx, all)
}

// prepare connects the browsers, after what there is without them has been counted.
func (r *runner) prepare(ctx context.Context, s *subject) (err error) {
	if s.sys.admin != nil {
		if s.row.before, err = s.sys.resources(ctx); err != nil {
			return err
		}
	}
	return s.fleet.connect(ctx, r.c.Browsers, false, r.c.Hold)
}

// window measures one kind of work at one system.
func (r *runner) window(ctx context.Context, round int, w Work, s *subject) error {
	pids, err := family(s.sys.pid())
	if err != nil {
		return err
	}
	others, err := watch(pids)
	if err != nil {
		return err
	}
	o := offer{warm: r.c.Warm, length: r.c.Window}
	if w != Call {
		o.registrations = r.c.Registrations
	}
	if w >= Call {
		o.calls = r.c.Calls
	}
	s.core.digest.Store(w == Digest)
	m, err := s.fleet.run(ctx, o, func() (time.Duration, error) { return cpu(pids) })
	s.core.digest.Store(false)
	if err != nil {
		return err
	}
	cores, err := others.cores()
	if err != nil {
		return err
	}
	sample := Sample{Round: round, Work: w, window: m, Offered: o, Others: cores}
	s.row.Samples = append(s.row.Samples, sample)
	r.say("  round %d  %-9s %s", round+1, s.sys.name, sample.line())
	return nil
}

// release ends registrations and connections, and waits until the controller holds nothing of them.
func (r *runner) release(ctx context.Context, all []*subject) error {
	for _, s := range all {
		if err := s.fleet.all(ctx, s.fleet.browsers, 0); err != nil {
			return err
		}
		s.fleet.close()
	}
	for _, s := range all {
		if s.sys.admin == nil {
			continue
		}
		left, err := s.sys.empty(ctx, s.row.before)
		if err != nil {
			return err
		}
		if s.row.Left = left; left == "" {
			r.say("  %s holds no call, transaction, record, context or goroutine of them any more", s.sys.name)
		} else {
			r.say("  %s STILL HOLDS %s", s.sys.name, left)
		}
	}
	return nil
}
