package callcore

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Step takes an event that happened at now and returns what is to be done, in order. It is deterministic: equal states, times
// and events give equal effects. Events that no longer matter give none. It never fails: a bad message is answered.
func (s *State) Step(now time.Time, ev Event) []Effect {
	if s.d.Phase == phaseEnded {
		return nil
	}
	s.now, s.out = now.UTC().Round(0), nil
	switch e := ev.(type) {
	case RequestIn:
		s.onRequest(e)
	case CancelIn:
		s.onCancel(e)
	case AckIn:
		s.onAck(e)
	case ResponseIn:
		s.onResponse(e)
	case TxFailed:
		s.onFailed(e)
	case IqReply:
		s.onIqReply(e)
	case IqNotify:
		s.onNotify(e.Req)
	case TimerFired:
		s.onTimer(e.Name)
	case FlowLost:
		s.onFlowLost()
	case FlowBack:
		s.stop(timerFlow)
	case Play:
		s.onPlay(e)
	case Rehomed:
		s.onRehomed(e)
	case RealmsLost:
		if slices.Contains(e.Realms, s.d.Cfg.AccessRealm) || slices.Contains(e.Realms, s.d.Cfg.CoreRealm) {
			s.end(CauseInterface, 503, sipReason(503, "Media gateway's interface failed"), nil)
		}
	case Release:
		s.d.Node.Dead = s.d.Node.Dead || e.Dead
		status := e.Status
		if status == 0 {
			status = 503
		}
		if len(e.Fields) > 0 || e.Body != nil {
			s.answerCaller(status, "", e.Body, e.Fields)
		}
		s.end(CauseReleased, status, sipReason(status, e.Reason), nil)
	}
	s.settle()
	s.finish()
	out := s.out
	s.out = nil
	return out
}

func (s *State) emit(e Effect) { s.out = append(s.out, e) }

// id derives the next identifier from the seed: unpredictable to others, repeatable for a successor.
func (s *State) id() string {
	s.d.Count++
	sum := sha256.Sum256([]byte(s.d.Cfg.Seed + "/" + strconv.FormatUint(s.d.Count, 10)))
	return hex.EncodeToString(sum[:16])
}

// uuid7 is the next identifier in the form of a UUIDv7 (RFC 9562 §5.7) with the time of the event.
func (s *State) uuid7() string {
	h := s.id()
	ms := fmt.Sprintf("%012x", uint64(s.now.UnixMilli())&0xffffffffffff)
	return ms[:8] + "-" + ms[8:] + "-7" + h[1:4] + "-a" + h[5:8] + "-" + h[8:20]
}

// Timer names.
const (
	timerNoAnswer = "no_answer"
	timerAck      = "ack"      // repeat the 2xx
	timerAckEnd   = "ack_end"  // give the ACK up
	timerSetUp    = "set_up"   // media must be connected
	timerConsent  = "consent"  // grace after consent was lost
	timerFlow     = "flow"     // grace after the WebSocket was lost
	timerInactive = "inactive" // grace after media inactivity
	timerSettle   = "settle"   // after glare (RFC 3261 §14.1)
	timerGuard    = "guard"    // the end must come
	timerRel      = "rel"      // repeat the reliable provisional response
	timerRelEnd   = "rel_end"  // give its PRACK up
	timerReserve  = "reserve"  // the caller must have reserved
	timerAnnounce = "announce" // the caller has heard why its call failed
)

func (s *State) start(name string, after time.Duration) {
	at := s.now.Add(after)
	s.d.Timers[name] = at
	s.emit(StartTimer{Name: name, At: at})
}

func (s *State) stop(name string) {
	if _, ok := s.d.Timers[name]; ok {
		delete(s.d.Timers, name)
		s.emit(StopTimer{Name: name})
	}
}

func (s *State) onTimer(name string) {
	if _, ok := s.d.Timers[name]; !ok {
		return
	}
	delete(s.d.Timers, name)
	switch name {
	case timerNoAnswer:
		s.end(CauseNoAnswer, 480, sipReason(480, "No answer"), nil)
	case timerAck:
		s.repeat2xx()
	case timerAckEnd:
		s.noAck()
		s.end(CauseTimeout, 408, sipReason(408, "No ACK"), nil)
	case timerSetUp:
		s.end(CauseICE, 480, sipReason(480, "Media not connected in time"), nil)
	case timerConsent:
		s.end(CauseConsent, 480, sipReason(480, "Media consent lost"), nil)
	case timerFlow:
		s.end(CauseUnreachable, 480, sipReason(480, "WebSocket lost"), nil)
	case timerInactive:
		s.end(CauseInactive, 480, sipReason(480, "No media"), nil)
	case timerSettle:
		s.d.Legs[LegAccess].Refused, s.d.Legs[LegCore].Refused = sdp.DirUnset, sdp.DirUnset
	case timerRel:
		s.repeatProvisional()
	case timerRelEnd:
		s.answerCaller(504, "", nil, nil)
		s.end(CauseTimeout, 504, sipReason(504, "No PRACK"), nil)
	case timerAnnounce:
		s.failNow()
	case timerReserve:
		s.failReservation()
	case timerRefresh(LegAccess):
		s.sendRefresh(LegAccess)
	case timerRefresh(LegCore):
		s.sendRefresh(LegCore)
	case timerExpire(LegAccess), timerExpire(LegCore):
		s.end(CauseExpired, 408, sipReason(408, "Session timer expired"), nil)
	case timerGuard:
		s.giveUp()
	}
}

// giveUp lets go of all that has not come to an end by itself.
func (s *State) giveUp() {
	for _, c := range s.clientsInOrder() {
		s.respond(c.Leg.Other(), c.Server, c.Method, 408, "", nil, nil)
	}
	for l := range s.d.Legs {
		s.d.Legs[l].Due = nil
	}
	if s.d.Waiting != nil {
		s.dropSignals(*s.d.Waiting)
	}
	s.dropSignals(s.d.Queue...)
	s.d.Clients, s.d.Waiting, s.d.Queue, s.d.Node.Dead = map[string]client{}, nil, nil, true
}

func (s *State) onFlowLost() {
	switch s.d.Phase {
	case phaseUp:
		s.start(timerFlow, s.policy(s.d.Cfg.Policy.FlowGrace, time.Minute))
	case phaseAdd, phaseReserve, phaseCall:
		s.end(CauseUnreachable, 480, sipReason(480, "WebSocket lost"), nil)
	}
}

func (s *State) policy(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// sipReason is the value of a Reason header field (RFC 3326).
func sipReason(status int, text string) string {
	return fmt.Sprintf("SIP;cause=%d;text=%s", status, headers.Quote(text))
}

// end releases the call: answers the caller, cancels or leaves the callee, ends dialogs but the one that skip names, and
// frees the media. The first cause stays.
func (s *State) end(cause Cause, status int, reason string, skip *Leg) {
	if s.d.Phase == phaseEnding || s.d.Phase == phaseEnded {
		return
	}
	before := s.d.Phase
	s.d.Phase = phaseEnding
	s.d.Rec.Cause, s.d.Rec.Reason, s.d.Rec.End = cause, reason, s.now
	for _, name := range []string{timerNoAnswer, timerSetUp, timerConsent, timerFlow, timerInactive, timerSettle, timerReserve, timerAnnounce,
		timerRefresh(LegAccess), timerRefresh(LegCore), timerExpire(LegAccess), timerExpire(LegCore)} {
		s.stop(name)
	}
	if r := s.d.Reoffer; r != nil {
		s.d.Reoffer = nil
		s.respond(r.Leg, r.Server, r.Method, 487, "", nil, nil)
	}
	s.dropProvisional()
	if s.d.Server != "" {
		var why []headers.Field
		if reason != "" && cause != CauseCancelled { // the caller knows why it has given up
			why = []headers.Field{{Name: "Reason", Value: reason}}
		}
		s.answerCaller(status, "", nil, why)
	}
	for tx, c := range s.clientsInOrder() {
		if c.Kind == "initial" && before != phaseUp {
			s.emit(SendCancel{Leg: c.Leg, Tx: tx, Reason: reason})
		}
	}
	for _, l := range []Leg{LegAccess, LegCore} {
		if s.d.Legs[l].Up && (skip == nil || *skip != l) {
			s.bye(l, reason)
		}
	}
	s.stopAck()
	s.start(timerGuard, 40*time.Second)
	s.subtract()
}

// bye ends the dialog of a leg; not before the peer has acknowledged our 2xx, or is given up (RFC 3261 §15).
func (s *State) bye(l Leg, reason string) {
	g := &s.d.Legs[l]
	if g.Gone {
		return
	}
	if g.Ack != "" {
		g.Due = &reason
		return
	}
	g.Gone = true
	m := s.inDialog(l, "BYE")
	if reason != "" {
		m.Set("Reason", reason)
	}
	s.send(l, m, client{Method: "BYE", Kind: "bye"})
}

// byeIfDue sends the BYE that waited for an ACK.
func (s *State) byeIfDue(l Leg) {
	if r := s.d.Legs[l].Due; r != nil {
		s.d.Legs[l].Due = nil
		s.bye(l, *r)
	}
}

// noAck gives the ACKs up that have not come.
func (s *State) noAck() {
	for _, l := range []Leg{LegAccess, LegCore} {
		s.d.Legs[l].Ack, s.d.Legs[l].Final = "", nil
		s.byeIfDue(l)
	}
	s.stopAck()
}

// finish gives Ended once nothing is left to wait for.
func (s *State) finish() {
	d := &s.d
	if d.Legs[LegAccess].Due != nil || d.Legs[LegCore].Due != nil {
		return
	}
	if d.Phase != phaseEnding || len(d.Clients) > 0 || d.Waiting != nil || len(d.Queue) > 0 || (d.Node.Context != "" && !d.Node.Dead) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(d.Timers)) {
		s.stop(name)
	}
	d.Phase = phaseEnded
	s.emit(Ended{Cause: d.Rec.Cause, Record: s.Record()})
}
