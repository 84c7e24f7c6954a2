package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	kernelfloor "github.com/isthmus-gateway/isthmus/integration/internal/bench/floor"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/quality"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// asFloor in the environment makes the test program the kernel floor.
const asFloor = "ISTHMUS_TEST_FLOOR"

func TestMain(m *testing.M) {
	if os.Getenv(asFloor) != "" {
		if err := kernelfloor.Serve(os.Stdin, os.Stdout, kernelfloor.Options{Tag: load.Tag}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// gateway builds the media gateway.
func gateway(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mgw")
	build := exec.Command("go", "build", "-o", path, "github.com/isthmus-gateway/isthmus/mgw/cmd/mgw")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// One small round of everything against the real gateway, and against rtpengine where it is installed.
func TestRunMeasuresRealSystems(t *testing.T) {
	t.Setenv(asFloor, "1")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := Run(ctx, Config{
		Gateway: gateway(t), Floor: []string{os.Args[0]}, Calls: [works]int{6, 3, 3}, Window: 2 * time.Second, Rounds: 1, Threads: 2, Rtpengine: true,
		Out: io.Discard, LimitTime: 20 * time.Millisecond, Growth: []int{5}, Delays: true, MaxCalls: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	if g := r.Growth; len(g) < 2 || g[0].System != isthmus || g[0].Calls != 5 || g[0].KiB == nil || *g[0].KiB < 1 {
		t.Errorf("growth: %+v", g)
	}
	if len(r.Loads) != 4 {
		t.Errorf("loads: %+v", r.Loads)
	}
	if r.Bare == nil || r.Bare.Sample.Window.Delays.P99 <= 0 || r.Bare.Calls != r.Loads[1].Calls {
		t.Errorf("the floor under that load: %+v", r.Bare)
	}
	for _, l := range r.Loads {
		t.Log(l.line())
		w := l.Sample.Window
		if w.Delays.P50 <= 0 || w.Delays.P99 < w.Delays.P50 || w.Delivered() == 0 || (l.Limit == nil) != (l.Work == Relay) {
			t.Errorf("%s: %+v", l.Work, w)
		}
		if m := l.Memory; m.Empty == 0 || m.Up < m.Empty/2 || m.Speaking < m.Empty/2 || m.Calls != 10 {
			t.Errorf("%s at %d %%: memory %+v", l.Work, l.Level, m)
		}
		if l.Work == Transcode && (w.Delays.P50 < 5*time.Millisecond || w.Delays.P50 > time.Second) {
			t.Errorf("transcoded audio is %v late", w.Delays.P50)
		}
	}
	for _, p := range r.Parts {
		for _, row := range p.Rows {
			if len(row.Samples) != 1 || row.FullKiB < row.EmptyKiB/2 || row.EmptyKiB == 0 {
				t.Fatalf("%s, %s: %+v", p.Work, row.System, row)
			}
			s := row.Samples[0]
			t.Logf("%s, %s: %s", p.Work, row.System, s.line(p.Work))
			if s.Window.Used <= 0 {
				t.Errorf("%s, %s used no CPU", p.Work, row.System)
			}
			for d, c := range s.Window.Counts {
				// How much arrives is up to the machine's other load, that it is right is not.
				if c.Sent != 100*p.Calls || c.Delivered < c.Sent/2 || c.Wrong > 0 {
					t.Errorf("%s, %s, %s: %+v", p.Work, row.System, load.Direction(d), c)
				}
			}
			if p.Work.media().Transcoded() && (s.Window.Listening.Of != 6 || s.Window.Listening.Octets < 10) {
				t.Errorf("%s: %+v", row.System, s.Window.Listening)
			}
		}
	}
	for _, w := range []Work{Transcode, Wideband} {
		if got := len(r.Parts[w].Limits); got != 1 {
			t.Errorf("%s: %d limits", w, got)
		}
	}
	if p := r.Parts[Relay]; p.find(isthmus) == nil || p.find(floor) == nil || p.find(isthmus).Profile == "" || p.find(floor).Profile != "" {
		t.Errorf("rows: %+v", p.Rows)
	}
}

// A short round of speech against the real gateway: it must not fall far below the receiver without one, whatever else the machine does.
func TestRunMeasuresSpeech(t *testing.T) {
	race.Slow(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := exec.LookPath("espeak-ng"); err != nil {
		t.Fatal("espeak-ng is missing: integration/scripts/need.sh unit installs it")
	}
	r, err := Run(ctx, Config{
		Gateway: gateway(t), Calls: [works]int{1, 1, 1}, Window: 2 * time.Second, Rounds: 1, Only: Quality, Out: io.Discard,
		Quality: quality.Config{Seeds: 1, Speech: 4 * time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := r.Summary()
	if s.Below == nil || *s.Below > 0.15 || s.RefLoss5 == nil || *s.RefLoss5 < 0.8 || s.Level == nil || *s.Level < -1 || *s.Level > 1 || s.PeerBelow != nil {
		figures, err := json.Marshal(s.QualitySummary)
		t.Errorf("%s, %v", figures, err)
	}
	if s.Delay == nil || *s.Delay < 10 || *s.Delay > 150 {
		t.Errorf("delay %v", s.Delay)
	}
}

func TestRunEndsWithItsContextAndLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Run(ctx, Config{Gateway: "/bin/false", Floor: []string{"/bin/false"}, Calls: [works]int{1, 1, 1}, Window: 2 * time.Second, Rounds: 1, Out: io.Discard})
	if err == nil {
		t.Error("measured nothing and says nothing")
	}
}
