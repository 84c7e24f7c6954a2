// Command mgc is the controller of Isthmus: SIP over WebSocket for browsers on one side, SIP of the core on the other, media
// gateways commanded over Iq. Floor 6: flags, signals, exit status.
//
// Exit status: 0 after an ordered stop, 1 when something failed or, with --ready, the running daemon is not ready, 2 when the configuration is refused.
package main

import (
	"os"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/app"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/daemon"
)

// version is set by the linker in releases.
var version = "0.1.0-dev"

func main() {
	var cfg app.Config
	o := conf.Options{Name: "mgc", About: "controller of Isthmus", EnvPrefix: "ISTHMUS_MGC", Args: os.Args[1:], Version: version}
	os.Exit(daemon.Main(&cfg, &cfg.Log, &cfg.Admin.HTTP, o, func(log *zap.Logger) (daemon.Daemon, error) { return app.New(cfg, version, log) }))
}
