package callcore

import (
	"encoding/json"
	"time"
)

// State is one call. The zero value is not usable: use New, or unmarshal what MarshalJSON gave. It is owned by the call's
// owner goroutine and is not safe for concurrent use.
type State struct{ d data }

// data is everything a call knows; exported fields so that it survives JSON.
type data struct {
	Cfg    Config               `json:"cfg"`
	Timers map[string]time.Time `json:"timers,omitempty"`
}

// New returns a call that waits for its initial INVITE (a RequestIn).
func New(cfg Config) *State { return &State{d: data{Cfg: cfg}} }

// Step takes an event that happened at now and returns what is to be done, in order. It is deterministic: equal states, times
// and events give equal effects. Events that no longer matter give none. It never fails: a bad message is answered.
func (s *State) Step(now time.Time, ev Event) []Effect { return nil }

// Pending returns the transactions whose reply is still out (write-ahead): a successor sends them again with the same ids.
func (s *State) Pending() []Transact { return nil }

// Timers returns the running timers by name.
func (s *State) Timers() map[string]time.Time { return s.d.Timers }

// Ended reports whether the Ended effect has been given.
func (s *State) Ended() bool { return false }

// MarshalJSON implements json.Marshaler.
func (s *State) MarshalJSON() ([]byte, error) { return json.Marshal(&s.d) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *State) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &s.d) }
