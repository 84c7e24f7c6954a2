package store

import (
	"bytes"
	"encoding/json"
	"io"
	"time"
)

// Call is the record of one call, under the call key that our tags and Contacts carry. State is the marshalled pure
// core; the other fields are copied out of it, so that an instance can sweep the table without reviving every call.
type Call struct {
	Key     string          `json:"k"`           // call key
	Owner   string          `json:"o"`           // instance that runs it; its lease is the instance's Presence
	MGW     string          `json:"g,omitempty"` // media node; empty: none chosen yet
	Boot    string          `json:"b,omitempty"` // its boot_id
	Context string          `json:"c,omitempty"` // context id there; empty: none yet
	Flow    string          `json:"f,omitempty"` // id of the binding of the browser leg
	Started time.Time       `json:"t"`           // first INVITE
	Beside  json.RawMessage `json:"x,omitempty"` // what the owner keeps beside it: application session, call data records
	State   json.RawMessage `json:"s"`           // callcore state; stays the last field, see Encode
}

// Encode is c as JSON with the State that state writes, which must be JSON; that of c is left out. It is most of the record: put in as it
// comes it is neither read nor copied once more. size is how much of it to expect. Errors: those of state.
func (c Call) Encode(state func(io.Writer) error, size int) ([]byte, error) {
	c.State = nil
	head, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	const none = "null}" // State is the last field
	out := bytes.NewBuffer(make([]byte, 0, len(head)+size))
	out.Write(head[:len(head)-len(none)])
	if err := state(out); err != nil {
		return nil, err
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// Calls returns the table of calls.
func Calls(s Store) Table[Call] { return NewTable[Call](s, "call") }

// CallKey is the store key of a call, for its Journal.
func CallKey(key string) string { return Key("call", key) }
