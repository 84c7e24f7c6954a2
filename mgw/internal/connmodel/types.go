package connmodel

import (
	"net/netip"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/gwid"
)

// Kind is what a termination connects to; fixed at Add.
type Kind uint8

// The kinds.
const (
	KindAccess Kind = iota + 1 // browser side: ICE, DTLS-SRTP, RTP and RTCP on one port
	KindCore                   // IMS or SIP side: RTP or SRTP with keys from signalling, RTCP on a port of its own
)

// String gives the name used in logs and in the admin service.
func (k Kind) String() string {
	switch k {
	case KindAccess:
		return "webrtc-access"
	case KindCore:
		return "rtp-core"
	}
	return "unknown"
}

// Mode is the direction of media of a stream as seen from the context (H.248.1 §7.1.7).
type Mode uint8

// The modes. They are bit sets of modeSend and modeRecv.
const (
	ModeInactive Mode = 0
	ModeSendOnly Mode = modeSend // out of the context to the peer only
	ModeRecvOnly Mode = modeRecv // from the peer into the context only
	ModeSendRecv Mode = modeSend | modeRecv

	modeSend Mode = 1
	modeRecv Mode = 2
)

// Send reports whether media may leave the context to the peer.
func (m Mode) Send() bool { return m&modeSend != 0 }

// Recv reports whether media may enter the context from the peer.
func (m Mode) Recv() bool { return m&modeRecv != 0 }

// String gives the SDP-like name.
func (m Mode) String() string {
	return [...]string{"inactive", "sendonly", "recvonly", "sendrecv"}[m&ModeSendRecv]
}

// Latch says how the remote transport address is learnt (H.248.37).
type Latch uint8

// The ways of learning.
const (
	LatchOff Latch = iota // the remote description's address only
	LatchOn               // the source of the first valid packet, then kept
)

// Role is our DTLS role (RFC 5763 §5).
type Role uint8

// The roles.
const (
	RoleUnset Role = iota
	RoleClient
	RoleServer
)

// EventMask is a set of event types, bit 1<<iqv1.EventType.
type EventMask uint32

// Settings is what the media plane needs to know of a stream besides where its peer is. Effective: topology and disabled
// ports are folded into Mode.
type Settings struct {
	Mode     Mode
	Recv     []codec.Codec // what the peer may send, in order of preference, telephone-event included; not to be mutated
	Send     codec.Codec   // what we send; zero: not known
	SendDTMF codec.Codec   // telephone-event that we send; zero: none
	SendCN   codec.Codec   // comfort noise of the audio's clock rate that we send; zero: none
	Ptime    time.Duration // packet duration that the peer asks for; whoever makes the packets comes as near as it can
	MaxPtime time.Duration // the longest packet that the peer takes; 0: any
	// MaxBitrate is the most that the peer takes of transcoded audio, bit/s without RTP headers; 0: no limit.
	MaxBitrate uint32
	DSCP       uint8    // 0..63
	Policing   Policing // of received packets; zero: none
	RTCPOff    bool
	// Senders and Receivers are the bandwidth of reports, bit/s; 0: no limit.
	Senders, Receivers uint32
	// XRMetrics and XRReference: what of RFC 3611 reports hold. DTX: what is transcoded for the peer pauses in silence.
	XRMetrics, XRReference, DTX bool
	// QualityLimit is in hundredths of a MOS, 0: none; QualityEvery is the interval, 0: the media plane's default.
	QualityLimit uint32
	QualityEvery time.Duration
	// DropDigits: digits of others do not reach the peer. DetectTones: digits are looked for in its audio too.
	DropDigits, DetectTones bool
	// InactiveAfter and ConsentAfter are detection times; never 0.
	InactiveAfter, ConsentAfter time.Duration
	WatchIn, WatchOut           bool // where MEDIA_INACTIVE misses media; neither when it is not armed
	RTCPIsMedia                 bool // RTCP counts for it
	Armed                       EventMask
	// MID is what packets to the peer begin with, 1 to 16 octets, and MIDExt the header extension that carries it, either way; 0: none (RFC 9143 §15).
	MID    string
	MIDExt uint8
	Source uint32 // SSRC that the peer said it sends with; 0: not known; access
}

// Policing is a token bucket on received octets (H.248.53); the zero value admits all.
type Policing struct {
	BytesPerSecond, BurstBytes uint32
}

// Filter is where media may come from (H.248.43); the zero value is no filter.
type Filter struct {
	Prefixes []netip.Prefix // none: any address; not to be mutated
	Ports    [2]uint16      // of RTP, inclusive; zero: any
}

// IsZero reports whether there is no filter.
func (f Filter) IsZero() bool { return len(f.Prefixes) == 0 && f.Ports == [2]uint16{} }

// Fingerprint is the hash of a certificate (RFC 8122 §5). Hash in lower case, Value upper-case hex bytes with colons.
type Fingerprint struct{ Hash, Value string }

// Candidate is one ICE candidate of a peer or of ours (RFC 8839 §5.1).
type Candidate struct {
	Foundation string
	Component  uint8
	Transport  string // "udp"; of ours also "tcp"
	Priority   uint32
	Addr       netip.AddrPort
	Type       string // "host", "srflx", "prflx", "relay"
	TCPType    string // of "tcp": "passive" (RFC 6544 §4.5)
}

// AccessRemote is the peer of an access termination. Comparable parts by DeepEqual; not to be mutated.
type AccessRemote struct {
	Ufrag, Pwd   string // Pwd is never logged
	Candidates   []Candidate
	Controlling  bool // our ICE role, of a full agent
	Mux          bool // RTCP shares component 1: one of its own is given up
	Role         Role // ours
	Fingerprints []Fingerprint
	TLSID        string // "": none
}

// CoreRemote is the peer of a core termination.
type CoreRemote struct {
	RTP, RTCP netip.AddrPort // zero when only latching tells
	Mux       bool           // RTP and RTCP share the RTP port (RFC 5761)
	Secure    bool           // only SRTP passes
	Crypto    Crypto         // the peer's key; zero: not known
	Latch     Latch
	Filter    Filter // zero: the address of RTP when Latch is off, any when on
	// Generation grows with each order to latch again; a change is a change of the remote.
	Generation uint32
}

// Local is what the media plane chose for the transport of an access termination; zero on others, and before NewAccess was performed.
type Local struct {
	Ufrag, Pwd   string // Pwd is never logged
	Candidates   []Candidate
	Fingerprints []Fingerprint
}

// Chosen is what the media plane chose for a stream; zero before it was opened.
type Chosen struct {
	RTP, RTCP netip.AddrPort // core
	SSRC      uint32
	CName     string
	Keys      map[string]Secret // core: our SRTP keys by crypto-suite; not to be mutated
}

// Termination is one side's media end. Values are replaced, never mutated, once in a Context.
type Termination struct {
	ID      gwid.TerminationID
	Kind    Kind
	Realm   string
	Streams []Stream      // in order of number, 1 to 32; they only become more
	First   gwid.StreamID // of those described at Add the lowest: the transport was opened with it
	// Transport of an access termination, which all streams share.
	FullICE, Controlling   bool // our ICE agent and its role
	Component2             bool // RTCP may have a component of its own: while an Add is read, as the realm has it; then, as it is
	Apart                  bool // media has a component for RTCP: Component2, or given up in the action that runs
	RemoteUfrag, RemotePwd string
	RemoteCandidates       []Candidate
	RemoteEnd              bool // no further candidates will come
	RemoteFingerprints     []Fingerprint
	RemoteTLSID            string
	Role                   Role   // ours
	Restarts               uint32 // grows with each CHOOSE of new local ICE credentials (RFC 8445 §9)
	Events                 Events
	Local                  Local
}

// Stream is one audio stream of a termination (H.248.1 §7.1.6): the end of an m= line.
type Stream struct {
	ID         gwid.StreamID
	Mid        string
	Mode       Mode
	DSCP       uint8
	DTX        bool
	Policing   Policing
	Filter     Filter
	Latch      Latch
	Generation uint32 // grows with each LATCH_RELATCH
	RTCP       RTCPPolicy
	DropDigits bool
	Local      Description
	Remote     Description
	HasRemote  bool
	Signals    Signals
	Chosen     Chosen
}

// RTCPPolicy says how RTCP travels (RFC 5761).
type RTCPPolicy struct {
	Mux, ReducedSize, Off, XRMetrics, XRReference bool
	Senders, Receivers                            uint32 // bit/s (RFC 3556); 0: no limit
}

// Description is a Local or Remote descriptor (H.248.1 §7.1.8). Addresses of Local live in Stream.Chosen.
type Description struct {
	Proto      string
	Addr       netip.Addr // remote, core
	Port       uint16     // remote, core; 0: the stream is disabled
	RTCPPort   uint16     // remote, core; 0: Port + 1
	RTCPAddr   netip.Addr // remote, core; zero: Addr
	Codecs     []codec.Codec
	PtimeMs    uint32
	MaxMs      uint32
	MaxBps     uint32   // remote: most bit/s of payloads; 0: no limit
	SSRC       uint32   // remote: announced
	CName      string   // remote: announced
	Cryptos    []Crypto // core: local without keys, remote with one at most
	Extensions []Extension
}
