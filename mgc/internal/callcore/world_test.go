package callcore

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// world is all around one call: the transaction layer, both user agents, the MGW and the clock. It feeds events to a State that is revived
// before each (see revive).
type world struct {
	r      *rand.Rand
	now    time.Time
	s      *State
	stores bool // the state is really stored before each event
	events int
	ladder *strings.Builder // nil: nobody reads it

	caller Leg
	agents [2]*agent // of the dialog in use; the callee's from its 2xx on
	forks  []*agent  // of the callee
	client map[string]*clientTx
	server map[string]*serverTx
	timers map[string]time.Time
	mgw    mgwWorld
	txs    int

	secure, lost       bool
	refusals           bool // a side has refused an offer of ours
	gaveUp             bool // the wait for an ACK is over
	ending             bool
	ended              int
	mustAck            string // what this step has to acknowledge
	acked              []string
	byes               []string          // dialogs that were sent BYE
	seqs               map[string]uint32 // CSeq of our last request, by dialog
	tornDown, guardEnd time.Time

	policy     Policy
	forkTags   int
	again      int // 422 to our initial INVITE
	authorised bool
	mustPrack  string // what this step has to acknowledge reliably: dialog, RSeq, CSeq
	pracks     []string
	watching   bool // this step brought a reliable response
	mustEnd    bool // this step has to end the call
	seen       map[string]int

	sounds     bool // digits and signals are part of it
	presses    []*press
	order      int               // digits that the call core knows of
	byTx       map[string]*press // by server transaction of their INFO
	byClient   map[string]*press // by client transaction of our INFO
	passed     map[*press]bool   // their INFO went on as it was
	lostDigits map[*press]bool   // the MGW has refused to play them
	plays      map[string]int    // outcomes of what operators wanted
	operators  [2]bool           // an operator has played on the leg
}

// clientTx is a request of ours at an agent.
type clientTx struct {
	id        string
	leg       Leg
	msg       headers.Msg
	delivered bool
	cancelled bool
	glare     bool
	final     bool
	refused   bool // with 422
	ringing   int
}

// serverTx is a request of an agent.
type serverTx struct {
	leg    Leg
	agent  *agent
	method string
	finals int
	ok     bool  // the final one is 2xx
	want   []int // finals that are right; nil: any
	early  bool  // an offer in an early dialog

	knows     bool   // it supports timer
	seconds   uint32 // Session-Expires that it asks for; 0: none
	refresher string
}

func newWorld(seed uint64, i int) *world {
	r := rand.New(rand.NewPCG(seed, uint64(i)))
	p := DefaultPolicy()
	p.EarlyMedia = peertest.Pick(r, EarlyMediaAlways, EarlyMediaAlways, EarlyMediaAlways, EarlyMediaAuthorised, EarlyMediaNever)
	if peertest.Chance(r, 20) {
		p.InactivityGrace = 30 * time.Second
	}
	p.Reliable = peertest.Chance(r, 85)
	p.Media.Preconditions = peertest.Pick(r, offeranswer.PreconditionsOff, offeranswer.PreconditionsAnswer, offeranswer.PreconditionsFull)
	p.Media.SRTP = peertest.Pick(r, offeranswer.SRTPOff, offeranswer.SRTPOff, offeranswer.SRTPOsrtp, offeranswer.SRTPRequired)
	p.Media.Streams = peertest.Pick(r, 1, 1, 1, 1, 3)
	p.SessionExpires = peertest.Pick[uint32](r, 0, 0, 1800)
	p.MinSE = peertest.Pick[uint32](r, 0, 0, 0, 0, 300)
	about := world{r: r}
	about.soundPolicy(&p)
	cfg := Config{Key: "k1", Instance: "i", Seed: fmt.Sprintf("0123456789abcdef%016x", r.Uint64()), AccessContact: "sip:at@a.example",
		CoreContact: "sip:ct@c.example", AccessTag: "at", CoreTag: "ct", AccessRealm: "access", CoreRealm: "core", UserAgent: "isthmus", Policy: p}
	w := &world{r: r, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), s: New(cfg), caller: Leg(r.IntN(2)), policy: p, stores: i%race.Fewer(4, 16) == 0,
		seqs: map[string]uint32{}, seen: map[string]int{}, client: map[string]*clientTx{}, server: map[string]*serverTx{}, timers: map[string]time.Time{}}
	w.sounds = about.sounds
	w.byTx, w.byClient, w.passed, w.lostDigits, w.plays = map[string]*press{}, map[string]*press{}, map[*press]bool{}, map[*press]bool{}, map[string]int{}
	w.agents[w.caller] = newAgent(r, w.caller, "caller-call-id", "f1", p.Media)
	return w
}

func (w *world) note(format string, args ...any) {
	if w.ladder != nil {
		fmt.Fprintf(w.ladder, "%8.2f "+format+"\n", append([]any{w.now.Sub(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)).Seconds()}, args...)...)
	}
}

func (w *world) tx(a *agent, method string) string {
	w.txs++
	id := fmt.Sprintf("s%d", w.txs)
	w.server[id] = &serverTx{leg: a.leg, agent: a, method: method}
	return id
}

// step feeds an event to both and takes the effects.
func (w *world) step(ev Event) error {
	w.now = w.now.Add(time.Duration(1+w.r.IntN(50)) * time.Millisecond)
	w.events++
	if w.ladder != nil {
		w.note("%s", describeEvent(ev))
	}
	ended := w.s.Ended()
	got, err := w.perform(ev)
	if err != nil {
		return err
	}
	if ended && len(got) > 0 {
		return fmt.Errorf("%d effects after the end", len(got))
	}
	for _, e := range got {
		if err := w.take(e); err != nil {
			return err
		}
	}
	if must := w.mustAck; must != "" && !ended && !slices.Contains(w.acked, must) {
		return fmt.Errorf("2xx is not acknowledged: %s (RFC 3261 §13.2.2.4)", must)
	}
	w.mustAck, w.acked = "", w.acked[:0]
	if err := errors.Join(w.acknowledged(len(got)), w.timed(), w.repeats()); err != nil {
		return err
	}
	if w.mustEnd && w.s.d.Phase != phaseEnding && w.s.d.Phase != phaseEnded {
		return errors.New("the call goes on without an answer")
	}
	w.mustEnd = false
	return w.afterStep()
}

// afterStep notes the beginning of the end, from which the guard runs.
func (w *world) afterStep() error {
	if w.s.d.Phase == phaseEnding && !w.ending {
		w.ending, w.tornDown = true, w.now
		at, ok := w.timers[timerGuard]
		if !ok || at.Sub(w.now) > 40*time.Second {
			return errors.New("no guard over the end")
		}
		w.guardEnd = at
	}
	if !maps.EqualFunc(w.timers, w.s.d.Timers, time.Time.Equal) {
		return fmt.Errorf("timers %v, known %v", w.timers, w.s.d.Timers)
	}
	if w.ending {
		for name := range w.timers {
			if name != timerGuard && name != timerAck && name != timerAckEnd {
				return fmt.Errorf("timer %s runs in a call that ends", name)
			}
		}
	}
	if w.ended > 0 != w.s.Ended() {
		return errors.New("Ended effect and state differ")
	}
	return nil
}

func describeEvent(ev Event) string {
	switch e := ev.(type) {
	case RequestIn:
		return fmt.Sprintf("%s: %s %s %s\n%s", e.Leg, e.Msg.Method, e.Msg.Get("CSeq"), e.Tx, e.Msg.Body)
	case ResponseIn:
		return fmt.Sprintf("%s: %d %s %s To %s\n%s", e.Leg, e.Msg.Status, e.Msg.Get("CSeq"), e.Tx, e.Msg.Get("To"), e.Msg.Body)
	case IqReply:
		return fmt.Sprintf("mgw: reply %s error %v", e.ID, e.Err)
	case IqNotify:
		return fmt.Sprintf("mgw: notify %v", e.Req.GetEvents())
	}
	return fmt.Sprintf("%T %+v", ev, ev)
}

// take checks one effect and performs it.
func (w *world) take(e Effect) error {
	if w.ended > 0 {
		return fmt.Errorf("%T after Ended", e)
	}
	switch e := e.(type) {
	case SendRequest:
		return w.takeRequest(e)
	case SendCancel:
		w.note("    -> %s: CANCEL %s", e.Leg, e.Tx)
		c := w.client[e.Tx]
		if c == nil || c.final || c.msg.Method != "INVITE" || c.cancelled {
			return fmt.Errorf("CANCEL of %s", e.Tx)
		}
		c.cancelled = true
	case SendResponse:
		return w.takeResponse(e)
	case Transact:
		return w.takeTransact(e)
	case StartTimer:
		w.timers[e.Name] = e.At
	case StopTimer:
		delete(w.timers, e.Name)
	case Played:
		return w.played(e)
	case Ended:
		w.note("    -> Ended %s", e.Cause)
		w.ended++
		return w.checkEnd()
	}
	return nil
}

func dialogOf(m *headers.Msg) string { return m.Get("Call-ID") + "/" + headers.ToTag(m) }

func (w *world) takeRequest(e SendRequest) error {
	m := &e.Msg
	w.note("    -> %s: %s %s %s To %s\n%s", e.Leg, m.Method, m.Get("CSeq"), e.Tx, m.Get("To"), m.Body)
	if err := w.browserView(m); e.Leg == LegAccess && err != nil {
		return err
	}
	cs, err := headers.ParseCSeq(m.Get("CSeq"))
	if err != nil || cs.Method != m.Method {
		return fmt.Errorf("CSeq %q", m.Get("CSeq"))
	}
	if m.Method == "ACK" {
		if e.Tx != "" {
			return errors.New("ACK with a transaction")
		}
		w.acked = append(w.acked, fmt.Sprintf("%s %d", dialogOf(m), cs.Seq))
		if a := w.agents[e.Leg]; a != nil && headers.ToTag(m) == a.tag {
			a.waits = false
		}
		return nil
	}
	dialog := dialogOf(m)
	last, known := w.seqs[dialog]
	if !known {
		last = w.seqs[m.Get("Call-ID")+"/"] // a dialog goes on from its INVITE
	}
	if cs.Seq != last+1 || w.client[e.Tx] != nil || e.Tx == "" {
		return fmt.Errorf("%s %d after %d, transaction %q (RFC 3261 §12.2.1.1)", m.Method, cs.Seq, last, e.Tx)
	}
	w.seqs[dialog] = cs.Seq
	w.client[e.Tx] = &clientTx{id: e.Tx, leg: e.Leg, msg: *m}
	if err := w.takeDigit(e); err != nil {
		return err
	}
	if slices.Contains(w.byes, dialog) {
		return fmt.Errorf("%s in a dialog that has had its BYE", m.Method)
	}
	a := w.agents[e.Leg]
	if err := w.askedRight(a, m); err != nil {
		return err
	}
	switch {
	case m.Method == "BYE":
		return w.takeBye(e, a)
	case m.Method == "PRACK":
		return w.takePrack(e)
	case m.Method == "INVITE" && headers.ToTag(m) == "" && e.Leg == LegAccess:
		return w.ringsRightly()
	case headers.ToTag(m) == "" && m.Method != "INVITE":
		return fmt.Errorf("%s without a dialog", m.Method)
	case m.Method == "UPDATE" && !a.update:
		return fmt.Errorf("UPDATE to %s, which does not allow it (RFC 3311 §5.1)", e.Leg)
	case m.Method == "INVITE" && headers.ToTag(m) != "":
		return w.takeReinvite(e, a)
	}
	return nil
}

func (w *world) takeBye(e SendRequest, a *agent) error {
	w.byes = append(w.byes, dialogOf(&e.Msg))
	if a == nil || headers.ToTag(&e.Msg) != a.tag {
		return nil // a fork that lost
	}
	a.byes++
	switch {
	case a.over && a.byes > 1:
		return fmt.Errorf("%d BYE for %s", a.byes, e.Leg)
	case len(a.acks) > 0 && !w.gaveUp:
		return errors.New("BYE before the ACK of our 2xx (RFC 3261 §15)")
	case !a.up:
		return errors.New("BYE for a dialog that is not up")
	}
	return nil
}

func (w *world) takeReinvite(e SendRequest, a *agent) error {
	for _, c := range w.client {
		if c.leg == e.Leg && c.id != e.Tx && c.msg.Method == "INVITE" && !c.final {
			return errors.New("two INVITEs are open (RFC 3261 §14.1)")
		}
	}
	switch {
	case a == nil || !a.up || a.over:
		return errors.New("re-INVITE without a dialog")
	case len(e.Msg.Body) == 0:
		return errors.New("re-INVITE without an offer")
	case len(a.acks) > 0:
		return errors.New("re-INVITE before the ACK of our 2xx (RFC 3261 §14.1)")
	case a.open != "" && w.server[a.open].finals == 0:
		return errors.New("an offer while the peer's is not answered (RFC 3264 §4)")
	}
	return nil
}

func (w *world) takeResponse(e SendResponse) error {
	w.note("    -> %s: %d %s retransmission %v RSeq %s\n%s", e.Leg, e.Msg.Status, e.Tx, e.Retransmission, e.Msg.Get("RSeq"), e.Msg.Body)
	tx := w.server[e.Tx]
	switch {
	case tx == nil || tx.leg != e.Leg:
		return fmt.Errorf("response for unknown transaction %q", e.Tx)
	case e.Msg.Method != tx.method && tx.method != "":
		return fmt.Errorf("response to %s for a %s", e.Msg.Method, tx.method)
	case e.Leg == LegAccess && w.browserView(&e.Msg) != nil:
		return w.browserView(&e.Msg)
	case e.Retransmission && e.Msg.Status < 200:
		return w.takeReliable(tx.agent, &e)
	case e.Retransmission:
		if !tx.ok || tx.method != "INVITE" {
			return errors.New("repeats what is no 2xx to INVITE")
		}
		return nil
	case tx.finals > 0:
		return fmt.Errorf("%d after the final response to %s", e.Msg.Status, tx.method)
	}
	a := tx.agent
	w.tell(tx, &e.Msg)
	if e.Msg.Status >= 200 {
		tx.finals++
		tx.ok = e.Msg.Status < 300
		if tx.want != nil && !slices.Contains(tx.want, e.Msg.Status) {
			return fmt.Errorf("%d to %s, want %v", e.Msg.Status, tx.method, tx.want)
		}
	} else if tx.method != "INVITE" {
		return fmt.Errorf("%d to %s", e.Msg.Status, tx.method)
	}
	if err := w.digitAnswered(e.Tx, e.Msg.Status); err != nil {
		return err
	}
	switch {
	case e.Tx == a.open && tx.ok && a.rel.holds():
		return fmt.Errorf("%d before the PRACK of a description (RFC 3262 §3)", e.Msg.Status)
	case e.Tx == a.open && tx.ok && !a.up && a.rel.settled && len(e.Msg.Body) > 0:
		return fmt.Errorf("%d repeats an acknowledged description (RFC 6337 §3.1.1)", e.Msg.Status)
	case e.Tx == a.mid && tx.ok && len(e.Msg.Body) == 0:
		return errors.New("2xx without answer")
	case e.Tx != a.open && e.Tx != a.mid && len(e.Msg.Body) > 0 && e.Msg.Status != 580:
		return errors.New("an answer without offer")
	}
	if err := w.takeTimer(a, tx, &e.Msg); err != nil {
		return err
	}
	if tx.method == "INVITE" && e.Tx == a.open {
		if err := w.takeReliable(a, &e); err != nil {
			return err
		}
	}
	return a.hears(e.Tx, &e.Msg)
}

// checkEnd holds for every call that is over.
func (w *world) checkEnd() error {
	for id, tx := range w.server {
		if tx.finals != 1 {
			return fmt.Errorf("%s %s has had %d final responses", id, tx.method, tx.finals)
		}
	}
	for _, a := range w.agents {
		if a != nil && a.up && !a.over && a.byes == 0 {
			return fmt.Errorf("the dialog of %s has had no BYE", a.leg)
		}
	}
	return errors.Join(w.mgw.checkEnd(), w.checkSounds())
}
