package turnserver

import (
	"encoding/binary"
	"errors"
	"io"
)

// Errors of what comes over a stream; the connection ends with them.
var (
	errFraming = errors.New("neither STUN nor channel data")
	errLong    = errors.New("message too long")
)

const (
	stunHeader  = 20
	magicCookie = 0x2112A442
)

// frameLength tells how long the message is that begins with the four bytes of head, over a stream: the whole with padding, and
// without. STUN messages begin with two zero bits and have no padding of their own (RFC 8489 §5); channel data begins with a channel
// number and is padded to four bytes (RFC 8656 §12.4, §12.5).
//
// DEVIATES RFC 8656 §12: channel numbers up to 0x7FFF are taken, not 0x4FFF: clients of RFC 5766, such as coturn's, use them.
func frameLength(head [4]byte) (padded, exact int, err error) {
	n := int(binary.BigEndian.Uint16(head[2:]))
	switch head[0] >> 6 {
	case 0:
		if n%4 != 0 {
			return 0, 0, errFraming
		}
		padded, exact = stunHeader+n, stunHeader+n
	case 1:
		padded, exact = 4+(n+3)&^3, 4+n
	default:
		return 0, 0, errFraming
	}
	if padded > maxMessage-1 { // pion/turn drops what fills its buffer
		return 0, 0, errLong
	}
	return padded, exact, nil
}

// readFrame reads one message into buf, which has room for maxMessage bytes; begun is called after its first byte. n is the length without
// padding. Errors: of r, errFraming, errLong.
func readFrame(r io.Reader, buf []byte, begun func()) (n int, err error) {
	if _, err := io.ReadFull(r, buf[:1]); err != nil {
		return 0, err
	}
	begun()
	if _, err := io.ReadFull(r, buf[1:4]); err != nil {
		return 0, err
	}
	padded, exact, err := frameLength([4]byte(buf[:4]))
	if err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(r, buf[4:padded]); err != nil {
		return 0, err
	}
	if buf[0] < 0x40 && binary.BigEndian.Uint32(buf[4:]) != magicCookie {
		return 0, errFraming
	}
	return exact, nil
}
