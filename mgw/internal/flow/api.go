// Package flow is the packet path of the MGW: terminations in realms, pinned to workers, joined by one-way flows. Floor 2. // hot
// Owner: each worker goroutine, locked to its thread, owns all packet state of its terminations; the exported methods are the
// control side, safe from any goroutine, and reach that state by commands.
//
// A packet walk from the browser to the core (TS 23.334 §6.2):
//
//	stage                                    where         how
//	1 batch read from the access socket      udpio         one recvmmsg for many packets
//	2 demux by first byte                    rtp           RFC 7983 §7; STUN and DTLS leave for pion through bounded queues
//	3 termination by source address          worker        only the selected, authenticated pair is in the table
//	4 authenticate and decrypt in place      srtp          RFC 3711, RFC 7714
//	5 gate                                   gate          mode, payload type, token bucket; each refusal has a counter
//	6 relay, DTMF translation or decode      Flow          by payload type
//	7 continuous SSRC, seq and timestamp     stamp         per peer
//	8 batch write                            udpio         one sendmmsg per socket and round
//
// The way back is the same with latching or the source filter (H.248.37, H.248.43) in place of stage 3, stage 4 only with SRTP towards the
// core (RFC 4568), and encryption after stage 7, which the way to a core with SRTP has too.
package flow

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Sentinel errors of the control side; returned wrapped with the realm or the id of the spec.
var (
	ErrUnknownRealm   = errors.New("flow: unknown realm")              // H.248.8 error 449
	ErrNoComponent    = errors.New("flow: no port for component 2")    // H.248.8 error 449
	ErrPortsExhausted = errors.New("flow: no port pair free in realm") // H.248.8 error 510
	ErrClosed         = errors.New("flow: closed")
	ErrBadRemote      = errors.New("flow: remote description not usable")         // H.248.8 error 422 or 449
	ErrBadSettings    = errors.New("flow: settings not usable")                   // H.248.8 error 449
	ErrUnsupported    = errors.New("flow: cannot transcode between these codecs") // H.248.8 error 449; by Plan
	ErrConnected      = errors.New("flow: already connected to another termination")
	ErrOtherWorker    = errors.New("flow: terminations are on different workers")
	ErrNoCodec        = errors.New("flow: no codec that signals can be played with") // H.248.8 error 513
	ErrCannotDetect   = errors.New("flow: no codec that tones can be detected in")   // H.248.8 error 512
	ErrBusy           = errors.New("flow: too many signals wait")                    // H.248.8 error 510
)

// Config is everything an Engine needs; New copies it.
type Config struct {
	Workers int           // packet threads; 0: one per core (Cores)
	Access  []AccessRealm // at least one of Access and Core must be given
	Core    []CoreRealm

	// Certificate is the DTLS identity of all access terminations. Nil: an ECDSA P-256 one is generated (RFC 8827 §6.5).
	Certificate *tls.Certificate

	// Events receives every armed event, from several engine goroutines, in order per termination. It must not block. Nil: dropped.
	Events func(Event)

	Bitrates Bitrates // of what is transcoded

	Logger *zap.Logger // nil: none; never used per packet

	// Nice is the workers' nice value, -20 (before all others) to 19; where the system does not allow it they run as others do. 0: as others.
	Nice int

	// Fill is the share of a core, %, up to which a worker takes calls before another one gets any; 0: the one with the fewest terminations takes them.
	Fill int

	Timers Timers
}

// Bitrates are what encoders start with, bit/s; a peer's wishes bound them. 0: the default of transcode.EncoderConfig.
type Bitrates struct {
	OpusNarrow, OpusWide int // by the audio bandwidth of the other side's codec
	AMRWB                int
}

// of is that of an encoder for c which is fed at rate, Hz.
func (b *Bitrates) of(c codec.Codec, rate int) int {
	switch {
	case c.Is(codec.AMRWB):
		return b.AMRWB
	case !c.Is(codec.Opus):
		return 0
	case rate == 8000:
		return b.OpusNarrow
	}
	return b.OpusWide
}

// Timers are the engine's time constants; a zero field takes the default named at it.
type Timers struct {
	DTLS       time.Duration // from ICE connected to DTLS connected; 10 s
	ICE        time.Duration // from the first authenticated check to a nominated pair; 40 s (RFC 8863 §4)
	Quarantine time.Duration // before a released core port pair is used again; 2 s
	RTCP       time.Duration // mean interval of reports per termination; 5 s (RFC 3550 §6.2)
	Relatch    time.Duration // how long latching again waits for another source; 10 s (H.248.37)
	Coalesce   time.Duration // longest deliberate wait for a bigger batch under load, 1 ms at most; 900 µs; negative: none
}

// AccessRealm is an IP realm with ICE, DTLS-SRTP terminations: one UDP port per worker.
type AccessRealm struct {
	Name      string
	Listen    netip.Addr // local address; may be unspecified
	Advertise netip.Addr // address in candidates; zero: Listen
	Port      uint16     // port of the first worker, +1 per further worker; 0: chosen by the kernel
	// Second is a local address of the other family, with the same ports; SecondAdvertise is its address in candidates, zero: itself.
	Second, SecondAdvertise netip.Addr
	// RTCP: there are ports for component 2 as well, for clients without rtcp-mux; RTCPPort is that of the first worker, as Port is.
	RTCP     bool
	RTCPPort uint16
	TCP      uint16 // port for ICE-TCP (RFC 6544), one for all workers; 0: none; Linux only
}

// CoreRealm is an IP realm with RTP terminations: one even/odd port pair each (RFC 3550 §11).
type CoreRealm struct {
	Name             string
	Listen           netip.Addr // local address
	Advertise        netip.Addr // address in descriptions; zero: Listen
	PortMin, PortMax uint16     // inclusive range of ports, 1024..65535
}

// Mode is a termination's direction of media as seen from the context (H.248.1 §7.1.7): SendOnly lets media out to the peer only.
// The zero value is Inactive.
type Mode uint8

// Modes.
const (
	Inactive Mode = iota
	SendOnly
	RecvOnly
	SendRecv
)

// Role is our DTLS role (RFC 8842 §5.2).
type Role uint8

// Roles.
const (
	RoleServer Role = iota + 1 // waits for the ClientHello: a=setup:passive is ours
	RoleClient                 // sends it as soon as a pair is selected: a=setup:active is ours
)

// Fingerprint is a hash of a certificate (RFC 8122 §5).
type Fingerprint struct {
	Hash  string // "sha-256", "sha-384" or "sha-512", any case; others never match
	Value string // hex bytes separated by ":", any case
}

// Candidate is one ICE candidate (RFC 8839 §5.1).
type Candidate struct {
	Foundation string
	Component  uint32 // 1; 2: RTCP, where it has a component of its own
	Transport  string // "udp"; of ours also "tcp"
	Priority   uint32
	Address    string // IP literal; in remote ones a ".local" name is ignored
	Port       uint16
	Type       string // "host", "srflx", "prflx", "relay"
	TCPType    string // of "tcp": "passive" (RFC 6544 §4.5)
}

// Neighbour is a termination whose worker another one can share, so that they can be connected, with each other or with a third: *Access or *Core, nil as
// either too for any worker.
type Neighbour interface{ place() *worker }

// AccessSpec places a new access termination.
type AccessSpec struct {
	ID         string // for logs and events, the caller's termination id
	Realm      string
	Stream     uint32    // number of its first stream, comes with events
	Near       Neighbour // nil or the termination whose worker to share
	Full       bool      // full ICE (RFC 8445); else ICE-lite
	Component2 bool      // RTCP has a component of its own (RFC 8445 §4), until SetRemote says Mux
	SSRC       uint32    // what we send with; 0: chosen
	CName      string    // RTCP CNAME; "": chosen
}

// AccessLocal is what the peer must be told of an access termination.
type AccessLocal struct {
	Ufrag, Pwd   string
	Candidates   []Candidate
	Fingerprints []Fingerprint
	SSRC         uint32
	CName        string
}

// AccessRemote is the peer's half of ICE and DTLS.
type AccessRemote struct {
	// Ufrag and Pwd are the peer's. Others than those before are an ICE restart (RFC 8445 §9): the old pair stays in use until
	// a new one is nominated. Both empty: ICE unchanged, or not begun.
	Ufrag, Pwd string
	// Candidates are hints to a lite agent, and may be empty. A full one checks those of UDP, at most ice.MaxCandidates; later calls may bring more.
	Candidates  []Candidate
	Mux         bool // RTCP shares component 1: one of its own is given up (RFC 5761 §5.1.3)
	Controlling bool // our role, of a full agent, with new credentials (RFC 8445 §6.1.1)
	Role        Role // ours; 0: unchanged
	// Fingerprints of the peer's certificate, one match is enough, in any order. Equal ones, with an equal role and TLSID, keep the DTLS
	// association (RFC 8842 §3.1); others start a new one, and the keys before serve until its handshake has ended. Empty: unchanged.
	Fingerprints []Fingerprint
	TLSID        string // the peer's tls-id; "": none; taken with Fingerprints
}

// CoreSpec places a new core termination.
type CoreSpec struct {
	ID     string // for logs and events, the caller's termination id
	Realm  string
	Stream uint32    // number of its stream, comes with events
	Near   Neighbour // nil or the termination whose worker to share
	SSRC   uint32    // what we send with; 0: chosen
	CName  string    // RTCP CNAME; "": chosen
}

// CoreLocal is what the peer must be told of a core termination.
type CoreLocal struct {
	RTP, RTCP netip.AddrPort
	SSRC      uint32
	CName     string
	Keys      []Crypto // ours, one for each suite that there is; not to be mutated
}

// LatchMode says whether a core termination learns its peer's address (H.248.37).
type LatchMode uint8

// Latch modes.
const (
	LatchOff LatchMode = iota // the remote description's address only
	LatchOn                   // the source of the first valid packet, then locked; what was learnt stays while the remote RTP address stays
	Relatch                   // latch again for Timers.Relatch: another source takes the place of what was learnt, which serves until then
)

// CoreRemote is the peer's transport address.
type CoreRemote struct {
	RTP  netip.AddrPort // zero or port 0: nothing is sent until latched
	RTCP netip.AddrPort // zero: RTP port + 1
	// Mux: RTP and RTCP share the RTP port (RFC 5761).
	Mux bool
	// Secure: only SRTP passes, in either direction (RFC 3711). Crypto is the peer's key; zero: not known, nothing passes. We send under
	// the key for the same suite of CoreLocal. While the peer's key changes, packets under its former one are taken a little longer.
	Secure bool
	Crypto Crypto
	Latch  LatchMode
	// Filter holds the allowed sources (H.248.43). Empty: with LatchOff the exact RTP address and port, with LatchOn any until latched.
	Filter []netip.Prefix
	// FilterPorts is the range of ports that RTP may come from (H.248.43), inclusive; zero: any, or the one of RTP when Filter is empty and
	// latching off.
	FilterPorts [2]uint16
}

// Policing is a token bucket on received RTP octets (H.248.53).
type Policing struct {
	BytesPerSecond uint32
	BurstBytes     uint32
}

// EventMask is the set of kinds that a termination reports; failures too are reported only when armed.
type EventMask uint32

// Bit is the mask of one kind.
func (k EventKind) Bit() EventMask { return 1 << k }

// AllEvents arms everything.
const AllEvents EventMask = 1<<32 - 1

// Settings is the full state of a termination's stream; Configure replaces the one before.
type Settings struct {
	Mode Mode
	// Recv are the payload types that the peer may send; others are dropped. Telephone-events and several codecs may be among them.
	Recv []codec.Codec
	// Send is what the peer gets. Zero: nothing is sent.
	Send codec.Codec
	// SendDTMF is the telephone-event format that the peer gets. Zero: events towards it are dropped.
	SendDTMF codec.Codec
	// SendCN is the comfort noise (RFC 3389) that the peer takes in place of relayed audio of the same clock rate. Zero: the peer has
	// not agreed to it. What the other side sends of it is then decoded, and its audio from there on, or refused and counted where that is of a codec
	// that cannot be decoded; a transcoder makes its own silence.
	SendCN codec.Codec
	// Ptime of transcoded output, one that the function Ptime gives. 0: 20 ms. Relayed packets keep theirs.
	Ptime time.Duration
	// MaxPtime is the longest packet that the peer takes (RFC 8866 §6.5); 0: any. Where that is less than the 20 ms that senders use, audio is
	// transcoded, into the same codec if need be. Of longer packets the source is to be told by signalling.
	MaxPtime time.Duration
	// MaxBitrate is the most that the peer takes of transcoded Opus, AMR and AMR-WB, bit/s without RTP headers; 0: no limit.
	MaxBitrate int
	// DSCP of what we send, 0..63 (H.248.52).
	DSCP int
	// Police limits what the peer may send; nil: no limit.
	Police *Policing
	// RTCPOff: no RTCP is sent (b=RS:0, b=RR:0).
	RTCPOff bool
	// RTCPShare is what the peer's description allots to reports (RFC 3556).
	RTCPShare rtcp.Bandwidth
	// XRMetrics and XRReference: reports hold VoIP metrics, and reference times of receivers (RFC 3611 §4.7, §4.4).
	XRMetrics, XRReference bool
	// QualityLimit is the MOS below which Quality is told; 0: never. It is looked at every QualityEvery, 0: 10 s.
	QualityLimit float64
	QualityEvery time.Duration
	// DTX: what is transcoded for the peer pauses in silence.
	DTX bool
	// DropDigits: digits of the partner do not reach the peer; signalling carries them.
	DropDigits bool
	// DetectTones: digits are looked for in the peer's audio too and taken out of it, which is transcoded for that (ITU-T Q.24).
	DetectTones bool
	// InactiveAfter is the time without media until MediaInactive; 0: 30 s. It runs while Mode opens the direction (H.248.40).
	InactiveAfter time.Duration
	// WatchOut, and not WatchIn, looks for media to the peer; both: for each. Neither: for media from the peer.
	WatchIn, WatchOut bool
	// RTCPIsMedia: RTCP from the peer counts as its media for MediaInactive and MediaActive.
	RTCPIsMedia bool
	// ConsentAfter is the time without an authenticated check until sending stops; 0: 30 s (RFC 7675 §5.1). Access only.
	ConsentAfter time.Duration
	// Armed events.
	Armed EventMask
	// MID of the stream and the header extension that carries it, 1 to 14, where the peer has agreed to that; 0: not (RFC 9143 §15). Source is the SSRC that
	// the peer has told; 0: none. By them packets on a transport of several streams are told apart. Access only; MID of 1 to 16 octets then.
	MID    string
	MIDExt uint8
	Source uint32
}

// EventKind tells what happened.
type EventKind uint8

// Event kinds and the fields that they fill.
const (
	ICEConnected  EventKind = iota // Pair: a pair was selected, for the first time or anew, or has consent again
	ICEFailed                      // Reason
	ConsentLost                    // sending stopped; a later check of the peer resumes it, with ICEConnected
	DTLSConnected                  // Profile
	DTLSFailed                     // Reason
	DTLSClosed                     // the peer closed the association
	MediaStarted                   // first admitted packet from the peer, also after ICE restart
	MediaInactive                  // Out: none for InactiveAfter; once, until there is some or the direction is opened anew
	MediaActive                    // Out: again after MediaInactive
	Latched                        // Addr
	DTMF                           // Digit, Duration
	SignalDone                     // Signal; told whether armed or not
	Quality                        // Quality: the estimate fell below QualityLimit, or is there again
	PeerReflexive                  // Pair: with full ICE the peer checks from an address that it has not told (RFC 8445 §7.3.1.3)
)

// Pair is a selected candidate pair.
type Pair struct{ Local, Remote Candidate }

// Endpoint is a termination of this engine: *Access or *Core.
type Endpoint interface {
	ID() string // as in its spec
	Stats() Stats
	Configure(Settings) error
	Play(Signals) error
	Close() Stats
}

// Signals is what a termination plays, one after the other (H.248.1 §7.1.11). It replaces what is playing; empty, it stops that.
type Signals struct {
	// Internal: the partner's peer hears them, as if this termination's had sent them. Else the peer hears them. Either way they take the
	// place of media, whatever the modes are (H.248.1 §7.1.7).
	Internal bool
	List     []audio.Item // at most audio.MaxItems; the engine's after the call
}

// SignalEnd is the end of a signal.
type SignalEnd struct {
	audio.Done
	Last bool // nothing more is playing
}

// Event is one observation on a termination.
type Event struct {
	Endpoint Endpoint
	Kind     EventKind
	Stream   uint32 // as in the spec of the stream; 0: the transport of all streams
	At       time.Time
	Pair     Pair
	Profile  string // "SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_256_GCM" or "SRTP_AES128_CM_HMAC_SHA1_80" (RFC 7714 §14.2, RFC 5764 §4.1.2)
	Reason   string // one line for people; holds nothing that the peer wrote
	Addr     netip.AddrPort
	Out      bool // of MediaInactive and MediaActive: media to the peer; false: from it
	Digit    byte // '0'..'9', '*', '#', 'A'..'D'
	Quality  QualityReport
	Duration time.Duration
	Signal   SignalEnd
}

// Stats of one termination's stream (H.248.1 §7.1.15, RFC 3550 §6.4).
type Stats struct {
	OctetsSent, OctetsReceived   uint64 // payload octets
	PacketsSent, PacketsReceived uint64 // received: admitted by the gate
	PacketsLost                  uint64 // from the peer to us, cumulative
	Jitter                       time.Duration
	RTT                          time.Duration     // 0: not known
	Dropped                      map[string]uint64 // by reason, only those that happened: "source", "mode", "policed", "unauthenticated", "malformed", "payload_type", "replay", ...
	Duration                     time.Duration     // since New...
	RemoteLossPermille           uint32            // reported by the peer about what we send
	CodecReceived, CodecSent     string            // "opus/48000/2"; "" before the first packet
	Transcoding                  bool              // media from the peer is transcoded
	Path                         Path              // what is done with media from the peer, and why
	FramesConcealed              uint64            // of what the peer sent
	FramesRecovered              uint64            // by in-band FEC
	PacketsLate                  uint64            // too late for the jitter buffer
	SelectedPair                 string            // "local remote" of the selected pair or of the latched address; "" before
	Metrics, RemoteMetrics       rtcp.VoIP         // how we receive the peer's stream, and how the peer receives ours by its reports; SSRC 0: not known
	MOS, RemoteMOS               float64           // estimates, 1..4.5: of the peer's audio as it arrives here, and of ours at the peer by its reports; 0: not known
}

// Counters are totals of an Engine, for load reports and leak checks.
type Counters struct {
	Accesses, Cores  int    // terminations alive
	PortPairs        int    // core port pairs taken, without those in quarantine
	PacketsReceived  uint64 // both sides, RTP and RTCP
	PacketsSent      uint64
	Buffers          int    // buffers out of the pools
	Dropped          uint64 // datagrams that belonged to no termination
	Unsent           uint64 // datagrams that the kernel did not take
	WakeUps, Batches uint64 // poll returns and socket reads, for batch sizes
	// Refused are packets that a termination refused, by reason, of all terminations ever; up to a second late.
	Refused gate.Drops
	// ChecksTaken are connectivity checks that named one of our agents, ChecksAnswered those that proved to know its password.
	ChecksTaken, ChecksAnswered uint64
	// StreamsRefused are TCP connections closed before a termination was found for them; StreamsUnknown those that wait for it, or for a
	// check that authenticates them.
	StreamsRefused uint64
	StreamsUnknown int
}
