package precond

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Lines are the precondition lines of a media line as its sender wrote them. DirUnset: no such line.
type Lines struct {
	CurrLocal, CurrRemote sdp.Direction
	DesLocal, DesRemote   sdp.Direction
	StrLocal, StrRemote   Strength
	ConfRemote            sdp.Direction // the sender asks to be told about its remote, which is our local
	Other                 bool          // lines of a type or status that we do not handle
	Unknown               string        // the first mandatory des line among these, for a refusal: "qos unknown e2e sendrecv"
}

// Given reports whether there was any line of ours.
func (l Lines) Given() bool {
	return l.CurrLocal|l.CurrRemote|l.DesLocal|l.DesRemote != 0
}

// Read collects the lines among the attributes of a media line. Damaged lines count as Other: a mandatory precondition that is
// not understood must not pass for one that is absent.
func Read(attrs []sdp.Attribute) Lines {
	var l Lines
	for _, a := range attrs {
		f := strings.Fields(a.Value)
		switch a.Name {
		case "curr":
			l.curr(f)
		case "des":
			l.des(f)
		case "conf":
			if len(f) != 3 || f[0] != "qos" {
				l.Other = true
			} else if d, ok := direction(f[2]); ok && f[1] == "remote" {
				l.ConfRemote = d
			}
		}
	}
	return l
}

func (l *Lines) curr(f []string) {
	if len(f) != 3 || f[0] != "qos" {
		l.Other = true
		return
	}
	d, ok := direction(f[2])
	switch {
	case ok && f[1] == "local":
		l.CurrLocal = d
	case ok && f[1] == "remote":
		l.CurrRemote = d
	default:
		l.Other = true
	}
}

func (l *Lines) des(f []string) {
	if len(f) != 4 || f[0] != "qos" {
		l.other(f)
		return
	}
	d, ok := direction(f[3])
	str, known := strength(f[1])
	switch {
	case ok && known && f[2] == "local":
		l.DesLocal, l.StrLocal = d, max(l.StrLocal, str)
	case ok && known && f[2] == "remote":
		l.DesRemote, l.StrRemote = d, max(l.StrRemote, str)
	default:
		l.other(f)
	}
}

// other notes a des line that we do not handle.
func (l *Lines) other(f []string) {
	l.Other = true
	if l.Unknown == "" && len(f) == 4 && f[1] == Mandatory.String() {
		l.Unknown = strings.Join([]string{f[0], Unknown.String(), f[2], f[3]}, " ")
	}
}

func strength(s string) (Strength, bool) {
	for i, n := range strengths {
		if n == s {
			return Strength(i), true
		}
	}
	return None, false
}

func direction(s string) (sdp.Direction, bool) {
	switch s {
	case "none":
		return sdp.Inactive, true
	case "send":
		return sdp.SendOnly, true
	case "recv":
		return sdp.RecvOnly, true
	case "sendrecv":
		return sdp.SendRecv, true
	}
	return sdp.DirUnset, false
}
