package ice

import (
	"bytes"
	"encoding/binary"
)

const (
	stunHeader     = 20
	bindingRequest = 0x0001 // RFC 8489 §6.1
	bindingSuccess = 0x0101
	attrUsername   = 0x0006 // RFC 8489 §14.3
	maxUfrag       = 256    // RFC 8839 §5.4
)

// LocalUfrag finds the receiver's username fragment in a STUN message: what stands before the colon of USERNAME (RFC 8445 §7.2.2).
// The result aliases b. b of any content is safe; work is bounded by its length. ok is false when there is none.
func LocalUfrag(b []byte) (ufrag []byte, ok bool) {
	if len(b) < stunHeader {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:4]))
	if n > len(b)-stunHeader {
		return nil, false
	}
	for rest := b[stunHeader : stunHeader+n]; len(rest) >= 4; {
		typ, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (size + 3) &^ 3
		if padded > len(rest)-4 {
			return nil, false
		}
		if typ == attrUsername {
			i := bytes.IndexByte(rest[4:4+size], ':')
			if i < 1 || i > maxUfrag {
				return nil, false
			}
			return rest[4 : 4+i], true
		}
		rest = rest[4+padded:]
	}
	return nil, false
}
