package callcore

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/race"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	sequences      = 100_000
	sequencesRace  = 2_000
	sequencesShort = 600
	fixedSeed      = 0x15764
)

// TestRandomCalls plays random interleavings of a call's events, each against a state that is revived before every event. A failure
// prints the sequence as a ladder; ISTHMUS_SEED and ISTHMUS_SEQUENCE play it again.
func TestRandomCalls(t *testing.T) {
	n, seed := race.Fewer(sequences, sequencesRace), uint64(fixedSeed)
	if testing.Short() {
		n = sequencesShort
	}
	if v, err := strconv.ParseUint(os.Getenv("ISTHMUS_SEED"), 0, 64); err == nil {
		seed = v
	}
	t.Logf("ISTHMUS_SEED=%#x", seed)
	if one, err := strconv.Atoi(os.Getenv("ISTHMUS_SEQUENCE")); err == nil {
		ladder, err := ladderOf(seed, one)
		if t.Logf("%s", ladder); err != nil {
			t.Error(err)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var next, events, failed atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex // guards seen
	seen := map[string]int{}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			mine := map[string]int{}
			for i := int(next.Add(1)) - 1; i < n && failed.Load() < 3; i = int(next.Add(1)) - 1 {
				w := newWorld(seed, i)
				if err := w.run(); err != nil {
					failed.Add(1)
					ladder, _ := ladderOf(seed, i)
					t.Errorf("ISTHMUS_SEED=%#x ISTHMUS_SEQUENCE=%d: %v\n%s", seed, i, err, ladder)
				}
				events.Add(int64(w.events))
				for what, n := range w.seen {
					mine[what] += n
				}
			}
			mu.Lock()
			defer mu.Unlock()
			for what, n := range mine {
				seen[what] += n
			}
		})
	}
	wg.Wait()
	t.Logf("%d sequences, %d events: %v", n, events.Load(), seen)
	for _, what := range rare {
		if seen[what] == 0 && n == sequences && !t.Failed() {
			t.Errorf("never seen: %s", what)
		}
	}
}

func ladderOf(seed uint64, i int) (string, error) {
	w := newWorld(seed, i)
	w.ladder = &strings.Builder{}
	err := w.run()
	return w.ladder.String(), err
}

// run plays a call to its end.
func (w *world) run() error {
	if err := w.begin(); err != nil {
		return err
	}
	for i := 10 + w.r.IntN(70); i > 0 && w.ended == 0; i-- {
		if err := w.act(); err != nil {
			return err
		}
		if err := w.agree(); err != nil {
			return err
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	return w.step(FlowLost{}) // and nothing comes after the end
}

func (w *world) act() error {
	list := w.actions()
	if w.s.d.Phase == phaseUp && w.r.IntN(60) == 0 {
		return w.late2xx()
	}
	sum := 0
	for _, a := range list {
		sum += a.weight
	}
	for n := w.r.IntN(sum); ; list = list[1:] {
		if n -= list[0].weight; n < 0 {
			return list[0].do()
		}
	}
}

// finish ends the call: agents that answer, or, in some, only the clock.
func (w *world) finish() error {
	if w.ended > 0 {
		return nil
	}
	silent := peertest.Chance(w.r, 30)
	if !w.ending {
		a := w.agents[w.caller]
		var err error
		if a.up && !a.over && len(a.acks) == 0 && w.r.IntN(2) == 0 {
			err = w.sendBye(a)
		} else {
			err = w.step(Release{})
		}
		if err != nil {
			return err
		}
	}
	for i := 0; w.ended == 0; i++ {
		if i > 200 {
			return errors.New("the call does not end")
		}
		if err := w.wind(silent); err != nil {
			return err
		}
		if w.ended == 0 && !w.guardEnd.IsZero() && w.now.After(w.guardEnd.Add(1e9)) {
			return fmt.Errorf("not over %s after the guard", w.now.Sub(w.guardEnd))
		}
	}
	return nil
}

// wind is one event of the end.
func (w *world) wind(silent bool) error {
	if w.mgw.out != nil {
		return w.iqReply()
	}
	if !silent {
		for _, a := range w.agents {
			if a != nil && len(a.acks) > 0 {
				return w.sendAck(a)
			}
		}
		if open := w.openClients(); len(open) > 0 {
			if w.r.IntN(5) == 0 {
				return w.failClient(open[0], true)
			}
			return w.respond(open[0])
		}
	}
	return w.fireTimer()
}

// agree checks, when nothing is under way, that the MGW was told what the peers were, and that directions follow from what both want.
func (w *world) agree() error {
	d := &w.s.d
	if d.Waiting == nil && len(d.Queue) == 0 {
		if err := w.quiet(); err != nil {
			return err
		}
	}
	if d.Phase != phaseUp || d.Waiting != nil || len(d.Queue) > 0 || len(w.openClients()) > 0 || d.Reoffer != nil || d.Late || d.Server != "" {
		return nil
	}
	if d.Legs[LegAccess].Ack != "" || d.Legs[LegCore].Ack != "" || w.agents[0].over || w.agents[1].over {
		return nil
	}
	if err := w.noDigitLost(); err != nil {
		return err
	}
	b, p := w.agents[LegAccess].peer(), w.agents[LegCore].peer()
	want := [2]sdp.Direction{sdp.Dir(p.Sends && b.Receives, b.Sends && p.Receives), sdp.Dir(b.Sends && p.Receives, p.Sends && b.Receives)}
	for _, l := range []Leg{LegAccess, LegCore} {
		a := w.agents[l]
		if a.dir != want[l] && !w.refusals {
			return fmt.Errorf("agreed with %s: %s, the users want %s", l, a.dir, want[l])
		}
		told := peertest.Told{Dir: a.dir, Said: a.peer().Took, Theirs: a.peer().Codecs, Browser: a.web, Phone: a.phone}
		if err := w.mgw.Check(l == LegCore, w.mgw.state[l], told); err != nil {
			return fmt.Errorf("MGW, %s: %w", l, err)
		}
	}
	return w.agreeOnLines()
}

// agreeOnLines checks the further audio lines likewise.
func (w *world) agreeOnLines() error {
	a, p := w.agents[LegAccess].lines, w.agents[LegCore].lines
	if a == nil {
		return nil
	}
	n := w.s.d.Media.Streams()
	if len(w.mgw.state[0].GetStreams()) < n || len(w.mgw.state[1].GetStreams()) < n { // one that was made for an offer that failed is told with the next change
		n = min(len(w.mgw.state[0].GetStreams()), len(w.mgw.state[1].GetStreams()))
	}
	living := 0
	for i := 1; i < n; i++ {
		var both [2]*peertest.Further
		for l, lines := range []*peertest.Lines{a, p} {
			if more := w.s.d.Media.Line(side(Leg(l))).More; i <= len(more) && more[i-1].Audio >= 0 {
				if f := lines.At(more[i-1].Audio); f != nil && f.On {
					both[l] = f
					living++
				}
			}
		}
		for l, f := range both {
			st := w.mgw.state[l].GetStreams()[i]
			want := sdp.Inactive
			if o := both[1-l]; f != nil && o != nil {
				s, r := f.Wants()
				os, or := o.Wants()
				want = sdp.Dir(os && r, s && or)
				w.seen["further lines"]++
			}
			switch {
			case st.GetStreamId() != uint32(i+1):
				return fmt.Errorf("stream %d in place %d", st.GetStreamId(), i)
			case f == nil && st.GetLocalControl().GetMode() != iqv1.LocalControl_MODE_INACTIVE:
				return fmt.Errorf("stream %d of %s has no line and is %s", i+1, Leg(l), st.GetLocalControl().GetMode())
			case f == nil:
				continue
			case f.Dir != want && !w.refusals:
				return fmt.Errorf("stream %d agreed with %s: %s, the users want %s", i+1, Leg(l), f.Dir, want)
			}
			if err := w.mgw.CheckLine(f, st); err != nil {
				return fmt.Errorf("MGW, %s, stream %d: %w", Leg(l), i+1, err)
			}
		}
	}
	for _, lines := range []*peertest.Lines{a, p} {
		for _, f := range lines.Further {
			if f.On {
				living--
			}
		}
	}
	if living != 0 {
		return fmt.Errorf("%d more streams than lines", living)
	}
	return nil
}
