package srtp

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/pion/srtp/v3"

	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// mkiPeer is a foreign peer that sends with an MKI, and the Receiver for what it sends. n: length of the MKI.
func mkiPeer(t testing.TB, p Profile, n int) (tx *srtp.Context, rx *Receiver, mki []byte) {
	t.Helper()
	key, mki := make([]byte, p.KeyLength()), bytes.Repeat([]byte{0xa5}, n)
	for i := range key { // not random: no tag may look like a short MKI by chance
		key[i] = byte(7 * i)
	}
	mki[n-1] = 0xb7
	k, _ := p.lengths()
	tx, err := srtp.CreateContext(key[:k], key[k:], p.pion(), srtp.MasterKeyIndicator(mki))
	if err != nil {
		t.Fatal(err)
	}
	if rx, err = NewReceiver(p, key); err != nil {
		t.Fatal(err)
	}
	rx.SetMKI(mki)
	return tx, rx, mki
}

// TestR4568_R3711_MKI: packets of a peer whose key has an MKI carry that before the tag, or behind all with AES-GCM, and are opened when it is the agreed one. A
// forged or missing one is refused before the key is asked, and the packet itself is taken once only, whatever its MKI says.
func TestR4568_R3711_MKI(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		for _, n := range []int{1, 4, MaxMKI} {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				tx, rx, mki := mkiPeer(t, p, n)
				report := []byte{0x80, 201, 0, 1, 0, 0, 0, 7}
				for name, c := range map[string]struct {
					protect func(seq uint16) (plain, prot []byte)
					open    func([]byte) ([]byte, error)
					tag     int
				}{
					"RTP": {func(seq uint16) (plain, prot []byte) {
						plain = packet(make([]byte, 512), 7, seq, 160)
						prot, err := tx.EncryptRTP(nil, plain, nil)
						if err != nil {
							t.Fatal(err)
						}
						return plain, prot
					}, rx.OpenRTP, map[Profile]int{AES128CMSHA1_80: 10, AES128CMSHA1_32: 4}[p]},
					"RTCP": {func(uint16) (plain, prot []byte) {
						prot, err := tx.EncryptRTCP(nil, report, nil)
						if err != nil {
							t.Fatal(err)
						}
						return report, prot
					}, rx.OpenRTCP, map[Profile]int{AES128CMSHA1_80: 10, AES128CMSHA1_32: 10}[p]},
				} {
					t.Run(name, func(t *testing.T) {
						for seq := range uint16(20) {
							plain, prot := c.protect(65530 + seq)
							at := len(prot) - c.tag - n
							if !bytes.Equal(prot[at:at+n], mki) {
								t.Fatalf("the peer has its MKI elsewhere: % x", prot)
							}
							with := func(mki []byte) []byte {
								return append(append(bytes.Clone(prot[:at]), mki...), prot[at+n:]...)
							}
							other := bytes.Clone(mki)
							other[0] ^= 0x80
							sources, reports := rx.sources.len(), len(rx.reports)
							for what, b := range map[string][]byte{"forged": with(other), "without": with(nil), "short": bytes.Clone(prot[:at]), "header only": bytes.Clone(prot[:min(12, at)])} {
								if _, err := c.open(b); !errors.Is(err, ErrAuth) {
									t.Fatalf("%s: %v", what, err)
								}
							}
							if rx.sources.len() != sources || len(rx.reports) != reports || !rx.strangers.Holds(rx.clock(), strangerRate) {
								t.Fatal("a forged MKI has cost something")
							}
							if tampered := bytes.Clone(prot); seq > 0 { // its SSRC is known
								if c.tag == 0 {
									tampered[13] ^= 1
								} else {
									tampered[len(tampered)-1] ^= 1
								}
								if _, err := c.open(tampered); !errors.Is(err, ErrAuth) {
									t.Fatalf("tampered: %v", err)
								}
							}
							if got, err := c.open(bytes.Clone(prot)); err != nil || !bytes.Equal(got, plain) {
								t.Fatalf("packet %d: %v", seq, err)
							}
							if _, err := c.open(bytes.Clone(prot)); !errors.Is(err, ErrReplay) {
								t.Fatalf("replay: %v", err)
							}
							rx.SetMKI(other) // the peer gives the key another one
							if _, err := c.open(with(other)); !errors.Is(err, ErrReplay) {
								t.Fatalf("replay under another MKI: %v", err)
							}
							rx.SetMKI(nil)
							if _, err := c.open(with(nil)); !errors.Is(err, ErrReplay) {
								t.Fatalf("replay without MKI: %v", err)
							}
							rx.SetMKI(mki)
						}
					})
				}
			})
		}
	})
}

func TestMKIDoesNotAllocate(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx, _ := mkiPeer(t, p, 4)
		buf, plain, seq := make([]byte, 0, 512), make([]byte, 512), uint16(0)
		if n := testing.AllocsPerRun(200, func() {
			seq++
			b, err := tx.EncryptRTP(buf, packet(plain, 7, seq, 160), &rx.rtp)
			if err == nil {
				_, err = rx.OpenRTP(b)
			}
			if err != nil {
				t.Fatal(err)
			}
		}); n > race.Allocs(1) {
			t.Errorf("%v allocations", n)
		}
	})
}
