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

// Signals is what of a termination's SignalsDescriptor is a stream's (H.248.1 §7.1.11). The zero value is silence.
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

// applySignals takes a SignalsDescriptor, which replaces that of all streams.
func (t *Termination) applySignals(m *iqv1.SignalsDescriptor, env Env) *Error {
	if n := len(m.GetSignals()); n > maxSignals {
		return Errorf(gwerr.UnsupportedValue, "%d signals, at most %d", n, maxSignals)
	}
	internal := len(m.GetSignals()) > 0 && m.GetSignals()[0].GetDirection() == iqv1.Signal_DIRECTION_INTERNAL
	for i := range t.Streams {
		t.Streams[i].Signals = Signals{RequestID: m.GetRequestId(), Internal: internal, Generation: t.Streams[i].Signals.Generation + 1}
	}
	for _, x := range m.GetSignals() {
		s, err := t.named(x.GetStreamId())
		switch {
		case x.GetDirection() < 0 || x.GetDirection() > iqv1.Signal_DIRECTION_INTERNAL:
			return Errorf(gwerr.UnsupportedValue, "%s: direction %d", Clip(x.GetName()), x.GetDirection())
		case internal != (x.GetDirection() == iqv1.Signal_DIRECTION_INTERNAL):
			return Errorf(gwerr.UnsupportedValue, "%s: direction is another than that of the signal before", Clip(x.GetName()))
		case err != nil:
			return err.at("%s", Clip(x.GetName()))
		}
		sig, err := parseSignal(x, env)
		if err != nil {
			return err
		}
		s.Signals.List = append(s.Signals.List, sig)
	}
	return nil
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

// Ended notes that nothing of the signals that came with the request is playing on the stream any more.
func (c *Context) Ended(id gwid.TerminationID, stream gwid.StreamID, request uint64) {
	t := c.Termination(id)
	if t == nil {
		return
	}
	if s := t.Stream(stream); s != nil && s.Signals.RequestID == request {
		c.terms = replace(c.terms, id, func(t *Termination) { t.Stream(stream).Signals.List = nil })
	}
}

// signalsMessage is what plays, stream by stream; nil when nothing does.
func (t *Termination) signalsMessage() *iqv1.SignalsDescriptor {
	m := &iqv1.SignalsDescriptor{}
	for _, s := range t.Streams {
		for _, x := range s.Signals.List {
			sig := &iqv1.Signal{Name: x.Name, Type: x.typ, Repeat: uint32(x.Rounds), NotifyCompletion: x.Notify, KeepActive: x.Keep, Direction: iqv1.Signal_DIRECTION_EXTERNAL, Announcement: x.Announcement}
			if s.Signals.Internal {
				sig.Direction = iqv1.Signal_DIRECTION_INTERNAL
			}
			if s.ID != t.First {
				sig.StreamId = uint32(s.ID)
			}
			if x.Duration > 0 {
				sig.Duration = durationpb.New(x.Duration)
			}
			m.RequestId, m.Signals = s.Signals.RequestID, append(m.Signals, sig)
		}
	}
	if len(m.Signals) == 0 {
		return nil
	}
	return m
}
