package srtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/race"
)

// fixedExporter stands in for a DTLS association: both ends see the same keying material.
type fixedExporter struct{ seed byte }

func (f fixedExporter) ExportKeyingMaterial(_ string, _ []byte, n int) ([]byte, error) {
	b := make([]byte, n)
	for i := range b {
		b[i] = f.seed + byte(i)
	}
	return b, nil
}

func pair(t testing.TB, p Profile) (*Sender, *Receiver) {
	t.Helper()
	kc, err := ExportKeys(fixedExporter{1}, p, true)
	if err != nil {
		t.Fatal(err)
	}
	ks, err := ExportKeys(fixedExporter{1}, p, false)
	if err != nil {
		t.Fatal(err)
	}
	tx, _, err := NewPair(p, kc)
	if err != nil {
		t.Fatal(err)
	}
	_, rx, err := NewPair(p, ks)
	if err != nil {
		t.Fatal(err)
	}
	return tx, rx
}

func packet(buf []byte, ssrc uint32, seq uint16, payload int) []byte {
	b := buf[:12+payload]
	clear(b)
	b[0], b[1] = 0x80, 8
	binary.BigEndian.PutUint16(b[2:], seq)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	for i := range b[12:] {
		b[12+i] = byte(i)
	}
	return b
}

func profiles(t *testing.T, f func(t *testing.T, p Profile)) {
	for _, p := range Profiles {
		t.Run(p.String(), func(t *testing.T) { f(t, p) })
	}
}

func TestR3711_R7714_RoundTripInPlaceAcrossRollover(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		for i := range 200 {
			buf := make([]byte, 512)
			plain := packet(buf, 7, uint16(65500+i), 160)
			want := bytes.Clone(plain)
			prot, err := tx.ProtectRTP(plain)
			if err != nil {
				t.Fatal(err)
			}
			if &prot[0] != &buf[0] {
				t.Fatal("not in place")
			}
			if bytes.Equal(prot[12:172], want[12:]) {
				t.Fatal("payload in clear")
			}
			got, err := rx.OpenRTP(prot)
			if err != nil {
				t.Fatalf("packet %d: %v", i, err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("packet %d changed", i)
			}
		}
	})
}

func TestR3711_R7714_ReplayAndTampering(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		prot, err := tx.ProtectRTP(packet(make([]byte, 512), 7, 1, 20))
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(prot)
		bad[15] ^= 1
		if _, err := rx.OpenRTP(bad); !errors.Is(err, ErrAuth) {
			t.Errorf("tampered: %v", err)
		}
		if _, err := rx.OpenRTP(bytes.Clone(prot)); err != nil {
			t.Errorf("good packet after a tampered one: %v", err)
		}
		if _, err := rx.OpenRTP(bytes.Clone(prot)); !errors.Is(err, ErrReplay) {
			t.Errorf("replay: %v", err)
		}
		if _, err := rx.OpenRTP(prot[:13]); err == nil {
			t.Error("stump opened")
		}
		if _, err := rx.OpenRTP(nil); !errors.Is(err, ErrFormat) {
			t.Errorf("nil: %v", err)
		}
	})
}

func TestForeignKeyDoesNotOpen(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, _ := pair(t, p)
		k, _ := ExportKeys(fixedExporter{99}, p, false)
		_, rx, err := NewPair(p, k)
		if err != nil {
			t.Fatal(err)
		}
		prot, _ := tx.ProtectRTP(packet(make([]byte, 512), 7, 1, 20))
		if _, err := rx.OpenRTP(prot); !errors.Is(err, ErrAuth) {
			t.Errorf("err %v", err)
		}
	})
}

func TestR3711_R7714_RTCPRoundTrip(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		rr := []byte{0x80, 201, 0, 1, 0, 0, 0, 7}
		b := append(make([]byte, 0, 256), rr...)
		prot, err := tx.ProtectRTCP(b)
		if err != nil {
			t.Fatal(err)
		}
		again := bytes.Clone(prot)
		got, err := rx.OpenRTCP(prot)
		if err != nil || !bytes.Equal(got, rr) {
			t.Fatalf("%x, %v", got, err)
		}
		if _, err := rx.OpenRTCP(again); !errors.Is(err, ErrReplay) {
			t.Errorf("replay: %v", err)
		}
	})
}

func TestSourcesAreBounded(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		send := func(ssrc uint32, seq uint16) error {
			prot, err := tx.ProtectRTP(packet(make([]byte, 512), ssrc, seq, 20))
			if err != nil {
				t.Fatal(err)
			}
			_, err = rx.OpenRTP(prot)
			return err
		}
		for i := range maxSources {
			if err := send(uint32(i+1), 1); err != nil {
				t.Fatalf("source %d: %v", i, err)
			}
		}
		if err := send(1000, 1); !errors.Is(err, ErrAuth) {
			t.Errorf("source beyond the bound: %v", err)
		}
		if err := send(1, 2); err != nil {
			t.Errorf("old source: %v", err)
		}
	})
}

func TestNoAllocations(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		buf := make([]byte, 512)
		seq := uint16(0)
		n := testing.AllocsPerRun(200, func() {
			seq++
			prot, err := tx.ProtectRTP(packet(buf, 7, seq, 160))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rx.OpenRTP(prot); err != nil {
				t.Fatal(err)
			}
		})
		if n > race.Allocs(1) {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestKeysAreNotPrinted(t *testing.T) {
	k, _ := ExportKeys(fixedExporter{1}, AES128GCM, true)
	if k.String() != "srtp.Keys(hidden)" {
		t.Error("keys printed")
	}
}

func BenchmarkProtectOpen(b *testing.B) {
	for _, p := range Profiles {
		b.Run(p.String(), func(b *testing.B) {
			tx, rx := pair(b, p)
			buf := make([]byte, 512)
			seq := uint16(0)
			for b.Loop() {
				seq++
				prot, _ := tx.ProtectRTP(packet(buf, 7, seq, 160))
				if _, err := rx.OpenRTP(prot); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
