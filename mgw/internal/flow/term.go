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

// term is the packet state of a termination. Everything in it is owned by its worker.
type term struct {
	owner      Endpoint
	w          *worker
	set        Settings
	since      int64 // creation, monotonic ns
	access     *accessState
	component2 *term // of component 2, by which RTCP goes; nil: with the media
	core       *coreState
	slot       int    // index in worker.terms
	number     uint32 // of the stream, for events
	cost       cost   // what its source is expected to take of the worker
	closed     bool

	in  inbound
	out outbound

	to      *Flow // from this termination to its partner; nil: isolated
	partner *term
	past    transcoded // figures of flows that have ended
	went    Path       // of the newest flow that has ended
	coded   bool       // it was transcoding
	watch   watch

	sound *sounder // signals of this termination; nil: none
}

// inbound is what concerns packets of the peer.
type inbound struct {
	open    bool       // the mode lets media in from the peer
	types   [128]uint8 // by payload type: 1 + index in formats; 0: not admitted
	formats []format
	rx      *srtp.Receiver // nil: no keys, or plain RTP (core)
	timed   bool           // it matters when they came: they are transcoded
	police  bucket.Bucket
	drops   gate.Drops
	told    gate.Drops // of drops, what the worker's totals hold already

	packets, octets uint64  // admitted
	last            *format // of the newest admitted packet, perhaps of settings before
	heard           int64   // when the newest packet was admitted, or when the mode opened
	started         bool
	silent          bool // MediaInactive has been reported
}

// format is one payload type that the peer may send.
type format struct {
	codec codec.Codec
	class class
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
	open    bool // the mode lets media out to the peer
	secure  bool // nothing leaves without keys
	consent bool // RFC 7675; always true on core terminations
	sock    *udpio.Socket
	addr    udpio.Addr // zero: not known
	stream  *stream    // in the place of sock and addr; nil: UDP
	rtcp    rtcpOut
	tos     uint8 // per datagram, on shared sockets
	tx      *srtp.Sender
	stamp   *stamp.Stamper
	mid     []byte    // packets carry it; nil: not, or not any more
	midExt  uint8     // by this header extension
	named   string    // what mid was taken from
	leg     *rtcp.Leg // nil until the codecs are known

	packets, octets uint64
	sent            int64 // when the newest packet left, or when the mode opened
	silent          bool  // MediaInactive has been reported
}

// rtcpOut is where reports go.
type rtcpOut struct {
	sock *udpio.Socket
	addr udpio.Addr
}
