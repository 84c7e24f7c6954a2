package rtp

import "testing"

func TestR7983_R9443_Classify(t *testing.T) {
	stun := make([]byte, 28)
	stun[1] = 1
	stun[3] = 8
	copy(stun[4:], []byte{0x21, 0x12, 0xa4, 0x42})
	for first := range 256 {
		b := make([]byte, 28)
		copy(b, stun)
		b[0] = byte(first)
		want := Unknown
		switch {
		case first <= 3:
			want = STUN
		case first >= 16 && first <= 19:
			want = ZRTP
		case first >= 20 && first <= 63:
			want = DTLS
		case first >= 64 && first <= 79:
			want = TURNChannel
		case first >= 128 && first <= 191:
			want = RTP
		}
		if got := Classify(b); got != want {
			t.Errorf("first byte %d: %v, want %v", first, got, want)
		}
	}
}

func TestR5761_RTCPByPacketType(t *testing.T) {
	for second := range 256 {
		b := make([]byte, 12)
		b[0], b[1] = 0x80, byte(second)
		want := RTP
		if second >= 192 && second <= 223 {
			want = RTCP
		}
		if got := Classify(b); got != want {
			t.Errorf("second byte %d: %v, want %v", second, got, want)
		}
	}
	if Classify([]byte{0x80, 200, 0, 0}) != RTCP {
		t.Error("an RTCP header alone is RTCP; its parser refuses it")
	}
}

func TestClassifyShortAndFalse(t *testing.T) {
	for _, b := range [][]byte{nil, {0x80}, {0x80, 0}, {0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {0x80, 200, 0}, {22, 254}, {0, 1, 0, 0}, {64, 0, 0}} {
		if got := Classify(b); got != Unknown {
			t.Errorf("% x: %v", b, got)
		}
	}
	notSTUN := make([]byte, 20) // no cookie
	if IsSTUN(notSTUN) {
		t.Error("message without the cookie taken for STUN")
	}
	copy(notSTUN[4:], []byte{0x21, 0x12, 0xa4, 0x42})
	notSTUN[3] = 4
	if IsSTUN(notSTUN) {
		t.Error("length field beyond the datagram taken for STUN")
	}
}
