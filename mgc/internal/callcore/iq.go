package callcore

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

func side(l Leg) offeranswer.Side { return offeranswer.Side(l) }

// queue takes a transaction; they leave one after the other. Commands for a context that does not exist yet get its id when they leave.
func (s *State) queue(kind string, action *iqv1.Action) {
	action.Atomic = true
	req := &iqv1.TransactionRequest{TransactionId: s.uuid7(), MgcInstance: s.d.Cfg.Instance, Actions: []*iqv1.Action{action}}
	raw, err := proto.Marshal(req)
	if err != nil {
		return // text that is no UTF-8 cannot come out of a parsed description
	}
	s.d.Queue = append(s.d.Queue, iqIntent{ID: req.TransactionId, Kind: kind, Req: raw})
	s.pump()
}

// pump sends the next transaction when none is out.
func (s *State) pump() {
	if s.d.Waiting != nil || len(s.d.Queue) == 0 {
		return
	}
	next := s.d.Queue[0]
	s.d.Queue = s.d.Queue[1:]
	s.d.Waiting = &next
	s.emit(s.transactOf(next))
}

func (s *State) transactOf(i iqIntent) Transact {
	req := &iqv1.TransactionRequest{}
	_ = proto.Unmarshal(i.Req, req) // made by queue
	return Transact{Req: req, Pick: s.d.Node.MGW == "", MGW: s.d.Node.MGW, Boot: s.d.Node.Boot}
}

// add creates the context with both terminations in one atomic action (TS 23.334 §8.2, §8.3).
func (s *State) add() {
	cmds := make([]*iqv1.Command, 0, 2)
	for _, l := range []Leg{LegAccess, LegCore} {
		realm := s.d.Cfg.AccessRealm
		if l == LegCore {
			realm = s.d.Cfg.CoreRealm
		}
		d := s.d.Media.AddDescriptor(side(l), realm, offeranswer.Closed)
		d.Events = s.events(l)
		cmds = append(cmds, &iqv1.Command{Cmd: &iqv1.Command_Add{Add: &iqv1.Add{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Choose{Choose: &emptypb.Empty{}}}, Descriptor_: d,
		}}})
	}
	attributes := &iqv1.ContextAttributes{CorrelationId: s.d.Cfg.Key, OwnerHint: s.d.Cfg.Instance, Priority: s.Priority(), Emergency: s.d.Cfg.Emergency}
	s.queue("add", &iqv1.Action{
		Context:    &iqv1.ContextRef{Ref: &iqv1.ContextRef_Choose{Choose: &emptypb.Empty{}}},
		Attributes: attributes,
		Commands:   cmds,
	})
}

func (s *State) events(l Leg) *iqv1.EventsDescriptor {
	e := &iqv1.EventsDescriptor{RequestId: armed}
	if l == LegAccess {
		for _, t := range []iqv1.EventType{iqv1.EventType_EVENT_TYPE_ICE_RESULT, iqv1.EventType_EVENT_TYPE_DTLS_STATE, iqv1.EventType_EVENT_TYPE_CONSENT_LOST} {
			e.Specs = append(e.Specs, &iqv1.EventSpec{Type: t})
		}
	}
	e.Specs = append(e.Specs, s.inactivityEvents()...)
	if limit := s.d.Cfg.Policy.QualityLimit; limit > 0 {
		e.Specs = append(e.Specs, &iqv1.EventSpec{Type: iqv1.EventType_EVENT_TYPE_QUALITY, StreamId: offeranswer.StreamID, MosCenti: limit})
	}
	return e
}

// modify tells the MGW the wanted state of the legs (TS 23.334 §8.4).
func (s *State) modify(kind string, g offeranswer.Gate, legs ...Leg) {
	var cmds []*iqv1.Command
	for _, l := range legs {
		d := s.d.Media.ModifyDescriptor(side(l), g)
		if kind != "restart" { // of one leg only: what is told here and kept out there changes on both at once
			s.orderDigits(l, d)
			s.heedMode(l, d)
		}
		s.hush(l, g, d)
		cmds = append(cmds, &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: s.d.Node.Terms[l]}}, Descriptor_: d,
		}}})
	}
	s.d.Gate = g
	s.queue(kind, &iqv1.Action{Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: s.d.Node.Context}}, Commands: cmds})
}

// subtract frees the context; what was queued before it no longer matters.
func (s *State) subtract() {
	if s.d.Node.Context == "" || s.d.Node.Dead {
		return
	}
	s.dropSignals(s.d.Queue...)
	s.d.Queue = nil
	s.queue("subtract", &iqv1.Action{
		Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: s.d.Node.Context}},
		Commands: []*iqv1.Command{{Cmd: &iqv1.Command_Subtract{Subtract: &iqv1.Subtract{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}},
		}}}},
	})
}

// outcomeOf returns the error of a reply, nil when all of it was done.
func outcomeOf(e IqReply) *IqError {
	if e.Err != nil {
		return e.Err
	}
	if d := e.Reply.GetError(); d != nil {
		return &IqError{Code: d.GetCode(), Text: d.GetText()}
	}
	if len(e.Reply.GetActions()) == 0 {
		return &IqError{Code: uint32(gwerr.ProtocolError), Text: "reply without action"}
	}
	if d := e.Reply.GetActions()[0].GetError(); d != nil {
		return &IqError{Code: d.GetCode(), Text: d.GetText()}
	}
	return nil
}

func (s *State) onIqReply(e IqReply) {
	w := s.d.Waiting
	if w == nil || w.ID != e.ID {
		return
	}
	s.d.Waiting = nil
	fail := outcomeOf(e)
	switch w.Kind {
	case "add":
		s.added(e, fail)
	case "subtract":
		s.d.Node.Dead = true // gone, or left to the hanging-termination clean-up
		if fail == nil {
			s.d.Stats, _ = proto.Marshal(e.Reply) // a reply that was unmarshalled marshals
		}
	case "trickle":
	case "streams": // refused, none is made (atomic)
		s.streamsMade(e, fail)
	case "announce":
		if fail != nil {
			s.failNow()
		}
	case "play":
		s.emit(Played{ID: w.Server, Err: fail})
	case "signals": // refused, nothing has changed
		s.signalled(w, fail)
	case "restart": // refused, it is undone there (atomic), and the call goes on as it was
		s.restarted(e, fail)
	default:
		s.modified(fail)
	}
	s.pump()
}

// modified takes the outcome of a Modify. A refused one releases the call: both sides believe in media that is not there. It had failed already where
// only the browser was to hear why.
func (s *State) modified(fail *IqError) {
	switch {
	case fail == nil:
	case s.d.Failed != nil && s.d.Phase == phaseCall:
		s.failNow()
	default:
		s.end(CauseMediaGateway, 503, sipReason(503, "Media gateway refused"), nil)
	}
}

// added goes on with the context that was created, or refuses the call.
func (s *State) added(e IqReply, fail *IqError) {
	if e.MGW != "" {
		s.d.Node.MGW = e.MGW
	}
	if e.BootID != "" {
		s.d.Node.Boot = e.BootID
	} else if e.Reply != nil {
		s.d.Node.Boot = e.Reply.GetBootId()
	}
	if fail == nil {
		a := e.Reply.GetActions()[0]
		s.d.Node.Context = a.GetContextId()
		if !s.resolve(a.GetCommands()) {
			fail = &IqError{Code: uint32(gwerr.ProtocolError), Text: "incomplete reply"}
		}
	}
	switch {
	case s.d.Phase != phaseAdd: // the caller has given up meanwhile
		s.subtract()
	case fail != nil && s.fewer(fail):
	case fail != nil:
		s.refuseForGateway(fail)
	case s.awaitReservation():
	default:
		s.inviteCallee()
	}
}

func (s *State) resolve(cmds []*iqv1.CommandReply) bool {
	if len(cmds) != 2 {
		return false
	}
	for i, l := range []Leg{LegAccess, LegCore} {
		s.d.Node.Terms[l] = cmds[i].GetTerminationId()
		m, err := s.d.Media.Resolve(side(l), cmds[i].GetResolved())
		if err != nil {
			return false
		}
		s.d.Media = m
	}
	return true
}

func (s *State) onNotify(r *iqv1.NotifyRequest) {
	if r.GetContextId() != s.d.Node.Context {
		return
	}
	for _, e := range r.GetEvents() {
		switch e.GetType() {
		case iqv1.EventType_EVENT_TYPE_DTLS_STATE:
			s.onDTLS(e)
		case iqv1.EventType_EVENT_TYPE_ICE_RESULT:
			if e.GetParams()["result"] == "failed" {
				s.end(CauseICE, 480, sipReason(480, "ICE failed"), nil)
			} else {
				s.takePair(e)
				s.stop(timerConsent)
			}
		case iqv1.EventType_EVENT_TYPE_SIGNAL_COMPLETED:
			s.onSounded(e)
		case iqv1.EventType_EVENT_TYPE_DTMF:
			for _, l := range []Leg{LegAccess, LegCore} {
				if r.GetTerminationId() == s.d.Node.Terms[l] && s.leads(l, e) {
					s.onPressed(l, r.GetRequestId(), e)
				}
			}
		case iqv1.EventType_EVENT_TYPE_CONSENT_LOST:
			if s.d.Phase == phaseUp {
				s.start(timerConsent, s.policy(s.d.Cfg.Policy.ConsentGrace, defaultConsentGrace))
			}
		case iqv1.EventType_EVENT_TYPE_MEDIA_INACTIVE:
			s.onSilence(s.legOf(r.GetTerminationId()), e.GetStreamId())
		case iqv1.EventType_EVENT_TYPE_QUALITY:
			if e.GetParams()["state"] == "low" {
				s.d.Rec.Impaired++
			}
		case iqv1.EventType_EVENT_TYPE_MEDIA_ACTIVE:
			s.onSpeech(s.legOf(r.GetTerminationId()), e.GetStreamId())
			s.stop(timerConsent)
		}
	}
}

func (s *State) onDTLS(e *iqv1.ObservedEvent) {
	switch e.GetParams()["state"] {
	case "connected":
		s.d.Legs[LegAccess].Secure = true
		s.stop(timerSetUp)
		s.connected()
	case "failed":
		s.end(CauseDTLS, 488, sipReason(488, "DTLS failed: "+e.GetParams()["reason"]), nil)
	case "closed":
		s.end(CauseDTLS, 480, sipReason(480, "DTLS closed by the browser"), nil)
	}
}
