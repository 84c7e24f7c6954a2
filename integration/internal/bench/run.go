package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/procstat"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/quality"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/signalling"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/systems"
)

// materialFrames is the length of what each call sends before it repeats: 10 s.
const materialFrames = 500

// names of the systems, as in the report.
const (
	isthmus   = "isthmus"
	rival     = "rival"
	rtpengine = "rtpengine"
	floor     = "kernel floor"
	limit     = "codec limit"
)

// Run measures and prints as it goes. The Results hold what was measured even when an error ends it.
func Run(ctx context.Context, c Config) (Results, error) {
	if err := c.Validate(); err != nil {
		return Results{}, err
	}
	r := Results{Machine: describeMachine(), Config: c}
	switch c.Only {
	case Signalling:
		return r, r.signalling(ctx)
	case Quality:
		return r, r.quality(ctx)
	}
	material, err := codecs.NewMaterial(materialFrames)
	if err != nil {
		return r, err
	}
	for w := range works {
		if !c.wants(w) {
			continue
		}
		p := &part{work: w, c: &c, material: material}
		err := p.run(ctx)
		r.Parts[w] = &p.result
		if err != nil {
			return r, fmt.Errorf("%s: %w", w, err)
		}
	}
	if len(c.Growth) > 0 && (c.Only == "" || c.Only == Growth) {
		if err := r.growth(ctx, material); err != nil {
			return r, err
		}
	}
	if c.Delays && (c.Only == "" || c.Only == Delays) {
		if err := r.loads(ctx, material); err != nil {
			return r, err
		}
	}
	if c.Only == "" {
		if err := r.quality(ctx); err != nil {
			return r, err
		}
		return r, r.signalling(ctx)
	}
	return r, nil
}

// quality runs the speech part; without a speaker, or calls for it, there is none.
func (r *Results) quality(ctx context.Context) error {
	c := r.Config.Quality
	if c.Seeds == 0 {
		return nil
	}
	c.Gateway, c.Workers, c.Threads, c.Peer = r.Config.Gateway, r.Config.Workers, r.Config.Threads, r.Config.Rtpengine
	c.Out, c.Log = r.Config.Out, r.Config.Log
	var err error
	if r.Quality, err = quality.Run(ctx, c); errors.Is(err, quality.ErrNoSpeaker) {
		fmt.Fprintln(c.Out, "  espeak-ng is not installed: speech is not measured")
		return nil
	}
	return err
}

// signalling runs the controller's part.
func (r *Results) signalling(ctx context.Context) error {
	c := r.Config.Signalling
	if c.Controller == "" {
		return nil
	}
	c.Out, c.Log = r.Config.Out, r.Config.Log
	var err error
	if r.Signalling, err = signalling.Run(ctx, c); err != nil {
		return fmt.Errorf("%s: %w", Signalling, err)
	}
	return nil
}

// part is the measurement of one kind of work.
type part struct {
	work     Work
	c        *Config
	material *codecs.Material
	subjects []*subject
	result   Part
}

// subject is a system under test with its calls.
type subject struct {
	sys   systems.System
	fleet *load.Fleet
	row   *Row
	empty int // KiB resident before the first call
}

func (p *part) say(format string, args ...any) { fmt.Fprintf(p.c.Out, format+"\n", args...) }

func (p *part) run(ctx context.Context) error {
	p.result = Part{Work: p.work, Calls: p.c.Calls[p.work]}
	p.say("\n%s: %d calls, 50 packets/s each way", p.work, p.c.Calls[p.work])
	err := p.start(ctx)
	if err == nil {
		err = p.measure(ctx)
	}
	return errors.Join(err, p.close())
}

// close ends calls and systems.
func (p *part) close() (err error) {
	for _, s := range p.subjects {
		if s.fleet != nil {
			s.fleet.Close()
		}
		err = errors.Join(err, s.sys.Close())
	}
	return err
}

// start runs the systems and sets their calls up.
func (p *part) start(ctx context.Context) error {
	if err := p.add(systems.StartIsthmus(ctx, p.c.Gateway, p.c.Workers, p.c.Log)); err != nil {
		return err
	}
	if p.c.Rival != "" {
		if err := p.add(systems.StartRival(ctx, p.c.Rival, p.c.Workers, p.c.Log)); err != nil {
			return err
		}
	}
	if p.work == Relay {
		if err := p.add(systems.StartFloor(p.c.Floor[0], p.c.Floor[1:]...)); err != nil {
			return err
		}
	}
	if p.c.Rtpengine && p.work == Wideband && !systems.Encodes(ctx, "AMR-WB") {
		p.say("  rtpengine cannot make AMR-WB here (Debian package libavcodec-extra): left out")
	} else if p.c.Rtpengine {
		s, err := systems.StartRtpengine(ctx, p.c.Threads, p.c.Log)
		if errors.Is(err, systems.ErrNotInstalled) {
			p.say("  rtpengine is not installed: left out")
		} else if err := p.add(s, err); err != nil {
			return err
		}
	}
	for _, s := range p.subjects {
		if err := p.setUp(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.sys.Name(), err)
		}
	}
	return nil
}

// add takes a started system.
func (p *part) add(s systems.System, err error) error {
	if err != nil {
		return err
	}
	p.subjects = append(p.subjects, &subject{sys: s})
	return nil
}

func (p *part) setUp(ctx context.Context, s *subject) (err error) {
	if s.empty, err = procstat.Resident(s.sys.Pid()); err != nil {
		return err
	}
	_, plain := s.sys.(*systems.Floor)
	begin := time.Now()
	s.fleet, err = load.New(ctx, load.Options{
		Calls: p.c.Calls[p.work], Media: p.work.media(), Plain: plain, Material: p.material, Connect: s.sys.Connect,
	})
	if err != nil {
		return err
	}
	s.row = p.result.row(s.sys.Name())
	s.row.Profile, s.row.EmptyKiB = s.fleet.Profile(), s.empty
	p.say("  %-13s %d calls up in %.1f s, %s", s.sys.Name(), p.c.Calls[p.work], time.Since(begin).Seconds(), orPlain(s.row.Profile))
	return s.sys.Begin()
}

func orPlain(profile string) string {
	if profile == "" {
		return "plain RTP"
	}
	return profile
}

// measure does the rounds; the order turns by one with each.
func (p *part) measure(ctx context.Context) error {
	for round := range p.c.Rounds {
		for i := range p.subjects {
			if err := ctx.Err(); err != nil {
				return err
			}
			s := p.subjects[(i+round)%len(p.subjects)]
			if err := p.window(round, s); err != nil {
				return fmt.Errorf("%s: %w", s.sys.Name(), err)
			}
		}
		if p.work.media().Transcoded() {
			if err := p.limit(round); err != nil {
				return err
			}
		}
	}
	for _, s := range p.subjects {
		var err error
		if s.row.FullKiB, err = procstat.Resident(s.sys.Pid()); err != nil {
			return err
		}
	}
	return nil
}

func (p *part) window(round int, s *subject) error {
	pid := s.sys.Pid()
	before, err := procstat.Split(pid)
	if err != nil {
		return err
	}
	others, err := newBystanders(pid)
	if err != nil {
		return err
	}
	w, err := s.fleet.Run(p.c.Warm, p.c.Window, func() (time.Duration, error) { return procstat.CPU(pid) })
	if err != nil {
		return err
	}
	cores, err := others.cores()
	if err != nil {
		return err
	}
	after, err := procstat.Split(pid)
	if err != nil {
		return err
	}
	sample := Sample{Round: round, Window: w, Calls: p.c.Calls[p.work], Others: cores, User: after.User - before.User, System: after.System - before.System}
	s.row.Samples = append(s.row.Samples, sample)
	p.say("  round %d  %-13s %s", round+1, s.sys.Name(), sample.line(p.work))
	return nil
}

// limit measures the codecs alone, in the strict way and with as many codecs as calls.
func (p *part) limit(round int) error {
	one, err := codecs.MeasureLimit(p.material, p.work.core(), 1, p.c.LimitTime)
	if err != nil {
		return err
	}
	many, err := codecs.MeasureLimit(p.material, p.work.core(), p.c.Calls[p.work], p.c.LimitTime)
	if err != nil {
		return err
	}
	p.result.Limits = append(p.result.Limits, LimitSample{round, one, many})
	p.say("  round %d  %-13s %5.1f us per frame both ways, %.0f calls/core; with %d codecs in turn %.0f", round+1, limit,
		micros(one.PerFrame), one.CallsPerCore(), p.c.Calls[p.work], many.CallsPerCore())
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// bystanders measures what other programs use while a window runs.
type bystanders struct {
	pids []int // not counted: ours
	from time.Time
	busy time.Duration
	own  time.Duration
}

func newBystanders(pid int) (*bystanders, error) {
	b := &bystanders{pids: []int{pid, os.Getpid()}, from: time.Now()}
	var err error
	b.busy, b.own, err = b.read()
	return b, err
}

func (b *bystanders) read() (busy, own time.Duration, err error) {
	if busy, err = procstat.Busy(); err != nil {
		return 0, 0, err
	}
	for _, pid := range b.pids {
		cpu, err := procstat.CPU(pid)
		if err != nil {
			return 0, 0, err
		}
		own += cpu
	}
	return busy, own, nil
}

// cores is how many cores the others have used since.
func (b *bystanders) cores() (float64, error) {
	busy, own, err := b.read()
	if err != nil {
		return 0, err
	}
	return max(0, (busy-b.busy-(own-b.own)).Seconds()/time.Since(b.from).Seconds()), nil
}
