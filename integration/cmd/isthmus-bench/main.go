// Command isthmus-bench measures the media gateway beside rtpengine, the kernel floor and the codec-only limit, speech through it on bad
// networks, and the controller beside Kamailio, on this machine, and prints tables and, as the last line, one JSON object.
//
// Exit status: 0 when everything that was asked for was measured, 1 otherwise, and when the controller failed or leaked a registration or
// call. A missed target is no failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench"
	kernelfloor "github.com/isthmus-gateway/isthmus/integration/internal/bench/floor"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/load"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/quality"
	"github.com/isthmus-gateway/isthmus/integration/internal/stack"
)

// floorCommand as the first argument makes the program the kernel floor, a child of itself.
const floorCommand = "kernel-floor"

func main() {
	if len(os.Args) > 1 && os.Args[1] == floorCommand {
		gather := len(os.Args) > 2 && os.Args[2] == "gather"
		if err := kernelfloor.Serve(os.Stdin, os.Stdout, kernelfloor.Options{Tag: load.Tag, Gather: gather}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "isthmus-bench:", err)
		os.Exit(1)
	}
}

func run() error {
	c := bench.Config{Out: os.Stdout, LimitTime: 500 * time.Millisecond}
	flag.IntVar(&c.Calls[bench.Relay], "relay-calls", 400, "relayed calls, 1 to 1000")
	flag.IntVar(&c.Calls[bench.Transcode], "opus-calls", 40, "transcoded calls, 1 to 1000")
	flag.IntVar(&c.Calls[bench.Wideband], "amrwb-calls", 20, "calls transcoded to AMR-WB, 1 to 1000")
	seconds := flag.Float64("seconds", 3, "length of a window, 2 to 60")
	flag.IntVar(&c.Rounds, "rounds", 5, "rounds; each measures every system once")
	flag.StringVar(&c.Only, "only", "", "measure one part only: relay, opus-pcma, opus-amrwb, growth, delays, quality or signalling")
	growth := flag.String("growth", "10,30,100,300,1000", "numbers of relayed calls of the growth part; empty: none")
	flag.BoolVar(&c.Delays, "delays", true, "measure delays at 30 and 70 % of a core")
	docs := flag.String("write-docs", "", "folder to write the plot of growth into")
	quick := flag.Bool("quick", false, "less of everything: a look, not figures to keep")
	flag.IntVar(&c.Workers, "workers", 0, "packet threads of the gateway; 0: its default, one per core")
	flag.IntVar(&c.Threads, "rtpengine-threads", runtime.NumCPU(), "packet threads of rtpengine")
	flag.BoolVar(&c.Rtpengine, "rtpengine", true, "measure rtpengine if it is installed")
	sig := signallingFlags()
	flag.IntVar(&c.Quality.Seeds, "quality-calls", 3, "calls for each condition of the speech part, 1 to 20")
	flag.DurationVar(&c.Quality.Speech, "quality-speech", 10*time.Second, "length of what each of them says, 4s to 1m")
	flag.StringVar(&c.Quality.Pair, "quality-pair", "", "measure one pair of the speech part only: Opus and "+strings.Join(quality.Pairs(), ", "))
	doc := flag.String("quality-doc", "", "write the tables of the speech part into this document, mgw/docs/quality.md, in place of its own")
	gather := flag.Bool("floor-gather", false, "the kernel floor sleeps under load so that datagrams gather, as the gateway does")
	flag.StringVar(&c.Gateway, "mgw", "", "the gateway's program; empty: mgw beside this one")
	flag.StringVar(&c.Rival, "rival", "", "another build of the gateway to measure beside it, in turns: what a change is worth shows on a busy machine too")
	verbose := flag.Bool("verbose", false, "show the output of the processes")
	flag.Parse()
	var err error
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	if *doc != "" && c.Quality.Pair != "" {
		return errors.New("-quality-doc takes the tables of all pairs, not with -quality-pair")
	}
	if c.Growth, err = numbers(*growth); err != nil {
		return err
	}
	if *quick {
		if err := hurry(); err != nil {
			return err
		}
		c.Growth, c.MaxCalls = c.Growth[:min(3, len(c.Growth))], 400
	}
	c.Window, c.Warm = time.Duration(*seconds*float64(time.Second)), 500*time.Millisecond
	if *verbose {
		c.Log = io.Writer(os.Stderr)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.Floor = []string{self, floorCommand}
	if *gather {
		c.Floor = append(c.Floor, "gather")
	}
	if c.Gateway == "" {
		if c.Gateway, err = stack.Bin("mgw"); err != nil {
			return err
		}
	}
	if c.Signalling, err = sig(*seconds); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	results, err := bench.Run(ctx, c)
	if *docs != "" {
		err = errors.Join(err, results.WriteDocs(*docs, time.Now().UTC().Format(time.DateOnly)))
	}
	if perr := results.Print(os.Stdout); err == nil {
		err = perr
	}
	if err == nil && *doc != "" {
		err = results.WriteQuality(*doc, time.Now())
	}
	if fault := results.Signalling.Failure(); err == nil && fault != "" {
		err = errors.New(fault)
	}
	return err
}

// hurry sets the flags that were not given to values for a look.
func hurry() error {
	given := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, value := range map[string]string{"seconds": "2", "rounds": "2", "quality-calls": "1", "quality-speech": "5s"} {
		if given[name] {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			return err
		}
	}
	return nil
}

// numbers reads a list with commas.
func numbers(list string) (out []int, err error) {
	for f := range strings.SplitSeq(list, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("-growth: %q is no number", f)
		}
		out = append(out, n)
	}
	return out, nil
}
