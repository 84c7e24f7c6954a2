// Command mgc is the controller of Isthmus: SIP over WebSocket for browsers on one side, SIP of the core on the other, media
// gateways commanded over Iq. Floor 6: flags, signals, exit status.
//
// Exit status: 0 after an ordered stop, 1 when something failed or, with --ready, the running daemon is not ready, 2 when the configuration is refused.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/app"
	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/obs"
)

// version is set by the linker in releases.
var version = "0.1.0-dev"

const (
	exitFailed = 1
	exitConfig = 2
)

func main() { os.Exit(run()) }

func run() int {
	var cfg app.Config
	err := conf.Load(&cfg, conf.Options{
		Name: "mgc", About: "controller of Isthmus", EnvPrefix: "ISTHMUS_MGC", Args: os.Args[1:], Version: version,
	})
	switch {
	case errors.Is(err, conf.ErrDone):
		return 0
	case errors.Is(err, conf.ErrReady):
		return ready(cfg.Admin.HTTP)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return exitConfig
	}
	log, err := obs.NewLogger(cfg.Log, "mgc")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitConfig
	}
	defer func() { _ = log.Sync() }() // standard error may not be syncable
	if err := serve(cfg, log); err != nil {
		log.Error("stopped by a failure", zap.Error(err))
		return exitFailed
	}
	log.Info("stopped")
	return 0
}

// ready asks the daemon whose HTTP side is at addr whether it is ready.
func ready(addr string) int {
	if err := obs.AskReady(context.Background(), addr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	fmt.Println("ready")
	return 0
}

// serve runs the controller: the first signal drains, the second stops at once.
func serve(cfg app.Config, log *zap.Logger) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	gw, err := app.New(cfg, version, log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	now, ended := make(chan struct{}), make(chan struct{})
	watched := make(chan struct{})
	go func() { // ends with ended, which this function closes and then waits for
		defer close(watched)
		for n := 0; ; n++ {
			select {
			case s := <-signals:
				log.Info("signal", zap.Stringer("signal", s))
				if cancel(); n == 1 {
					close(now)
				}
			case <-ended:
				return
			}
		}
	}()
	err = gw.Run(ctx, now)
	close(ended)
	<-watched
	return err
}
