package flow

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/bucket"
	"github.com/isthmus-gateway/isthmus/mgw/internal/dtmf"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/stamp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// term is the packet state of a termination. Everything in it is owned by its worker. What a packet touches stands together at the begin, of this struct and
// of its parts: see fetch.go.
type term struct {
	to      *Flow // from this termination to its partner; nil: isolated
	partner *term
	leg     *rtcp.Leg // RTCP of the peer; nil until the codecs are known
	w       *worker
	access  *accessState
	core    *coreState
	owner   Endpoint

	out outbound
	in  inbound

	set        Settings
	since      int64  // creation, monotonic ns
	component2 *term  // of component 2, by which RTCP goes; nil: with the media
	slot       int    // index in worker.terms
	number     uint32 // of the stream, for events
	cost       cost   // what its source is expected to take of the worker
	closed     bool

	past  transcoded // figures of flows that have ended
	went  Path       // of the newest flow that has ended
	coded bool       // it was transcoding
	watch watch

	sound *sounder // signals of this termination; nil: none
}

// inbound is what concerns packets of the peer.
type inbound struct {
	open    bool // the mode lets media in from the peer
	timed   bool // it matters when they came: they are transcoded
	started bool
	silent  bool           // MediaInactive has been reported
	packets uint64         // admitted
	heard   int64          // when the newest packet was admitted, or when the mode opened
	last    *format        // of the newest admitted packet, perhaps of settings before
	rx      *srtp.Receiver // nil: no keys, or plain RTP (core)
	formats []format
	octets  uint64 // admitted
	police  bucket.Bucket
	types   [128]uint8 // by payload type: 1 + index in formats; 0: not admitted

	drops gate.Drops
	told  gate.Drops // of drops, what the worker's totals hold already
}

// format is one payload type that the peer may send.
type format struct {
	class class
	codec codec.Codec
	keys  *dtmf.Receiver // class event: tells presses apart, for Notify
}

type class uint8

const (
	classAudio class = iota
	classEvent
	classNoise // comfort noise (RFC 3389)
)

// outbound is what concerns packets to the peer.
type outbound struct {
	open    bool  // the mode lets media out to the peer
	secure  bool  // nothing leaves without keys
	consent bool  // RFC 7675; always true on core terminations
	silent  bool  // MediaInactive has been reported
	tos     uint8 // per datagram, on shared sockets
	midExt  uint8 // packets carry mid by this header extension
	packets uint64
	octets  uint64
	sent    int64 // when the newest packet left, or when the mode opened
	tx      *srtp.Sender
	stamp   *stamp.Stamper
	sock    *udpio.Socket
	mid     []byte     // packets carry it; nil: not, or not any more
	stream  *stream    // in the place of sock and addr; nil: UDP
	addr    udpio.Addr // zero: not known

	rtcp  rtcpOut
	named string // what mid was taken from
}

// rtcpOut is where reports go.
type rtcpOut struct {
	sock *udpio.Socket
	addr udpio.Addr
}
