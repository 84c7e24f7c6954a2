// Package codec names RTP payload formats. Floor 0 of pkg; pure values, no goroutine.
package codec

import "strings"

// Codec is one payload format as negotiated for a stream (RFC 3551 §6, RFC 8866 §6.6).
// The zero value is "no codec". Values are comparable and safe to copy.
type Codec struct {
	Name      string // encoding name as registered, e.g. "opus", "PCMA", "telephone-event"
	PT        uint8  // RTP payload type, 0..127
	ClockRate uint32 // RTP clock, Hz (G722 is 8000 by RFC 3551 §4.5.2)
	Channels  uint8  // 0 means 1
	Fmtp      string // format parameters, verbatim, without "a=fmtp:<pt> "
}

// Encoding names used throughout; compare with Codec.Is, never with ==.
const (
	Opus           = "opus"
	PCMA           = "PCMA"
	PCMU           = "PCMU"
	G722           = "G722"
	AMR            = "AMR"    // narrow band, RFC 4867; 8000 Hz
	AMRWB          = "AMR-WB" // wide band, RFC 4867; 16000 Hz
	EVS            = "EVS"    // TS 26.445 annex A; 16000 Hz; never coded here
	TelephoneEvent = "telephone-event"
	ComfortNoise   = "CN"
)

// Is reports whether c has the encoding name (case-insensitive, RFC 8866 §6.6).
func (c Codec) Is(name string) bool { return strings.EqualFold(c.Name, name) }

// IsZero reports whether c is the zero Codec.
func (c Codec) IsZero() bool { return c == Codec{} }

// ChannelCount is Channels with the default of RFC 8866 applied (0 reads as 1).
func (c Codec) ChannelCount() uint8 {
	if c.Channels == 0 {
		return 1
	}
	return c.Channels
}

// SameCodec reports whether c and d are one codec: equal name, clock rate and channels. Payload types and fmtp may differ, so this
// alone does not say that packets can be relayed; SameFormat does.
func (c Codec) SameCodec(d Codec) bool {
	return c.Is(d.Name) && c.ClockRate == d.ClockRate && c.ChannelCount() == d.ChannelCount()
}

// SameFormat reports whether packets that were made for c can be relayed as d as they are: the same codec and, for AMR and AMR-WB,
// payloads packed alike and codec modes that d takes (RFC 4867 §8.3.1). Payload types and other parameters may differ.
// It is symmetric but for AMR and AMR-WB: there d may take more modes than c has.
func (c Codec) SameFormat(d Codec) bool {
	return c.SameFrames(d) && (!c.IsAMR() || c.packing() == d.packing())
}

// SameFrames reports whether the coded frames of c are good for d, be it in payloads packed another way: what SameFormat says,
// without its rule on packing. Only AMR and AMR-WB know more than one way.
func (c Codec) SameFrames(d Codec) bool {
	return c.SameCodec(d) && (!c.IsAMR() || c.modesFit(d))
}

// Param returns the value of one "key=value" format parameter of Fmtp and whether it is present.
// Keys compare case-insensitively; a key without value yields "".
func (c Codec) Param(key string) (string, bool) {
	for part := range strings.SplitSeq(c.Fmtp, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(strings.TrimSpace(k), key) {
			return strings.TrimSpace(v), true
		}
	}
	return "", false
}

// Static returns the static payload type assignment of RFC 3551 §6 for pt, and whether there is one that Isthmus knows.
func Static(pt uint8) (Codec, bool) {
	switch pt {
	case 0:
		return Codec{Name: PCMU, PT: 0, ClockRate: 8000, Channels: 1}, true
	case 3:
		return Codec{Name: "GSM", PT: 3, ClockRate: 8000, Channels: 1}, true
	case 8:
		return Codec{Name: PCMA, PT: 8, ClockRate: 8000, Channels: 1}, true
	case 9:
		return Codec{Name: G722, PT: 9, ClockRate: 8000, Channels: 1}, true
	case 13:
		return Codec{Name: ComfortNoise, PT: 13, ClockRate: 8000, Channels: 1}, true
	case 18:
		return Codec{Name: "G729", PT: 18, ClockRate: 8000, Channels: 1}, true
	}
	return Codec{}, false
}
