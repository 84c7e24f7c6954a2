package callcore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Digits pass as telephone-events or as tones in the media gateway, and by INFO here: one from a peer becomes a signal towards the other, or an INFO
// again; for a peer that wants INFO the media gateway tells the digits of the other one, and keeps them out of its media.

// DigitForm says how digits go to a peer, and come from it.
type DigitForm string

// The forms.
const (
	DigitsAuto DigitForm = "auto"    // telephone-events where agreed, else tones; INFO where the codec spoils tones and the peer takes it
	DigitsInfo DigitForm = "info"    // INFO, whatever is agreed
	DigitsTone DigitForm = "in-band" // like auto, never INFO, and where no telephone-events are agreed tones of the peer are looked for
)

// InfoBody is the kind of body of INFO.
type InfoBody string

// The bodies.
const (
	InfoRelay InfoBody = "dtmf-relay" // Signal=5, Duration=160
	InfoPlain InfoBody = "dtmf"       // 5
)

// Digits is the policy.
type Digits struct {
	Access DigitForm `json:"access,omitempty"` // empty: auto
	Core   DigitForm `json:"core,omitempty"`   // empty: auto
	Info   InfoBody  `json:"info,omitempty"`   // empty: dtmf-relay
}

// digit is one key.
type digit struct {
	Key string        `json:"key"` // "0" to "9", "*", "#", "A" to "D"
	For time.Duration `json:"for"`
}

const (
	maxDigits   = 32 // waiting for a peer's answer to the INFO before
	digitHeld   = 100 * time.Millisecond
	digitLeast  = 40 * time.Millisecond
	digitMost   = 10 * time.Second
	infoType    = "application/"
	digitKeys   = "0123456789*#ABCD"
	digitSuffix = "0123456789soabcd" // of signals dg/d... (H.248.1 §E.5)

	// Requests of EventsDescriptors: under toldApart digits are told and kept out of the other side's media.
	armed, toldApart = 1, 4
)

// isFlash reports whether the body of an INFO is a hook flash (event 16 of RFC 4733 §7), which no signal stands for: it passes as it is.
func isFlash(body []byte) bool {
	for line := range strings.Lines(string(body)) {
		name, value, relay := strings.Cut(line, "=")
		if relay && !strings.EqualFold(strings.TrimSpace(name), "signal") {
			continue
		}
		if !relay {
			value = name
		}
		if slices.Contains([]string{"16", "!", "hf", "flash"}, strings.ToLower(strings.TrimSpace(value))) {
			return true
		}
	}
	return false
}

// isDigit reports whether the request is an INFO with a digit.
func isDigit(m *headers.Msg) bool {
	t := headers.MediaType(m)
	return m.Method == "INFO" && !m.Has("Info-Package") && (t == infoType+string(InfoRelay) || t == infoType+string(InfoPlain)) && !isFlash(m.Body)
}

// parseDigit reads the body of an INFO.
func parseDigit(m *headers.Msg) (digit, bool) {
	d := digit{For: digitHeld}
	if headers.MediaType(m) == infoType+string(InfoPlain) {
		d.Key = keyOf(strings.TrimSpace(string(m.Body)))
		return d, d.Key != ""
	}
	for line := range strings.Lines(string(m.Body)) {
		name, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "signal":
			d.Key = keyOf(value)
		case "duration":
			ms, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return d, false
			}
			if ms > 0 { // some send 0 for a length of our choice
				d.For = min(max(time.Duration(ms)*time.Millisecond, digitLeast), digitMost)
			}
		}
	}
	return d, d.Key != ""
}

// keyOf is the key that a text means; some write the event codes 10 to 15 (RFC 4733 §3.2). Empty: none.
func keyOf(text string) string {
	if n, err := strconv.Atoi(text); err == nil && len(text) == 2 && n >= 10 && n < len(digitKeys) {
		return digitKeys[n : n+1]
	}
	if len(text) != 1 || !strings.Contains(digitKeys, strings.ToUpper(text)) {
		return ""
	}
	return strings.ToUpper(text)
}

// onDigit takes an INFO with a digit and answers it when the digit is on its way.
func (s *State) onDigit(e RequestIn) {
	o := e.Leg.Other()
	d, ok := parseDigit(&e.Msg)
	switch {
	case !ok:
		s.respond(e.Leg, e.Tx, "INFO", 400, "No DTMF digit in the body", nil, nil)
	case s.d.Media.Lead(side(o)) < 0:
		s.respond(e.Leg, e.Tx, "INFO", 480, "No audio line", nil, nil)
	case s.byInfo(o) && !s.d.Legs[o].Up, s.d.Node.Context == "", s.d.Node.Dead:
		s.respond(e.Leg, e.Tx, "INFO", 480, "", nil, nil)
	case s.byInfo(o):
		if !s.sendDigit(o, d) {
			s.respond(e.Leg, e.Tx, "INFO", 503, "Too many digits", nil, nil)
			return
		}
		s.respond(e.Leg, e.Tx, "INFO", 200, "", nil, nil)
	case !s.plays(o) && s.digitForm(o) != DigitsTone: // the peer has not said that it takes INFO; nothing else could reach it
		s.passOn(e)
	default:
		s.playDigit(o, d, e.Leg, e.Tx)
	}
}

// playDigit has the media gateway send a digit to the peer of the leg; the server transaction of the leg from, if there is one, gets the outcome.
func (s *State) playDigit(l Leg, d digit, from Leg, tx string) {
	name := "dg/d" + string(digitSuffix[strings.Index(digitKeys, d.Key)])
	s.queueSignals(l, &iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: name, Duration: durationpb.New(d.For)}}}, from, tx)
}

// sendDigit sends a digit by INFO, after those before it have been answered, and not before the peer is in the call; false: too many wait.
func (s *State) sendDigit(l Leg, d digit) bool {
	g := &s.d.Legs[l]
	if len(g.Digits) >= maxDigits {
		s.emit(DigitLost{Leg: l})
		return false
	}
	g.Digits = append(g.Digits, d)
	if len(g.Digits) == 1 {
		s.nextDigit(l)
	}
	return true
}

// releaseDigits sends what was pressed for a peer before it was in the call, once it is; in its media, when that is where its digits go now.
func (s *State) releaseDigits(l Leg) {
	g := &s.d.Legs[l]
	if !g.Up || len(g.Digits) == 0 || s.d.Phase != phaseUp {
		return
	}
	if s.byInfo(l) {
		s.nextDigit(l)
		return
	}
	left := g.Digits
	g.Digits = nil
	for _, d := range left {
		s.playDigit(l, d, l, "")
	}
}

// nextDigit sends the first digit that waits.
func (s *State) nextDigit(l Leg) {
	g := &s.d.Legs[l]
	if len(g.Digits) == 0 || !g.Up || g.Gone || s.d.Phase == phaseEnding {
		return
	}
	kind, d := s.d.Cfg.Policy.Digits.Info, g.Digits[0]
	if kind == "" {
		kind = InfoRelay
	}
	m := s.inDialog(l, "INFO")
	m.Set("Content-Type", infoType+string(kind))
	m.Body = []byte(d.Key)
	if kind == InfoRelay {
		m.Body = fmt.Appendf(nil, "Signal=%s\r\nDuration=%d\r\n", d.Key, d.For.Milliseconds())
	}
	s.send(l, m, client{Method: "INFO", Kind: "digit"})
}

// digitSent goes on after the final response to an INFO of ours; 0: there was none. A peer that does not take such gets its digits in its media
// from now on, this one first.
func (s *State) digitSent(l Leg, status int) {
	g := &s.d.Legs[l]
	if len(g.Digits) == 0 || s.d.Phase == phaseEnding {
		return
	}
	if slices.Contains([]int{405, 415, 469, 488, 501}, status) {
		left := g.Digits
		g.Digits, g.NoInfo = nil, true
		if s.d.Reoffer == nil { // else Media has what is not agreed: the Modify that ends it brings the orders
			s.modify("modify", s.d.Gate, LegAccess, LegCore)
		}
		for _, d := range left {
			s.playDigit(l, d, l, "")
		}
		return
	}
	g.Digits = g.Digits[1:]
	s.nextDigit(l)
}

// onPressed takes a digit that the media gateway has detected on the leg. What was ordered when it was pressed counts, which the request tells, not
// what is now: a digit that was kept out of the media has to come somewhere, one that was let through must not come again.
func (s *State) onPressed(l Leg, request uint64, e *iqv1.ObservedEvent) {
	o := l.Other()
	key := keyOf(e.GetParams()["digit"])
	orders := s.d.Orders[l]
	apart := request == toldApart || orders.Tell && !orders.Named && s.byInfo(o)
	if key == "" || !apart || s.d.Phase == phaseEnding || s.d.Phase == phaseEnded {
		return
	}
	d := digit{Key: key, For: digitHeld}
	if ms, err := strconv.ParseUint(e.GetParams()["duration_ms"], 10, 31); err == nil && ms > 0 {
		d.For = min(max(time.Duration(ms)*time.Millisecond, digitLeast), digitMost)
	}
	switch {
	case s.byInfo(o):
		s.sendDigit(o, d)
	case s.d.Node.Context != "" && !s.d.Node.Dead:
		s.playDigit(o, d, l, "")
	}
}

// queueSignals plays signals on the termination of a leg, those that name no stream on that which leads; tx is answered with the outcome.
func (s *State) queueSignals(l Leg, sig *iqv1.SignalsDescriptor, from Leg, tx string) {
	if lead := s.d.Media.Lead(side(l)); lead > 0 {
		sig = proto.CloneOf(sig) // an operator's is its own
		for _, x := range sig.GetSignals() {
			if x.GetStreamId() == 0 {
				x.StreamId = offeranswer.StreamID + uint32(lead)
			}
		}
	}
	s.queue("signals", &iqv1.Action{
		Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: s.d.Node.Context}},
		Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: s.d.Node.Terms[l]}},
			Descriptor_: &iqv1.TerminationDescriptor{Signals: sig},
		}}}},
	})
	if tx == "" {
		return
	}
	i := s.lastIntent()
	i.Leg, i.Server = from, tx
}

// signalled takes the outcome of signals: whoever asked for them is told, and the call goes on.
func (s *State) signalled(i *iqIntent, fail *IqError) {
	if i.Server == "" {
		return
	}
	status, reason := 200, ""
	if fail != nil {
		if status = 503; fail.Code != 0 {
			status = gwerr.Code(fail.Code).SIP()
		}
		reason = "Media gateway: " + gwerr.Code(fail.Code).String()
	}
	s.respond(i.Leg, i.Server, "INFO", status, reason, nil, nil)
}

// dropSignals answers those whose signals will not be played any more.
func (s *State) dropSignals(list ...iqIntent) {
	for _, i := range list {
		switch {
		case i.Kind == "play":
			s.emit(Played{ID: i.Server, Err: &IqError{Text: "the call ends"}})
		case i.Kind == "signals" && i.Server != "":
			s.respond(i.Leg, i.Server, "INFO", 487, "", nil, nil)
		}
	}
}
