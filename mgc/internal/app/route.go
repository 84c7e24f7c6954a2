package app

import (
	"github.com/isthmus-gateway/isthmus/mgc/internal/call"
	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/registrar"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptx"
)

// router is the transaction user: it gives each request to the part whose business it is.
type router struct {
	calls     *call.Manager
	registrar *registrar.Registrar
	gate      *gate
}

func legOf(from siptransport.Flow) callcore.Leg {
	if from.Edge == siptransport.EdgeAccess {
		return callcore.LegAccess
	}
	return callcore.LegCore
}

// OnRequest implements siptx.Handler.
func (r router) OnRequest(tx *siptx.ServerTx, req headers.Msg, from siptransport.Flow) {
	leg := legOf(from)
	switch {
	case leg == callcore.LegCore:
		r.handle(leg, tx, req, from)
	case req.Method == "REGISTER":
		r.registrar.OnRegister(tx, req, from)
	default:
		r.gate.pass(tx, req, from.ID, func(req headers.Msg) { r.handle(leg, tx, req, from) })
	}
}

// handle gives a request that may go on to its part.
func (r router) handle(leg callcore.Leg, tx *siptx.ServerTx, req headers.Msg, from siptransport.Flow) {
	switch {
	case req.Method == "NOTIFY" && leg == callcore.LegCore && r.regEvent(tx, req):
	case req.Method == "INVITE" || headers.ToTag(&req) != "":
		r.calls.OnRequest(leg, tx, req, from.ID)
	default:
		r.calls.OnStandalone(leg, tx, req, from.ID)
	}
}

// regEvent takes the NOTIFY of a subscription of the registrar.
func (r router) regEvent(tx *siptx.ServerTx, req headers.Msg) bool {
	binding, ok := r.registrar.IsRegContact(req.RequestURI)
	if ok {
		r.registrar.OnNotify(tx, req, binding)
	}
	return ok
}

// OnCancel implements siptx.Handler.
func (r router) OnCancel(tx *siptx.ServerTx, cancel headers.Msg) {
	if r.gate.cancel(tx.ID(), tx.Flow().ID) {
		return
	}
	r.calls.OnCancel(legOf(tx.Flow()), tx, cancel)
}

// OnAck implements siptx.Handler.
func (r router) OnAck(ack headers.Msg, from siptransport.Flow) {
	r.calls.OnAck(legOf(from), ack, from.ID)
}
