package srtp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/pion/srtp/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestR7714_ExamplesOfTheRFC: the packets of RFC 7714 §16.1.1, §16.1.2, §16.2.1 and §16.2.2.
func TestR7714_ExamplesOfTheRFC(t *testing.T) {
	plain := unhex(t, "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573")
	for key, want := range map[string]string{
		"00010203 04050607 08090a0b 0c0d0e0f":                                     `8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce`,
		"00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f": `8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13`,
	} {
		var a aead
		if err := a.session(unhex(t, key), []byte("Quid pro quo")); err != nil {
			t.Fatal(err)
		}
		got := a.seal(bytes.Clone(plain), uint64(rtp.Packet(plain).Seq()))
		if !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("sealed\n%x, want\n%x", got, unhex(t, want))
		}
		if back, err := a.open(got, uint64(rtp.Packet(plain).Seq())); err != nil || !bytes.Equal(back, plain) {
			t.Errorf("opened %x, %v", back, err)
		}
	}
}

// TestR3711_R7714_LikeAnotherImplementation: packets of several sources in any order, lost, late, repeated and across rollovers, between ours and pion's contexts:
// both protect to the same octets, and both open and refuse the same ones.
func TestR3711_R7714_LikeAnotherImplementation(t *testing.T) {
	for _, p := range []Profile{AES128GCM, AES256GCM} {
		t.Run(p.String(), func(t *testing.T) {
			for seed := range uint64(30) {
				likePion(t, p, rand.New(rand.NewPCG(seed, 7)))
			}
		})
	}
}

func likePion(t *testing.T, p Profile, rng *rand.Rand) {
	t.Helper()
	key := p.NewKey()
	k, _ := p.lengths()
	theirs, err := srtp.CreateContext(key[:k], key[k:], p.pion())
	if err != nil {
		t.Fatal(err)
	}
	theirRx, err := srtp.CreateContext(key[:k], key[k:], p.pion(), srtp.SRTPReplayProtection(ReplayWindow))
	if err != nil {
		t.Fatal(err)
	}
	tx, err := NewSender(p, key)
	if err != nil {
		t.Fatal(err)
	}
	rx, err := NewReceiver(p, key)
	if err != nil {
		t.Fatal(err)
	}
	now := int64(1)
	rx.clock = func() int64 { now += int64(time.Second); return now } // the ration of strangers, which is ours alone, is never used up
	index := [3]int{rng.IntN(1 << 16), rng.IntN(1 << 16), 65530}
	var sent [][]byte
	var used [3]map[int]bool
	var highest [3]int
	opened, refused, kept := 0, 0, 0
	for range 3000 {
		s := rng.IntN(len(index))
		index[s] += 1 + rng.IntN(3)
		switch rng.IntN(50) {
		case 0:
			index[s] += rng.IntN(20000)
		case 1:
			index[s] -= min(rng.IntN(200), index[s])
		case 2, 3:
			index[s] += 60 + rng.IntN(80) // about a word of the replay window
		}
		plain := packet(make([]byte, 512), uint32(s+1), uint16(index[s]), rng.IntN(200))
		if rng.IntN(4) == 0 { // a header extension, and contributing sources
			plain = append(plain[:12:12], append([]byte{0, 0, 0, 9, 0xbe, 0xde, 0, 1, 0x10, 1, 0, 0}, plain[12:]...)...)
			plain[0] |= 0x11
		}
		got, err := tx.ProtectRTP(bytes.Clone(plain))
		if used[s] == nil {
			used[s] = map[int]bool{}
		}
		if used[s][index[s]] || highest[s]-index[s] >= ReplayWindow { // the other does not mind
			if !errors.Is(err, ErrSpent) {
				t.Fatalf("source %d index %d, of which the highest was %d: %v", s, index[s], highest[s], err)
			}
			kept++
			continue
		}
		used[s][index[s]], highest[s] = true, max(highest[s], index[s])
		want, theirErr := theirs.EncryptRTP(nil, plain, nil)
		if theirErr != nil {
			t.Fatal(theirErr)
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("source %d index %d: %v, sealed %x, want %x", s, index[s], err, got, want)
		}
		sent = append(sent, got)
		if rng.IntN(5) == 0 {
			continue // lost, for now
		}
		at := len(sent) - 1
		if rng.IntN(6) == 0 {
			at -= rng.IntN(min(len(sent), 400)) // late, or repeated
		}
		b := bytes.Clone(sent[at])
		if rng.IntN(20) == 0 {
			b[len(b)-1-rng.IntN(len(b)-12)] ^= 1
		}
		want, theirErr = theirRx.DecryptRTP(nil, bytes.Clone(b), nil)
		got, ourErr := rx.OpenRTP(bytes.Clone(b))
		if theirErr != nil {
			theirErr = classify(theirErr)
		}
		if !errors.Is(ourErr, theirErr) || !bytes.Equal(got, want) {
			t.Fatalf("packet %d of %d: %v where the other says %v", at, len(sent), ourErr, theirErr)
		}
		if ourErr == nil {
			opened++
		} else {
			refused++
		}
	}
	if opened < 1000 || refused < 50 || kept < 20 {
		t.Errorf("%d opened, %d refused, %d not sealed: that shows little", opened, refused, kept)
	}
}

// TestR3711_KeyIsUsedUp: no packet leaves under an index beyond the last one, which would be the keystream of the first again (RFC 3711 §9.2).
func TestR3711_KeyIsUsedUp(t *testing.T) {
	tx, rx := pair(t, AES128GCM)
	rx.sources.add(source{ssrc: 7, index: indexEnd - 2, known: true})
	tx.sent.add(source{ssrc: 7, index: indexEnd - 2, known: true})
	b, err := tx.ProtectRTP(packet(make([]byte, 512), 7, 65535, 20))
	if err != nil {
		t.Fatalf("the last packet: %v", err)
	}
	if _, err := rx.OpenRTP(b); err != nil {
		t.Errorf("the last packet is refused: %v", err)
	}
	if b, err := tx.ProtectRTP(packet(make([]byte, 512), 7, 0, 20)); !errors.Is(err, ErrSpent) {
		t.Errorf("a packet under the first keystream left: %v, %d octets", err, len(b))
	}
	for seq := 0; seq < 65536; seq += 1000 { // half a period on, numbers are those of the last one
		if _, err := tx.ProtectRTP(packet(make([]byte, 512), 7, uint16(seq), 20)); !errors.Is(err, ErrSpent) {
			t.Fatalf("number %d left again: %v", seq, err)
		}
	}
	if _, err := rx.OpenRTP(packet(make([]byte, 512), 7, 0, 20)); !errors.Is(err, ErrAuth) {
		t.Errorf("beyond the end: %v", err)
	}
}

// TestR3711_LatePacketDoesNotMoveTheIndexBack: half a rollover period after the newest packet begins the next one, whatever came late between.
func TestR3711_LatePacketDoesNotMoveTheIndexBack(t *testing.T) {
	tx, rx := pair(t, AES128GCM)
	for i, seq := range []uint16{40000, 39900, 40000 - 1<<15 - 32} {
		if _, err := rx.OpenRTP(protected(t, tx, 7, seq)); err != nil {
			t.Errorf("packet %d: %v", i, err)
		}
	}
	if a, b := rollovers(rx, 7), uint32(tx.sent.newest.index>>16); a != 1 || b != 1 {
		t.Errorf("rollover counters %d and %d, want 1", a, b)
	}
}

// TestProtectWithoutRoomMovesThePacket: the packet and what is behind it stay as they are when there is no room for a tag.
func TestProtectWithoutRoomMovesThePacket(t *testing.T) {
	tx, rx := pair(t, AES128GCM)
	block := packet(make([]byte, 200), 7, 1, 100)
	after := block[112:200]
	for i := range after {
		after[i] = 0xee
	}
	b, err := tx.ProtectRTP(block[:112:112])
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rx.OpenRTP(b); err != nil || len(got) != 112 {
		t.Errorf("%d octets, %v", len(got), err)
	}
	for _, x := range after {
		if x != 0xee {
			t.Fatal("what is behind the packet was written")
		}
	}
	if _, err := tx.ProtectRTP(block[:11]); !errors.Is(err, ErrFormat) {
		t.Errorf("a stump: %v", err)
	}
}
