package offeranswer

import (
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// Bits of speech in a frame by mode (RFC 4867 tables 1a and 1b: TS 26.101, TS 26.201).
var (
	bitsAMR   = []int{95, 103, 118, 134, 148, 159, 204, 244}
	bitsAMRWB = []int{132, 177, 253, 285, 317, 365, 397, 461, 477}
)

// formatsAMR returns both packings of c: bandwidth-efficient first (TS 26.114 §6.2.2.2).
func formatsAMR(c codec.Codec) []codec.Codec {
	efficient, aligned := c, c
	efficient.Fmtp = fmtpAMR
	aligned.PT++
	aligned.Fmtp = "octet-align=1;" + fmtpAMR
	return []codec.Codec{efficient, aligned}
}

// knownAMR reports whether we speak an AMR format as its parameters describe it (RFC 4867 §8.1): no one uses CRCs, interleaving and
// robust sorting.
func knownAMR(c codec.Codec) bool {
	for _, key := range []string{"crc", "robust-sorting"} {
		if v, ok := c.Param(key); ok && v != "0" {
			return false
		}
	}
	if v, ok := c.Param("octet-align"); ok && v != "0" && v != "1" {
		return false
	}
	if _, ok := c.Param("interleaving"); ok {
		return false
	}
	_, err := c.ModeSet()
	return err == nil
}

// packing is what of the parameters makes another format of the same codec; empty for bandwidth-efficient and for other codecs.
func packing(c codec.Codec) string {
	if v, ok := c.Param("octet-align"); ok && v == "1" && c.IsAMR() {
		return "octet-align=1"
	}
	return ""
}

// answeredAMR is the format parameters of an answer: packing and mode-set are those of the offer (RFC 4867 §8.3.1).
func answeredAMR(c codec.Codec) string {
	f := fmtpAMR
	if set, ok := c.Param("mode-set"); ok {
		f = "mode-set=" + strings.ReplaceAll(set, " ", "") + ";" + f
	}
	if p := packing(c); p != "" {
		f = p + ";" + f
	}
	return f
}

// payloadAMR is the most octets of one frame with its header: CMR, table of contents and padding (RFC 4867 §4.3, §4.4).
func payloadAMR(c codec.Codec) int {
	set, _ := c.ModeSet() // known
	most := 0
	for mode, n := range modesAMR(c) {
		if set.Has(uint8(mode)) {
			most = n
		}
	}
	return octetsAMR(c, most)
}

// modesAMR is the bits of speech in a frame of c, by mode.
func modesAMR(c codec.Codec) []int {
	if c.Is(codec.AMRWB) {
		return bitsAMRWB
	}
	return bitsAMR
}

// octetsAMR is the length of a payload of one frame with so many bits of speech.
func octetsAMR(c codec.Codec, bits int) int {
	if packing(c) != "" {
		return 2 + (bits+7)/8
	}
	return (4 + 6 + bits + 7) / 8
}
