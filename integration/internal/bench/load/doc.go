// Package load is the load generator of the bench: browser-like ends (ICE, DTLS-SRTP) and plain RTP ends of a core network, 50 packets
// per second and direction and call, the same for every system under test. Floor 2 of the integration module. Linux only, loopback only.
//
// A Fleet is the calls through one system. Its set-up uses goroutines; Run is one locked thread that sends, receives, decrypts and
// checks all packets, so that the generator costs little of the machine that it shares with the system under test. Every packet is
// checked for its form, relayed ones for their content, octet by octet; of transcoded calls a few are kept and compared by ear, so to say.
package load

import (
	"context"
	"net/netip"
	"time"
)

// Media is the codecs of the two ends.
type Media int

// The kinds of media.
const (
	PCMA          Media = iota // on both sides
	OpusPCMA                   // Opus at the browser
	OpusAMRWB                  // Opus at the browser, AMR-WB at the core, bandwidth-efficient, with the mode-set of mobile networks: up to 12.65
	OpusAMRWBFull              // the same without a mode-set: up to 23.85; for Replay only
	OpusG722                   // Opus at the browser, G.722 at the core; for Replay only
)

// Transcoded reports whether the ends have different codecs.
func (m Media) Transcoded() bool { return m != PCMA }

// core is the payload type at the core and how far its timestamp goes in 20 ms.
func (m Media) core() (pt byte, step uint32) {
	switch m {
	case OpusAMRWB, OpusAMRWBFull:
		return ptAMRWB, 320
	case OpusG722:
		return ptG722, frameLen // its clock is 8 kHz (RFC 3551 §4.5.2)
	}
	return ptPCMA, frameLen
}

// Offer is what the two ends of a call tell the system under test.
type Offer struct {
	Call        int            // from 0
	Media       Media          // codecs of both ends
	Plain       bool           // the browser side has neither ICE nor DTLS
	Browser     netip.AddrPort // of the browser's socket
	Ufrag, Pwd  string         // of the browser
	Fingerprint string         // of its certificate, SHA-256 in the form of RFC 8122
	Core        netip.AddrPort // where the core side receives RTP; RTCP one above
}

// Answer is what it replies.
type Answer struct {
	Access      netip.AddrPort // where the browser sends
	Ufrag, Pwd  string
	Fingerprint string
	Client      bool           // the system sends the ClientHello (setup:active)
	Core        netip.AddrPort // where the core side sends
}

// Connect sets one call up in the system under test.
type Connect func(context.Context, Offer) (Answer, error)

// Payload types of both sides.
const (
	ptPCMA  = 8
	ptG722  = 9
	ptAMRWB = 97
	ptOpus  = 111
)

const (
	frameTime = 20 * time.Millisecond
	frameLen  = 160 // octets of PCMA, samples at 8 kHz
	rtpHeader = 12
	// srtpTag is what AEAD_AES_128_GCM adds; plain browser ends send so many octets more to be of the same size.
	srtpTag = 16
)

// Tag is srtpTag for the kernel floor.
const Tag = srtpTag
