package offeranswer

// Preference decides which codec the browser gets when it could use more than one.
type Preference string

// Preferences.
const (
	PreferRelay Preference = "relay" // a codec that both sides share, so that nothing is transcoded
	PreferOpus  Preference = "opus"  // Opus whenever the browser has it, transcoded
)

// Preconditions says on which calls quality-of-service preconditions are used towards the core (RFC 3312; standards PRE-01).
type Preconditions string

// The values.
const (
	PreconditionsOff    Preconditions = "off"
	PreconditionsAnswer Preconditions = "answer-only" // of the core's calls, when the caller uses them
	PreconditionsFull   Preconditions = "full"        // of all calls
)

// Answers reports whether those of the core's offers are answered.
func (p Preconditions) Answers() bool { return p == PreconditionsAnswer || p == PreconditionsFull }

// Policy says which codecs may be used. Names are encoding names in order of preference.
type Policy struct {
	Access    []string   `json:"access"`          // codecs for browsers
	Core      []string   `json:"core"`            // codecs for the core
	Transcode []string   `json:"transcode"`       // codecs that the MGW can transcode between, any pair
	Prefer    Preference `json:"prefer"`          // empty: relay
	Latch     bool       `json:"latch,omitempty"` // learn the core peer's address from its media (H.248.37), for peers behind NAT
	DSCP      uint32     `json:"dscp,omitempty"`  // of media, 0 to 63

	Preconditions Preconditions `json:"preconditions,omitempty"` // empty: off
}

// DefaultPolicy is Opus, G.711 and G.722 for browsers, G.711 and G.722 for the core, all transcodable, relay preferred,
// no latching, DSCP EF (46).
func DefaultPolicy() Policy {
	return Policy{
		Access:    []string{"opus", "PCMA", "PCMU", "G722"},
		Core:      []string{"PCMA", "PCMU", "G722"},
		Transcode: []string{"opus", "PCMA", "PCMU", "G722"},
		Prefer:    PreferRelay,
		DSCP:      46,
	}
}
