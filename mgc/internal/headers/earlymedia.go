package headers

import "strings"

// EarlyMedia is what a P-Early-Media field authorises, seen by its receiver (RFC 5009 §8).
type EarlyMedia struct {
	Present   bool // the field is there with a direction
	Sends     bool // the receiver may send early media ("sendrecv", "recvonly")
	Receives  bool // early media reaches the receiver ("sendrecv", "sendonly")
	Supported bool // "supported": the sender of a request knows the field
	Gated     bool // "gated": a gate is closed on the way
}

// ReadEarlyMedia returns what the P-Early-Media field of m says. The directions are those of the sender of the field: what it
// sends is received here. The first element counts, the stream of the audio.
func ReadEarlyMedia(m *Msg) EarlyMedia {
	var e EarlyMedia
	for _, v := range List(m, "P-Early-Media") {
		switch strings.ToLower(v) {
		case "supported":
			e.Supported = true
		case "gated":
			e.Gated = true
		case "sendrecv", "sendonly", "recvonly", "inactive":
			if e.Present {
				continue
			}
			v = strings.ToLower(v)
			e.Present = true
			e.Receives = v == "sendrecv" || v == "sendonly"
			e.Sends = v == "sendrecv" || v == "recvonly"
		}
	}
	return e
}
