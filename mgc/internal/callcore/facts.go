package callcore

import (
	"net/netip"
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Facts are what others than the peers are told of a call: the policy function, the call data records. Plain values, read from the
// state; what they refer to must not be changed.
type Facts struct {
	Caller    Leg
	Emergency bool
	Invite    headers.Msg     // initial INVITE as it was received
	Asserted  []headers.Field // fields that we added to the initial INVITE, e.g. P-Asserted-Identity
	Dialog    []headers.Field // our own fields in the core's dialog, e.g. P-Charging-Vector
	Answered  bool            // the callee has answered, and the call is not over
	Over      bool            // the call is over, or being ended
	Settled   bool            // answered, and no offer is being answered: Sides are what is agreed
	Sides     [2]Side         // by Leg
	Terms     [2]string       // termination ids by Leg; "" as long as they are not known
	Forks     []Side          // the callee's side as its further early dialogs have it, in no order that means anything
	Pair      Pair            // of the access side, as the media gateway notified it last; zero: not yet
}

// Side are the media of one side.
type Side struct {
	Lines  []Line        // m= lines of the dialog in order; empty before its first description
	Audio  int           // index in Lines of the stream
	Theirs []codec.Codec // what the peer can receive and is allowed, in its order
	Ours   []codec.Codec // what we said
	Chosen codec.Codec   // in use; zero: not agreed yet
	Dir    sdp.Direction // agreed, from our point of view; DirUnset: not yet
	Want   sdp.Direction // what the peer wants, from its own point of view; DirUnset: not said

	Further []Side // the further streams, in the order of both sides; Lines are the same
	Off     bool   // it has no line, or one that is refused or given up

	Local, Remote netip.AddrPort // media gateway and peer; Remote of the access side is Pair's business
	LocalRTCP     uint16         // 0: multiplexed
	RemoteRTCP    netip.AddrPort
}

// Line is one m= line.
type Line struct {
	Type, Proto string
	Used        bool // false: refused
}

// Pair is the candidate pair that ICE selected (RFC 8445 §8.1.1), joined with what the browser told of its candidate.
type Pair struct {
	Local     netip.AddrPort `json:"local,omitzero"`
	Remote    netip.AddrPort `json:"remote,omitzero"`
	Type      string         `json:"type,omitempty"`      // of the remote candidate: "host", "srflx", "prflx", "relay"
	Transport string         `json:"transport,omitempty"` // "udp"
	Related   netip.AddrPort `json:"related,omitzero"`    // raddr and rport that the browser told; zero: none
}

// Facts returns what is known of the call now.
func (s *State) Facts() Facts {
	d := &s.d
	f := Facts{
		Caller: d.Caller, Emergency: d.Cfg.Emergency, Invite: d.Invite, Asserted: d.Cfg.Outbound.Fields, Dialog: d.Cfg.Outbound.Dialog, Terms: d.Node.Terms,
		Answered: d.Phase == phaseUp, Over: d.Phase == phaseEnding || d.Phase == phaseEnded,
		Settled: d.Phase == phaseUp && d.Reoffer == nil && !d.Late && !s.reoffering(), Pair: d.Pair,
	}
	for l := range f.Sides {
		f.Sides[l] = sideOf(d.Media.Line(side(Leg(l))))
	}
	a := &f.Sides[LegAccess]
	if cands := d.Media.Line(offeranswer.Access).Web.LocalCands; len(cands) > 0 {
		a.Local = netip.AddrPortFrom(cands[0].IP(), cands[0].Port)
	}
	if d.Pair.Local.IsValid() {
		a.Local = d.Pair.Local
	}
	a.LocalRTCP = 0
	for i := range a.Further {
		a.Further[i].Local, a.Further[i].LocalRTCP = a.Local, 0
	}
	callee := d.Caller.Other()
	for tag, line := range d.Forks.Lines {
		if tag != "" && line.Agreed() && side(callee) == offeranswer.Core {
			f.Forks = append(f.Forks, sideOf(&line))
		}
	}
	return f
}

func sideOf(l *offeranswer.Line) Side {
	out := streamOf(l)
	for i := range l.More {
		one := l.Only(i + 1)
		s := streamOf(&one)
		s.Lines, s.Off = out.Lines, one.IsOff()
		out.Further = append(out.Further, s)
	}
	return out
}

// At is the stream of a line, from 0; nil: the line is none's, or refused.
func (s *Side) At(line int) *Side {
	if line == s.Audio && !s.Off {
		return s
	}
	for i := range s.Further {
		if f := &s.Further[i]; !f.Off && f.Audio == line {
			return f
		}
	}
	return nil
}

// streamOf is the first stream.
func streamOf(l *offeranswer.Line) Side {
	out := Side{Audio: l.Audio, Off: l.Off, Theirs: l.Theirs, Ours: l.Ours, Chosen: l.Chosen, Dir: l.Dir, Want: l.Want,
		Local: l.Local, Remote: l.Remote, LocalRTCP: l.LocalRTCP, RemoteRTCP: l.RemoteRTCP}
	for i, slot := range l.Slots {
		out.Lines = append(out.Lines, Line{Type: slot.Type, Proto: slot.Proto, Used: l.Uses(i)})
	}
	return out
}

// takePair remembers the pair of an ICE result. A relayed candidate looks like any other to the media gateway: what it is says the browser.
func (s *State) takePair(e *iqv1.ObservedEvent) {
	p := Pair{Local: addrOf(e.GetLocal()), Remote: addrOf(e.GetRemote()), Type: e.GetRemote().GetType(), Transport: e.GetRemote().GetTransport()}
	if !p.Remote.IsValid() {
		return
	}
	told := s.d.Media.Line(offeranswer.Access).Web.Candidates
	if i := slices.IndexFunc(told, func(c sdp.Candidate) bool { return netip.AddrPortFrom(c.IP(), c.Port) == p.Remote }); i >= 0 {
		p.Type = told[i].Type
		if a, err := netip.ParseAddr(told[i].RelHost); err == nil {
			p.Related = netip.AddrPortFrom(a, told[i].RelPort)
		}
	}
	s.d.Pair = p
}

func addrOf(c *iqv1.Candidate) netip.AddrPort {
	a, err := netip.ParseAddr(c.GetAddress())
	if err != nil || c.GetPort() > 65535 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(c.GetPort()))
}
