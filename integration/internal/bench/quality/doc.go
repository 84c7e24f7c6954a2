// Package quality measures what a gateway that transcodes does to speech on bad networks: the same packets, lost and delayed by the same
// traces, through each system and through a receiver without any gateway, scored by package estoi. Floor 3 of the integration module.
// Linux only.
//
// Both ways of every call carry speech at once: Opus from a browser, which the gateway makes PCMA, AMR-WB or G.722 of, and one of these from a
// core network, which it makes Opus of. The trace lies before the gateway; what it sends arrives whole and is laid out by its own timestamps.
package quality

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	rate  = 8000                  // at which signals are aligned, and compared in narrow band, Hz
	ptime = 20 * time.Millisecond // of what is sent
	frame = rate / 50
)

// Config of a run.
type Config struct {
	Seeds   int           // calls for each condition
	Speech  time.Duration // length of what each says
	Pair    string        // the core's codec, one of Pairs: measure that one only; empty: all
	Gateway string        // path of the mgw program
	Workers int           // packet threads of the gateway; 0: its default
	Threads int           // packet threads of rtpengine
	Peer    bool          // measure rtpengine if it is installed
	Out     io.Writer     // progress
	Log     io.Writer     // output of the processes; nil: none
}

// Validate refuses what cannot be measured.
func (c *Config) Validate() error {
	switch {
	case c.Seeds < 1 || c.Seeds > 20:
		return fmt.Errorf("quality: 1 to 20 calls for each condition, not %d", c.Seeds)
	case c.Speech < 4*time.Second || c.Speech > time.Minute:
		return fmt.Errorf("quality: 4 s to 1 min of speech, not %v", c.Speech)
	case c.Pair != "" && !slices.Contains(Pairs(), c.Pair):
		return fmt.Errorf("quality: no pair of Opus and %q, but of %s", c.Pair, strings.Join(Pairs(), ", "))
	}
	return nil
}
