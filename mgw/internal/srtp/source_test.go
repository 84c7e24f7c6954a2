package srtp

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pion/srtp/v3"
)

// TestR3711_3_3_1_IndexOfAPacket: the guess of RFC 3711 appendix A, but that there is nothing before the first rollover period.
func TestR3711_3_3_1_IndexOfAPacket(t *testing.T) {
	for _, roc := range []int64{0, 1, 2, 70000, 1<<32 - 1} {
		for _, highest := range []int64{0, 1, 5, 32766, 32767, 32768, 32769, 40000, 65534, 65535} {
			for seq := range int64(65536) {
				v := roc
				switch {
				case highest < 32768 && seq-highest > 32768:
					v = max(roc-1, 0)
				case highest >= 32768 && highest-32768 > seq:
					v = roc + 1
				}
				s := source{index: uint64(roc<<16 | highest), known: true}
				if got, want := s.guess(uint16(seq)), uint64(v<<16|seq); got != want {
					t.Fatalf("after %d of period %d number %d is %d, want %d", highest, roc, seq, got, want)
				}
			}
		}
	}
}

// TestR3711_FirstPacketIsOvertaken: a source's second packet is older than its first and from before the rollover. Neither end can know that, and both say the same.
func TestR3711_FirstPacketIsOvertaken(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		for _, seq := range []uint16{3, 65530, 4, 65531, 5} {
			if _, err := rx.OpenRTP(protected(t, tx, 7, seq)); err != nil {
				t.Errorf("number %d: %v", seq, err)
			}
		}
	})
}

// TestR7714_8_1_AllOfTheIndexIsInTheNonce: far in the life of a key, whose rollover counter another implementation is told, both protect to the same octets.
func TestR7714_8_1_AllOfTheIndexIsInTheNonce(t *testing.T) {
	for _, p := range []Profile{AES128GCM, AES256GCM} {
		key := p.NewKey()
		k, _ := p.lengths()
		for _, roc := range []uint32{0, 1, 0xffff, 0x10000, 0x12345678, 0xffffffff} {
			theirs, err := srtp.CreateContext(key[:k], key[k:], p.pion())
			if err != nil {
				t.Fatal(err)
			}
			tx, err := NewSender(p, key)
			if err != nil {
				t.Fatal(err)
			}
			if tx.aead.gcm == nil {
				t.Fatalf("%s is not ours", p)
			}
			theirs.SetROC(7, roc)
			tx.sent.add(source{ssrc: 7, index: uint64(roc)<<16 | 99, known: true})
			plain := packet(make([]byte, 512), 7, 100, 20)
			want, err := theirs.EncryptRTP(nil, plain, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := tx.ProtectRTP(bytes.Clone(plain)); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, period %#x: %v, %x, want %x", p, roc, err, got, want)
			}
		}
	}
}

// TestR3711_9_2_NothingIsOpenedBeyondTheEnd: an index of more than 48 bits is none, whatever the tag says.
func TestR3711_9_2_NothingIsOpenedBeyondTheEnd(t *testing.T) {
	tx, rx := pair(t, AES128GCM)
	rx.sources.add(source{ssrc: 7, index: indexEnd - 2, known: true})
	if _, err := rx.OpenRTP(tx.aead.seal(packet(make([]byte, 512), 7, 0, 20), indexEnd)); !errors.Is(err, ErrAuth) {
		t.Errorf("%v", err)
	}
	if rx.sources.newest.index != indexEnd-2 {
		t.Error("the source has moved")
	}
}

// TestSourceZeroIsLikeOthers: 0 is an SSRC like others, and nobody's before a packet of it is authentic.
func TestSourceZeroIsLikeOthers(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		if rx.sources.take(0) || rx.sources.len() != 0 {
			t.Error("a source is known that has sent nothing")
		}
		if _, err := rx.OpenRTP(packet(make([]byte, 512), 0, 1, 60)); !errors.Is(err, ErrAuth) || rx.Heard() {
			t.Errorf("forged: %v, heard %v", err, rx.Heard())
		}
		for seq := range uint16(3) {
			if _, err := rx.OpenRTP(protected(t, tx, 0, seq)); err != nil || !rx.Heard() || rx.sources.len() != 1 {
				t.Errorf("number %d: %v, heard %v, %d sources", seq, err, rx.Heard(), rx.sources.len())
			}
		}
	})
}

// TestFailedTagMovesNothing: a packet that is forged, of a known source or of none, leaves all as it was: the highest index, what has come, and which sources there are.
func TestFailedTagMovesNothing(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		for seq := range uint16(5) {
			for ssrc := range uint32(3) {
				if _, err := rx.OpenRTP(protected(t, tx, ssrc, 10+2*seq)); err != nil {
					t.Fatal(err)
				}
			}
		}
		of := func() (out [3]source) {
			for i := range out {
				rx.sources.take(uint32(i))
				out[i] = rx.sources.newest
			}
			return out
		}
		before := of()
		for _, seq := range []uint16{11, 17, 19, 20, 500, 30000, 40000, 65000} { // late, next, far
			for ssrc := range uint32(5) {
				if _, err := rx.OpenRTP(packet(make([]byte, 512), ssrc, seq, 60)); !errors.Is(err, ErrAuth) && !errors.Is(err, ErrReplay) {
					t.Fatalf("forged: %v", err)
				}
			}
		}
		if after := of(); after != before || rx.sources.len() != 3 {
			t.Errorf("%+v, was %+v; %d sources", after, before, rx.sources.len())
		}
		for ssrc := range uint32(3) {
			for _, seq := range []uint16{17, 19} {
				if _, err := rx.OpenRTP(protected(t, tx, ssrc, seq)); err != nil {
					t.Errorf("source %d number %d: %v", ssrc, seq, err)
				}
			}
		}
	})
}

// TestReportsAloneAreHeard: a peer that sends reports before media has the keys.
func TestReportsAloneAreHeard(t *testing.T) {
	tx, rx := pair(t, AES128GCM)
	b, err := tx.ProtectRTCP(append(make([]byte, 0, 256), 0x80, 201, 0, 1, 0, 0, 0, 7))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rx.OpenRTCP(b); err != nil || !rx.Heard() {
		t.Errorf("%v, heard %v", err, rx.Heard())
	}
}

// TestShapesLikeAnotherImplementation: packets cut anywhere, with headers that say anything of extensions and contributing sources, are refused as the other refuses
// them: as malformed, or as not authentic.
func TestShapesLikeAnotherImplementation(t *testing.T) {
	for _, p := range []Profile{AES128GCM, AES256GCM} {
		key := p.NewKey()
		k, _ := p.lengths()
		theirs, err := srtp.CreateContext(key[:k], key[k:], p.pion(), srtp.SRTPReplayProtection(ReplayWindow))
		if err != nil {
			t.Fatal(err)
		}
		for first := range 256 {
			if first>>6 != 2 {
				continue // no RTP, the worker has told that before
			}
			for n := range 120 {
				b := packet(make([]byte, 512), 7, 1, 108)[:n]
				for i := 12; i < n; i++ {
					b[i] = 0 // an extension of no words
				}
				if n > 0 {
					b[0] = byte(first)
				}
				rx, err := NewReceiver(p, key)
				if err != nil {
					t.Fatal(err)
				}
				_, want := theirs.DecryptRTP(nil, bytes.Clone(b), nil)
				if _, got := rx.OpenRTP(bytes.Clone(b)); !errors.Is(got, classify(want)) {
					t.Fatalf("first octet %#x, %d octets: %v, the other says %v", first, n, got, want)
				}
			}
		}
	}
}
