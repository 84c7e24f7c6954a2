package offeranswer

import (
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Preference decides which codec the browser gets when it could use more than one.
type Preference string

// Preferences.
const (
	PreferRelay Preference = "relay" // a codec that both sides share, so that nothing is transcoded
	PreferCore  Preference = "core"  // the codec that is best for the core, transcoded if the browser has it not
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

// DTX says towards whom what is transcoded pauses in silence (TS 26.114 §5.2.1).
type DTX string

// The values.
const (
	DTXOff  DTX = "off"
	DTXCore DTX = "core"
	DTXBoth DTX = "both"
)

// RTCPMux says what is asked of browsers (RFC 5761, RFC 8858).
type RTCPMux string

// The values.
const (
	MuxRequired  RTCPMux = "required"  // offered; clients without it are refused
	MuxOnly      RTCPMux = "only"      // the same, and our offers say so
	MuxNegotiate RTCPMux = "negotiate" // clients without it get a second component (TS 24.371 §7.2.1)
)

// Policy says which codecs may be used. Names are encoding names in order of preference.
type Policy struct {
	Access    []string   `json:"access"`          // codecs for browsers
	Core      []string   `json:"core"`            // codecs for the core
	Transcode []string   `json:"transcode"`       // codecs that the MGW can transcode between, any pair
	Prefer    Preference `json:"prefer"`          // empty: relay
	MTSI      bool       `json:"mtsi,omitempty"`  // describe speech to the core as TS 26.114 has it: b=RS, b=RR, a=maxptime
	Latch     bool       `json:"latch,omitempty"` // learn the core peer's address from its media (H.248.37), for peers behind NAT
	DSCP      uint32     `json:"dscp,omitempty"`  // of media, 0 to 63
	Police    Police     `json:"police,omitzero"` // of what peers send; zero: none

	Streams int `json:"streams,omitempty"` // most audio streams of a call, up to MaxStreams; 0: 1

	Mux RTCPMux  `json:"rtcp_mux,omitempty"` // of browsers; empty: required
	XR  XRPolicy `json:"xr,omitempty"`       // extended reports; empty: off
	DTX DTX      `json:"dtx,omitempty"`      // empty: off

	Noise Noise `json:"noise,omitempty"` // empty: answer

	Preconditions Preconditions `json:"preconditions,omitempty"` // empty: off

	SRTP   SRTP        `json:"srtp,omitempty"`   // towards the core; empty: off
	Suites []sdp.Suite `json:"suites,omitempty"` // crypto-suites in order of preference; empty: Suites
	NoMKI  bool        `json:"no_mki,omitempty"` // keys with an MKI are not for us: not every media gateway knows of it
}

// Codecs of the policies, in order of preference.
var (
	WebCodecs  = []string{codec.Opus, codec.PCMA, codec.PCMU, codec.G722} // what browsers have (RFC 7874 §3)
	SIPCodecs  = []string{codec.PCMA, codec.PCMU, codec.G722}             // for a PBX
	MTSICodecs = []string{codec.AMRWB, codec.AMR, codec.PCMA, codec.PCMU} // for an IMS core (TS 26.114 §5.2.1, §6.2.2.2: PCM last)
	allCodecs  = []string{codec.Opus, codec.AMRWB, codec.AMR, codec.PCMA, codec.PCMU, codec.G722}
)

// DefaultPolicy is for a PBX: Opus, G.711 and G.722 for browsers, G.711 and G.722 for the core, all transcodable, relay preferred,
// no latching, DSCP EF (46).
func DefaultPolicy() Policy {
	return Policy{Access: WebCodecs, Core: SIPCodecs, Transcode: allCodecs, Prefer: PreferRelay, DSCP: 46}
}
