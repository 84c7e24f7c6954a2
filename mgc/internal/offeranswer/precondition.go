package offeranswer

import "github.com/isthmus-gateway/isthmus/mgc/internal/precond"

// takePreconditions updates the status table by the core's description. A peer that answers without them does not use them (RFC 3312
// §5.1.3), one that offers with them gets an answer with ours when the policy says so.
func (m *Media) takePreconditions(l *Line, p precond.Lines, answer bool) {
	switch {
	case !answer && p.Unknown != "" && m.Policy.Preconditions.Answers() && l.Said == nil:
		l.Pre = precond.Table{Strange: p.Unknown}
	case !p.Given():
		l.Pre = precond.Table{}
	case l.Pre.InUse():
		l.Pre = l.Pre.Take(p)
	case !answer && m.Policy.Preconditions.Answers():
		l.Pre = precond.Answered(p)
	}
}
