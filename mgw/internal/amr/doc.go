// Package amr reads and writes the RTP payload format of AMR and AMR-WB (RFC 4867) and chooses the codec mode of each frame sent.
// Floor 0; pure, allocates nothing, not safe for concurrent use. // hot
// Owner: whoever holds the Packet or the Modes, which is the worker of the flow. It knows lengths and headers, not speech: the codecs are
// in package transcode.
//
//	payload, bandwidth-efficient (§4.3): CMR 4 bits | F FT Q 6 bits per frame | frames bit after bit | zeros to the octet
//	payload, octet-aligned (§4.4):       CMR 0000   | F FT Q 00   per frame   | frames, each to its octet
//	Packet:                              CMR        | per frame an octet 0 FT Q 00 and the frame, to its octet: the frame of §5.3
//
// Interleaving, CRCs, robust sorting and more than one channel are refused by ParseParams.
package amr

import "errors"

// Sentinel errors of the package.
var (
	ErrMalformed = errors.New("amr: payload malformed")
	ErrSpace     = errors.New("amr: output buffer too short")
	ErrFull      = errors.New("amr: packet full")
	ErrParam     = errors.New("amr: bad format parameter")
	ErrOption    = errors.New("amr: payload option not supported")
)
