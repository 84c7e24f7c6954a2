package call

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// inboxSize is how many events may wait for a call. Writers: edges, transactions, timers, Iq. When it is full a request is answered
// 500, and anything else is dropped and counted: the timers of the core end the call.
const inboxSize = 256

// owner runs one call.
type owner struct {
	m       *Manager
	key     string
	binding string
	inbox   chan callcore.Event
	done    chan struct{} // closed when run has ended
	place   atomic.Pointer[Node]
	shown   atomic.Pointer[callcore.Record] // for listings

	txMu   sync.Mutex // guards server: written by edges, read by run
	server map[string]ServerTx

	// Below: owned by run, no lock (before run: by the creator).
	state   *callcore.State
	record  store.Call
	journal *store.Journal
	client  map[string]ClientTx
	timers  map[string]*time.Timer
	calls   sync.WaitGroup // Iq transactions under way
	log     *zap.Logger
	ended   bool
}

// newOwner returns an owner that does not run yet; key "" makes a new one.
func newOwner(m *Manager, key string, state *callcore.State, rec store.Call, rev uint64) *owner {
	if key == "" {
		key = newKey()
	}
	o := &owner{
		m: m, key: key, binding: rec.Flow, state: state, record: rec,
		inbox: make(chan callcore.Event, inboxSize), done: make(chan struct{}),
		server: map[string]ServerTx{}, client: map[string]ClientTx{}, timers: map[string]*time.Timer{},
		journal: store.NewJournal(m.deps.Store, store.CallKey(key), rev), log: m.deps.Log.With(zap.String("call", key)),
	}
	o.place.Store(&Node{MGW: rec.MGW, Boot: rec.Boot})
	return o
}

// create makes o a new call of the binding.
func (o *owner) create(binding string, cfg callcore.Config) {
	o.binding = binding
	o.state = callcore.New(cfg)
	o.record = store.Call{Key: o.key, Owner: o.m.cfg.Instance, Flow: binding, Started: time.Now()}
}

// resume starts the timers of a revived call and sends its open transactions again.
func (o *owner) resume() { o.post(resumed{}) }

// resumed is the first event of an adopted call; it never reaches the core.
type resumed struct{ callcore.Event }

func (o *owner) node() Node { return *o.place.Load() }

// post puts an event into the inbox; false when it is full or the call is over.
func (o *owner) post(ev callcore.Event) bool {
	select {
	case <-o.done:
		return false
	default:
	}
	select {
	case o.inbox <- ev:
		return true
	default:
		o.m.deps.Metrics.dropped.Inc()
		o.log.Warn("call inbox full, event dropped")
		return false
	}
}

// request posts a request and remembers its transaction for the response.
func (o *owner) request(tx ServerTx, ev callcore.RequestIn) bool {
	o.txMu.Lock()
	o.server[tx.ID()] = tx
	o.txMu.Unlock()
	if ev.Msg.Method == "INVITE" {
		o.m.mu.Lock()
		o.m.invites[tx.ID()] = o
		o.m.mu.Unlock()
	}
	return o.post(ev)
}

// run is the owner goroutine.
func (o *owner) run() {
	defer o.m.wg.Done()
	defer o.stop()
	for {
		select {
		case ev := <-o.inbox:
			o.step(ev)
			if o.ended {
				return
			}
		case <-o.m.ctx.Done():
			return
		}
	}
}

// step feeds one event to the core, saves the state and performs the effects in order.
func (o *owner) step(ev callcore.Event) {
	if _, ok := ev.(resumed); ok {
		for name, at := range o.state.Timers() {
			o.startTimer(name, at)
		}
		for _, t := range o.state.Pending() {
			o.transact(t)
		}
		return
	}
	effects := o.state.Step(time.Now(), ev)
	record := o.state.Record()
	o.shown.Store(&record)
	if o.state.Ended() {
		o.ended = true
	} else {
		o.save()
	}
	for _, e := range effects {
		o.perform(e)
	}
}

// save takes a snapshot of the call for the store.
func (o *owner) save() {
	state, err := json.Marshal(o.state)
	if err != nil {
		o.log.DPanic("state does not marshal", zap.Error(err))
		return
	}
	n := o.node()
	o.record.State, o.record.MGW, o.record.Boot = state, n.MGW, n.Boot
	rec, err := json.Marshal(o.record)
	if err != nil {
		o.log.DPanic("record does not marshal", zap.Error(err))
		return
	}
	o.journal.Save(rec, store.Forever)
}

// stop releases what the owner holds. A call that has not ended keeps its record: another instance may take it over.
func (o *owner) stop() {
	close(o.done)
	o.m.leave(o)
	for _, t := range o.timers {
		t.Stop()
	}
	o.calls.Wait()
	if !o.ended {
		o.journal.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := o.journal.Delete(ctx); err != nil {
		o.m.deps.Metrics.storeErr.Inc()
		o.log.Warn("call record not deleted", zap.Error(err))
	}
}

// finish logs and counts the end of the call.
func (o *owner) finish(e callcore.Ended) {
	o.m.deps.Metrics.ended.WithLabelValues(string(e.Cause)).Inc()
	r := e.Record
	if !r.Answer.IsZero() {
		o.m.deps.Metrics.setup.Observe(r.Answer.Sub(r.Start).Seconds())
	}
	o.log.Info("call ended",
		zap.String("cause", string(e.Cause)), zap.Int("status", r.Status), zap.String("reason", headers.ForLog(r.Reason, 200)),
		zap.String("from", headers.ForLog(r.Caller, 200)), zap.String("to", headers.ForLog(r.Callee, 200)),
		zap.Duration("duration", answeredFor(r)), zap.String("access_codec", r.AccessCodec), zap.String("core_codec", r.CoreCodec),
		zap.String("mgw", r.MGW), zap.String("context", r.Context))
}

func answeredFor(r callcore.Record) time.Duration {
	if r.Answer.IsZero() {
		return 0
	}
	return r.End.Sub(r.Answer).Round(time.Millisecond)
}
