// Package obs makes the daemons' logger and metrics registry. Floor 1 of pkg; no goroutine.
package obs

import (
	"fmt"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// LogConfig is the log section of a daemon's configuration.
type LogConfig struct {
	Level  string `conf:"level" default:"info" range:"debug|info|warn|error" doc:"Least severe level that is logged."`
	Format string `conf:"format" default:"auto" range:"auto|json|console" doc:"json, console, or auto: console on a terminal, else json."`
}

// NewLogger makes a logger that writes to standard error. It never samples: lines per packet do not exist.
func NewLogger(c LogConfig, name string) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("log level: %w", err)
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder := zapcore.NewJSONEncoder(enc)
	if c.Format == "console" || (c.Format != "json" && isTerminal(os.Stderr)) {
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(os.Stderr), level)
	return zap.New(core).Named(name), nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
