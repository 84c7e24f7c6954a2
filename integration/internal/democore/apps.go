package democore

import (
	"context"
	_ "embed"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/rtpua"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// welcome is a spoken sentence, WAV, A-law: "Welcome to Isthmus. You are hearing this through your
// gateway."
//
//go:embed assets/welcome.wav
var welcome []byte

// ToneHz is the frequency that user tone plays; a round number that G.711 keeps exactly.
const ToneHz = 1000

// toneLevel is the level of every played tone, in dBFS.
const toneLevel = -15

// Limits of the built-in users together.
const (
	maxAppCalls   = 200 // at once; more are answered 486
	maxFinished   = 200 // ended calls kept for the status
	maxErrands    = 64  // replies and call-backs waiting; more are answered 503
	keepSeconds   = 20  // of each call's received audio
	keepRecorded  = 20  // ended calls whose received audio is kept
	callbackPlays = 2 * time.Second
)

// App is a built-in user.
type App struct {
	Name string
	Does string // one phrase for the help text
	run  func(*apps, *appCall)
}

// Apps lists the built-in users in the order of the help text.
func Apps() []App {
	return []App{
		{"echo", "answers and returns your audio and DTMF digits; returns your messages too", (*apps).echo},
		{"announcement", "answers and speaks a welcome, then plays music", (*apps).announcement},
		{"music", "answers and plays a melody", (*apps).music},
		{"tone", "answers, plays 1000 Hz and reports in the status what it hears", (*apps).tone},
		{"callback", "answers briefly, hangs up and calls you back; so does a message to it", (*apps).callback},
		{"early", "plays ringback as early media (183), then answers with music", (*apps).early},
		{"busy", "refuses with 486 Busy Here", func(_ *apps, c *appCall) { c.call.Reject(486, "Busy Here") }},
		{"reject", "refuses with 603 Decline", func(_ *apps, c *appCall) { c.call.Reject(603, "Decline") }},
		{"noanswer", "rings until you give up", func(_ *apps, c *appCall) { c.call.Ring(); <-c.call.Done() }},
	}
}

// builtin finds a built-in user, nil if there is none of that name.
func builtin(name string) *App {
	list := Apps()
	if i := slices.IndexFunc(list, func(a App) bool { return a.Name == name }); i >= 0 {
		return &list[i]
	}
	return nil
}

// apps runs the built-in users on one agent behind the proxy, as an application server stands behind
// an IMS core.
type apps struct {
	core    *Core
	agent   *ua.Agent
	speech  []int16
	melody  []int16
	errands chan func(context.Context) // cap maxErrands; writers: calls, messages; full: refused
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	running  []*appCall
	finished []*appCall // newest last
	number   int
	owed     map[string]bool // who is to be called back
}

// appCall is one call of a built-in user.
type appCall struct {
	number  int
	app     string
	call    *ua.Call
	rec     *rtpua.Recorder
	digits  chan byte // cap 32; writer: the media's reader; full: the digit is not echoed
	started time.Time
	ended   time.Time // guarded by apps.mu
}

func newApps(c *Core) (*apps, error) {
	speech, err := tone.ReadWAV(welcome)
	if err != nil {
		return nil, err
	}
	a := &apps{core: c, speech: speech, melody: tone.Melody(), errands: make(chan func(context.Context), maxErrands), owed: map[string]bool{}}
	a.agent, err = ua.New(ua.Config{
		Listen: netip.AddrPortFrom(c.node.Addr().Addr(), 0).String(), Domain: c.cfg.Domain, User: "apps",
		Proxy: sipnode.Target{Network: sipnode.UDP, Addr: c.node.Addr()}, Name: serverName, Timers: c.cfg.Timers,
		OnCall: a.incoming, OnMessage: a.message, Trace: c.cfg.Trace, OnlyProxy: true,
		Warn: func(text string) { c.logf("WARNING   built-in users: %s", text) },
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	for range 4 {
		a.wg.Go(func() { a.work(ctx) })
	}
	return a, nil
}

// close hangs up all calls and waits.
func (a *apps) close() error {
	a.cancel()
	err := a.agent.Close()
	a.wg.Wait()
	return err
}

// work runs errands until ctx ends.
func (a *apps) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-a.errands:
			f(ctx)
		}
	}
}

func (a *apps) errand(f func(context.Context)) bool {
	select {
	case a.errands <- f:
		return true
	default:
		return false
	}
}

// incoming runs one call to a built-in user, on its own goroutine, until it ends.
func (a *apps) incoming(call *ua.Call) {
	app := builtin(call.User())
	if app == nil {
		call.Reject(404, "Not Found")
		return
	}
	c := a.open(app.Name, call)
	if c == nil {
		call.Reject(486, "Busy Here")
		return
	}
	defer a.done(c)
	app.run(a, c)
	<-call.Done()
}

// open registers a call; nil when there are too many.
func (a *apps) open(app string, call *ua.Call) *appCall {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.running) >= maxAppCalls {
		return nil
	}
	a.number++
	c := &appCall{
		number: a.number, app: app, call: call, started: time.Now(),
		rec: &rtpua.Recorder{Max: keepSeconds * tone.Rate}, digits: make(chan byte, 32),
	}
	call.Media().SetSink(c.rec)
	call.OnDigit(func(d byte) {
		a.core.logf("DTMF      %s heard %c from %s", app, d, call.Peer())
		select {
		case c.digits <- d:
		default:
		}
	})
	a.running = append(a.running, c)
	return c
}

func (a *apps) done(c *appCall) {
	heard, secs, _ := c.rec.Heard()
	if secs > 0 {
		a.core.logf("MEDIA     %s heard %.0f Hz at %.0f dBFS for %.1f s from %s", c.app, heard.Freq, heard.Level, secs, c.call.Peer())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c.ended = time.Now()
	a.running = slices.DeleteFunc(a.running, func(o *appCall) bool { return o == c })
	a.finished = append(a.finished, c)
	if old := len(a.finished) - keepRecorded - 1; old >= 0 {
		a.finished[old].rec.Forget()
	}
	if len(a.finished) > maxFinished {
		a.finished = slices.Delete(a.finished, 0, len(a.finished)-maxFinished)
	}
}

// play answers with src.
func (a *apps) play(c *appCall, src tone.Source) {
	c.call.Media().SetSource(src)
	if err := c.call.Answer(); err != nil {
		a.core.logf("CALL      %s cannot answer %s: %v", c.app, c.call.Peer(), err)
	}
}

func (a *apps) echo(c *appCall) {
	var e rtpua.Echo
	c.call.Media().SetSink(rtpua.Tee{A: &e, B: c.rec})
	a.play(c, &e)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-c.call.Done():
			return
		case d := <-c.digits:
			if err := c.call.SendDigits(ctx, string(d)); err != nil {
				a.core.logf("DTMF      echo of %c to %s: %v", d, c.call.Peer(), err)
			}
		}
	}
}

// spoken is the announcement: the welcome, then music for ever.
func (a *apps) spoken() tone.Source {
	return &tone.Chain{&tone.Clip{PCM: a.speech}, &tone.Clip{PCM: a.melody, Loop: true}}
}

func (a *apps) announcement(c *appCall) { a.play(c, a.spoken()) }

func (a *apps) music(c *appCall) { a.play(c, &tone.Clip{PCM: a.melody, Loop: true}) }

func (a *apps) tone(c *appCall) { a.play(c, tone.NewSine(ToneHz, toneLevel)) }

// early plays the ringback of E.180 (one second in five) before it answers.
func (a *apps) early(c *appCall) {
	c.call.Media().SetSource(&tone.Cadence{Src: tone.NewSine(425, toneLevel), On: tone.Rate, Off: 4 * tone.Rate})
	if err := c.call.EarlyMedia(); err != nil {
		c.call.Reject(488, "Not Acceptable Here")
		return
	}
	select {
	case <-c.call.Done():
	case <-time.After(a.core.cfg.EarlyFor):
		a.music(c)
	}
}

// callback answers, beeps, hangs up and calls back.
func (a *apps) callback(c *appCall) {
	a.play(c, &tone.Cadence{Src: tone.NewSine(800, toneLevel), On: tone.Rate / 5, Off: tone.Rate / 5})
	select {
	case <-c.call.Done():
	case <-time.After(callbackPlays):
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		c.call.Bye(ctx)
		cancel()
	}
	if r := c.call.Reason(); r.Code == 0 {
		a.callBack(c.call.Peer())
	}
}

// callBack arranges a call to peer after the configured pause; at most one is owed to each.
func (a *apps) callBack(peer string) bool {
	a.mu.Lock()
	owed := a.owed[peer]
	a.owed[peer] = true
	a.mu.Unlock()
	if owed {
		return true
	}
	ok := a.errand(func(ctx context.Context) {
		defer a.settle(peer)
		select {
		case <-ctx.Done():
		case <-time.After(a.core.cfg.CallBack):
			a.callNow(ctx, peer)
		}
	})
	if !ok {
		a.settle(peer)
	}
	return ok
}

func (a *apps) settle(peer string) {
	a.mu.Lock()
	delete(a.owed, peer)
	a.mu.Unlock()
}

// maxCallback is how long a call-back may ring and play in all.
const maxCallback = 2 * time.Minute

func (a *apps) callNow(ctx context.Context, peer string) {
	ctx, cancel := context.WithTimeout(ctx, maxCallback)
	defer cancel()
	var c *appCall
	call, err := a.agent.Invite(peer, ua.CallOptions{User: "callback", Setup: func(call *ua.Call) {
		if c = a.open("callback", call); c != nil {
			call.Media().SetSource(a.spoken())
		}
	}})
	if err != nil {
		a.core.logf("CALL      callback cannot call %s: %v", peer, err)
		return
	}
	if c != nil {
		defer a.done(c)
		if err := call.WaitAnswered(ctx); err != nil {
			a.core.logf("CALL      callback -> %s: %v", peer, err)
		} else {
			select {
			case <-call.Done():
			case <-ctx.Done():
			}
		}
	}
	bye, stop := context.WithTimeout(context.Background(), time.Second)
	defer stop()
	call.Hangup(bye)
}

// message answers a MESSAGE to a built-in user. It runs on a reader goroutine.
func (a *apps) message(m ua.Message) int {
	user, _, _ := cutAOR(m.To)
	ok := false
	switch user {
	case "echo":
		ok = a.errand(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, 32*time.Second)
			defer cancel()
			if err := a.agent.SendMessageAs(ctx, "echo", m.From, m.Body); err != nil {
				a.core.logf("MESSAGE   echo to %s: %v", m.From, err)
			}
		})
	case "callback":
		ok = a.callBack(m.From)
	default:
		return 405
	}
	if !ok {
		return 503
	}
	return 200
}

func cutAOR(s string) (user, host string, ok bool) {
	for i := range len(s) {
		if s[i] == '@' {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
