package srtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// rollovers is the rollover counter of a source.
func rollovers(rx *Receiver, ssrc uint32) uint32 {
	if rx.aead.gcm != nil && rx.sources.take(ssrc) {
		return uint32(rx.sources.newest.index >> 16)
	}
	roc, _ := rx.ctx.ROC(ssrc)
	return roc
}

func protected(t *testing.T, tx *Sender, ssrc uint32, seq uint16) []byte {
	t.Helper()
	b, err := tx.ProtectRTP(packet(make([]byte, 512), ssrc, seq, 20))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}

// A packet that comes late within 128 is taken once, an older one never: RTP across the rollover, and RTCP by its index.
func TestR3711_R7714_ReplayWindow(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		for name, open := range map[string]func(*Receiver, []byte) ([]byte, error){"RTP": (*Receiver).OpenRTP, "RTCP": (*Receiver).OpenRTCP} {
			tx, rx := pair(t, p)
			var sent [][]byte
			for i := range 300 {
				if name == "RTP" {
					sent = append(sent, protected(t, tx, 7, uint16(65400+i)))
					continue
				}
				b, err := tx.ProtectRTCP(append(make([]byte, 0, 256), 0x80, 201, 0, 1, 0, 0, 0, 7))
				if err != nil {
					t.Fatal(err)
				}
				sent = append(sent, bytes.Clone(b))
			}
			last := len(sent) - 1
			for _, i := range []int{0, last} { // the rest is on its way
				if _, err := open(rx, bytes.Clone(sent[i])); err != nil {
					t.Fatalf("%s %d: %v", name, i, err)
				}
			}
			for back := range 200 {
				_, err := open(rx, bytes.Clone(sent[last-back]))
				want := back > 0 && back < ReplayWindow
				if (err == nil) != want || err != nil && !errors.Is(err, ErrReplay) {
					t.Errorf("%s %d behind the newest: %v", name, back, err)
				}
				if _, err := open(rx, bytes.Clone(sent[last-back])); !errors.Is(err, ErrReplay) {
					t.Errorf("%s %d behind the newest is taken twice: %v", name, back, err)
				}
			}
		}
	})
}

// Each SSRC has a rollover counter of its own: one that comes or comes back finds the other's untouched, with packets lost or late around
// the rollover.
func TestR3711_RolloverIsOfEachSSRC(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		open := func(b []byte) {
			t.Helper()
			if _, err := rx.OpenRTP(bytes.Clone(b)); err != nil {
				t.Fatalf("ssrc %d seq %d: %v", binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint16(b[2:]), err)
			}
		}
		open(protected(t, tx, 1, 65530))
		late, lost := protected(t, tx, 1, 65534), protected(t, tx, 1, 65535)
		_ = lost
		open(protected(t, tx, 1, 2)) // rolled over while some were missing
		open(late)
		for seq := range 3 {
			open(protected(t, tx, 2, uint16(65534+seq))) // another source begins, and rolls over too
		}
		for round := range 3 { // a long way
			for seq := 3; seq < 65536; seq += 20000 {
				open(protected(t, tx, 1, uint16(seq+round)))
			}
		}
		open(protected(t, tx, 2, 10))
		open(protected(t, tx, 3, 40000))
		if roc := rollovers(rx, 1); roc != 3 {
			t.Errorf("rollover counter %d of the first source", roc)
		}
		if roc := rollovers(rx, 2); roc != 1 {
			t.Errorf("rollover counter %d of the second", roc)
		}
	})
}

// A peer may take another SSRC many times in a call, and come back to one; reports too are bounded.
func TestR3711_ManySSRCsInTurn(t *testing.T) {
	tx, rx := pair(t, AES128GCM)
	for i := range uint32(100) {
		for _, ssrc := range []uint32{1, 1000 + i} {
			if _, err := rx.OpenRTP(protected(t, tx, ssrc, uint16(2*i+1))); err != nil {
				t.Fatalf("change %d to %d: %v", i, ssrc, err)
			}
		}
	}
	report := func(ssrc uint32) error {
		b := binary.BigEndian.AppendUint32(append(make([]byte, 0, 256), 0x80, 201, 0, 1), ssrc)
		prot, err := tx.ProtectRTCP(b)
		if err != nil {
			t.Fatal(err)
		}
		_, err = rx.OpenRTCP(prot)
		return err
	}
	for i := range uint32(maxSources) {
		if err := report(i); err != nil {
			t.Fatal(err)
		}
	}
	if err := report(maxSources); !errors.Is(err, ErrAuth) {
		t.Errorf("reports beyond the bound: %v", err)
	}
	if err := report(5); err != nil {
		t.Errorf("a known one: %v", err)
	}
	if _, err := rx.OpenRTCP(make([]byte, 7)); !errors.Is(err, ErrFormat) {
		t.Errorf("a stump: %v", err)
	}
}
