// Package precond keeps the quality-of-service preconditions of one media line: the status table of RFC 3312 §5 with the rules of
// RFC 4032. Floor 0 of mgc; pure. Only the segmented status type is used ("local" and "remote"); a peer's end-to-end lines
// are left alone.
//
// A line in a description is written from its sender's point of view: what a peer calls local is remote here.
package precond

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Strength says how much a desired status matters (RFC 3312 §4), in growing order.
type Strength uint8

// The strengths.
const (
	None      Strength = iota // nothing is asked for
	Optional                  // resources are wanted; the callee may be alerted without
	Mandatory                 // no alerting before they are there
	Failure                   // could not be met
	Unknown                   // not understood
)

var strengths = [...]string{None: "none", Optional: "optional", Mandatory: "mandatory", Failure: "failure", Unknown: "unknown"}

// String returns the strength-tag.
func (s Strength) String() string { return strengths[s] }

// Segment is the state of one segment of the path: our access network or the peer's.
type Segment struct {
	Current  sdp.Direction `json:"cur,omitempty"` // reserved; DirUnset and Inactive: none. Seen from us
	Desired  sdp.Direction `json:"des,omitempty"` // wanted. Seen from us
	Strength Strength      `json:"str,omitempty"` // of what is wanted
}

// met reports whether all that is mandatory is reserved.
func (s Segment) met() bool {
	if s.Strength != Mandatory {
		return s.Strength < Mandatory
	}
	return s.Desired == sdp.DirUnset || s.Current.And(s.Desired) == s.Desired
}

// Table is the status table of a media line. The zero value asks for nothing and writes no lines.
type Table struct {
	Local  Segment `json:"local,omitzero"`
	Remote Segment `json:"remote,omitzero"`
	// Confirm: the peer asked to be told when our segment is reserved (a=conf of the peer's remote).
	Confirm bool `json:"confirm,omitempty"`
	// Strange is a mandatory line of the peer that we do not understand; then nothing else counts (RFC 3312 §8).
	Strange string `json:"strange,omitempty"`
	// Asking: we ask to be told when the peer's segment is reserved.
	Asking bool `json:"asking,omitempty"`
}

// InUse reports whether preconditions are in use on the line.
func (t Table) InUse() bool { return t != Table{} }

// Met reports whether the callee may be alerted (RFC 3312 §6).
func (t Table) Met() bool { return t.Strange == "" && t.Local.met() && t.Remote.met() }

// Failed reports whether one side has given up (RFC 3312 §8).
func (t Table) Failed() bool {
	return t.Strange != "" || t.Local.Strength >= Failure || t.Remote.Strength >= Failure
}

// Offered returns the table of a caller whose own access network needs no reservation: what is local is reserved, what is the peer's
// is wanted but not insisted upon (TS 24.229 §6.1.2).
func Offered() Table {
	return Table{
		Local:  Segment{Current: sdp.SendRecv, Desired: sdp.SendRecv, Strength: Mandatory},
		Remote: Segment{Current: sdp.Inactive, Desired: sdp.SendRecv, Strength: Optional},
	}
}

// Answered returns the table of a callee whose access network needs no reservation, after the peer's offer with lines p. As long
// as the peer has not reserved, it is asked to confirm (TS 24.229 §5.1.4.1).
func Answered(p Lines) Table {
	t := Table{}.Take(p)
	t.Local = Segment{Current: sdp.SendRecv, Desired: sdp.SendRecv, Strength: Mandatory}
	if t.Remote.Strength < Mandatory {
		t.Remote.Strength = Mandatory
	}
	if t.Remote.Desired == sdp.DirUnset {
		t.Remote.Desired = sdp.SendRecv
	}
	t.Asking = !t.Remote.met()
	return t
}

// Take returns the table after a description of the peer: its local is our remote. A strength is never lowered by an answer's
// weaker one (RFC 3312 §5.1.3: it may be upgraded only).
func (t Table) Take(p Lines) Table {
	if p.CurrLocal != sdp.DirUnset {
		t.Remote.Current = p.CurrLocal.Reverse()
	}
	if p.CurrRemote != sdp.DirUnset && !t.Local.Current.Sends() && !t.Local.Current.Receives() {
		t.Local.Current = p.CurrRemote.Reverse()
	}
	take := func(s *Segment, dir sdp.Direction, str Strength) {
		if dir == sdp.DirUnset {
			return
		}
		s.Desired = sdp.Dir(s.Desired.Sends() || dir.Reverse().Sends(), s.Desired.Receives() || dir.Reverse().Receives())
		s.Strength = max(s.Strength, str)
	}
	take(&t.Remote, p.DesLocal, p.StrLocal)
	take(&t.Local, p.DesRemote, p.StrRemote)
	t.Confirm = t.Confirm || p.ConfRemote != sdp.DirUnset
	if t.Asking && t.Remote.met() {
		t.Asking = false
	}
	return t
}

// Attributes returns the lines for our description, from our point of view.
func (t Table) Attributes() []sdp.Attribute {
	if !t.InUse() {
		return nil
	}
	line := func(name string, parts ...string) sdp.Attribute {
		return sdp.Attribute{Name: name, Value: "qos " + strings.Join(parts, " ")}
	}
	out := []sdp.Attribute{
		line("curr", "local", text(t.Local.Current)),
		line("curr", "remote", text(t.Remote.Current)),
		line("des", t.Local.Strength.String(), "local", text(t.Local.Desired)),
		line("des", t.Remote.Strength.String(), "remote", text(t.Remote.Desired)),
	}
	if t.Asking {
		out = append(out, line("conf", "remote", text(t.Remote.Desired)))
	}
	return out
}

// Refusal returns the lines that tell which mandatory precondition failed, for the body of a 580 (RFC 3312 §8).
func (t Table) Refusal() []sdp.Attribute {
	var out []sdp.Attribute
	add := func(name string, s Segment) {
		if !s.met() {
			out = append(out, sdp.Attribute{Name: "des", Value: "qos failure " + name + " " + text(s.Desired)})
		}
	}
	add("local", t.Local)
	add("remote", t.Remote)
	if t.Strange != "" {
		out = append(out, sdp.Attribute{Name: "des", Value: t.Strange})
	}
	return out
}

// text returns a direction-tag.
func text(d sdp.Direction) string {
	switch d {
	case sdp.SendOnly:
		return "send"
	case sdp.RecvOnly:
		return "recv"
	case sdp.SendRecv:
		return "sendrecv"
	}
	return "none"
}
