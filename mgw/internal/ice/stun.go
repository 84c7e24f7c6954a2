package ice

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

const (
	stunHeader     = 20
	cookie         = 0x2112a442 // RFC 8489 §5
	bindingRequest = 0x0001     // RFC 8489 §6.1
	bindingSuccess = 0x0101
	bindingError   = 0x0111

	attrUsername    = 0x0006 // RFC 8489 §14.3
	attrIntegrity   = 0x0008
	attrErrorCode   = 0x0009
	attrUnknown     = 0x000a
	attrXORMapped   = 0x0020
	attrPriority    = 0x0024 // RFC 8445 §16.1
	attrUse         = 0x0025
	attrFingerprint = 0x8028
	attrControlled  = 0x8029
	attrControlling = 0x802a
	optional        = 0x8000 // attributes from here on need not be understood

	integrityLen   = 20
	fingerprintLen = 4
	fingerprintXOR = 0x5354554e // RFC 8489 §14.7
	maxUfrag       = 256        // RFC 8839 §5.4
	maxUnknown     = 8          // attribute types named in a refusal

	unknownAttribute = 420 // RFC 8489 §14.8
	roleConflict     = 487 // RFC 8445 §16.2
)

// LocalUfrag finds the receiver's username fragment in a STUN message: what stands before the colon of USERNAME (RFC 8445 §7.2.2).
// The result aliases b. b of any content is safe; work is bounded by its length. ok is false when there is none.
func LocalUfrag(b []byte) (ufrag []byte, ok bool) {
	for at := stunHeader; ; {
		typ, v, next := attributeAt(b, at)
		if next == 0 {
			return nil, false
		}
		if typ == attrUsername {
			i := bytes.IndexByte(v, ':')
			if i < 1 || i > maxUfrag {
				return nil, false
			}
			return v[:i], true
		}
		at = next
	}
}

// attributeAt reads the attribute at an offset; next is the offset behind it, 0 when there is no whole one. v aliases b.
func attributeAt(b []byte, at int) (typ uint16, v []byte, next int) {
	if len(b) < stunHeader {
		return 0, nil, 0
	}
	end := stunHeader + int(binary.BigEndian.Uint16(b[2:4]))
	if end > len(b) || end-at < 4 {
		return 0, nil, 0
	}
	size := int(binary.BigEndian.Uint16(b[at+2:]))
	if next = at + 4 + (size+3)&^3; next > end {
		return 0, nil, 0
	}
	return binary.BigEndian.Uint16(b[at:]), b[at+4 : at+4+size], next
}

// check is what matters of a connectivity check; it aliases the message.
type check struct {
	user        []byte
	integrity   int // offset of MESSAGE-INTEGRITY
	priority    uint32
	nominated   bool // USE-CANDIDATE
	tx          transaction
	controlled  bool     // the peer believes that we are controlling
	controlling bool     // the reverse
	tie         uint64   // tie-breaker
	unknown     []uint16 // attributes that must be understood and are not, at most maxUnknown
}

// parseRequest reads a binding request. What stands behind MESSAGE-INTEGRITY is ignored, but for a FINGERPRINT, which must be right
// (RFC 8489 §14.5, §14.7); one that is missing is forgiven, since the integrity says more. ok is false for what is to be discarded.
func parseRequest(b []byte) (r check, ok bool) {
	if len(b) < stunHeader || binary.BigEndian.Uint32(b[4:]) != cookie || stunHeader+int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return r, false
	}
	r.tx = transaction(b[8:stunHeader])
	for at := stunHeader; at < len(b); {
		typ, v, next := attributeAt(b, at)
		switch {
		case next == 0:
			return r, false
		case typ == attrFingerprint:
			return r, r.integrity != 0 && next == len(b) && len(v) == fingerprintLen &&
				binary.BigEndian.Uint32(v) == crc32.ChecksumIEEE(b[:at])^fingerprintXOR
		case r.integrity != 0:
		case typ == attrIntegrity && len(v) == integrityLen:
			r.integrity = at
		case !r.take(typ, v):
			return r, false
		}
		at = next
	}
	return r, r.integrity != 0
}

// take notes an attribute before MESSAGE-INTEGRITY; false when it is malformed.
func (r *check) take(typ uint16, v []byte) bool {
	switch typ {
	case attrUsername:
		if r.user == nil { // of several the first counts (RFC 8489 §14)
			r.user = v
		}
	case attrPriority:
		if len(v) != 4 {
			return false
		}
		r.priority = binary.BigEndian.Uint32(v)
	case attrUse:
		r.nominated = true
	case attrControlled, attrControlling:
		if len(v) != 8 {
			return false
		}
		r.controlled, r.controlling = typ == attrControlled, typ == attrControlling
		r.tie = binary.BigEndian.Uint64(v)
	case attrIntegrity:
		return false
	default:
		if typ < optional && len(r.unknown) < maxUnknown {
			r.unknown = append(r.unknown, typ)
		}
	}
	return true
}

// response is what matters of the answer to a check.
type response struct {
	integrity int // offset of MESSAGE-INTEGRITY
	code      int // of an error; 0: success
}

// parseResponse reads the answer to a binding request. ok is false for what is to be discarded.
func parseResponse(b []byte) (r response, ok bool) {
	typ := binary.BigEndian.Uint16(b)
	if typ != bindingSuccess && typ != bindingError || binary.BigEndian.Uint32(b[4:]) != cookie || stunHeader+int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		return r, false
	}
	for at := stunHeader; at < len(b); {
		attr, v, next := attributeAt(b, at)
		switch {
		case next == 0:
			return r, false
		case attr == attrFingerprint:
			if len(v) != fingerprintLen || binary.BigEndian.Uint32(v) != crc32.ChecksumIEEE(b[:at])^fingerprintXOR {
				return r, false
			}
		case r.integrity != 0:
		case attr == attrIntegrity && len(v) == integrityLen:
			r.integrity = at
		case attr == attrErrorCode && len(v) >= 4:
			r.code = int(v[2]&7)*100 + int(v[3])
		}
		at = next
	}
	return r, r.integrity != 0 && (r.code != 0) == (typ == bindingError)
}
