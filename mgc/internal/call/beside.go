package call

import (
	"encoding/json"
	"net/netip"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/cdr"
	"github.com/isthmus-gateway/isthmus/mgc/internal/policy"
)

// Recorder keeps call data records; see cdr.Writer.Put, whose rules are these.
type Recorder interface {
	Put(r cdr.Record, done func(error)) error
}

// beside is what the owner keeps of a call beside the core's state, in the same record: a successor goes on with it.
type beside struct {
	Session policy.Session        `json:"policy,omitzero"` // at the policy function
	Told    string                `json:"told,omitempty"`  // digest of the facts that the policy function knows
	UE      netip.Addr            `json:"ue,omitzero"`     // last known address of the browser's connection
	ANI     string                `json:"ani,omitempty"`   // access as the policy function reported it
	CDR     cdr.Progress          `json:"cdr,omitzero"`
	Charged string                `json:"charged,omitempty"` // digest of the media in the last call data record
	Unkept  map[uint32]cdr.Record `json:"unkept,omitempty"`  // records that are not known to be kept, by number
}

// recall takes out of the record what the former owner has kept.
func (o *owner) recall() {
	if len(o.record.Beside) == 0 {
		return
	}
	if err := json.Unmarshal(o.record.Beside, &o.side); err != nil { // a record of another version: the call itself goes on
		o.log.Warn("what was kept beside the call is lost", zap.Error(err))
		o.side = beside{}
	}
	o.keep.restore(o.side.Unkept)
}

// note puts what is kept beside the core into the record.
func (o *owner) note() {
	if o.m.deps.Policy == nil && o.m.deps.Records == nil {
		return
	}
	o.side.Unkept = o.keep.snapshot()
	raw, err := json.Marshal(&o.side)
	if err != nil {
		o.log.DPanic("what is kept beside the call does not marshal", zap.Error(err))
		return
	}
	o.record.Beside = raw
}

// whereIsUE returns the address of the browser's connection, the last known one while it has none (TS 29.213 §C.2.2).
func (o *owner) whereIsUE() netip.Addr {
	if flow, ok := o.flow(callcore.LegAccess); ok && o.m.deps.PeerOf != nil {
		if a := o.m.deps.PeerOf(flow); a.IsValid() {
			o.side.UE = a
		}
	}
	return o.side.UE
}
