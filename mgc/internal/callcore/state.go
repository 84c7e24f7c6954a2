package callcore

import (
	"encoding/json"
	"io"
	"maps"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
	"google.golang.org/protobuf/proto"
)

// State is one call. The zero value is not usable: use New, or unmarshal what MarshalJSON gave. It is owned by the call's
// owner goroutine and is not safe for concurrent use.
type State struct {
	d   data
	now time.Time // of the event being stepped
	out []Effect  // of the event being stepped
}

// phase is where the initial INVITE stands.
type phase string

const (
	phaseNew     phase = ""        // waits for the INVITE
	phaseAdd     phase = "add"     // context being created
	phaseReserve phase = "reserve" // core side answered; waits for the caller's resources (RFC 3312)
	phaseCall    phase = "call"    // callee invited
	phaseUp      phase = "up"      // answered
	phaseEnding  phase = "ending"  // over; dialogs and context are being released
	phaseEnded   phase = "ended"
)

// data is everything a call knows; exported fields so that it survives JSON.
type data struct {
	Cfg    Config               `json:"cfg"`
	Phase  phase                `json:"phase,omitempty"`
	Timers map[string]time.Time `json:"timers,omitempty"`
	Count  uint64               `json:"count,omitempty"` // ids given out

	Caller Leg               `json:"caller"`           // leg that the initial INVITE came on
	Invite headers.Msg       `json:"invite"`           // the initial INVITE
	Server string            `json:"server,omitempty"` // its server transaction while it has no final response
	Legs   [2]leg            `json:"legs"`
	Media  offeranswer.Media `json:"media"`
	Early  []byte            `json:"early,omitempty"` // answer that the caller has been given
	Late   bool              `json:"late,omitempty"`  // the caller made no offer and has not answered ours
	Gate   offeranswer.Gate  `json:"gate,omitempty"`  // what the MGW has been told last
	Forks  forks             `json:"forks,omitzero"`
	Prov   provisional       `json:"prov,omitzero"`

	Pair Pair `json:"pair,omitzero"` // selected by ICE

	Node    node       `json:"node"`
	Waiting *iqIntent  `json:"waiting,omitempty"` // transaction whose reply is out
	Queue   []iqIntent `json:"queue,omitempty"`

	Refers  []refer           `json:"refers,omitempty"`  // transfers asked for, the newest last
	Clients map[string]client `json:"clients,omitempty"` // our requests without final response, by Tx
	Reoffer *reoffer          `json:"reoffer,omitempty"`
	Rec     Record            `json:"rec"`
	Failed  *failure          `json:"failed,omitempty"` // final response of the callee that waits
	Ring    ringing           `json:"ring,omitempty"`
	Orders  [2]digitOrder     `json:"orders,omitzero"`       // by Leg: what the MGW has been told of digits
	Heard   [2]heard          `json:"heard,omitzero"`        // by Leg: which streams are silent
	Silent  [2]time.Time      `json:"silent_since,omitzero"` // by Leg: since when all are that count; zero: one speaks
	Hushed  [2]bool           `json:"silent,omitzero"`       // of records written before there was Silent
	Stats   []byte            `json:"stats,omitempty"`       // Subtract reply, protobuf
}

// node is where the media is.
type node struct {
	MGW     string    `json:"mgw,omitempty"`
	Boot    string    `json:"boot,omitempty"`
	Context string    `json:"context,omitempty"`
	Terms   [2]string `json:"terms,omitempty"` // termination ids by Leg
	Dead    bool      `json:"dead,omitempty"`  // nothing can be subtracted
}

// iqIntent is a transaction that is to be, or was, sent.
type iqIntent struct {
	ID   string `json:"id"`
	Kind string `json:"kind"` // "add", "modify", "streams", "restart", "subtract"
	Req  []byte `json:"req"`  // protobuf of the TransactionRequest

	Leg    Leg    `json:"leg,omitempty"`    // "signals": of the request that asked for them
	Server string `json:"server,omitempty"` // its server transaction
}

// client is what a request of ours was for.
type client struct {
	Leg    Leg    `json:"leg"`
	Method string `json:"method"`
	Server string `json:"server,omitempty"` // server transaction of the other leg that waits for its response
	Seq    uint32 `json:"seq"`
	Kind   string `json:"kind,omitempty"`   // "initial", "reoffer", "pass", "bye", "prack", "refresh"
	MinSE  uint32 `json:"min_se,omitempty"` // of a re-INVITE or UPDATE of ours: the least session interval that it proposes
}

// New returns a call that waits for its initial INVITE (a RequestIn).
func New(cfg Config) *State {
	s := &State{d: data{Cfg: cfg, Timers: map[string]time.Time{}, Clients: map[string]client{}}}
	s.d.Legs[LegAccess] = leg{Tag: cfg.AccessTag, Contact: cfg.AccessContact}
	s.d.Legs[LegCore] = leg{Tag: cfg.CoreTag, Contact: cfg.CoreContact}
	s.d.Rec.Key = cfg.Key
	return s
}

// Pending returns the transactions whose reply is still out (write-ahead): a successor sends them again with the same ids.
func (s *State) Pending() []Transact {
	if s.d.Waiting == nil {
		return nil
	}
	return []Transact{s.transactOf(*s.d.Waiting)}
}

// Timers returns the running timers by name.
func (s *State) Timers() map[string]time.Time { return maps.Clone(s.d.Timers) }

// Ended reports whether the Ended effect has been given.
func (s *State) Ended() bool { return s.d.Phase == phaseEnded }

// DialogID names the dialog of a leg.
type DialogID struct {
	CallID    string
	LocalTag  string // ours
	RemoteTag string // the peer's; "" as long as it is not known
	Target    string // the peer's Contact URI
}

// Dialogs returns both dialogs by Leg.
func (s *State) Dialogs() (out [2]DialogID) {
	for l := range s.d.Legs {
		g := &s.d.Legs[l]
		out[l] = DialogID{CallID: g.CallID, LocalTag: g.Tag, RemoteTag: tagOf(g.Remote), Target: g.Target}
	}
	return out
}

// Transcode returns the encoding names that the call's media gateway has to be able to transcode between.
func (s *State) Transcode() []string { return s.d.Cfg.Policy.Media.Transcode }

// Record returns what is known of the call now.
func (s *State) Record() Record {
	r := s.d.Rec
	r.MGW, r.Context = s.d.Node.MGW, s.d.Node.Context
	if len(s.d.Stats) > 0 {
		var reply iqv1.TransactionReply
		if proto.Unmarshal(s.d.Stats, &reply) == nil {
			for _, a := range reply.GetActions() {
				for _, c := range a.GetCommands() {
					r.Statistics = append(r.Statistics, c.GetStatistics()...)
				}
			}
		}
	}
	return r
}

// MarshalJSON implements json.Marshaler.
func (s *State) MarshalJSON() ([]byte, error) { return json.Marshal(&s.d) }

// Encode writes what MarshalJSON gives, and a line break, without a copy of its own. Errors: those of w.
func (s *State) Encode(w io.Writer) error { return json.NewEncoder(w).Encode(&s.d) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *State) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &s.d); err != nil {
		return err
	}
	s.complete()
	return nil
}

// complete makes the maps that are not stored when they are empty.
func (s *State) complete() {
	if s.d.Timers == nil {
		s.d.Timers = map[string]time.Time{}
	}
	if s.d.Clients == nil {
		s.d.Clients = map[string]client{}
	}
	s.sinceWhen()
}
