package rtpengine

import (
	"fmt"
	"testing"
)

// Bits of a frame by its type (RFC 4867 tables 1a and 1b: TS 26.101, TS 26.201); 0: there is no such. The last of each is comfort noise.
var (
	bitsAMR   = []int{95, 103, 118, 134, 148, 159, 204, 244, 39}
	bitsAMRWB = []int{132, 177, 253, 285, 317, 365, 397, 461, 477, 40}
)

const (
	noData    = 15 // frame type, and mode request for none
	noRequest = 15
)

// frame is what a payload with one frame says.
type frame struct{ request, kind int }

// readPayload reads a payload of one frame as RFC 4867 §4.3 (bandwidth-efficient) or §4.4 (octet-aligned) has it: its length is that of the frame,
// what is padding or reserved is zero, the quality bit is set.
func readPayload(p []byte, wide, aligned bool) (frame, error) {
	if len(p) < 2 {
		return frame{}, fmt.Errorf("%d octets", len(p))
	}
	f := frame{request: int(p[0] >> 4), kind: int(p[0]&7)<<1 | int(p[1]>>7)}
	more, good, head, padding := p[0]>>3&1, p[1]>>6&1, 10, byte(0)
	if aligned {
		f.kind, more, good, head, padding = int(p[1]>>3&15), p[1]>>7, p[1]>>2&1, 16, p[0]&15|p[1]&3
	}
	bits := bitsAMR
	if wide {
		bits = bitsAMRWB
	}
	n := 0
	switch {
	case f.kind < len(bits):
		n = bits[f.kind]
	case f.kind != noData:
		return f, fmt.Errorf("frame type %d", f.kind)
	}
	if want := (head + n + 7) / 8; len(p) != want {
		return f, fmt.Errorf("%d octets, want %d of frame type %d", len(p), want, f.kind)
	}
	if spare := (8 - (head+n)%8) % 8; spare > 0 {
		padding |= p[len(p)-1] & (1<<spare - 1)
	}
	if more != 0 || good == 0 && f.kind != noData || padding != 0 {
		return f, fmt.Errorf("first octets %08b %08b, padding %08b", p[0], p[1], padding)
	}
	return f, nil
}

// Each packing is told from the other, and a payload that is not as the standard has it is refused.
func TestPayloadsAreJudged(t *testing.T) {
	payload := func(n int, head ...byte) []byte { return append(head, make([]byte, n-len(head))...) }
	for _, c := range []struct {
		name          string
		p             []byte
		wide, aligned bool
		want          frame // zero: refused
	}{
		{"AMR 12.2, bandwidth-efficient", payload(32, 0xf3, 0xc0), false, false, frame{15, 7}},
		{"the same as if octet-aligned", payload(32, 0xf3, 0xc0), false, true, frame{}},
		{"AMR 12.2, octet-aligned", payload(33, 0xf0, 0x3c), false, true, frame{15, 7}},
		{"the same as if bandwidth-efficient", payload(33, 0xf0, 0x3c), false, false, frame{}},
		{"AMR-WB 12.65 with a request, bandwidth-efficient", payload(33, 0x81, 0x40), true, false, frame{8, 2}},
		{"AMR-WB 12.65, octet-aligned", payload(34, 0xf0, 0x14), true, true, frame{15, 2}},
		{"comfort noise of AMR-WB, octet-aligned", payload(7, 0xf0, 0x4c), true, true, frame{15, 9}},
		{"one octet too many", payload(35, 0xf0, 0x14), true, true, frame{}},
		{"reserved bits", payload(34, 0xf1, 0x14), true, true, frame{}},
		{"more frames promised", payload(34, 0xf0, 0x94), true, true, frame{}},
		{"frame type 12", payload(34, 0xf0, 0x64), true, true, frame{}},
		{"nothing", nil, true, true, frame{}},
	} {
		got, err := readPayload(c.p, c.wide, c.aligned)
		if refused := c.want == (frame{}); refused != (err != nil) || !refused && got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		}
	}
}
