package browser

import (
	"google.golang.org/protobuf/types/known/emptypb"

	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// agentIsFull: the media gateway's agent is a full one, in the role that the browser's offer gave it.
func agentIsFull(p *party) {
	id := p.talk()
	audit, err := p.mgw.AuditValue(p.ctx, &iqv1.AuditRequest{
		Context:     &iqv1.ContextRef{Ref: &iqv1.ContextRef_All{All: &emptypb.Empty{}}},
		Termination: &iqv1.TerminationRef{Ref: &iqv1.TerminationRef_All{All: &emptypb.Empty{}}},
	})
	p.ok(err)
	for found := false; !found; {
		r, err := audit.Recv()
		if err != nil {
			p.t.Fatalf("no access termination: %v", err)
		}
		if d := r.GetDescriptor_(); d.GetKind() == iqv1.TerminationDescriptor_KIND_WEBRTC_ACCESS {
			found = true
			if tr := d.GetTransport(); tr.GetIceMode() != iqv1.TransportGroup_ICE_MODE_FULL || tr.GetIceRole() != iqv1.TransportGroup_ICE_ROLE_CONTROLLED || tr.GetIceLite() {
				p.t.Errorf("transport %v", tr)
			}
		}
	}
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}
