package policy

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	deleteTimeout  = 5 * time.Second  // of one request
	deleteFirst    = time.Second      // pause after the first failure; it doubles
	deleteLongest  = 30 * time.Second // longest pause
	goneRemembered = 4096             // deleted sessions that a second Delete is recognised of
)

// deletion is an application session that has to go.
type deletion struct {
	uri   *url.URL
	call  string
	since time.Time
	pause time.Duration
	timer *time.Timer // nil: queued or under way
}

// Delete implements Agent. There are at most as many deletions as there were sessions, so that none is dropped for want of room.
func (a *N5) Delete(s Session) {
	if !s.Open() {
		return
	}
	a.unbind(s.Call, s.URI)
	u, err := url.Parse(s.URI)
	if err != nil || !a.allowed(u) {
		a.deps.Metrics.foreign.Inc()
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.pending[s.URI]; ok || a.halted || a.gone.has(s.URI) {
		return
	}
	d := &deletion{uri: u, call: s.Call, since: time.Now(), pause: deleteFirst}
	a.pending[s.URI] = d
	a.deps.Metrics.deletes.Set(float64(len(a.pending)))
	a.queue = append(a.queue, d)
	a.change.Broadcast()
}

// deleter is one worker.
func (a *N5) deleter() {
	defer a.wg.Done()
	for {
		a.mu.Lock()
		for len(a.queue) == 0 && !a.halted {
			a.change.Wait()
		}
		if a.halted {
			a.mu.Unlock()
			return
		}
		d := a.queue[0]
		a.queue = slices.Delete(a.queue, 0, 1)
		a.mu.Unlock()
		again := a.remove(d)
		a.mu.Lock()
		a.finish(d, again)
		a.mu.Unlock()
	}
}

// remove performs one request; it reports whether it has to be repeated.
func (a *N5) remove(d *deletion) bool {
	ctx, cancel := context.WithTimeout(a.ctx, deleteTimeout)
	defer cancel()
	rep, err := a.do(ctx, request{"delete", http.MethodPost, d.uri.JoinPath("delete"), nil, ""})
	switch {
	case err == nil && (rep.status == http.StatusOK || rep.status == http.StatusNoContent):
		_, events := readContext(Session{Call: d.call, URI: d.uri.String()}, rep.body)
		a.offer(events)
		return false
	case err == nil && (rep.status == http.StatusNotFound || rep.status == http.StatusGone):
		return false // it is gone: an earlier request was done, or the PCF released it itself
	case err == nil && rep.status >= 400 && rep.status < 500 && rep.status != 401 && rep.status != 408 && rep.status != 429:
		a.giveUp(d, rep.status, nil)
		return false
	case errors.Is(err, errForeign):
		a.giveUp(d, 0, err)
		return false
	case a.ctx.Err() != nil:
		a.giveUp(d, rep.status, a.ctx.Err())
		return false
	case time.Since(d.since) >= a.cfg.Limits.DeleteFor:
		a.giveUp(d, rep.status, err)
		return false
	}
	return true
}

func (a *N5) giveUp(d *deletion, status int, err error) {
	a.deps.Metrics.abandoned.Inc()
	a.deps.Log.Error("application session is left behind at the PCF", zap.String("call", d.call), zap.Int("status", status), zap.Error(err))
}

// finish ends a deletion or has it repeated after a pause. Caller holds mu.
func (a *N5) finish(d *deletion, again bool) {
	if again && !a.halted {
		pause := d.pause
		d.pause = min(2*d.pause, deleteLongest)
		d.timer = time.AfterFunc(pause, func() { a.requeue(d) })
		return
	}
	uri := d.uri.String()
	delete(a.pending, uri)
	a.deps.Metrics.deletes.Set(float64(len(a.pending)))
	a.gone.add(uri)
	a.change.Broadcast()
}

func (a *N5) requeue(d *deletion) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.halted {
		d.timer = nil
		a.queue = append(a.queue, d)
		a.change.Broadcast()
	}
}

// Close ends the agent: no call is asked for any more, what has to be deleted is deleted while ctx lives, also what is made belatedly.
// Application sessions of calls that go on stay. It waits for every goroutine. The error tells that deletions were left undone.
func (a *N5) Close(ctx context.Context) error {
	wake := context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.change.Broadcast()
	})
	defer wake()
	a.mu.Lock()
	a.closed = true
	for (len(a.pending) > 0 || a.running > 0) && ctx.Err() == nil {
		a.change.Wait()
	}
	a.halted = true
	left := len(a.pending)
	for _, d := range a.pending {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	a.change.Broadcast()
	a.mu.Unlock()
	a.stop()
	a.wg.Wait()
	a.http.CloseIdleConnections()
	if left > 0 {
		a.deps.Metrics.abandoned.Add(float64(left))
		return errors.New("policy: application sessions are left behind at the PCF")
	}
	return nil
}

// recent remembers the last URIs that were added. The zero value is ready.
type recent struct {
	set  map[string]bool
	ring []string
	next int
}

func (r *recent) has(s string) bool { return r.set[s] }

func (r *recent) add(s string) {
	if r.set[s] {
		return
	}
	if r.set == nil {
		r.set, r.ring = map[string]bool{}, make([]string, goneRemembered)
	}
	delete(r.set, r.ring[r.next])
	r.ring[r.next] = s
	r.set[s] = true
	r.next = (r.next + 1) % len(r.ring)
}
