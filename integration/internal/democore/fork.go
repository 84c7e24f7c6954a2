package democore

import (
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/isthmus-gateway/isthmus/integration/internal/ua/sipnode"
)

// fork is the response context of a proxied request (RFC 3261 §16.7): the branches it went out on and
// the best final response so far.
type fork struct {
	c   *Core
	tx  *sipnode.ServerTx
	fwd *sip.Request

	mu       sync.Mutex // guards the fields below
	branches []*sipnode.ClientTx
	open     int
	best     *sip.Response
	sent     bool        // a final response went upstream
	timer    *time.Timer // timer C (§16.6 step 11)
}

// timerC is how long an INVITE may stay without a final response.
const timerC = 4 * time.Minute

func newFork(c *Core, tx *sipnode.ServerTx, fwd *sip.Request, n int) *fork {
	return &fork{c: c, tx: tx, fwd: fwd, open: n}
}

// start sends the request out on all branches at once.
func (f *fork) start(out []outbound) {
	if f.fwd.Method == sip.INVITE {
		f.tx.OnCancel(f.cancel)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fwd.Method == sip.INVITE {
		f.timer = time.AfterFunc(timerC, f.cancel)
	}
	for i, o := range out {
		req := f.c.prepare(f.fwd, o, f.tx.Source())
		f.branches = append(f.branches, f.c.node.Request(req, o.to, func(res *sip.Response) { f.response(i, res) }))
	}
	if tag, _ := f.fwd.To().Params.Get("tag"); tag == "" {
		f.c.logf("%-9s %s -> %s: to %d place(s), first %q", f.fwd.Method, aor(&f.fwd.From().Address), aor(&f.fwd.To().Address), len(out), out[0].String())
	}
}

// cancel gives up all branches (§16.10); their final responses decide what goes upstream.
func (f *fork) cancel() {
	f.mu.Lock()
	branches := f.branches
	f.mu.Unlock()
	for _, b := range branches {
		b.Cancel()
	}
}

// response is §16.7 for one response of branch i.
func (f *fork) response(i int, res *sip.Response) {
	if res.StatusCode == 100 {
		return
	}
	madeHere := res.Via() == nil // a timeout or transport failure
	if !madeHere {
		res.RemoveHeader("Via")
	}
	f.mu.Lock()
	forward, cancelOthers := f.judgeLocked(res)
	if f.sent && f.timer != nil {
		f.timer.Stop()
	}
	branches := f.branches
	f.mu.Unlock()
	if cancelOthers {
		for j, b := range branches {
			if j != i {
				b.Cancel()
			}
		}
	}
	if forward == nil {
		return
	}
	if forward.Via() == nil {
		forward = sipnode.NewResponse(f.tx.Request(), forward.StatusCode, forward.Reason)
	}
	f.note(forward)
	// An error means the transaction was answered or is gone: nothing is left to do.
	_ = f.tx.Forward(forward)
}

// judgeLocked decides what goes upstream now: provisional and 2xx at once, the best failure when no
// branch is left (§16.7 steps 5 and 6).
func (f *fork) judgeLocked(res *sip.Response) (forward *sip.Response, cancelOthers bool) {
	switch {
	case res.StatusCode < 200:
		if f.sent {
			return nil, false
		}
		return res, false
	case res.StatusCode < 300:
		first := !f.sent
		f.sent = true
		return res, first && f.fwd.Method == sip.INVITE
	}
	f.open--
	if f.best == nil || better(res.StatusCode, f.best.StatusCode) {
		f.best = res
	}
	cancelOthers = res.StatusCode >= 600 && f.fwd.Method == sip.INVITE
	if f.open > 0 || f.sent {
		return nil, cancelOthers
	}
	f.sent = true
	return f.best, false
}

// better orders failures: 6xx first, then the lowest class, then 401 and 407 and the like, which the
// caller can act upon. DEVIATES RFC 3261 §16.7 step 6: a lone 503 stays a 503 so that tests see it.
func better(a, b int) bool {
	if (a >= 600) != (b >= 600) {
		return a >= 600
	}
	if a/100 != b/100 {
		return a/100 < b/100
	}
	return actionable(a) && !actionable(b)
}

func actionable(code int) bool {
	switch code {
	case 401, 407, 415, 420, 484:
		return true
	}
	return false
}

// note follows calls for the status and the log. Responses within a dialog are of no interest.
func (f *fork) note(res *sip.Response) {
	if tag, _ := f.fwd.To().Params.Get("tag"); tag != "" || res.StatusCode < 200 {
		return
	}
	from, to := aor(&f.fwd.From().Address), aor(&f.fwd.To().Address)
	if f.fwd.Method != sip.INVITE {
		f.c.logf("%-9s %s -> %s: %d %q", f.fwd.Method, from, to, res.StatusCode, res.Reason)
		return
	}
	if e := f.c.callEvent(f.fwd.CallID().Value(), res.StatusCode, res.StatusCode >= 300); e != nil {
		f.c.logf("CALL      %s -> %s: %d %q", from, to, res.StatusCode, res.Reason)
	}
}
