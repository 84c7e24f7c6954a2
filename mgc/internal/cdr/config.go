package cdr

import (
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Config says where call data records go.
type Config struct {
	Dir    string        `conf:"dir" doc:"Directory of the call data records; empty: none are written."`
	Size   int64         `conf:"size" default:"67108864" range:"4096..1099511627776" doc:"Bytes after which a file is closed and renamed."`
	Age    time.Duration `conf:"age" default:"1h" range:"1s..744h" doc:"Age of its first record after which a file is closed and renamed."`
	Keep   int           `conf:"keep" default:"0" range:"0..1000000" doc:"Closed files kept, the oldest removed first; 0: all, somebody else removes them."`
	Sync   bool          `conf:"sync" default:"true" doc:"Force records to the disk before they count as kept; without, a crash of the machine (not of the daemon) may lose the last."`
	Linger time.Duration `conf:"linger" default:"10ms" range:"0s..1s" doc:"How long records are collected for one write."`
	Queue  int           `conf:"queue" default:"8192" range:"16..1000000" doc:"Most records waiting; beyond, they are dropped and counted, those of beginnings and changes at three quarters already."`
	Known  int           `conf:"known" default:"50000" range:"100..10000000" doc:"Calls that a record written twice is recognised of."`
}

var instancePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._]*(-[A-Za-z0-9._]+)*$`)

// Validate implements conf.Validator.
func (c *Config) Validate() error {
	if c.Dir != "" && c.Queue < 16 {
		return errors.New("cdr.queue: at least 16")
	}
	return nil
}

// checkInstance refuses a name that cannot be part of a file name.
func checkInstance(name string) error {
	if !instancePattern.MatchString(name) || len(name) > 100 {
		return fmt.Errorf("cdr: %q cannot be part of a file name", name)
	}
	return nil
}
