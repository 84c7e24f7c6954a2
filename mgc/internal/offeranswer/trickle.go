package offeranswer

import (
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Trickle takes candidates that a browser tells after its description: a body of application/trickle-ice-sdpfrag (RFC 8840 §9). tell reports that
// the MGW has to hear of them: our agent is full and there are new ones. Those of other credentials, or of a line that is not the audio's, are
// ignored, as are names and types that are ignored in descriptions.
func (m Media) Trickle(body []byte) (out Media, tell bool) {
	l := m.Line(Access)
	w := l.Web
	if w.Ufrag == "" {
		return m, false
	}
	f := fragment(body, l)
	w.Candidates = slices.Clone(w.Candidates)
	for _, c := range candidates(&sdp.Media{Candidates: f.candidates}, w.Component2) {
		if len(w.Candidates) < maxCandidates && !slices.Contains(w.Candidates, c) {
			w.Candidates = append(w.Candidates, c)
			tell = true
		}
	}
	w.EndOfCands = w.EndOfCands || f.end
	l.Web = w
	return m, tell && w.Full && w.LocalUfrag != "" // else what comes next has them all
}

// TransportDescriptor is a Modify of the browser's transport alone.
func (m *Media) TransportDescriptor() *iqv1.TerminationDescriptor {
	return &iqv1.TerminationDescriptor{Transport: m.Line(Access).Web.group()}
}

// frag is what a fragment tells of the audio's transport.
type frag struct {
	candidates []sdp.Candidate
	end        bool
}

// section is what stands before the first pseudo m= line, which is for all, or in one.
type section struct {
	ours  bool
	ufrag string // "": the fragment does not say it
	frag
}

// fragment reads a body of pseudo m= lines (RFC 8840 §9.2): those of the audio lines, or of a line that carries the transport of their group, with the
// credentials that are in use.
func fragment(body []byte, l *Line) (f frag) {
	const most = 256 // lines
	s := section{ours: true}
	common := "" // ufrag for all
	take := func() {
		if s.ours && (s.ufrag == "" || s.ufrag == l.Web.Ufrag) {
			f.candidates, f.end = append(f.candidates, s.candidates...), f.end || s.end
		}
	}
	n, first := 0, true
	for line := range strings.Lines(string(body)) {
		if n++; n > most {
			break
		}
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch {
		case strings.HasPrefix(name, "m="):
			if take(); first {
				first, common = false, s.ufrag
			}
			s = section{ufrag: common} // not ours until its mid says otherwise
		case name == "a=mid":
			s.ours = l.Slots != nil && l.carries(value)
		case name == "a=ice-ufrag":
			s.ufrag = value
		case name == "a=end-of-candidates":
			s.end = true
		case name == "a=candidate":
			if c, ok := sdp.ParseCandidate(value); ok {
				s.candidates = append(s.candidates, c)
			}
		}
	}
	take()
	return f
}

// carries reports whether the line of a mid has the audio's transport.
func (l *Line) carries(mid string) bool {
	for i, s := range l.Slots {
		if s.MID == mid && (l.hasLine(i) || !s.Held.IsZero()) {
			return true
		}
	}
	return false
}
