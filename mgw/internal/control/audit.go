package control

import (
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/isthmus-gateway/isthmus/mgw/internal/connmodel"
	"github.com/isthmus-gateway/isthmus/mgw/internal/contexts"
	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// rootTermination is the id of root in audit replies (H.248.1 §6.2.2).
const rootTermination = "root"

// AuditValue streams the state of contexts and terminations (H.248.1 §7.2.5). An audit that fails is one reply with error.
func (s *Server) AuditValue(req *iqv1.AuditRequest, stream grpc.ServerStreamingServer[iqv1.AuditReply]) error {
	a := audit{req: req, send: stream.Send}
	switch ref := req.GetContext().GetRef().(type) {
	case *iqv1.ContextRef_All:
		return a.all(s.contexts)
	case *iqv1.ContextRef_Id:
		return a.one(s.contexts, ref.Id)
	case *iqv1.ContextRef_Null:
		return a.send(&iqv1.AuditReply{TerminationId: rootTermination})
	}
	return a.fail(gwerr.SyntaxErrorInActionID, "context must be all, null or an id")
}

// audit is one AuditValue.
type audit struct {
	req  *iqv1.AuditRequest
	send func(*iqv1.AuditReply) error
}

func (a audit) fail(code gwerr.Code, format string, args ...any) error {
	return a.send(&iqv1.AuditReply{Error: connmodel.Errorf(code, format, args...).Descriptor()})
}

// all audits every context; with a termination id it finds that one (H.248.1 §7.2.5, ALL and specific).
func (a audit) all(m *contexts.Manager) error {
	var failed error
	found := false
	m.Snapshots(a.req.GetStatistics(), func(s contexts.Snapshot) bool {
		hit, err := a.rows(s)
		found = found || hit
		failed = err
		return err == nil
	})
	if id := a.req.GetTermination().GetId(); failed == nil && !found && id != "" {
		return a.fail(gwerr.UnknownTermination, "unknown termination %q", connmodel.Clip(id))
	}
	return failed
}

func (a audit) one(m *contexts.Manager, id string) error {
	s, ok := m.Snapshot(gwid.ContextID(id), a.req.GetStatistics())
	if !ok {
		return a.fail(gwerr.UnknownContext, "unknown context %q", connmodel.Clip(id))
	}
	hit, err := a.rows(s)
	term := a.req.GetTermination().GetId()
	if err != nil || hit || term == "" {
		return err
	}
	if m.HasTermination(gwid.TerminationID(term)) {
		return a.fail(gwerr.TerminationNotInContext, "termination %q is not in context %q", connmodel.Clip(term), connmodel.Clip(id))
	}
	return a.fail(gwerr.UnknownTermination, "unknown termination %q", connmodel.Clip(term))
}

// rows sends what was asked for of one context and reports whether that was anything.
func (a audit) rows(s contexts.Snapshot) (hit bool, err error) {
	if want := a.req.GetCorrelationId(); want != "" && want != s.Attributes.GetCorrelationId() {
		return false, nil
	}
	var want string
	switch ref := a.req.GetTermination().GetRef().(type) {
	case nil, *iqv1.TerminationRef_Root:
		return true, a.send(contextRow(s))
	case *iqv1.TerminationRef_Id:
		want = ref.Id
	case *iqv1.TerminationRef_All:
	case *iqv1.TerminationRef_Choose:
		return true, a.fail(gwerr.SyntaxErrorInActionID, "termination CHOOSE in an audit")
	}
	for _, t := range s.Terminations {
		if want != "" && want != string(t.ID) {
			continue
		}
		row := contextRow(s)
		row.TerminationId, row.Descriptor_, row.Statistics = string(t.ID), t.Descriptor(), t.Statistics
		if err := a.send(row); err != nil {
			return true, err
		}
		hit = true
	}
	return hit, nil
}

func contextRow(s contexts.Snapshot) *iqv1.AuditReply {
	return &iqv1.AuditReply{
		ContextId: string(s.ID), Revision: s.Revision, Attributes: s.Attributes, LastControl: timestamppb.New(s.LastControl),
	}
}
