// Package pionlog is the logger that pion's modules are given. Floor 0; no state.
package pionlog

import "github.com/pion/logging"

// Silent keeps nothing: pion's messages hold what peers and strangers wrote. Failures come back as errors, and metrics count.
type Silent struct{}

// NewLogger implements logging.LoggerFactory.
func (Silent) NewLogger(string) logging.LeveledLogger { return logger{} }

type logger struct{}

func (logger) Trace(string)          {}
func (logger) Tracef(string, ...any) {}
func (logger) Debug(string)          {}
func (logger) Debugf(string, ...any) {}
func (logger) Info(string)           {}
func (logger) Infof(string, ...any)  {}
func (logger) Warn(string)           {}
func (logger) Warnf(string, ...any)  {}
func (logger) Error(string)          {}
func (logger) Errorf(string, ...any) {}
