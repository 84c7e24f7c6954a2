package callcore

import (
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
)

// Session timers (RFC 4028), for each leg of its own (standards MO-13). The deadlines are timers of the call and so part of its
// stored state: they outlive the instance.

// minSE is the least interval that anybody may ask for, seconds (RFC 4028 §4).
const minSE = 90

// refresh is the session timer of a leg; Seconds 0: none.
type refresh struct {
	Seconds uint32 `json:"s,omitempty"`
	Ours    bool   `json:"ours,omitempty"` // we refresh
	Min     uint32 `json:"min,omitempty"`  // the peer's Min-SE, as 422 told it
}

func timerRefresh(l Leg) string { return "refresh_" + l.String() }
func timerExpire(l Leg) string  { return "expire_" + l.String() }

// SessionTimer reports whether a timer of a call is a session timer: those run for as long as the call does, also when nothing goes on.
func SessionTimer(name string) bool {
	return slices.Contains([]string{timerRefresh(LegAccess), timerRefresh(LegCore), timerExpire(LegAccess), timerExpire(LegCore)}, name)
}

// lowest is the least interval that is taken.
func (p *Policy) lowest() uint32 { return max(minSE, p.MinSE) }

// askTimer adds to an INVITE or UPDATE of ours what asks for a session timer.
func (s *State) askTimer(l Leg, m *headers.Msg) {
	p := &s.d.Cfg.Policy
	g := &s.d.Legs[l]
	want := headers.SessionExpires{Seconds: p.SessionExpires}
	if g.Timer.Seconds != 0 { // a refresh keeps the roles (RFC 4028 §7.4)
		want = headers.SessionExpires{Seconds: g.Timer.Seconds, Refresher: "uas"}
		if g.Timer.Ours {
			want.Refresher = "uac"
		}
	}
	if want.Seconds == 0 || l == LegAccess && g.Timer.Seconds == 0 {
		return
	}
	least := s.least(l)
	want.Seconds = max(want.Seconds, least)
	headers.AddToken(m, "Supported", "timer")
	m.Set("Session-Expires", want.String())
	if least > minSE {
		m.Set("Min-SE", strconv.FormatUint(uint64(least), 10))
	}
}

// tooShort returns the fields of a 422 when the peer asks for less than is taken (RFC 4028 §9: only a peer that knows the timer).
func (s *State) tooShort(m *headers.Msg) []headers.Field {
	e, err := headers.ParseSessionExpires(m.Get("Session-Expires"))
	least := s.d.Cfg.Policy.lowest()
	if err != nil || e.Seconds >= least || !headers.HasToken(m, "Supported", "timer") {
		return nil
	}
	return []headers.Field{{Name: "Min-SE", Value: strconv.FormatUint(uint64(least), 10)}}
}

// grant is the session timer that a 2xx of ours gives; Seconds 0: none.
type grant struct {
	Seconds uint32 `json:"s,omitempty"`
	UAC     bool   `json:"uac,omitempty"` // the peer, which asked, refreshes
}

// grantTimer decides on the session timer that a request of the peer asks for (RFC 4028 §9).
func (s *State) grantTimer(l Leg, m *headers.Msg) grant {
	p := &s.d.Cfg.Policy
	knows := headers.HasToken(m, "Supported", "timer")
	e, err := headers.ParseSessionExpires(m.Get("Session-Expires"))
	if err != nil { // not asked for: ours, when it is wanted
		if p.SessionExpires == 0 || l == LegAccess {
			return grant{}
		}
		e = headers.SessionExpires{Seconds: max(p.SessionExpires, p.lowest())}
		if least, ok := headers.MinSE(m); ok {
			e.Seconds = max(e.Seconds, least)
		}
	}
	return grant{Seconds: e.Seconds, UAC: knows && e.Refresher != "uas"}
}

// answerTimer starts the timer that a 2xx of ours gives, and returns what it says.
func (s *State) answerTimer(l Leg, g grant) []headers.Field {
	s.runTimer(l, g.Seconds, !g.UAC)
	if g.Seconds == 0 {
		return nil
	}
	e := headers.SessionExpires{Seconds: g.Seconds, Refresher: "uas"}
	if g.UAC {
		e.Refresher = "uac"
	}
	fields := []headers.Field{{Name: "Session-Expires", Value: e.String()}}
	if g.UAC {
		fields = append(fields, headers.Field{Name: "Require", Value: "timer"})
	}
	return fields
}

// takeTimer starts the timer that a 2xx to a request of ours grants (RFC 4028 §7.2).
func (s *State) takeTimer(l Leg, m *headers.Msg) {
	e, err := headers.ParseSessionExpires(m.Get("Session-Expires"))
	if err != nil {
		s.runTimer(l, 0, false)
		return
	}
	s.runTimer(l, e.Seconds, e.Refresher != "uas")
}

func (s *State) runTimer(l Leg, seconds uint32, ours bool) {
	g := &s.d.Legs[l]
	if s.d.Phase == phaseEnding || g.Gone {
		return
	}
	g.Timer.Seconds, g.Timer.Ours = seconds, ours
	if seconds == 0 {
		s.stop(timerRefresh(l))
		s.stop(timerExpire(l))
		return
	}
	whole := time.Duration(seconds) * time.Second
	if ours {
		s.start(timerRefresh(l), whole/2)
	} else {
		s.stop(timerRefresh(l))
	}
	s.start(timerExpire(l), whole-min(32*time.Second, whole/3)) // RFC 4028 §10
}

// sendRefresh keeps the dialog alive: by UPDATE, or by the last description again where the peer takes no UPDATE.
func (s *State) sendRefresh(l Leg) {
	g := &s.d.Legs[l]
	if !s.refreshes(l) {
		return
	}
	if s.d.Reoffer != nil || s.reoffering() || s.busy(l) {
		s.start(timerRefresh(l), 2*time.Second)
		return
	}
	method := "INVITE"
	if g.Update {
		method = "UPDATE"
	}
	g.Retarget -= min(g.Retarget, 1)
	m := s.inDialog(l, method)
	m.Set("Allow", allowOn(l))
	s.askTimer(l, &m)
	if method == "INVITE" {
		m.Set("Content-Type", "application/sdp")
		s.d.Media, m.Body = s.d.Media.Repeat(side(l))
	}
	s.send(l, m, client{Method: method, Kind: "refresh", MinSE: s.least(l)})
}

// refreshes reports whether a refresh of the dialog is still up to us: the peer may have taken the part over meanwhile, or know our Contact.
func (s *State) refreshes(l Leg) bool {
	g := &s.d.Legs[l]
	return s.d.Phase == phaseUp && !g.Gone && (g.Timer.Seconds != 0 && g.Timer.Ours || g.Retarget > 0)
}

// refreshLater tries again after a failure that may pass.
func (s *State) refreshLater(l Leg) {
	if s.refreshes(l) {
		s.start(timerRefresh(l), 3*time.Second)
	}
}

// least is the least session interval that we propose to a peer.
func (s *State) least(l Leg) uint32 { return max(s.d.Cfg.Policy.lowest(), s.d.Legs[l].Timer.Min) }

// longer notes the longer session interval that a 422 to our request c asks for (RFC 4028 §7.3); false: it asks for no more than c did.
// Another request of ours may have been told the same in the meantime.
func (s *State) longer(l Leg, m *headers.Msg, c client) bool {
	least, ok := headers.MinSE(m)
	if m.Status != 422 || !ok || least <= c.MinSE {
		return false
	}
	g := &s.d.Legs[l]
	g.Timer.Min = max(g.Timer.Min, least)
	return true
}

// onRefreshed takes the final response to a refresh of ours.
func (s *State) onRefreshed(e ResponseIn, c client) {
	g := &s.d.Legs[e.Leg]
	switch m := &e.Msg; {
	case m.Status < 300:
		g.Retarget = 0
		if t := contactOf(m); t != "" {
			g.Target = t
		}
		if c.Method == "INVITE" {
			s.ack(e.Leg, c.Seq)
			s.reanswered(e.Leg, m)
		}
		s.takeTimer(e.Leg, m)
	case s.longer(e.Leg, m, c):
		s.sendRefresh(e.Leg)
	case (m.Status == 405 || m.Status == 501) && c.Method == "UPDATE":
		g.Update = false
		s.sendRefresh(e.Leg)
	case m.Status == 491 || m.Status >= 500:
		s.refreshLater(e.Leg)
	case g.Timer.Seconds == 0: // it is refused, and no session ends by that
		g.Retarget = 0
	case s.refreshes(e.Leg): // refused: once more before the session expires
		if left := s.d.Timers[timerExpire(e.Leg)].Sub(s.now) / 2; left > 5*time.Second {
			s.start(timerRefresh(e.Leg), left)
		}
	}
}

// reanswered takes the answer to an offer that only repeated what was said.
func (s *State) reanswered(l Leg, m *headers.Msg) {
	desc, err := describe(m)
	if err != nil || s.d.Phase != phaseUp {
		return
	}
	media, err := s.d.Media.Answer(side(l), desc)
	if err != nil {
		return
	}
	before := s.d.Media.ModifyDescriptor(side(l), offeranswer.Open)
	s.d.Media = media
	if !proto.Equal(before, media.ModifyDescriptor(side(l), offeranswer.Open)) {
		s.agreed() // the peer took the occasion to change something
	}
}
