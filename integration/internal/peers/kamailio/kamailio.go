// Package kamailio runs Kamailio as registrar and proxy for tests: digest, Path, Record-Route, no database. It shows every SIP
// message that Kamailio received or sent, and its bindings. Floor 1 of the integration module. Owner: Proxy owns the process,
// its directory's files and the tap's socket; Close ends all.
package kamailio

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
)

//go:embed kamailio.cfg.tmpl
var config string

// Wrapper changes a command so that it runs elsewhere, as netns.Space.Wrap does.
type Wrapper func(name string, args ...string) (string, []string)

// Config says what to run. All fields but Template and Trusted are needed.
type Config struct {
	Template string // text/template of the configuration file, executed with this Config; "" is the registrar of this package
	Wrap     Wrapper
	Dir      string            // private, existing; the generated configuration and sockets go here
	Addr     string            // host:port of SIP over UDP and TCP and of the control interface, as Kamailio sees it
	Tap      string            // our host:port that Kamailio reaches, for copies of the messages
	Domain   string            // home domain, also the digest realm
	Users    map[string]string // user -> password
	Trusted  string            // for templates: address of a node whose word counts
	Log      io.Writer         // Kamailio's log
}

// Proxy is a running Kamailio.
type Proxy struct {
	cfg   Config
	procs *stack.Stack
	tap   *Tap
}

// Start writes the configuration, runs Kamailio and waits until it answers.
func Start(ctx context.Context, cfg Config) (*Proxy, error) {
	tap, err := listen(cfg.Tap)
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, procs: stack.New(cfg.Log), tap: tap}
	if err := p.start(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Proxy) start(ctx context.Context) error {
	path := filepath.Join(p.cfg.Dir, "kamailio.cfg")
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("kamailio: %w", err)
	}
	text := p.cfg.Template
	if text == "" {
		text = config
	}
	t, err := template.New("cfg").Parse(text)
	if err == nil {
		err = t.Execute(f, p.cfg)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("kamailio: %w", err)
	}
	name, args := p.cfg.Wrap("kamailio", "-f", path, "-DD", "-E", "-m", "32", "-M", "4", "-Y", p.cfg.Dir, "-w", p.cfg.Dir)
	return p.procs.Start(ctx, stack.Daemon{Name: "kamailio", Path: name, Args: args, Forks: true, Ready: "http://" + p.cfg.Addr + "/healthz"})
}

// Tap shows the messages that Kamailio received and sent since its start.
func (p *Proxy) Tap() *Tap { return p.tap }

// Close ends Kamailio and the tap.
func (p *Proxy) Close() error {
	return errors.Join(p.procs.Close(10*time.Second), p.tap.close())
}
