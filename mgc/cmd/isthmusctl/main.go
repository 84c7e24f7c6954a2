// Command isthmusctl asks a controller's admin service to do something.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

const usage = `usage: isthmusctl [--mgc HOST:PORT] COMMAND

  calls                          list the calls of the controller: CALL STATE DIRECTION FROM -> TO
  play CALL SIGNAL [flags]       play a signal in a call, in the place of what that side hears
  stop CALL [flags]              end it

SIGNAL is dial, ringing, busy, congestion, special, waiting, confirm, file:NAME, digit:KEY or a name of H.248 such as cg/bt.
Flags: --to browser|core (default browser), --repeat N, --for DURATION such as 5s.
HOST:PORT is the controller's admin.listen, by default 127.0.0.1:7401.
`

// names of signals, for people.
var names = map[string]string{
	"dial": "cg/dt", "ringing": "cg/rt", "busy": "cg/bt", "congestion": "cg/ct", "special": "cg/sit", "waiting": "cg/cw", "confirm": "srvtn/conf",
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "isthmusctl:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	global := flag.NewFlagSet("isthmusctl", flag.ContinueOnError)
	global.SetOutput(io.Discard)
	mgc := global.String("mgc", "127.0.0.1:7401", "admin service of the controller")
	if err := global.Parse(args); err != nil {
		return orUsage(out, err)
	}
	if global.NArg() == 0 {
		return orUsage(out, flag.ErrHelp)
	}
	conn, err := grpc.NewClient(*mgc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = command(ctx, adminv1.NewControllerAdminClient(conn), global.Args(), out)
	if s, ok := status.FromError(err); ok && err != nil {
		return fmt.Errorf("%s: %s", s.Code(), s.Message())
	}
	return orUsage(out, err)
}

// orUsage is err, or prints how the program is used when that was asked for.
func orUsage(out io.Writer, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		_, err = io.WriteString(out, usage)
	}
	return err
}

// command carries out one command.
func command(ctx context.Context, c adminv1.ControllerAdminClient, args []string, out io.Writer) error {
	switch args[0] {
	case "calls":
		if _, _, _, _, err := flags(args[1:], 0); err != nil {
			return err
		}
		return calls(ctx, c, out)
	case "play":
		r, err := playing(args[1:])
		if err != nil {
			return err
		}
		_, err = c.PlaySignal(ctx, r)
		return err
	case "stop":
		words, to, _, _, err := flags(args[1:], 1)
		if err != nil {
			return err
		}
		_, err = c.StopSignal(ctx, &adminv1.StopSignalRequest{CallId: words[0], To: to})
		return err
	}
	return fmt.Errorf("unknown command %q; --help lists them", args[0])
}

func calls(ctx context.Context, c adminv1.ControllerAdminClient, out io.Writer) error {
	r, err := c.ListCalls(ctx, &adminv1.ListCallsRequest{})
	if err != nil {
		return err
	}
	for _, x := range r.GetCalls() {
		fmt.Fprintf(out, "%s %s %s %s -> %s\n", x.GetCallId(), x.GetState(), x.GetDirection(), x.GetFrom(), x.GetTo())
	}
	return nil
}

// playing is the request of a play command.
func playing(args []string) (*adminv1.PlaySignalRequest, error) {
	words, to, repeat, long, err := flags(args, 2)
	if err != nil {
		return nil, err
	}
	r := &adminv1.PlaySignalRequest{CallId: words[0], To: to, Signal: words[1], Repeat: uint32(repeat)}
	if long > 0 {
		r.Duration = durationpb.New(long)
	}
	if n := names[words[1]]; n != "" {
		r.Signal = n
	}
	if file, ok := strings.CutPrefix(words[1], "file:"); ok {
		r.Signal, r.Announcement = "an/apf", file
	}
	if key, ok := strings.CutPrefix(words[1], "digit:"); ok {
		r.Signal = "dg/d" + strings.NewReplacer("*", "s", "#", "o").Replace(strings.ToLower(key))
	}
	return r, nil
}

// flags takes words and flags in any order.
func flags(args []string, want int) (words []string, to string, repeat uint, long time.Duration, err error) {
	f := flag.NewFlagSet("", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&to, "to", "browser", "")
	f.UintVar(&repeat, "repeat", 0, "")
	f.DurationVar(&long, "for", 0, "")
	for {
		if err = f.Parse(args); err != nil {
			return nil, "", 0, 0, err
		}
		if f.NArg() == 0 {
			break
		}
		words, args = append(words, f.Arg(0)), f.Args()[1:]
	}
	if len(words) != want {
		return nil, "", 0, 0, fmt.Errorf("%d words, %d are needed; --help tells which", len(words), want)
	}
	return words, to, repeat, long, nil
}
