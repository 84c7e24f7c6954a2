package callcore

import iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"

// A call may have several audio streams, one for each m= line (TS 29.334 §5.7.2). Digits and what is played are of the first that both sides
// have a line of, quality is of stream 1; inactivity is of all.

// makeStreams has the MGW make the streams of further lines of an offer inside the call, on both terminations, without media yet.
func (s *State) makeStreams() {
	s.d.Reoffer.Streams = true
	var cmds []*iqv1.Command
	for _, l := range []Leg{LegAccess, LegCore} {
		cmds = append(cmds, &iqv1.Command{Cmd: &iqv1.Command_Modify{Modify: &iqv1.Modify{
			Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_Id{Id: s.d.Node.Terms[l]}},
			Descriptor_: s.d.Media.NewDescriptor(side(l)),
		}}})
	}
	s.queue("streams", &iqv1.Action{Context: &iqv1.ContextRef{Ref: &iqv1.ContextRef_Id{Id: s.d.Node.Context}}, Commands: cmds})
}

// streamsMade goes on with the offer. Lines of streams that the MGW has not made are refused.
func (s *State) streamsMade(e IqReply, fail *IqError) {
	r := s.d.Reoffer
	if r == nil || !r.Streams {
		return
	}
	r.Streams = false
	if fail == nil {
		cmds := e.Reply.GetActions()[0].GetCommands()
		for i, l := range []Leg{LegAccess, LegCore} {
			if len(cmds) == 2 {
				s.d.Media = s.d.Media.Made(side(l), cmds[i].GetResolved())
			}
		}
	}
	if r.Server == "" { // given up meanwhile
		s.d.Media, s.d.Reoffer = s.d.Media.Undo(r.Before), nil // the other side has not heard of it
		return
	}
	s.tellOrAnswer(s.d.Media.Stale(side(r.Leg.Other()))) // not busy: it was not when the offer came, and no INVITE goes out or is taken while there is a Reoffer
}

// fewer tries the call with one stream when no MGW makes several: further lines are refused, never the call. False: it has one, or what was done is not known.
func (s *State) fewer(fail *IqError) bool {
	unsent := fail.Code == 0 && s.d.Node.MGW == ""
	if s.d.Media.Streams() == 1 || s.d.Node.Context != "" || fail.Code == 0 && !unsent {
		return false
	}
	s.d.Media = s.d.Media.Single()
	s.add()
	return true
}
