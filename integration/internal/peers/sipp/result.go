package sipp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Result is what a run of sipp came to.
type Result struct {
	Exit    int     // 0: every call went as the scenario says
	Good    int     // calls that did
	Bad     int     // calls that did not
	Repeats int     // messages that sipp sent again
	Trace   []Entry // messages in the order of their log; those lost by Config.Lost are among them
	Errors  string  // sipp's own words on what was unexpected, "" for nothing
}

// Entry is one message that sipp sent or received.
type Entry struct {
	Sent bool
	Message
}

// Received returns the received messages that begin with the words: "INVITE", or "200 INVITE" for a response by status
// and CSeq method.
func (r Result) Received(what string) []Message { return r.pick(false, what) }

// Sent is the like for messages sent.
func (r Result) Sent(what string) []Message { return r.pick(true, what) }

func (r Result) pick(sent bool, what string) []Message {
	var out []Message
	for _, e := range r.Trace {
		if e.Sent == sent && e.Is(what) {
			out = append(out, e.Message)
		}
	}
	return out
}

// shown is how many messages String lists.
const shown = 80

// String lists what happened, a line for each of the last messages, for error texts.
func (r Result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sipp: exit %d, %d good, %d bad, %d repeats\n", r.Exit, r.Good, r.Bad, r.Repeats)
	from := max(0, len(r.Trace)-shown)
	if from > 0 {
		fmt.Fprintf(&b, "  ... %d before\n", from)
	}
	for _, e := range r.Trace[from:] {
		arrow := "<-"
		if e.Sent {
			arrow = "->"
		}
		id := e.Get("Call-ID")
		fmt.Fprintf(&b, "  %s %.6s %s\n", arrow, id, e.Summary())
	}
	return b.String() + r.Errors
}

// result reads the files of a run that has ended.
func (p *Process) result() (Result, error) {
	r := Result{Exit: p.cmd.ProcessState.ExitCode(), Errors: p.tail("errors.log")}
	log, err := os.ReadFile(p.cfg.file("messages.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // none: no message
		return r, fmt.Errorf("sipp: %w", err)
	}
	r.Trace = readTrace(log)
	stat, err := os.ReadFile(p.cfg.file("stat.csv"))
	if err != nil {
		return r, fmt.Errorf("sipp wrote no statistics (exit %d): %s", r.Exit, p.tail("screen.log"))
	}
	return r, r.readStat(string(stat))
}

// readStat takes the cumulative counters of the last line.
func (r *Result) readStat(csv string) error {
	lines := strings.Split(strings.TrimSpace(csv), "\n")
	names, values := strings.Split(lines[0], ";"), strings.Split(lines[len(lines)-1], ";")
	for name, to := range map[string]*int{"SuccessfulCall(C)": &r.Good, "FailedCall(C)": &r.Bad, "Retransmissions(C)": &r.Repeats} {
		found := false
		for i, n := range names {
			if n != name || i >= len(values) {
				continue
			}
			v, err := strconv.Atoi(values[i])
			if err != nil {
				return fmt.Errorf("sipp statistics: %s is %q", name, values[i])
			}
			*to, found = v, true
		}
		if !found {
			return fmt.Errorf("sipp statistics lack %s", name)
		}
	}
	return nil
}

// readTrace splits the message log: a line of dashes with the time, a line that says "... message received [515] bytes :" or
// "... message sent (313 bytes):", an empty line, the message. sipp logs an unexpected one again with other words.
func readTrace(log []byte) []Entry {
	var out []Entry
	for _, part := range bytes.Split(log, []byte("\n-----------------------------------------------")) {
		_, rest, _ := bytes.Cut(part, []byte("\n"))
		head, text, ok := bytes.Cut(rest, []byte("\n\n"))
		received := bytes.Contains(head, []byte(" message received ["))
		if !ok || !received && !bytes.Contains(head, []byte(" message sent (")) {
			continue
		}
		m, err := Parse(string(text))
		if err != nil {
			continue // a keep-alive
		}
		out = append(out, Entry{Sent: !received, Message: m})
	}
	return out
}
