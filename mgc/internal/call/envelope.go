package call

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Kinds of envelope.
const (
	kindRequest  = "request"  // for the owner of the call or binding: Tx, Leg, message
	kindCancel   = "cancel"   // of a request sent before: Tx, Leg, message
	kindAck      = "ack"      // for a 2xx: Leg, message
	kindResponse = "response" // back to who sent the request: Tx, message
	kindAdopt    = "adopt"    // the call is yours: Key
)

// envelope is what instances send each other about SIP. On the bus it is a line of JSON, then the message as on the wire.
type envelope struct {
	Kind string       `json:"k"`
	From string       `json:"f"`           // the sending instance
	Tx   string       `json:"t,omitempty"` // server transaction of the instance that the peer is connected to
	Leg  callcore.Leg `json:"l,omitempty"` // edge that the message came from
	Key  string       `json:"c,omitempty"` // call key

	Leaving bool `json:"leaving,omitempty"` // the sender hands the call over because it stops

	msg headers.Msg
}

var errEnvelope = errors.New("call: malformed envelope")

func (e *envelope) encode() ([]byte, error) {
	head, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	head = append(head, '\n')
	if e.Kind == kindAdopt {
		return head, nil
	}
	raw, err := e.msg.Bytes()
	if err != nil {
		return nil, fmt.Errorf("envelope %s: %w", e.Kind, err)
	}
	return append(head, raw...), nil
}

func decodeEnvelope(b []byte) (envelope, error) {
	head, raw, ok := bytes.Cut(b, []byte("\n"))
	var e envelope
	if err := json.Unmarshal(head, &e); !ok || err != nil {
		return e, fmt.Errorf("%w: %w", errEnvelope, err)
	}
	if e.Kind == kindAdopt {
		if !isKey(e.Key) {
			return e, fmt.Errorf("%w: no call key", errEnvelope)
		}
		return e, nil
	}
	var err error
	if e.msg, err = headers.Read(raw, headers.Datagram); err != nil {
		return e, fmt.Errorf("%w: %w", errEnvelope, err)
	}
	if e.From == "" || e.Tx == "" && e.Kind != kindAck || e.msg.IsRequest() == (e.Kind == kindResponse) {
		return e, fmt.Errorf("%w: %s", errEnvelope, e.Kind)
	}
	return e, nil
}
