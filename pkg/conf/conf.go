// Package conf fills a daemon's configuration struct from a YAML file, environment variables and flags, and refuses
// what it does not know with file, line and allowed range. Floor 1 of pkg; no goroutine.
//
// Fields are declared by struct tags:
//
//	Port uint16 `conf:"port" default:"5060" range:"1..65535" doc:"Port to listen on."`
//
// Later sources win: default, file, environment (PREFIX_A_B), flag (--a.b=value). Nested structs form dotted paths;
// elements of a list are reached by index (--realms.0.name). Tag range holds "low..high" for numbers and durations or
// "a|b|c" for words. Supported leaf types: string, bool, integers, floats, time.Duration, encoding.TextUnmarshaler, and lists of them.
package conf

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
)

// ErrDone reports that Load answered --help, --version or --print-config on Out; the caller exits with status 0.
var ErrDone = errors.New("conf: done")

// ErrReady reports that --ready was given: the caller asks the daemon that runs with the configuration just read whether it
// is ready (obs.AskReady), and exits with status 0 or 1.
var ErrReady = errors.New("conf: ask the running daemon")

// Error is one refused setting. File and Line are empty for flags and environment variables, which Source names instead.
type Error struct {
	File   string // configuration file
	Line   int    // line in File, from 1
	Source string // "flag --x", "environment variable X"
	Path   string // dotted path of the setting
	Text   string // what is wrong, with the allowed range
}

// Error renders "file:line: path: text".
func (e *Error) Error() string {
	where := e.Source
	if e.File != "" {
		where = fmt.Sprintf("%s:%d", e.File, e.Line)
	}
	if e.Path == "" {
		return where + ": " + e.Text
	}
	return where + ": " + e.Path + ": " + e.Text
}

// Options says where Load looks.
type Options struct {
	Name      string    // daemon's name, for the help text
	About     string    // one sentence for the help text
	EnvPrefix string    // e.g. "ISTHMUS_MGC"
	Args      []string  // command line without the program name
	Env       []string  // "K=V" pairs; nil: os.Environ()
	Out       io.Writer // for --help, --version, --print-config; nil: os.Stdout
	Version   string    // printed by --version
}

// Validator is implemented by configuration structs with rules across fields. Validate returns nil or one error per
// broken rule (joined); it is called after all sources were read.
type Validator interface{ Validate() error }

// Load fills the struct that dst points to. All problems are returned joined, each an *Error. ErrDone, ErrReady: see there.
func Load(dst any, o Options) error {
	root := reflect.ValueOf(dst)
	if root.Kind() != reflect.Pointer || root.Elem().Kind() != reflect.Struct {
		return errors.New("conf: dst must point to a struct")
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	l := &loader{root: root.Elem(), opt: o}
	cmd, err := l.parseArgs()
	if err != nil {
		return err
	}
	switch cmd.special {
	case "help":
		return done(l.printHelp())
	case "version":
		_, err := fmt.Fprintf(o.Out, "%s %s\n", o.Name, o.Version)
		return done(err)
	}
	l.setDefaults(l.root)
	file := cmd.file
	if file == "" {
		file = envValue(o.Env, o.EnvPrefix+"_CONFIG")
	}
	if file != "" {
		l.readFile(file)
	}
	l.readEnv()
	l.readFlags(cmd.flags)
	if len(l.errs) == 0 {
		if v, ok := dst.(Validator); ok {
			if err := v.Validate(); err != nil {
				l.errs = append(l.errs, err)
			}
		}
	}
	if len(l.errs) > 0 {
		return errors.Join(l.errs...)
	}
	switch cmd.special {
	case "print-config":
		return done(l.printConfig())
	case "ready":
		return ErrReady
	}
	return nil
}

func done(err error) error {
	if err != nil {
		return err
	}
	return ErrDone
}

type loader struct {
	root reflect.Value
	opt  Options
	errs []error
}

type flagValue struct{ name, value string }

type command struct {
	special string // "help", "version", "print-config", "ready" or ""
	file    string
	flags   []flagValue
}

// parseArgs splits the command line. --name value and --name=value are equal; a boolean flag may stand alone.
func (l *loader) parseArgs() (command, error) {
	var c command
	args := l.opt.Args
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "-")
		if !ok {
			return c, &Error{Source: "argument " + strconv.Quote(args[i]), Text: "not understood; flags begin with --"}
		}
		name = strings.TrimPrefix(name, "-")
		name, value, hasValue := strings.Cut(name, "=")
		switch name {
		case "h", "help":
			c.special = "help"
			continue
		case "version", "print-config", "ready":
			c.special = name
			continue
		}
		if !hasValue && l.isBool(name) && (i+1 == len(args) || strings.HasPrefix(args[i+1], "-")) {
			value, hasValue = "true", true
		}
		if !hasValue {
			if i+1 == len(args) {
				return c, &Error{Source: "flag --" + name, Text: "needs a value"}
			}
			i++
			value = args[i]
		}
		if name == "config" {
			c.file = value
			continue
		}
		c.flags = append(c.flags, flagValue{name, value})
	}
	return c, nil
}

func (l *loader) isBool(path string) bool {
	f, err := l.lookup(path, false)
	return err == nil && f.value.Kind() == reflect.Bool
}

func envValue(env []string, key string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			return v
		}
	}
	return ""
}

// readEnv applies PREFIX_A_B variables. An unknown variable under the prefix is refused: a misspelt setting must not be silent.
func (l *loader) readEnv() {
	prefix := l.opt.EnvPrefix + "_"
	known := map[string]string{}
	walk(l.root, "", func(path string, _ field) { known[envName(l.opt.EnvPrefix, path)] = path })
	for _, kv := range l.opt.Env {
		k, v, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(k, prefix) || k == prefix+"CONFIG" {
			continue
		}
		path, ok := known[k]
		if !ok {
			path = strings.ToLower(strings.ReplaceAll(k[len(prefix):], "__", "."))
		}
		l.set(path, v, Error{Source: "environment variable " + k})
	}
}

func envName(prefix, path string) string {
	return prefix + "_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(path))
}

func (l *loader) readFlags(flags []flagValue) {
	for _, f := range flags {
		l.set(f.name, f.value, Error{Source: "flag --" + f.name})
	}
}

func (l *loader) set(path, value string, at Error) {
	f, err := l.lookup(path, true)
	if err == nil {
		err = assign(f, value)
	}
	if err != nil {
		at.Path, at.Text = path, err.Error()
		l.errs = append(l.errs, &at)
	}
}
