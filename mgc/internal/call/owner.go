package call

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// owner runs one call.
type owner struct {
	m       *Manager
	key     string
	binding string
	inbox   *inbox
	place   atomic.Pointer[Node]                 // where the media is; empty: no node is chosen
	shown   atomic.Pointer[callcore.Record]      // for listings
	dialogs atomic.Pointer[[2]callcore.DialogID] // for Replaces

	lastFlow atomic.Pointer[string] // the browser's connection when it was last looked at; never nil

	txMu   sync.Mutex // guards server: written by edges, read by run
	server map[string]served

	// Below: owned by run, no lock (before run: by the creator).
	state    *callcore.State
	record   store.Call // without State
	size     int        // of the record as stored last, bytes
	journal  *store.Journal
	client   map[string]ClientTx // our INVITEs without final response
	accepted [2]string           // per leg: the server INVITE transaction that had its 2xx last
	timers   map[string]*time.Timer
	calls    sync.WaitGroup // Iq transactions under way
	log      *zap.Logger
	unpicked error            // why no node could be chosen
	ended    bool             // the core is done: the record goes
	lost     bool             // another instance has the call: nothing of it is touched any more
	moveTo   string           // instance that the browser is at, or that takes the call as this one stops: it goes there when it is at rest
	leaving  bool             // this instance stops
	hurry    bool             // it goes although it is not at rest
	muted    bool             // a lost digit has been logged
	orphans  []callcore.Event // events met after the loss, for the new owner
	side     beside
	pol      policing
	keep     keeping
	late     *time.Timer // Config.Alone: when the record is written; nil: it is up to date
}

// served is a request that the call has not answered finally, or an INVITE whose 2xx may have to be repeated.
type served struct {
	tx   ServerTx
	req  headers.Msg
	flow string // connection that it came over; "" for the core
}

// newOwner returns an owner that does not run yet; key "" makes a new one.
func newOwner(m *Manager, key string, state *callcore.State, rec store.Call, rev uint64) *owner {
	if key == "" {
		key = newKey()
	}
	o := &owner{
		m: m, key: key, binding: rec.Flow, state: state, record: rec, inbox: newInbox(),
		server: map[string]served{}, client: map[string]ClientTx{}, timers: map[string]*time.Timer{},
		journal: store.NewJournal(m.deps.Store, store.CallKey(key), rev), log: m.deps.Log.WithLazy(zap.String("call", key)),
	}
	o.place.Store(&Node{MGW: rec.MGW, Boot: rec.Boot})
	o.lastFlow.Store(new(string))
	o.flow(callcore.LegAccess)
	o.recall()
	return o
}

// create makes o a new call of the binding.
func (o *owner) create(binding string, cfg callcore.Config) {
	o.binding = binding
	o.flow(callcore.LegAccess)
	o.state = callcore.New(cfg)
	o.record = store.Call{Key: o.key, Owner: o.m.cfg.Instance, Flow: binding, Started: time.Now()}
}

// resumed is the first event of an adopted call; it never reaches the core.
type resumed struct{ callcore.Event }

func (o *owner) node() Node { return *o.place.Load() }

// post puts an event into the inbox.
func (o *owner) post(ev callcore.Event) posted {
	p := o.inbox.put(ev)
	if p == full {
		o.m.deps.Metrics.dropped.Inc()
		o.log.Warn("call inbox full, event dropped")
	}
	return p
}

// request posts a request and remembers its transaction for the response.
func (o *owner) request(tx ServerTx, ev callcore.RequestIn, flow string) posted {
	o.txMu.Lock()
	o.server[tx.ID()] = served{tx, ev.Msg, flow}
	o.txMu.Unlock()
	p := o.post(ev)
	if p != taken {
		o.forget(tx.ID())
	}
	return p
}

// forget drops a server transaction and returns it.
func (o *owner) forget(id string) (served, bool) {
	o.txMu.Lock()
	defer o.txMu.Unlock()
	s, ok := o.server[id]
	delete(o.server, id)
	return s, ok
}

// unanswered takes out the transactions that have had no final response.
func (o *owner) unanswered() []served {
	o.txMu.Lock()
	defer o.txMu.Unlock()
	var out []served
	for id, s := range o.server {
		if !slices.Contains(o.accepted[:], id) {
			out = append(out, s)
		}
	}
	o.server = map[string]served{}
	return out
}

// run is the owner goroutine.
func (o *owner) run() {
	defer o.m.wg.Done()
	defer o.stop()
	for {
		select {
		case <-o.inbox.wake:
		case <-o.m.ctx.Done():
			return
		}
		for ev, ok := o.inbox.next(); ok; ev, ok = o.inbox.next() {
			if o.step(ev); o.ended || o.lost {
				return
			}
			if o.m.ctx.Err() != nil {
				return
			}
		}
	}
}

// step feeds one event to the core, saves the state and performs the effects in order.
func (o *owner) step(ev callcore.Event) {
	if errors.Is(o.journal.Err(), store.ErrConflict) {
		o.lost = true
		o.orphans = append(o.orphans, ev)
		return
	}
	switch e := ev.(type) {
	case calm:
		o.late = nil
		o.store()
		return
	case resumed:
		o.resume()
		return
	case verdict:
		ev = o.judge(e)
	case reported:
		ev = o.hearsay(e.what)
	case handover:
		o.leaving, o.hurry = true, e.now
		if o.moveTo == "" || !o.m.cfg.Alive(o.moveTo) || o.m.isLeaving(o.moveTo) { // else its browser is there
			o.moveTo = e.to
		}
		ev = nil
	case moved: // for the core its browser is back; only where it is has changed
		o.moveTo = e.to
		ev = callcore.FlowBack{}
	case callcore.FlowBack:
		if !o.leaving {
			o.moveTo = "" // it came back here
		}
	}
	if ev == nil { // it was only about what is beside the core
		o.save()
		o.authorise()
		o.follow()
		return
	}
	effects := o.withhold(o.state.Step(time.Now(), ev))
	record := o.state.Record()
	o.shown.Store(&record)
	ids := o.state.Dialogs()
	o.dialogs.Store(&ids)
	o.ended = o.state.Ended()
	o.choose(effects)
	due := o.charge()
	if !o.ended {
		o.save()
	}
	for _, e := range effects {
		if o.lost {
			return
		}
		o.perform(e)
	}
	o.settle(ev)
	if due {
		o.write()
	}
	o.authorise()
	o.follow()
}

// settle forgets the client transaction that ev has ended.
func (o *owner) settle(ev callcore.Event) {
	switch e := ev.(type) {
	case callcore.ResponseIn:
		if e.Msg.Status >= 200 {
			delete(o.client, e.Tx)
		}
	case callcore.TxFailed:
		delete(o.client, e.Tx)
	}
}

// resume starts the timers of a revived call, sends its open Iq transactions again and gives up its open SIP requests, whose
// responses would go to the former owner.
func (o *owner) resume() {
	record := o.state.Record()
	o.shown.Store(&record)
	ids := o.state.Dialogs()
	o.dialogs.Store(&ids)
	for name, at := range o.state.Timers() {
		o.startTimer(name, at)
	}
	for _, t := range o.state.Pending() {
		o.choose([]callcore.Effect{t})
		o.transact(t)
	}
	for _, failed := range o.state.Orphans() {
		o.post(failed)
	}
	if o.m.deps.Records != nil {
		o.write()
	}
	o.authorise()
}

// choose picks the media gateway of a transaction that needs one, before the record is written: a successor finds the choice
// in it and repeats the transaction at the same node, where it is known by its id.
func (o *owner) choose(effects []callcore.Effect) {
	for _, e := range effects {
		if t, ok := e.(callcore.Transact); ok && t.Pick && o.node().MGW == "" {
			n, err := o.m.deps.Gateways.Pick(Need{
				AccessRealm: o.m.cfg.AccessRealm, CoreRealm: o.m.cfg.CoreRealm, Codecs: o.state.Transcode(), Features: o.state.Needs(),
				Emergency: o.state.Facts().Emergency, Priority: o.state.Priority(),
			})
			if o.unpicked = err; err == nil {
				o.place.Store(&n)
			}
		}
	}
}

// usualRecord is what the record of an answered call takes, bytes.
const usualRecord = 10 << 10

// calm is the event that a record is written late; it never reaches the core.
type calm struct{ callcore.Event }

// calmAfter is how long a record of Config.Alone waits for more changes.
const calmAfter = 100 * time.Millisecond

// save has the call's state stored: now, as another instance may have to go on with it, or when this one is alone, once things are calm.
func (o *owner) save() {
	switch {
	case !o.m.cfg.Alone:
		o.store()
	case o.late == nil:
		o.late = time.AfterFunc(calmAfter, func() { o.post(calm{}) })
	}
}

// store takes a snapshot of the call for the store.
func (o *owner) store() {
	o.note()
	n := o.node()
	o.record.State, o.record.MGW, o.record.Boot, o.record.Context = nil, n.MGW, n.Boot, o.state.Record().Context
	rec, err := o.record.Encode(o.state.Encode, max(usualRecord, o.size+o.size/8))
	if err != nil {
		o.log.DPanic("record does not marshal", zap.Error(err))
		return
	}
	o.size = len(rec)
	o.journal.Save(rec, store.Forever)
}

// stop releases what the owner holds. The record of an ended call goes before the manager forgets the call, so that a late
// message does not find and revive it; that of any other call stays for a successor.
func (o *owner) stop() {
	left := append(o.orphans, o.inbox.close()...)
	o.refusePlays(left)
	o.m.retire(o)
	defer o.m.leave(o, left)
	for _, t := range o.timers {
		t.Stop()
	}
	if o.late != nil {
		o.late.Stop()
	}
	if o.pol.cancel != nil {
		o.pol.cancel()
	}
	o.calls.Wait()
	o.finishPolicy(left)
	if o.ended && o.kept() {
		o.erase()
		o.state, o.record = nil, store.Call{} // transactions that wait for repetitions hold on to the owner for half a minute
		return
	}
	o.journal.Close()
}

// refusePlays answers the orders of operators among the events that are left.
func (o *owner) refusePlays(left []callcore.Event) {
	for _, ev := range left {
		if p, ok := ev.(callcore.Play); ok {
			o.m.played(callcore.Played{ID: p.ID, Err: &callcore.IqError{Text: "the call has ended, or goes on elsewhere"}})
		}
	}
}

// erase deletes the record; while the store is away it keeps trying until the manager closes.
func (o *owner) erase() {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := o.journal.Delete(ctx)
		cancel()
		if err == nil || errors.Is(err, store.ErrConflict) { // in conflict: another instance took the call for ours to end
			return
		}
		o.m.deps.Metrics.storeErr.Inc()
		o.log.Warn("call record not deleted", zap.Error(err))
		select {
		case <-o.m.ctx.Done():
			return
		case <-time.After(pause):
		}
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
