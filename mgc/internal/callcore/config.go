package callcore

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/mgc/internal/trust"
)

// Config is what the executor hands in when a call begins; it is part of the State and never changes.
type Config struct {
	Key           string        `json:"key"`                 // call key; correlation_id of the context
	Instance      string        `json:"instance"`            // mgc_instance of Iq requests
	Seed          string        `json:"seed"`                // at least 16 random characters; Call-ID, o= ids and transaction ids are derived from it
	AccessContact string        `json:"access_contact"`      // URI with call token, for Contact towards the browser
	CoreContact   string        `json:"core_contact"`        // URI with call token, for Contact towards the core
	AccessTag     string        `json:"access_tag"`          // our tag in the browser's dialog
	CoreTag       string        `json:"core_tag"`            // our tag in the core's dialog
	AccessRealm   string        `json:"access_realm"`        // IP realm of the access termination
	CoreRealm     string        `json:"core_realm"`          // IP realm of the core termination
	UserAgent     string        `json:"user_agent"`          // value of User-Agent and Server; empty: none
	Emergency     bool          `json:"emergency,omitempty"` // an emergency call: priority in the MGW (TS 23.334 §5.14)
	Priority      uint32        `json:"priority,omitempty"`  // of the context, 0 to 14; from 8 on it has a reserve in the MGW (TS 23.334 §5.14)
	Outbound      Outbound      `json:"outbound"`
	Trust         trust.Profile `json:"trust,omitzero"` // what crosses between the legs
	Policy        Policy        `json:"policy"`
}

// Outbound says how the initial INVITE leaves on the other leg.
type Outbound struct {
	RequestURI string          `json:"request_uri"` // empty: that of the received INVITE (browser calls), as the digest of the browser covers it
	Routes     []string        `json:"routes"`      // Route values in order, each one name-addr; towards the core only
	Fields     []headers.Field `json:"fields"`      // appended to the initial INVITE, e.g. P-Asserted-Identity
	Dialog     []headers.Field `json:"dialog"`      // appended to every request towards the core but ACK, e.g. P-Charging-Vector
	Answer     []headers.Field `json:"answer"`      // appended to responses to the core's initial INVITE, e.g. P-Asserted-Identity
	Target     string          `json:"target"`      // opaque to the core: which binding or flow the browser leg goes to (AOR, instance)
}

// Policy is what an operator may choose. Zero durations mean "off" where that is said, else the default.
type Policy struct {
	Media           offeranswer.Policy `json:"media"`
	NoAnswer        time.Duration      `json:"no_answer"`        // guard from the outgoing INVITE to its final response; default 180 s
	SetUp           time.Duration      `json:"set_up"`           // from the answer to DTLS connected; default 15 s
	ConsentGrace    time.Duration      `json:"consent_grace"`    // from consent lost to release, time for an ICE restart; default 15 s
	FlowGrace       time.Duration      `json:"flow_grace"`       // from the loss of the browser's WebSocket to release of an answered call; default 60 s
	InactivityGrace time.Duration      `json:"inactivity_grace"` // from media inactivity to release; 0: never released
	InactivityRTCP  bool               `json:"inactivity_rtcp"`  // RTCP of a peer counts as its media
	InactivityAfter time.Duration      `json:"inactivity_after"` // detection time that the MGW is told; 0: the MGW's default
	QualityLimit    uint32             `json:"quality_limit"`    // hundredths of a MOS below which the MGW tells; 0: never
	EarlyMedia      EarlyMedia         `json:"early_media"`      // whether media of an 18x with SDP reaches the browser
	Reliable        bool               `json:"reliable"`         // 100rel towards the core (RFC 3262)
	Reserve         time.Duration      `json:"reserve"`          // longest wait for the caller's resources (RFC 3312); default 30 s
	SessionExpires  uint32             `json:"session_expires"`  // seconds, session timer asked for towards the core (RFC 4028); 0: none
	MinSE           uint32             `json:"min_se"`           // seconds, least interval taken; at least 90
	T1              time.Duration      `json:"t1"`               // RFC 3261 §17.1.1.1; default 500 ms
	T2              time.Duration      `json:"t2"`               // default 4 s
	Sounds          Sounds             `json:"sounds,omitzero"`  // what is heard before the answer
	Digits          Digits             `json:"digits,omitzero"`  // how digits are carried
	RetryAfter      int                `json:"retry_after"`      // seconds, in 503 for exhausted ports; default 5
	CheckRevision   bool               `json:"check_revision"`   // send expect_revision in Modify
}

// EarlyMedia says whose early media reaches the browser.
type EarlyMedia string

// The values.
const (
	EarlyMediaNever      EarlyMedia = "never"
	EarlyMediaAuthorised EarlyMedia = "authorised" // only what P-Early-Media authorises (RFC 5009)
	EarlyMediaAlways     EarlyMedia = "always"
)

// DefaultPolicy returns the defaults named at the fields, with early media on.
func DefaultPolicy() Policy {
	return Policy{
		Media:        offeranswer.DefaultPolicy(),
		NoAnswer:     180 * time.Second,
		SetUp:        15 * time.Second,
		ConsentGrace: 15 * time.Second,
		FlowGrace:    60 * time.Second,
		EarlyMedia:   EarlyMediaAlways,
		Reliable:     true,
		Reserve:      30 * time.Second,
		T1:           500 * time.Millisecond,
		T2:           4 * time.Second,
		RetryAfter:   5,
	}
}
