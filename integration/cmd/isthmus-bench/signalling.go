package main

import (
	"flag"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/signalling"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
)

// signallingFlags declares the flags of the controller's part; the function returned reads them after flag.Parse. seconds is -seconds,
// which sets the windows of this part too, when given.
func signallingFlags() func(seconds float64) (signalling.Config, error) {
	c := signalling.Default()
	flag.StringVar(&c.Controller, "mgc", "", "the controller's program; empty: mgc beside this one")
	flag.BoolVar(&c.Kamailio, "kamailio", c.Kamailio, "measure Kamailio if it is installed")
	flag.IntVar(&c.Browsers, "browsers", c.Browsers, "connections that register and call, 100 to 20000")
	flag.IntVar(&c.Idle, "idle", c.Idle, "connections of the memory measurement, 100 to 20000")
	flag.Float64Var(&c.Registrations, "registrations", c.Registrations, "registrations per s")
	flag.Float64Var(&c.Calls, "calls", c.Calls, "call set-ups per s")
	return func(seconds float64) (signalling.Config, error) {
		flag.Visit(func(f *flag.Flag) {
			switch f.Name {
			case "seconds":
				c.Window = time.Duration(seconds * float64(time.Second))
			case "rounds":
				c.Rounds = f.Value.(flag.Getter).Get().(int)
			}
		})
		if c.Controller != "" {
			return c, nil
		}
		var err error
		c.Controller, err = stack.Bin("mgc")
		return c, err
	}
}
