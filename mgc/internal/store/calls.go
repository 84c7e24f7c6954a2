package store

import (
	"bytes"
	"encoding/json"
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

// Encode is c as JSON. The state is put in as it is: encoding/json would read and copy it once more, and it is most of the record.
// The caller answers for its being JSON; empty: null.
func (c Call) Encode() ([]byte, error) {
	state := c.State
	c.State = nil
	b, err := json.Marshal(c)
	if err != nil || len(state) == 0 {
		return b, err
	}
	const none = "null}" // State is the last field
	if !bytes.HasSuffix(b, []byte(`"s":`+none)) {
		c.State = state
		return json.Marshal(c)
	}
	out := make([]byte, 0, len(b)+len(state))
	out = append(out, b[:len(b)-len(none)]...)
	out = append(out, state...)
	return append(out, '}'), nil
}

// Calls returns the table of calls.
func Calls(s Store) Table[Call] { return NewTable[Call](s, "call") }

// CallKey is the store key of a call, for its Journal.
func CallKey(key string) string { return Key("call", key) }
