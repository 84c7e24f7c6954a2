// Package signalling measures the controller without media beside Kamailio as a WebSocket edge: registrations, calls, memory per
// idle connection. Floor 2 of the integration module. Linux only. Owner: Run owns the systems, the core and the browsers.
//
// Walk of a call, the same for both systems:
//
//	browser (WebSocket) -> system -> core (UDP):  INVITE, 180, 200, ACK; after Config.Hold the one that was called says BYE
//	core -> system -> browser:                    INVITE by Path and Contact of the registration, 180, 200, ACK, BYE likewise
//
// Half of the calls go each way. Both ends check: a call counts when each has seen all of it, and a window in which anything failed,
// was refused or came late does not count. The controller commands a gateway of this process (gateway.go), which answers at once and
// has no media; Kamailio passes the descriptions on untouched and has no such partner.
//
// Walk of a registration: REGISTER -> system, which adds its Path -> core, 200 back; with digest 401 first and REGISTER again.
package signalling

import (
	"fmt"
	"io"
	"time"
)

// Config of a run.
type Config struct {
	Controller    string        // path of the mgc program
	Kamailio      bool          // measure it if it is installed
	Browsers      int           // connections of the load
	Idle          int           // connections of the memory measurement
	Registrations float64       // per s
	Calls         float64       // set-ups per s
	Hold          time.Duration // from ACK to BYE
	Window        time.Duration // of one measurement
	Warm          time.Duration // load before each window
	Rounds        int
	Out           io.Writer // progress
	Log           io.Writer // output of the processes; nil: none
}

// Default is what `make bench` measures.
func Default() Config {
	return Config{
		Kamailio: true, Browsers: 1000, Idle: 1000, Registrations: 1500, Calls: 200, Hold: 300 * time.Millisecond,
		Window: 4 * time.Second, Warm: 500 * time.Millisecond, Rounds: 3,
	}
}

// Validate refuses what cannot be measured.
func (c *Config) Validate() error {
	switch {
	case c.Browsers < 100 || c.Browsers > 20000 || c.Idle < 100 || c.Idle > 20000:
		return fmt.Errorf("signalling: 100 to 20000 connections, not %d and %d", c.Browsers, c.Idle)
	case c.Registrations < 1 || c.Registrations > 20000 || c.Calls < 1 || c.Calls > 5000:
		return fmt.Errorf("signalling: 1 to 20000 registrations/s and 1 to 5000 calls/s, not %g and %g", c.Registrations, c.Calls)
	case c.Window < time.Second || c.Window > 10*time.Minute || c.Rounds < 1 || c.Rounds > 50:
		return fmt.Errorf("signalling: 1 to 50 rounds of 1 s to 10 min, not %d of %v", c.Rounds, c.Window)
	}
	return nil
}

// Work is what the browsers do in a window.
type Work int

// The kinds of work.
const (
	Register Work = iota // REGISTER again, 200
	Digest               // REGISTER again, 401, with credentials, 200: counted as one
	Call                 // INVITE to BYE
	Both                 // Register and Call at once
	works
)

// String is the name in the report.
func (w Work) String() string { return [works]string{"register", "digest", "call", "both"}[w] }
