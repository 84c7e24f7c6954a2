// Command democore is the SIP core to try Isthmus with, in one process: a registrar with digest, a
// proxy between its users, and built-in users that echo, speak, play, call back or refuse.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/democore"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run starts the core and serves until ctx ends. It returns the exit code: 0 after a clean end, 1 when
// the core cannot start, 2 for bad arguments.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out := &lines{w: stdout}
	cfg, err := parse(args, out, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "democore:", err)
		return 2
	}
	core, err := democore.New(cfg)
	if err != nil {
		fmt.Fprintln(stderr, "democore:", err)
		if errors.Is(err, democore.ErrConfig) {
			return 2
		}
		return 1
	}
	out.printf("READY     SIP %s on udp and tcp, domain %s", core.Addr(), cfg.Domain)
	if a := core.StatusAddr(); a.IsValid() {
		out.printf("READY     status http://%s/status", a)
	}
	<-ctx.Done()
	out.printf("STOPPING  hanging up")
	if err := core.Close(); err != nil {
		fmt.Fprintln(stderr, "democore:", err)
		return 1
	}
	return 0
}

// lines writes whole lines with the time of day in front.
type lines struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *lines) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, "%s  %s\n", time.Now().Format("15:04:05.000"), fmt.Sprintf(format, args...))
}

// userFlag collects --user name:password.
type userFlag []democore.User

func (u *userFlag) String() string { return "" }

func (u *userFlag) Set(v string) error {
	name, password, ok := strings.Cut(v, ":")
	if !ok {
		return errors.New("want name:password")
	}
	*u = append(*u, democore.User{Name: name, Password: password})
	return nil
}

func parse(args []string, out *lines, stderr io.Writer) (democore.Config, error) {
	cfg := democore.DefaultConfig()
	fs := flag.NewFlagSet("democore", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var users userFlag
	var file string
	var trace bool
	fs.StringVar(&file, "config", "", "YAML `file`; flags override it")
	fs.StringVar(&cfg.Listen, "listen", cfg.Listen, "SIP `ip:port` for UDP and TCP, media on the same address")
	fs.StringVar(&cfg.Status, "status", cfg.Status, "HTTP status `ip:port`, empty for none")
	fs.StringVar(&cfg.Domain, "domain", cfg.Domain, "SIP `domain` served")
	fs.StringVar(&cfg.Digest, "digest", cfg.Digest, "digest `algorithm`: md5, sha256 or both (JsSIP and SIP.js know MD5 only)")
	fs.DurationVar(&cfg.MinExpires, "min-expires", cfg.MinExpires, "shortest registration; a shorter one gets 423")
	fs.DurationVar(&cfg.MaxExpires, "max-expires", cfg.MaxExpires, "longest registration granted")
	fs.StringVar(&cfg.Trusted, "trusted", cfg.Trusted, "`address` of a P-CSCF that authenticates users itself (integrity-protected=\"auth-done\"); empty: none")
	fs.Var(&users, "user", "account `name:password`, repeatable; replaces the default accounts")
	fs.BoolVar(&trace, "trace", false, "print every SIP message (with digest responses, never passwords)")
	fs.Usage = func() { usage(fs, stderr) }
	if err := fs.Parse(args); err != nil {
		return cfg, err
	}
	if fs.NArg() > 0 {
		return cfg, fmt.Errorf("unexpected argument %q, try --help", fs.Arg(0))
	}
	if file != "" {
		loaded, err := democore.LoadConfig(democore.DefaultConfig(), file)
		if err != nil {
			return cfg, err
		}
		cfg = loaded
		users = nil
		if err := fs.Parse(args); err != nil { // flags win over the file
			return cfg, err
		}
	}
	if users != nil {
		cfg.Users = users
	}
	cfg.Log = func(line string) { out.printf("%s", line) }
	if trace {
		cfg.Trace = func(direction string, peer sipnode.Target, msg []byte) {
			out.printf("%s %s\n%s", direction, peer, printable(msg))
		}
	}
	return cfg, nil
}

// printable keeps text and line ends of a message and shows the rest as dots: a peer must not be able
// to steer the terminal.
func printable(msg []byte) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r >= ' ' && r != 0x7f && r < 0x80, r > 0x9f:
			return r
		case r == '\r':
			return -1
		}
		return '.'
	}, string(msg))
}

func usage(fs *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, `democore - the SIP core to try Isthmus with: registrar, proxy and built-in users.

Usage: democore [flags]

Accounts (user / password), unless others are configured:
`)
	for _, u := range democore.DefaultUsers() {
		fmt.Fprintf(w, "  %-14s%s\n", u.Name, u.Password)
	}
	fmt.Fprintf(w, "\nBuilt-in users to call, as echo@isthmus.example:\n")
	for _, a := range democore.Apps() {
		fmt.Fprintf(w, "  %-14s%s\n", a.Name, a.Does)
	}
	fmt.Fprintf(w, "\nStatus: GET /status (JSON), /recording/NUMBER.wav (what a built-in user heard), /healthz\n\nFlags:\n")
	fs.PrintDefaults()
}
