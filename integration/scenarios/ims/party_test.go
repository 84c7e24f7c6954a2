package ims

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/webphone"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
)

// party is one scenario under way. Its methods fail the test when what they wait for does not come.
type party struct {
	*world
	t     *testing.T
	ctx   context.Context // ends with the scenario
	user  string
	alice *webphone.Page
	calls map[string]bool // ids of calls that a method has returned
}

// play runs a scenario with a registered user; whatever becomes of it, its user is gone after it.
func (w *world) play(t *testing.T, n int, run func(*party)) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	p := &party{world: w, t: t, ctx: ctx, user: userOf(n), calls: map[string]bool{}}
	var err error
	p.alice, err = w.browser.OpenCalm(ctx, p.user, phoneURL, micHz)
	p.ok(err)
	t.Cleanup(func() { p.leave() })
	p.ok(p.alice.Register(ctx, p.user, password))
	run(p)
	p.browserIsPlain()
}

// told waits until the browser has been sent n messages of the kind in the call: its re-INVITEs and their ACKs come after the far
// end has its answer.
func (p *party) told(n int, method, id string) {
	p.t.Helper()
	callID := p.call(id).CallID
	p.until(fmt.Sprintf("%s number %d in the browser", method, n), func() (bool, any) {
		all, err := p.alice.Ladder(p.ctx)
		p.ok(err)
		seen := 0
		for _, e := range all {
			if e.Direction == "in" && strings.HasPrefix(e.Text, method+" ") && e.CallID == callID {
				seen++
			}
		}
		return seen >= n, seen
	})
}

// leave takes a picture when the scenario failed, and closes the page.
func (p *party) leave() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), patience)
	defer cancel()
	if p.t.Failed() {
		state, _ := p.alice.State(ctx)
		calls, _ := p.alice.Calls(ctx)
		p.t.Logf("the phone: %+v\n%+v", state, calls)
		for _, m := range p.ladder(ctx) {
			p.t.Log(m)
		}
		_ = p.alice.Shot(ctx, filepath.Join(p.dir, p.user+".png")) // best effort
	}
	if err := p.alice.Unregister(ctx); err != nil {
		p.t.Error(err)
	}
	q := &party{world: p.world, t: p.t, ctx: ctx, user: p.user}
	q.until("the user to be gone", func() (bool, any) {
		b, err := p.core.Bindings(ctx, p.user)
		return err == nil && len(b) == 0, fmt.Sprint(b, err)
	})
	if err := p.alice.Close(ctx); err != nil {
		p.t.Error(err)
	}
}

// ladder lists the messages of the phone in short.
func (p *party) ladder(ctx context.Context) []string {
	all, err := p.alice.Ladder(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, e := range all {
		line, rest, _ := strings.Cut(e.Text, "\n")
		if os.Getenv("ISTHMUS_LOGS") != "" {
			line += "\n" + rest
		}
		out = append(out, e.Direction+" "+line)
	}
	return out
}

func (p *party) ok(err error) {
	p.t.Helper()
	scenario.Must(p.t, err)
}

// patience is how long one thing may take before the test gives up: hardly anything takes a second on an idle machine.
const patience = 40 * time.Second

// until polls a condition; what it returned last is told when it never came true.
func (p *party) until(what string, holds func() (bool, any)) {
	p.t.Helper()
	p.untilWithin(patience, what, holds)
}

func (p *party) untilWithin(limit time.Duration, what string, holds func() (bool, any)) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	scenario.Until(ctx, p.t, what, holds)
}

// call returns the phone's call with the id.
func (p *party) call(id string) webphone.Call {
	p.t.Helper()
	calls, err := p.alice.Calls(p.ctx)
	p.ok(err)
	for _, c := range calls {
		if c.ID == id {
			return c
		}
	}
	return webphone.Call{}
}

// inState waits until the phone shows the call in a state.
func (p *party) inState(id, state string) webphone.Call {
	p.t.Helper()
	var c webphone.Call
	p.until("the browser's call "+id+" to be "+state, func() (bool, any) {
		c = p.call(id)
		return c.State == state, c
	})
	return c
}

// newCall waits for a call of the phone that no method has returned yet, in the state.
func (p *party) newCall(state string) webphone.Call {
	p.t.Helper()
	var c webphone.Call
	p.until("a new call that is "+state, func() (bool, any) {
		calls, err := p.alice.Calls(p.ctx)
		p.ok(err)
		i := slices.IndexFunc(calls, func(c webphone.Call) bool { return c.State == state && !p.calls[c.ID] })
		if i >= 0 {
			c = calls[i]
		}
		return i >= 0, calls
	})
	p.calls[c.ID] = true
	return c
}

// notRinging checks that the phone has no call; what must have happened by then is for the caller to wait for.
func (p *party) notRinging() {
	p.t.Helper()
	calls, err := p.alice.Calls(p.ctx)
	p.ok(err)
	if len(calls) > 0 {
		p.t.Fatalf("the browser has %+v, want no call yet", calls)
	}
}

// dial lets the browser call.
func (p *party) dial(user string) string {
	p.t.Helper()
	id, err := p.alice.Dial(p.ctx, "sip:"+user+"@"+domain)
	p.ok(err)
	p.calls[id] = true
	return id
}

// answer waits for the next call to ring in the browser and takes it.
func (p *party) answer() string {
	p.t.Helper()
	c := p.newCall("incoming")
	p.ok(p.alice.Answer(p.ctx, c.ID))
	return c.ID
}

// browserHears waits until the browser plays a tone of the far end.
func (p *party) browserHears(id string, hz float64) {
	p.t.Helper()
	p.until(fmt.Sprintf("the browser to hear %v Hz", hz), func() (bool, any) {
		h, err := p.alice.Hears(p.ctx, id)
		return err == nil && math.Abs(h.Hz-hz) < 12 && h.RMS > -50, fmt.Sprint(h, err)
	})
}

// deaf checks that the browser hears nothing of a second of what the equipment sends, its own media being ready.
func (p *party) deaf(id string, u *ue) {
	p.t.Helper()
	p.until("the browser's media", func() (bool, any) {
		m, err := p.alice.Metrics(p.ctx, id)
		return err == nil && m.DTLSConnectedAt > 0, fmt.Sprint(m, err)
	})
	from := u.rtp.Stats().SentPackets
	p.until("audio from "+u.name, func() (bool, any) { n := u.rtp.Stats().SentPackets; return n >= from+50, n })
	h, err := p.alice.Hears(p.ctx, id)
	p.ok(err)
	if h.RMS > -60 {
		p.t.Errorf("the browser hears %+v", h)
	}
}

// talking waits until audio goes both ways.
func (p *party) talking(id string, u *ue) {
	p.t.Helper()
	p.inState(id, "connected")
	p.browserHears(id, u.hz)
	u.hears(micHz)
}

// tapped returns the messages at Kamailio, repetitions left out, for which want holds.
func (p *party) tapped(want func(kamailio.Message) bool) []peer.Message {
	p.t.Helper()
	all, err := p.core.Tap().Messages()
	p.ok(err)
	var out []peer.Message
	seen := map[string]bool{}
	for _, m := range all {
		if !want(m) || seen[m.Text] {
			continue
		}
		seen[m.Text] = true
		if parsed, err := peer.Parse(m.Text); err == nil {
			out = append(out, parsed)
		}
	}
	return out
}

// nth waits for the nth message, from 1, of a kind among those for which want holds.
func (p *party) nth(n int, what, where string, want func(kamailio.Message) bool) peer.Message {
	p.t.Helper()
	var m peer.Message
	p.until(fmt.Sprintf("%s number %d %s", what, n, where), func() (bool, any) {
		left := n
		var lines []string
		for _, m = range p.tapped(want) {
			lines = append(lines, m.Summary())
			if m.Is(what) {
				if left--; left == 0 {
					return true, nil
				}
			}
		}
		return false, strings.Join(lines, "\n")
	})
	return m
}

// has checks that a message contains the lines, and none of those that begin with '!'.
func (p *party) has(m peer.Message, lines ...string) {
	p.t.Helper()
	text := strings.Join(m.Lines, "\n") + "\n\n" + m.Body
	for _, l := range lines {
		if not, found := strings.CutPrefix(l, "!"); found {
			if strings.Contains(text, not) {
				p.t.Errorf("%s has %q:\n%s", m.Summary(), not, text)
			}
		} else if !strings.Contains(text, l) {
			p.t.Errorf("%s lacks %q:\n%s", m.Summary(), l, text)
		}
	}
}
