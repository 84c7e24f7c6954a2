package callcore

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer/peertest"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// sounding is what the MGW has been told of digits and signals, by leg.
type sounding struct {
	tells    [2]bool // digits of the peer are notified
	ends     [2]bool // the end of signals is
	drops    [2]bool // digits of others are kept out of the media to the peer
	request  [2]uint64
	playing  [2]*iqv1.SignalsDescriptor
	notifies []*iqv1.NotifyRequest // that are on their way
}

// soundPolicy chooses how digits go and what is heard.
func (w *world) soundPolicy(p *Policy) {
	if w.sounds = peertest.Chance(w.r, 35); !w.sounds {
		return
	}
	p.Digits = Digits{
		Access: peertest.Pick(w.r, DigitsAuto, DigitsAuto, DigitsInfo, DigitsTone), Core: peertest.Pick(w.r, DigitsAuto, DigitsInfo, DigitsInfo, DigitsTone),
		Info: peertest.Pick(w.r, "", InfoRelay, InfoPlain),
	}
	p.Sounds.Ringback = peertest.Chance(w.r, 50)
	if peertest.Chance(w.r, 60) {
		p.Sounds.Failure = map[string]Sound{"486": {Signal: "cg/bt"}, "404": {Signal: "an/apf", Announcement: "unknown"}, "500": {Signal: "cg/ct"}}
	}
}

// soundActions are digits, and what has to do with signals.
func (w *world) soundActions(add func(int, func() error)) {
	g := &w.mgw
	if !w.sounds || !g.up || g.dead {
		return
	}
	if len(g.notifies) > 0 {
		add(40, w.deliver)
	}
	for _, l := range []Leg{LegAccess, LegCore} {
		if w.agents[l] != nil && !w.agents[l].over && len(w.presses) < 60 {
			add(4, func() error { return w.pressInMedia(l) })
		}
		if len(g.playing[l].GetSignals()) > 0 {
			add(15, func() error { return w.endSignal(l) })
		}
	}
	add(2, w.operator)
	add(w.r.IntN(20)/19, func() error { // the end of signals that nothing is known of any more
		return w.step(IqNotify{Req: ended(peertest.Pick(w.r, LegAccess, LegCore), uint64(w.r.IntN(2))*9, "EV")})
	})
	if len(g.playing[LegAccess].GetSignals()) > 0 {
		add(1, func() error {
			g.dead = true
			w.seen["the MGW is lost while a sound plays"]++
			return w.step(Release{Status: 503, Reason: "media gateway lost", Dead: true})
		})
	}
}

// operator plays something, stops it, or asks for what there is not.
func (w *world) operator() error {
	l := peertest.Pick(w.r, LegAccess, LegCore)
	var list []*iqv1.Signal
	switch w.r.IntN(6) {
	case 0:
	case 1:
		list = []*iqv1.Signal{{Name: "an/apf", Announcement: "hello", NotifyCompletion: true}}
	case 2:
		list = []*iqv1.Signal{{Name: "dg/d5", Duration: durationpb.New(70 * time.Millisecond)}}
	case 3:
		list = []*iqv1.Signal{{Name: "cg/\xff"}}
	default:
		list = []*iqv1.Signal{{Name: "cg/rt"}}
	}
	id := fmt.Sprintf("play%d", len(w.plays))
	w.plays[id] = 0
	w.operators[l] = true
	return w.step(Play{ID: id, Leg: l, Signals: list})
}

// played takes the outcome of an operator's signals.
func (w *world) played(e Played) error {
	w.note("    -> played %s: %v", e.ID, e.Err)
	n, known := w.plays[e.ID]
	if !known || n > 0 {
		return fmt.Errorf("outcome %d of %s", n+1, e.ID)
	}
	w.plays[e.ID]++
	return nil
}

func ended(l Leg, request uint64, method string) *iqv1.NotifyRequest {
	return &iqv1.NotifyRequest{ContextId: "cx1", TerminationId: fmt.Sprintf("ip/%d", l), Events: []*iqv1.ObservedEvent{{
		Type: iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED, Params: map[string]string{"signal_request_id": strconv.FormatUint(request, 10), "method": method}}}}
}

// endSignal ends what plays on the leg by itself; the ringing does not.
func (w *world) endSignal(l Leg) error {
	g := &w.mgw
	d := g.playing[l]
	if d.GetSignals()[0].GetName() == "cg/rt" {
		return nil
	}
	g.playing[l] = nil
	w.tellEnd(l, d, "TO")
	return nil
}

func (w *world) tellEnd(l Leg, d *iqv1.SignalsDescriptor, method string) {
	g := &w.mgw
	if g.ends[l] && slices.ContainsFunc(d.GetSignals(), func(s *iqv1.Signal) bool { return s.GetNotifyCompletion() }) {
		g.notifies = append(g.notifies, ended(l, d.GetRequestId(), method))
	}
}

// completed notes that the caller has heard why its call has failed.
func (w *world) completed(r *iqv1.NotifyRequest) {
	e := r.GetEvents()[0]
	if e.GetType() == iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED && e.GetParams()["signal_request_id"] == strconv.Itoa(failureRequest) && w.s.d.Phase == phaseCall {
		w.mustEnd = true
		w.seen["an announcement ends"]++
	}
}

// hears has the MGW take what a Modify or Add says of events, digits and signals.
func (w *world) hearsOrders(l Leg, d *iqv1.TerminationDescriptor) error {
	g := &w.mgw
	if ev := d.GetEvents(); ev != nil {
		g.request[l], g.tells[l], g.ends[l] = ev.GetRequestId(), false, false
		for _, s := range ev.GetSpecs() {
			g.tells[l] = g.tells[l] || s.GetType() == iqv1.EventType_EVENT_TYPE_DTMF
			g.ends[l] = g.ends[l] || s.GetType() == iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED
		}
	}
	for _, s := range d.GetStreams() {
		switch s.GetLocalControl().GetDigits() {
		case iqv1.LocalControl_DIGITS_DROP:
			g.drops[l] = true
		case iqv1.LocalControl_DIGITS_PLAY:
			g.drops[l] = false
		}
	}
	if sig := d.GetSignals(); sig != nil {
		w.tellEnd(l, g.playing[l], "SD")
		g.playing[l] = sig
		for _, s := range sig.GetSignals() {
			w.seen["signal "+s.GetName()]++
		}
		return w.playDigits(l, sig)
	}
	return nil
}

// quiet holds when nothing is under way: our ringing does not play into media that passes.
func (w *world) quiet() error {
	s := w.mgw.playing[LegAccess].GetSignals()
	if len(s) == 0 || s[0].GetName() != "cg/rt" || !s[0].GetKeepActive() {
		return nil
	}
	if mode := w.mgw.state[LegAccess].GetStreams()[0].GetLocalControl().GetMode(); mode != iqv1.LocalControl_MODE_INACTIVE || w.s.d.Phase == phaseUp {
		return fmt.Errorf("ringing in a call in phase %s, mode %s", w.s.d.Phase, mode)
	}
	return nil
}

// checkSounds holds for every call that is over.
func (w *world) checkSounds() error {
	for id, n := range w.plays {
		if n != 1 {
			return fmt.Errorf("%s has had %d outcomes", id, n)
		}
	}
	for _, p := range w.presses {
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}
