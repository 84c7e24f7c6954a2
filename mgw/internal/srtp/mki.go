package srtp

import "bytes"

// MaxMKI is the longest MKI, octets (RFC 4568 §6.1).
const MaxMKI = 128

// SetMKI tells the MKI that packets under the key carry from now on (RFC 3711 §3.1); empty: none. It is kept. What was received stays received: the MKI
// is not authenticated, so that the same packet with another is the same.
func (r *Receiver) SetMKI(mki []byte) { r.mki = mki }

// strip takes the MKI out of b, whose tag of so many octets follows it, in place; false: there is none, or another. Nothing is changed then.
func (r *Receiver) strip(b []byte, least, tag int) ([]byte, bool) {
	n := len(r.mki)
	if n == 0 {
		return b, true
	}
	at := len(b) - tag - n
	if at < least || !bytes.Equal(b[at:at+n], r.mki) {
		return nil, false
	}
	copy(b[at:], b[at+n:])
	return b[:at+tag], true
}

// tagLengths are the tags of SRTP and SRTCP as far as they stand behind the MKI: with AES-GCM the tag is a part of the ciphertext (RFC 7714 §8.1, §9.1).
func (p Profile) tagLengths() [2]int {
	switch p {
	case AES128CMSHA1_80:
		return [2]int{10, 10}
	case AES128CMSHA1_32:
		return [2]int{4, 10} // RFC 4568 §6.2.2
	}
	return [2]int{}
}
