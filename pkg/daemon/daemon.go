// Package daemon is what the main functions of the daemons share: configuration, log, signals and exit status. Floor 2 of pkg. Owner: the caller of
// Main, whose goroutine the daemon runs in.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/pkg/conf"
	"github.com/isthmus-gateway/isthmus/pkg/obs"
)

// Exit statuses.
const (
	Ended  = 0
	Failed = 1 // or, with --ready, the running daemon is not ready
	Config = 2 // the configuration is refused; standard error says where and why
)

// Daemon runs until ctx ends and then drains; when now is closed it stops at once. It returns nil when it ended as it was told to.
type Daemon interface {
	Run(ctx context.Context, now <-chan struct{}) error
}

// Main loads the configuration into cfg, which holds the defaults, makes the daemon and runs it: the first SIGTERM or SIGINT drains, the second stops
// at once. log and http are parts of cfg: where the log goes, and the address of the daemon's HTTP side, which --ready asks. It returns the exit status.
func Main(cfg any, log *obs.LogConfig, http *string, o conf.Options, start func(*zap.Logger) (Daemon, error)) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	return run(cfg, log, http, o, start, signals, os.Stdout, os.Stderr)
}

func run(cfg any, logs *obs.LogConfig, http *string, o conf.Options, start func(*zap.Logger) (Daemon, error), signals <-chan os.Signal,
	stdout, stderr io.Writer) int {
	err := conf.Load(cfg, o)
	switch {
	case errors.Is(err, conf.ErrDone):
		return Ended
	case errors.Is(err, conf.ErrReady):
		if err := obs.AskReady(context.Background(), *http); err != nil {
			fmt.Fprintln(stderr, err)
			return Failed
		}
		fmt.Fprintln(stdout, "ready")
		return Ended
	}
	var log *zap.Logger
	if err == nil {
		log, err = obs.NewLogger(*logs, o.Name)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		return Config
	}
	defer func() { _ = log.Sync() }() // standard error may not be syncable
	if err := serve(start, log, signals); err != nil {
		log.Error("stopped by a failure", zap.Error(err))
		return Failed
	}
	log.Info("stopped")
	return Ended
}

func serve(start func(*zap.Logger) (Daemon, error), log *zap.Logger, signals <-chan os.Signal) error {
	d, err := start(log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	now, ended, watched := make(chan struct{}), make(chan struct{}), make(chan struct{})
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
	err = d.Run(ctx, now)
	close(ended)
	<-watched
	return err
}
