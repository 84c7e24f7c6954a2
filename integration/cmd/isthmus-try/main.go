// Command isthmus-try runs MGW, MGC and the demo core on this machine, places self-test calls through the real stack,
// prints what they heard, and keeps serving the web phone until Ctrl-C (--once: ends after the self-test).
//
// Exit status: 0 when registration, call set-up, audio both ways and clean-up all held.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
)

func main() {
	once := flag.Bool("once", false, "end after the self-test")
	then := flag.String("then", "", "run this shell command after the self-test, while the daemons are up, and end with it")
	prefer := flag.String("prefer", "relay", "media.prefer of the controller: relay or opus")
	leak := flag.Bool("leak", false, "place 200 further calls after the self-test and look for what they leave behind")
	turn := flag.Bool("turn", false, "run the TURN server too, on "+turnAddr+" over UDP and TCP")
	verbose := flag.Bool("verbose", false, "show the daemons' logs during the self-test")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "isthmus-try runs Isthmus with a demo core on this machine, tests it with real calls and serves the web phone.")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, options{*once, *verbose, *leak, *turn, *then, *prefer}); err != nil {
		fmt.Fprintln(os.Stderr, "isthmus-try:", err)
		os.Exit(1)
	}
}

// options are the command's flags.
type options struct {
	once, verbose, leak, turn bool
	then, prefer              string
}

func run(ctx context.Context, o options) error {
	var log io.Writer
	if o.verbose {
		log = os.Stderr
	}
	s := stack.New(log)
	secret, err := o.secret()
	if secret != "" {
		defer func() { _ = os.Remove(secret) }() // nobody needs it then
	}
	if err == nil {
		err = start(ctx, s, o.prefer, secret)
	}
	var r report
	if err == nil {
		r = selfTest(ctx)
		r.print(os.Stdout)
		if !r.OK {
			err = fmt.Errorf("the self-test failed")
		}
	}
	if err == nil && o.leak {
		err = leakCheck(ctx)
	}
	if err == nil && o.then != "" {
		err = runThen(ctx, o.then)
	}
	if err == nil && !o.once && o.then == "" {
		fmt.Println("\nWeb phone: http://localhost:8080  (accounts alice, bob, carol are filled in; call echo, music, tone, callback)\nCtrl-C ends it.")
		<-ctx.Done()
	}
	if cerr := s.Close(15 * time.Second); err == nil {
		err = cerr
	}
	if r.Calls != nil {
		line, _ := json.Marshal(r) // plain values
		fmt.Println(string(line))
	}
	return err
}

// runThen runs a test against the stack; its exit status is ours.
func runThen(ctx context.Context, command string) error {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// turnAddr is where the TURN server is, when asked for.
const turnAddr = "127.0.0.1:3478"

// secret makes the file with the secret of the TURN server, which dies with us; "" without one.
func (o options) secret() (file string, err error) {
	if !o.turn {
		return "", nil
	}
	f, err := os.CreateTemp("", "isthmus-turn-") // readable by us only
	if err != nil {
		return "", err
	}
	_, err = fmt.Fprintln(f, rand.Text())
	return f.Name(), errors.Join(err, f.Close())
}

// start runs the three daemons on their default ports; with a TURN server when there is a file with its secret.
func start(ctx context.Context, s *stack.Stack, prefer, secret string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	daemons := []stack.Daemon{
		{Name: "democore", Args: []string{"--listen", sipAddr, "--status", statusAddr}, Ready: "http://" + statusAddr + "/healthz"},
		{Name: "mgc", Args: []string{"--phone.demo=true", "--media.prefer=" + prefer, "--log.level=warn"}, Ready: "http://127.0.0.1:7402/healthz"},
		{Name: "mgw", Args: []string{"--mgw_id=mgw-1", "--log.level=warn"}, Ready: "http://127.0.0.1:7402/readyz"},
	}
	if secret != "" {
		daemons[1].Args = append(daemons[1].Args, "--turn.urls=turn:"+turnAddr+",turn:"+turnAddr+"?transport=tcp", "--turn.secret_file="+secret)
		daemons[2].Args = append(daemons[2].Args, "--turn.udp="+turnAddr, "--turn.tcp="+turnAddr, "--turn.secret_file="+secret)
	}
	for _, d := range daemons {
		path, err := stack.Bin(d.Name)
		if err != nil {
			return err
		}
		d.Path = path
		fmt.Printf("starting %s ...\n", d.Name)
		if err := s.Start(ctx, d); err != nil {
			return err
		}
	}
	return nil
}
