// Command mgw is the media gateway of Isthmus: browsers' ICE, DTLS-SRTP and Opus on one side, RTP of the core network on the
// other, commanded over Iq. Floor 6: flags, signals, exit status.
//
// Exit status: 0 after an ordered stop, 1 when something failed or, with --ready, the running daemon is not ready, 2 when the configuration is refused.
package main

import (
	"os"
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/app"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/daemon"
)

// version is set by the linker in releases.
var version = "0.1.0-dev"

func main() {
	if os.Getenv("GOGC") == "" {
		// Calls allocate here, packets do not: collecting twice as often costs next to nothing and a call takes a seventh less memory.
		debug.SetGCPercent(50)
	}
	cfg := app.Defaults()
	o := conf.Options{Name: "mgw", About: "media gateway of Isthmus", EnvPrefix: "ISTHMUS_MGW", Args: os.Args[1:], Version: version}
	os.Exit(daemon.Main(&cfg, &cfg.Log, &cfg.HTTP.Listen, o, func(log *zap.Logger) (daemon.Daemon, error) { return app.New(cfg, version, log) }))
}
