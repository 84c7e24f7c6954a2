// Package bench measures Isthmus' media gateway beside rtpengine, the kernel floor and the codec-only limit: same load, same machine, one
// run, in turns; by package signalling, the controller beside Kamailio; and, by package quality, speech on bad networks. Floor 3 of the integration module. Linux only.
//
// CPU is the processor time of the measured process, user and system, over a window, divided by what was delivered in it both ways. Each
// round measures every system once; ratios are taken within a round, and the report gives medians, so that what else the machine does
// weighs on all alike.
package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/quality"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/signalling"
)

// Work is what the calls do.
type Work int

// The kinds of work.
const (
	Relay     Work = iota // PCMA on both sides
	Transcode             // Opus to PCMA and back
	Wideband              // Opus to AMR-WB and back
	works
)

// String is the name in the report.
func (w Work) String() string { return [works]string{"relay", "opus-pcma", "opus-amrwb"}[w] }

// media is what the calls have.
func (w Work) media() load.Media {
	return [works]load.Media{load.PCMA, load.OpusPCMA, load.OpusAMRWB}[w]
}

// core is the codec of the codec-only limit.
func (w Work) core() codecs.Core { return [works]codecs.Core{Wideband: codecs.AMRWB}[w] }

// Names of the other parts.
const (
	Signalling = "signalling"
	Quality    = "quality"
	Growth     = "growth"
	Delays     = "delays"
)

// Config of a run.
type Config struct {
	Gateway   string        // path of the mgw program
	Rival     string        // path of another build of it, to be measured beside; empty: none
	Floor     []string      // command that calls floor.Serve
	Calls     [works]int    // by Work
	Window    time.Duration // of one measurement
	Warm      time.Duration // media before each window
	Rounds    int
	Only      string        // "" or one of the parts
	Growth    []int         // numbers of relayed calls of the growth part; none: not run
	Delays    bool          // run the part of delays under load
	MaxCalls  int           // bounds the calls of that part; 0: as many as the load takes
	Workers   int           // packet threads of the gateway; 0: its default
	Threads   int           // packet threads of rtpengine
	Rtpengine bool          // measure it if it is installed
	Out       io.Writer     // progress
	Log       io.Writer     // output of the processes; nil: none
	LimitTime time.Duration // CPU time of each measurement of the codec-only limit

	Signalling signalling.Config // of the controller's part; its Controller is empty when there is none
	Quality    quality.Config    // of the speech part, which is not run without Seeds; Gateway, Workers, Threads and Peer are taken from above
}

// parts are the names that Only may have.
func parts() []string {
	return []string{Relay.String(), Transcode.String(), Wideband.String(), Growth, Delays, Quality, Signalling}
}

// Validate refuses what cannot be measured.
func (c *Config) Validate() error {
	switch {
	case !slices.Contains(append(parts(), ""), c.Only):
		return fmt.Errorf("bench: no such part %q: %s", c.Only, strings.Join(parts(), ", "))
	case len(c.Growth) > 0 && (slices.Min(c.Growth) < 1 || slices.Max(c.Growth) > 1000 || !slices.IsSorted(c.Growth)):
		return fmt.Errorf("bench: growth: rising numbers of 1 to 1000 calls, not %v", c.Growth)
	case slices.Min(c.Calls[:]) < 1 || slices.Max(c.Calls[:]) > 1000:
		return fmt.Errorf("bench: 1 to 1000 calls, not %v", c.Calls)
	case c.Window < 2*time.Second || c.Window > time.Minute:
		return fmt.Errorf("bench: windows of 2 s to 1 min, not %v", c.Window)
	case c.Rounds < 1 || c.Rounds > 50:
		return fmt.Errorf("bench: 1 to 50 rounds, not %d", c.Rounds)
	}
	if c.Only == Quality || c.Only == "" && c.Quality.Seeds != 0 {
		return c.Quality.Validate()
	}
	return nil
}

// wants reports whether the part is to be run.
func (c *Config) wants(w Work) bool { return c.Only == "" || c.Only == w.String() }
