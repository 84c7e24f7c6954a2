package connmodel

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/signals"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Signals is the SignalsDescriptor of a termination (H.248.1 §7.1.11). The zero value is silence.
type Signals struct {
	RequestID uint64
	Internal  bool // heard by the termination that this one is connected to
	List      []Signal
	// Generation grows with each descriptor: the same one again is another order.
	Generation uint32
}

// Signal is one signal. Type, Duration and Rounds are resolved: nothing is left to defaults.
type Signal struct {
	Name         string
	Announcement string        // of an/apf
	Digit        byte          // of dg/...: '0'..'9', '*', '#', 'A'..'D'; 0: another signal
	Rounds       int           // of cadence or file; 0: without end
	Duration     time.Duration // a digit: how long; others: at most; 0: no limit
	Notify, Keep bool

	typ iqv1.Signal_Type // as it was asked for, for audits
}

// Announcement is the name of the signal that plays a file (H.248.7).
const Announcement = "an/apf"

const (
	digitLeast, digitDefault, digitMost = 40 * time.Millisecond, 100 * time.Millisecond, 10 * time.Second

	digitSuffixes = "0123456789soabcd" // of "dg/d", in the order of digitKeys (H.248.1 §E.5)
	digitKeys     = "0123456789*#ABCD"
)

// SignalNames are the signals that there are.
func SignalNames() []string {
	out := []string{Announcement, signals.Dial, signals.Ringing, signals.Busy, signals.Congestion, signals.SpecialInfo, signals.CallWaiting, signals.Confirmation}
	for _, c := range digitSuffixes {
		out = append(out, "dg/d"+string(c))
	}
	return out
}

// DigitOf is the key of a signal "dg/...", 0 for others.
func DigitOf(name string) byte {
	if s, ok := strings.CutPrefix(name, "dg/d"); ok && len(s) == 1 {
		if i := strings.IndexByte(digitSuffixes, s[0]); i >= 0 {
			return digitKeys[i]
		}
	}
	return 0
}

// parseSignals checks a SignalsDescriptor.
func parseSignals(m *iqv1.SignalsDescriptor, t *Termination, env Env) (Signals, *Error) {
	out := Signals{RequestID: m.GetRequestId()}
	if n := len(m.GetSignals()); n > maxSignals {
		return out, Errorf(gwerr.UnsupportedValue, "%d signals, at most %d", n, maxSignals)
	}
	for i, s := range m.GetSignals() {
		internal := s.GetDirection() == iqv1.Signal_DIRECTION_INTERNAL
		switch {
		case s.GetDirection() < 0 || s.GetDirection() > iqv1.Signal_DIRECTION_INTERNAL:
			return out, Errorf(gwerr.UnsupportedValue, "%s: direction %d", Clip(s.GetName()), s.GetDirection())
		case i > 0 && internal != out.Internal:
			return out, Errorf(gwerr.UnsupportedValue, "%s: direction is another than that of the signal before", Clip(s.GetName()))
		case s.GetStreamId() != 0 && gwid.StreamID(s.GetStreamId()) != t.Stream.ID:
			return out, Errorf(gwerr.UnsupportedValue, "%s: no stream %d", Clip(s.GetName()), s.GetStreamId())
		}
		out.Internal = internal
		sig, err := parseSignal(s, env)
		if err != nil {
			return out, err
		}
		out.List = append(out.List, sig)
	}
	return out, nil
}

func parseSignal(m *iqv1.Signal, env Env) (Signal, *Error) {
	s := Signal{
		Name: m.GetName(), Announcement: m.GetAnnouncement(), Digit: DigitOf(m.GetName()), Duration: m.GetDuration().AsDuration(),
		Notify: m.GetNotifyCompletion(), Keep: m.GetKeepActive(), typ: m.GetType(),
	}
	if !slices.Contains(SignalNames(), s.Name) {
		return s, Errorf(gwerr.UnknownSignal, "signal %q", Clip(s.Name))
	}
	switch {
	case m.GetDuration() != nil && !m.GetDuration().IsValid() || s.Duration < 0:
		return s, Errorf(gwerr.UnsupportedValue, "%s: duration %v", s.Name, s.Duration)
	case s.typ < 0 || s.typ > iqv1.Signal_TYPE_BRIEF:
		return s, Errorf(gwerr.UnsupportedValue, "%s: type %d", s.Name, s.typ)
	case m.GetRepeat() > maxRepeat:
		return s, Errorf(gwerr.UnsupportedValue, "%s: repeat %d, at most %d", s.Name, m.GetRepeat(), maxRepeat)
	case s.Announcement != "" && s.Name != Announcement:
		return s, Errorf(gwerr.UnsupportedParameter, "%s: announcement", s.Name)
	case s.Digit != 0:
		return s.digit(m)
	case s.Name == Announcement && s.Announcement == "":
		return s, Errorf(gwerr.MissingParameter, "%s: announcement", s.Name)
	case s.Name == Announcement && (env.Announcement == nil || !env.Announcement(s.Announcement)):
		return s, Errorf(gwerr.NoAnnouncement, "announcement %q", Clip(s.Announcement))
	}
	return s.ends(m)
}

// digit resolves how a digit is played.
func (s Signal) digit(m *iqv1.Signal) (Signal, *Error) {
	if s.Duration == 0 {
		s.Duration = digitDefault
	}
	switch {
	case s.typ != iqv1.Signal_TYPE_UNSPECIFIED && s.typ != iqv1.Signal_TYPE_BRIEF:
		return s, Errorf(gwerr.UnsupportedValue, "%s: type %s; a digit is BRIEF", s.Name, s.typ)
	case m.GetRepeat() > 1:
		return s, Errorf(gwerr.UnsupportedParameter, "%s: repeat", s.Name)
	case s.Duration < digitLeast || s.Duration > digitMost:
		return s, Errorf(gwerr.UnsupportedValue, "%s: duration %v, from %v to %v", s.Name, s.Duration, digitLeast, digitMost)
	}
	return s, nil
}

// briefly are the signals that end by themselves unless it is said otherwise, with the rounds that they have then.
var briefly = map[string]int{Announcement: 1, signals.SpecialInfo: 3, signals.CallWaiting: 2, signals.Confirmation: 1}

// ends resolves how another signal ends.
func (s Signal) ends(m *iqv1.Signal) (Signal, *Error) {
	rounds, brief := briefly[s.Name]
	if rounds == 0 {
		rounds = 1
	}
	if m.GetRepeat() > 0 {
		rounds = int(m.GetRepeat())
	}
	typ := s.typ
	if typ == iqv1.Signal_TYPE_UNSPECIFIED {
		if typ = iqv1.Signal_TYPE_ON_OFF; brief {
			typ = iqv1.Signal_TYPE_BRIEF
		}
	}
	switch {
	case typ == iqv1.Signal_TYPE_TIMEOUT && s.Duration == 0:
		return s, Errorf(gwerr.MissingParameter, "%s: duration, which TIMEOUT needs", s.Name)
	case typ != iqv1.Signal_TYPE_BRIEF && m.GetRepeat() > 0:
		return s, Errorf(gwerr.UnsupportedParameter, "%s: repeat, which only BRIEF has", s.Name)
	case typ == iqv1.Signal_TYPE_ON_OFF && s.Duration > 0:
		return s, Errorf(gwerr.UnsupportedParameter, "%s: duration, which ON_OFF has not", s.Name)
	case typ == iqv1.Signal_TYPE_BRIEF && s.Name == signals.Dial && s.Duration == 0:
		return s, Errorf(gwerr.MissingParameter, "%s: duration; the tone has no end of its own", s.Name)
	case typ == iqv1.Signal_TYPE_BRIEF:
		s.Rounds = rounds
	}
	return s, nil
}

// Ended notes that nothing of the signals that came with the request is playing any more.
func (c *Context) Ended(id gwid.TerminationID, request uint64) {
	for i, t := range c.terms {
		if t.ID == id && t.Signals.RequestID == request {
			silent := *t
			silent.Signals.List = nil
			c.terms = slices.Clone(c.terms)
			c.terms[i] = &silent
		}
	}
}

func (s Signals) message() *iqv1.SignalsDescriptor {
	m := &iqv1.SignalsDescriptor{RequestId: s.RequestID}
	dir := iqv1.Signal_DIRECTION_EXTERNAL
	if s.Internal {
		dir = iqv1.Signal_DIRECTION_INTERNAL
	}
	for _, x := range s.List {
		sig := &iqv1.Signal{
			Name: x.Name, Type: x.typ, Repeat: uint32(x.Rounds), NotifyCompletion: x.Notify, KeepActive: x.Keep, Direction: dir, Announcement: x.Announcement,
		}
		if x.Duration > 0 {
			sig.Duration = durationpb.New(x.Duration)
		}
		m.Signals = append(m.Signals, sig)
	}
	return m
}
