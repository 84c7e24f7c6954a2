package offeranswer

import (
	"math"
	"net/netip"
	"strconv"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// maxPtime is the most speech in one packet, ms: what we take from the core (TS 26.114 §6.2.2), and what we ask media gateways to make.
const maxPtime = 240

// bandwidth is b=AS for the widest of the codecs in packets of 20 ms, kbit/s, with IP, UDP and RTP headers (TS 26.114 annex A.15, RFC 8866 §5.8).
func bandwidth(cs []codec.Codec, ip netip.Addr) uint64 {
	most := 0
	for _, c := range cs {
		most = max(most, payload(c))
	}
	headers := 20 + 8 + 12
	if ip.Is6() {
		headers += 20
	}
	return uint64(((headers+most)*8*50 + 999) / 1000) // 50 packets a second
}

// Payload is the most octets that 20 ms of c take in packets of 20 ms, by its bit rates and format parameters, payload header included; 0: c takes the place of
// audio (telephone-event, comfort noise), or is not known.
func Payload(c codec.Codec) int {
	if passes(c) && !c.Is(codec.EVS) {
		return payloadPassed(c)
	}
	return payload(c)
}

// octets of 20 ms of codecs that are relayed only (RFC 3551 §4.5, RFC 3952 §3.1, RFC 5574 §3.1: 24.6, 42.2 and 44 kbit/s).
var passedOctets = map[string]int{"g729": 20, "ilbc": 38, "g726-32": 80, "gsm": 33}

var speexOctets = map[uint32]int{8000: 62, 16000: 106, 32000: 110}

// payloadPassed is the most octets of 20 ms of one of PassThrough but EVS; none of them is above 64 kbit/s.
func payloadPassed(c codec.Codec) int {
	name := strings.ToLower(c.Name)
	if n := passedOctets[name]; n > 0 {
		return n
	}
	if n := speexOctets[c.ClockRate]; n > 0 && name == "speex" {
		return n
	}
	return payload(c)
}

// payload is the most octets of 20 ms of c that we ask for in b=AS.
func payload(c codec.Codec) int {
	switch {
	case c.Is(codec.PCMA), c.Is(codec.PCMU), c.Is(codec.G722):
		return 160
	case c.Is(codec.Opus):
		return 80 // 32 kbit/s
	case c.IsAMR():
		return payloadAMR(c)
	case c.Is(codec.EVS):
		return payloadEVS(c)
	case passes(c):
		return 160 // in b=AS there is room for what else a peer makes of them
	}
	return 0 // events take the place of audio
}

// payloadEVS is the most octets of one frame by the highest bit rate of br, 128 kbit/s without it, with table of contents and mode request (TS 26.445
// annex A.2.2, A.3.1).
func payloadEVS(c codec.Codec) int {
	rate := 128.0
	if br, ok := c.Param("br"); ok {
		if _, high, ranged := strings.Cut(br, "-"); ranged {
			br = high
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(br), 64); err == nil && v > 0 && v < rate {
			rate = v
		}
	}
	return 2 + int(math.Ceil(rate*20/8))
}
