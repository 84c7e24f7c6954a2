package srtp

import (
	"bytes"
	"testing"
	"time"
)

// Forged packets of ever new SSRCs cost nothing once they are many; the known source is opened all the time, a new one of the peer's a second after.
func TestStrangersAreRationed(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		now := int64(1)
		rx.clock = func() int64 { return now }
		if _, err := rx.OpenRTP(protected(t, tx, 1, 1)); err != nil {
			t.Fatal(err)
		}
		buf, ssrc := make([]byte, 300), uint32(1000)
		forge := func() {
			ssrc++
			if _, err := rx.OpenRTP(packet(buf, ssrc, 1, 160)); err != ErrAuth {
				t.Fatalf("forged: %v", err)
			}
			b := packet(buf, 0, 1, 160)
			b[1], b[4], b[5], b[6], b[7] = 200, 9, byte(ssrc>>16), byte(ssrc>>8), byte(ssrc)
			if _, err := rx.OpenRTCP(b); err == nil {
				t.Fatal("forged RTCP was opened")
			}
		}
		for range 25 {
			fresh := bytes.Clone(protected(t, tx, ssrc+1<<20, 1))
			if _, err := rx.OpenRTP(fresh); err != nil {
				t.Fatalf("a new source before the bucket is empty: %v", err)
			}
			forge()
		}
		if n := testing.AllocsPerRun(1000, forge); n != 0 {
			t.Errorf("%.0f allocations per forged packet", n)
		}
		if _, err := rx.OpenRTP(protected(t, tx, 1, 2)); err != nil {
			t.Errorf("the known source: %v", err)
		}
		late := bytes.Clone(protected(t, tx, 77, 1))
		if _, err := rx.OpenRTP(bytes.Clone(late)); err != ErrAuth {
			t.Errorf("a new source while the bucket is empty: %v", err)
		}
		now += int64(time.Second) / strangerRate
		if _, err := rx.OpenRTP(late); err != nil {
			t.Errorf("a new source after: %v", err)
		}
	})
}

// Media alone use the ration up, and reports alone.
func TestMediaAndReportsAreRationed(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		for _, control := range []bool{false, true} {
			tx, rx := pair(t, p)
			rx.clock = func() int64 { return 1 }
			if _, err := rx.OpenRTP(protected(t, tx, 1, 1)); err != nil {
				t.Fatal(err)
			}
			for i := range strangerRate {
				if !rx.strangers.Holds(1, 1) {
					t.Fatalf("used up by %d, control %v", i, control)
				}
				b := packet(make([]byte, 300), 1000+uint32(i), 1, 160)
				open := rx.OpenRTP
				if control {
					b[1], b[4], b[7], open = 200, 9, byte(i), rx.OpenRTCP
				}
				if _, err := open(b); err != ErrAuth {
					t.Fatal(err)
				}
			}
			if rx.strangers.Holds(1, 1) {
				t.Errorf("forged packets cost nothing, control %v", control)
			}
		}
	})
}

// Forged packets take no place among the SSRCs that are known, and nothing of the ration, however many come before the first authentic one: the peer's second
// SSRC, or that of its reports, is taken at once.
func TestForgedSourcesTakeNoPlace(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		rx.clock = func() int64 { return 1 }
		buf := make([]byte, 300)
		for ssrc := range uint32(2 * maxSources) {
			if _, err := rx.OpenRTP(packet(buf, 1000+ssrc, 1, 160)); err != ErrAuth {
				t.Fatalf("forged: %v", err)
			}
			report := packet(buf, 0, 1, 160)
			report[1], report[6], report[7] = 200, byte(ssrc>>8), byte(ssrc)
			if _, err := rx.OpenRTCP(report); err == nil {
				t.Fatal("a forged report was opened")
			}
		}
		if rx.Heard() {
			t.Error("forged packets are taken for the peer's")
		}
		if _, err := rx.OpenRTP(protected(t, tx, 1, 1)); err != nil {
			t.Errorf("the peer: %v", err)
		}
		b, err := tx.ProtectRTCP(append(make([]byte, 0, 256), 0x80, 201, 0, 1, 0, 0, 0, 1))
		if err == nil {
			_, err = rx.OpenRTCP(b)
		}
		if err != nil {
			t.Errorf("the peer's report: %v", err)
		}
	})
}
