package signalling

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// few connections come before the first reading, so that what a process makes once is not counted.
	few = 50
	// rest is how long the connections idle before memory is read: the transactions of their registrations have ended.
	rest = 10 * time.Second
)

// memory measures what idle registered connections hold, in processes of their own.
func (r *runner) memory(ctx context.Context) error {
	for _, name := range r.names() {
		for _, secure := range []bool{false, true} {
			err := r.idle(ctx, name, secure)
			if err != nil && name == kamailio && ctx.Err() == nil { // 5.6 with OpenSSL 3 may end when connections come at once
				r.say("  %-9s memory not measured: %.200s", name, err.Error())
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: memory: %w", name, err)
			}
		}
	}
	return nil
}

func (r *runner) idle(ctx context.Context, name string, secure bool) (err error) {
	s, err := r.start(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	before, err := r.settled(ctx, s, few, secure)
	if err != nil {
		return err
	}
	after, err := r.settled(ctx, s, r.c.Idle, secure)
	if err != nil {
		return err
	}
	kb := float64(after-before) * 1.024 / float64(r.c.Idle)
	s.row.KB[index(secure)] = &kb
	r.say("  %-9s %5.1f kB per idle registered %s connection (%d to %d KiB for %d)", name, kb, [2]string{"WS", "WSS"}[index(secure)], before, after, r.c.Idle)
	return nil
}

func index(secure bool) int {
	if secure {
		return 1
	}
	return 0
}

// settled opens n more connections and reads the memory, KiB, after a rest.
func (r *runner) settled(ctx context.Context, s *subject, n int, secure bool) (int, error) {
	if err := s.fleet.connect(ctx, n, secure, r.c.Hold); err != nil {
		return 0, err
	}
	if err := until(ctx, time.Now().Add(rest)); err != nil {
		return 0, err
	}
	pids, err := family(s.sys.pid())
	if err != nil {
		return 0, err
	}
	return memory(pids)
}
