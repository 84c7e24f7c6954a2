package quality

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/systems"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/traces"
)

// The names of what is compared.
const (
	Reference = "no gateway"
	Twice     = "both codecs, no gateway"
	Isthmus   = "isthmus"
	Rtpengine = "rtpengine"
)

const (
	tail  = time.Second // after the last packet
	tries = 2           // where the machine was too busy
	busy  = 0.01        // share of packets that the generator may send late
)

// Run measures. The Results hold what was measured even when an error ends it. Errors: ErrNoSpeaker, those of the systems.
func Run(ctx context.Context, c Config) (*Results, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := &Results{Config: c, conditions: traces.Conditions()}
	fmt.Fprintf(c.Out, "\nquality: %d conditions, %d calls each, %v of speech both ways\n", len(r.conditions), c.Seeds, c.Speech)
	speakers := make([]*material, c.Seeds)
	for k := range speakers {
		var err error
		if speakers[k], err = speak(ctx, k, c.Speech); err != nil {
			return r, err
		}
	}
	for _, p := range pairs {
		if c.Pair != "" && c.Pair != p.core {
			continue
		}
		if err := r.measure(ctx, p, speakers); err != nil {
			return r, err
		}
	}
	return r, nil
}

// measure does one pair of codecs.
func (r *Results) measure(ctx context.Context, pr *pair, speakers []*material) error {
	c, p := r.Config, &Part{pair: pr}
	r.Parts = append(r.Parts, p)
	calls, err := prepare(pr, speakers, r.conditions)
	if err != nil {
		return err
	}
	lags, err := r.reference(p, calls)
	if err != nil {
		return err
	}
	ours, err := systems.StartIsthmus(ctx, c.Gateway, c.Workers, c.Log)
	if err != nil {
		return err
	}
	if err := r.through(ctx, p, Isthmus, ours, calls, lags); err != nil || !c.Peer {
		return err
	}
	if pr.peer != "" && !systems.Encodes(ctx, pr.peer) {
		fmt.Fprintf(c.Out, "  rtpengine cannot make %s here: left out\n", pr.peer)
		return nil
	}
	theirs, err := systems.StartRtpengine(ctx, c.Threads, c.Log)
	if errors.Is(err, systems.ErrNotInstalled) {
		fmt.Fprintln(c.Out, "  rtpengine is not installed: left out")
		return nil
	}
	if err != nil {
		return err
	}
	err = r.through(ctx, p, Rtpengine, theirs, calls, lags)
	if err != nil && pr.peer != "" && ctx.Err() == nil { // what a foreign library makes of it is not ours to fail for
		fmt.Fprintf(c.Out, "  left out: %v\n", err)
		return nil
	}
	if !errors.Is(err, errSilent) {
		return err
	}
	fmt.Fprintf(c.Out, "  rtpengine makes no sound of %s\n", pr.title(load.Up))
	return nil
}

// call is both directions of a call under one condition.
type call struct {
	condition int
	way       [2]*stream
}

// phase spreads the starts of streams over a packet's time, any of them in a row evenly: calls that begin by themselves do not all speak at once, and where
// in the gateway's own time they fall decides about some milliseconds.
func phase(stream int) time.Duration {
	const golden = 0.6180339887
	_, part := math.Modf(float64(stream) * golden)
	return time.Duration(part * float64(ptime))
}

// prepare makes all calls: those of a condition have the seeds from 1 on, and the speakers by turns.
func prepare(p *pair, speakers []*material, conditions []traces.Condition) (calls []call, err error) {
	for i, cond := range conditions {
		for k, m := range speakers {
			x := call{condition: i}
			for d := range x.way {
				if x.way[d], err = newStream(p, load.Direction(d), cond, m, uint64(k+1)); err != nil {
					return nil, err
				}
				x.way[d].start = phase(2*len(calls) + d)
			}
			calls = append(calls, x)
		}
	}
	return calls, nil
}

// each does f for both directions of all calls, several at once.
func each(calls []call, f func(call, direction int) error) error {
	errs := make([]error, 2*len(calls))
	var wg sync.WaitGroup
	next := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range next {
				errs[i] = f(i/2, i%2)
			}
		})
	}
	for i := range errs {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// reference scores the receiver without gateway, and what a second coding leaves of that; lags are those of the codecs.
func (r *Results) reference(p *Part, calls []call) (lags [][2]int, err error) {
	lags = make([][2]int, len(calls))
	scores, twice := make([][2]Score, len(calls)), make([][2]Score, len(calls))
	err = each(calls, func(i, d int) (err error) {
		scores[i][d], twice[i][d], lags[i][d], err = calls[i].way[d].judgeReference()
		return err
	})
	r.take(p, Reference, calls, scores)
	r.take(p, Twice, calls, twice)
	return lags, err
}

// through sends everything through a system, which it closes, and scores it.
func (r *Results) through(ctx context.Context, p *Part, name string, sys systems.System, calls []call, lags [][2]int) error {
	heard, late, err := replay(ctx, p.pair.media, sys, calls)
	err = errors.Join(err, sys.Close())
	if err != nil {
		return fmt.Errorf("quality: %s: %w", name, err)
	}
	scores := make([][2]Score, len(calls))
	err = each(calls, func(i, d int) (err error) {
		if scores[i][d], err = calls[i].way[d].judgeGateway(heard[i][d], lags[i][d]); err != nil {
			return fmt.Errorf("quality: %s, call %d, %s: %w", name, i, load.Direction(d), err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.take(p, name, calls, scores)
	if late > busy {
		r.Late = max(r.Late, late)
	}
	return nil
}

// replay sets the calls up and sends; again with new calls when the machine was too busy for it, and the best of the tries counts.
func replay(ctx context.Context, media load.Media, sys systems.System, calls []call) (best []load.Recording, late float64, err error) {
	scripts := make([]load.Script, len(calls))
	for i, c := range calls {
		for d := range c.way {
			scripts[i][d] = c.way[d].sendings()
		}
	}
	late = 1
	for try := range tries {
		f, err := load.New(ctx, load.Options{Calls: len(calls), Media: media, Connect: func(ctx context.Context, o load.Offer) (load.Answer, error) {
			o.Call += try * len(calls)
			return sys.Connect(ctx, o)
		}})
		if err != nil {
			return nil, 0, err
		}
		out, behind, err := f.Replay(scripts, tail)
		f.Close()
		if err != nil {
			return nil, 0, err
		}
		if best == nil || behind < late {
			best, late = out, behind
		}
		if late <= busy || ctx.Err() != nil {
			break
		}
	}
	return best, late, ctx.Err()
}
