package srtp

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// keystream is the begin of what a packet is sealed with: that of one of zeros.
func keystream(t *testing.T, tx *Sender, ssrc uint32, seq uint16) (string, error) {
	t.Helper()
	b := packet(make([]byte, 512), ssrc, seq, 20)
	clear(b[12:])
	b, err := tx.ProtectRTP(b)
	if err != nil {
		return "", err
	}
	return string(b[12:32]), nil
}

// TestR3711_9_1_NoKeystreamLeavesTwice: whatever numbers the packets of some sources carry, also those of a stream that has begun anew under the SSRC of one
// that was before, none is sealed under an index that has been used.
func TestR3711_9_1_NoKeystreamLeavesTwice(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		rng := rand.New(rand.NewPCG(3, uint64(p)))
		tx, _ := pair(t, p)
		used := map[string]bool{}
		seq := [3]uint16{5, 40000, 65530}
		refused := 0
		for i := range 20000 {
			s := rng.IntN(len(seq))
			switch seq[s]++; rng.IntN(300) {
			case 0:
				seq[s] = uint16(rng.Uint32())
			case 1, 2, 3, 4:
				seq[s] -= uint16(rng.IntN(200))
			case 5, 6, 7, 8, 9:
				seq[s]--
			}
			k, err := keystream(t, tx, uint32(s), seq[s])
			switch {
			case err == nil && used[k]:
				t.Fatalf("packet %d, source %d, number %d: this keystream has been used", i, s, seq[s])
			case err == nil:
				used[k] = true
			case !errors.Is(err, ErrSpent):
				t.Fatal(err)
			default:
				refused++
			}
		}
		if len(used) < 2000 || refused < 100 {
			t.Errorf("%d sealed, %d refused: that shows little", len(used), refused)
		}
	})
}

// TestR3711_LatePacketLeavesOnce: one that is late, within the window, leaves in its place, once; what comes after it is as if it had not been.
func TestR3711_LatePacketLeavesOnce(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		for i, c := range []struct {
			seq  uint16
			want error
		}{{65530, nil}, {65534, nil}, {2, nil}, {65533, nil}, {65533, ErrSpent}, {2, ErrSpent}, {3, nil}, {65535, nil}, {65535, ErrSpent}, {4, nil}, {65540 - ReplayWindow, ErrSpent}, {65541 - ReplayWindow, nil}} {
			b, err := tx.ProtectRTP(packet(make([]byte, 512), 7, c.seq, 20))
			if !errors.Is(err, c.want) {
				t.Fatalf("packet %d, number %d: %v, want %v", i, c.seq, err, c.want)
			}
			if err == nil {
				if _, err := rx.OpenRTP(b); err != nil {
					t.Fatalf("packet %d, number %d, at the peer: %v", i, c.seq, err)
				}
			}
		}
	})
}
