package callcore

import (
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// What a browser that calls hears of the media gateway before anybody answers: ringing, where the core sends none, and why the call has failed.
// Both need an answer to the browser's offer before there is one of the core: its codec is chosen by our own preference then.

// Sound is a signal by its name on Iq ("cg/bt"), or an announcement.
type Sound struct {
	Signal       string `json:"signal"`
	Announcement string `json:"announcement,omitempty"` // of "an/apf"
}

// Sounds is the policy.
type Sounds struct {
	Ringback bool             `json:"ringback,omitempty"` // ringing for 180 without early media
	Failure  map[string]Sound `json:"failure,omitempty"`  // by final status of the callee
	Longest  time.Duration    `json:"longest,omitempty"`  // from that status to the final response to the browser; default 20 s
}

// toneLength is how long a tone tells of a failure.
const toneLength = 5 * time.Second

// failure is a final response of the callee that the browser gets once it has heard why.
type failure struct {
	Sound  Sound           `json:"sound"`
	Status int             `json:"status"`
	Reason string          `json:"reason"`
	Extra  []headers.Field `json:"extra,omitempty"`
	Header string          `json:"header,omitempty"` // Reason header field of the callee
	Played bool            `json:"played,omitempty"`
}

// ringing is where the ringing of ours stands.
type ringing string

const (
	ringWaits ringing = "waits" // for the browser's media to be connected
	ringOn    ringing = "on"
)

// requests of SIGNAL_COMPLETED.
const failureRequest = 2

// answerEarly answers the browser's offer before the core has answered ours; false: it cannot. Unless the core will answer no more (final), the
// codec must go with all that it may still answer.
func (s *State) answerEarly(final bool) bool {
	if s.d.Caller != LegAccess || s.d.Late || s.d.Node.Context == "" || s.d.Node.Dead {
		return false
	}
	if s.d.Early != nil {
		return true
	}
	media, body, err := s.d.Media.MakeAnswer(offeranswer.Access)
	if err != nil || !final && !media.Settled(offeranswer.Access) {
		return false
	}
	s.d.Media, s.d.Early = media, body
	s.modify("modify", s.d.Gate, LegAccess)
	return true
}

// ringback begins the ringing for a 180 of the core, where nothing else is heard.
func (s *State) ringback(l Leg, m *headers.Msg) {
	if !s.d.Cfg.Policy.Sounds.Ringback || l != LegCore || m.Status != 180 || s.d.Gate != offeranswer.Closed || s.d.Ring != "" || !s.answerEarly(false) {
		return
	}
	s.d.Ring = ringWaits
	s.connected()
}

// connected plays what has waited for the browser's media.
func (s *State) connected() {
	if !s.d.Legs[LegAccess].Secure {
		return
	}
	if f := s.d.Failed; f != nil && !f.Played {
		f.Played = true
		sig := &iqv1.Signal{Name: f.Sound.Signal, Announcement: f.Sound.Announcement, NotifyCompletion: true, KeepActive: true}
		if f.Sound.Announcement == "" {
			sig.Type, sig.Duration = iqv1.Signal_TYPE_TIMEOUT, durationpb.New(toneLength)
		}
		s.queueSignals(LegAccess, &iqv1.SignalsDescriptor{RequestId: failureRequest, Signals: []*iqv1.Signal{sig}}, LegAccess, "")
		s.lastIntent().Kind = "announce"
	}
	if s.d.Ring == ringWaits && s.d.Failed == nil {
		s.d.Ring = ringOn
		s.queueSignals(LegAccess, &iqv1.SignalsDescriptor{Signals: []*iqv1.Signal{{Name: "cg/rt", KeepActive: true}}}, LegAccess, "")
	}
}

// hush stops our ringing with a Modify that lets other media through.
func (s *State) hush(l Leg, g offeranswer.Gate, d *iqv1.TerminationDescriptor) {
	if l != LegAccess || g == offeranswer.Closed || s.d.Ring == "" {
		return
	}
	if s.d.Ring == ringOn {
		d.Signals = &iqv1.SignalsDescriptor{}
	}
	s.d.Ring = ""
}

// failAloud lets the browser hear why its call has failed before it is told; false: there is nothing to hear.
func (s *State) failAloud(m *headers.Msg, extra []headers.Field) bool {
	sound, ok := s.d.Cfg.Policy.Sounds.Failure[strconv.Itoa(m.Status)]
	if !ok || s.d.Cfg.Emergency || !s.answerEarly(true) {
		return false
	}
	s.stop(timerNoAnswer)
	s.d.Failed = &failure{Sound: sound, Status: m.Status, Reason: m.Reason, Extra: extra, Header: m.Get("Reason")}
	s.answerCaller(183, "", s.d.Early, nil)
	s.modify("modify", offeranswer.Closed, LegAccess) // nothing else is heard, and the end of the signal is told
	s.start(timerAnnounce, s.policy(s.d.Cfg.Policy.Sounds.Longest, 20*time.Second))
	s.connected()
	return true
}

// failNow gives the browser the final response that has waited.
func (s *State) failNow() {
	f := s.d.Failed
	if f == nil || s.d.Phase != phaseCall {
		return
	}
	s.d.Failed = nil
	s.answerCaller(f.Status, f.Reason, nil, f.Extra)
	s.end(CauseRejected, f.Status, f.Header, nil)
}

// onSounded takes the end of a signal.
func (s *State) onSounded(e *iqv1.ObservedEvent) {
	if e.GetParams()["signal_request_id"] == strconv.Itoa(failureRequest) {
		s.failNow()
	}
}

// lastIntent is the transaction that was queued last.
func (s *State) lastIntent() *iqIntent {
	if n := len(s.d.Queue); n > 0 {
		return &s.d.Queue[n-1]
	}
	return s.d.Waiting
}

// operatorRequest marks signals that an operator plays.
const operatorRequest = 3

// onPlay plays an operator's signals.
func (s *State) onPlay(e Play) {
	if s.d.Node.Context == "" || s.d.Node.Dead || s.d.Phase == phaseEnding {
		s.emit(Played{ID: e.ID, Err: &IqError{Text: "the call has no media"}})
		return
	}
	for _, sig := range e.Signals {
		if !utf8.ValidString(sig.GetName()) || !utf8.ValidString(sig.GetAnnouncement()) { // no transaction can hold it
			s.emit(Played{ID: e.ID, Err: &IqError{Code: uint32(gwerr.UnsupportedValue), Text: "a signal's name is no UTF-8"}})
			return
		}
	}
	s.queueSignals(e.Leg, &iqv1.SignalsDescriptor{RequestId: operatorRequest, Signals: e.Signals}, e.Leg, e.ID)
	s.lastIntent().Kind = "play"
}
