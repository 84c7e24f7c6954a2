package udpio

import (
	"encoding/binary"
	"errors"
)

// FrameHeader is the length in front of each packet on a stream, bytes (RFC 4571 §2).
const FrameHeader = 2

// ErrFrame is returned for a frame that is longer than the reader takes; the stream cannot be followed any further.
var ErrFrame = errors.New("udpio: frame too long")

// frames cuts a stream into the packets of RFC 4571. Bytes are put into space and announced by filled.
type frames struct {
	buf  []byte
	r, w int // buf[r:w] is not cut yet
}

// space is where the next bytes of the stream go; never empty after next has reported that nothing whole is left.
func (f *frames) space() []byte {
	if f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	return f.buf[f.w:]
}

func (f *frames) filled(n int) { f.w += n }

// next is the next whole packet, which aliases buf until space is called; nil: none is whole. Empty packets are skipped, they are
// keep-alives (RFC 4571 §2). longest: the most that is taken. Errors: ErrFrame.
func (f *frames) next(longest int) ([]byte, error) {
	for f.w-f.r >= FrameHeader {
		n := int(binary.BigEndian.Uint16(f.buf[f.r:]))
		if n > longest {
			return nil, ErrFrame
		}
		if f.w-f.r < FrameHeader+n {
			return nil, nil
		}
		p := f.buf[f.r+FrameHeader : f.r+FrameHeader+n]
		f.r += FrameHeader + n
		if n > 0 {
			return p, nil
		}
	}
	return nil, nil
}

// maxFrame is the longest packet that is sent.
const maxFrame = 2048

// outbox puts packets into frames, and keeps what is left of one that was taken in part: nothing else may follow before it.
type outbox struct {
	rest []byte // in buf
	buf  [FrameHeader + maxFrame]byte
}

// taker takes n bytes of b, 0 when it has no room; ok is false when it is broken.
type taker interface {
	write(b []byte) (n int, ok bool)
}

// send gives one packet to w; false: dropped, since w takes nothing now, not even the rest of the last one.
func (o *outbox) send(p []byte, w taker) bool {
	if len(p) > maxFrame {
		return false
	}
	if len(o.rest) > 0 {
		n, ok := w.write(o.rest)
		if o.rest = o.rest[n:]; !ok || len(o.rest) > 0 {
			return false
		}
	}
	binary.BigEndian.PutUint16(o.buf[:], uint16(len(p)))
	b := o.buf[:FrameHeader+copy(o.buf[FrameHeader:], p)]
	n, ok := w.write(b)
	if !ok || n == 0 {
		return false
	}
	o.rest = b[n:]
	return true
}
