package connmodel

import (
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Effect is something to be done to media. The set is closed.
type Effect interface{ effect() }

// NewAccess opens an access termination with its first stream, on the worker of Near when that is set. The result carries Local and Chosen.
type NewAccess struct {
	Term       gwid.TerminationID
	Stream     gwid.StreamID
	Realm      string
	Near       gwid.TerminationID // another termination of the context; empty: any worker
	Full       bool               // full ICE
	Component2 bool               // RTCP has a component of its own
}

// NewStream opens a further stream of an access termination. The result carries Chosen.
type NewStream struct {
	Term   gwid.TerminationID
	Stream gwid.StreamID
}

// NewCore opens a stream of a core termination, on the worker of Near when that is set. The result carries Chosen.
type NewCore struct {
	Term   gwid.TerminationID
	Stream gwid.StreamID
	Realm  string
	Near   gwid.TerminationID // a termination of the context, of further streams their own; empty: any worker
}

// Configure sets the properties of a stream.
type Configure struct {
	Term     gwid.TerminationID
	Stream   gwid.StreamID
	Settings Settings
}

// SetAccessRemote tells the peer of an access termination; with new credentials it is an ICE restart (RFC 8445 §9), with the same ones it may bring
// further candidates. Without credentials it only tells Mux, ahead of the peer.
// The first one cannot be taken back, but for Mux: after a rollback media keeps it, idle, until the next replaces it.
// The result carries Local, which has new credentials after a restart (RFC 8839 §4.4.1).
type SetAccessRemote struct {
	Term   gwid.TerminationID
	Remote AccessRemote
}

// GiveUpComponent2 ends component 2 (RTCP) of an access termination, which SetAccessRemote with Mux has only put aside: until then the inverse of that brings
// it back. It cannot be undone, and comes at the end of an action. The result carries Local.
type GiveUpComponent2 struct{ Term gwid.TerminationID }

// RestartICE makes new local credentials ahead of an offer of ours (RFC 8445 §9). The result carries Local. It cannot be
// undone: the peer that never hears of the new credentials goes on with the selected pair.
type RestartICE struct{ Term gwid.TerminationID }

// SetCoreRemote tells the peer of a stream of a core termination; a latched address is forgotten.
type SetCoreRemote struct {
	Term   gwid.TerminationID
	Stream gwid.StreamID
	Remote CoreRemote
}

// Play plays a stream's signals in the place of those that are playing on it.
type Play struct {
	Term    gwid.TerminationID
	Stream  gwid.StreamID
	Signals Signals
}

// Connect lets media of the stream pass between the two, both ways, as far as their modes permit.
type Connect struct {
	Access, Core gwid.TerminationID
	Stream       gwid.StreamID
}

// Disconnect undoes Connect.
type Disconnect struct {
	Access, Core gwid.TerminationID
	Stream       gwid.StreamID
}

// Close ends a stream for good, the first one of a termination after the others, and with it what is left of the termination. The result carries
// Statistics. It cannot be undone.
type Close struct {
	Term   gwid.TerminationID
	Stream gwid.StreamID
}

func (NewAccess) effect()        {}
func (NewStream) effect()        {}
func (NewCore) effect()          {}
func (Configure) effect()        {}
func (SetAccessRemote) effect()  {}
func (RestartICE) effect()       {}
func (GiveUpComponent2) effect() {}
func (SetCoreRemote) effect()    {}
func (Play) effect()             {}
func (Connect) effect()          {}
func (Disconnect) effect()       {}
func (Close) effect()            {}

// Result is what performing an effect gave.
type Result struct {
	Err        *Error           // nil: done
	Local      Local            // of NewAccess, SetAccessRemote, RestartICE and GiveUpComponent2
	Chosen     Chosen           // of NewAccess, NewStream and NewCore
	Statistics *iqv1.Statistics // of Close, with termination and stream
}

// Perform carries out one effect and returns when it is done. Called from Context.Apply, in order, on its goroutine.
type Perform func(Effect) Result
