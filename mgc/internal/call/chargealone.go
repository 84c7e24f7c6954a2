package call

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/cdr"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// chargedAlone are the methods outside dialogs that a call data record of type event tells of (TS 32.260 §5.2.2.1.1).
var chargedAlone = []string{"MESSAGE", "PUBLISH", "SUBSCRIBE", "REFER"}

// chargeAlone writes the record of a request outside calls, with its final status. Nothing of it is in the store: it has one record, which is
// lost when the process dies before it is written.
func (m *Manager) chargeAlone(leg callcore.Leg, req *headers.Msg, b Binding, status int) {
	if m.deps.Records == nil || headers.ToTag(req) != "" || !slices.Contains(chargedAlone, req.Method) {
		return
	}
	now := time.Now()
	r := cdr.Record{
		Call: newKey(), Seq: 1, Type: cdr.Event, Time: now, Method: req.Method, Direction: direction(leg), SessionID: req.Get("Session-ID"),
		Calling: uriOf(req.Get("From")), Called: uriOf(req.Get("To")), Requested: req.RequestURI, Request: now, End: now,
		Status: status, CauseCode: cdr.CauseCode(false, false, status), AccessInfo: m.cfg.Trust.AccessInfo,
	}
	if leg == callcore.LegAccess {
		r.AccessID, r.OrigIOI = req.Get("Call-ID"), m.cfg.Trust.OrigIOI
	} else {
		r.CoreID = req.Get("Call-ID")
		v := cdr.ParseVector(req.Get("P-Charging-Vector")).Response(m.cfg.Trust.OrigIOI)
		r.ICID, r.ICIDNode, r.OrigIOI, r.TermIOI = v.ICID, v.Node, v.OrigIOI, v.TermIOI
	}
	if m.deps.PeerOf != nil && b.FlowID != "" {
		if ue := m.deps.PeerOf(b.FlowID); ue.IsValid() {
			r.UserAddress = ue.String()
		}
	}
	if err := m.deps.Records.Put(r, nil); err != nil {
		m.deps.Log.Warn("call data record is not taken", zap.String("method", r.Method), zap.Error(err))
	}
}
