package dtls

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// FuzzHandshake gives a handshake what the peer of an ICE pair may send before it has proven anything, as one record or as
// several: it must end by the context and not by a crash, never succeed, and leave no buffer behind.
func FuzzHandshake(f *testing.F) {
	hello := append([]byte{1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, 254, 253}, make([]byte, 32)...)
	hello = append(hello, 0, 0, 0, 2, 0xc0, 0x2b, 1, 0)
	f.Add(hello, byte(22), uint8(1), false)
	f.Add(hello[:20], byte(22), uint8(3), true)
	f.Add([]byte{2, 40}, byte(21), uint8(1), false)
	f.Add([]byte{1}, byte(20), uint8(2), true)
	f.Add(make([]byte, 60), byte(23), uint8(1), false)
	cert, print := certificate(f)
	var pool bufpool.Pool
	f.Fuzz(func(t *testing.T, b []byte, kind byte, records uint8, client bool) {
		if len(b) > 1200 {
			return
		}
		link := NewLink(&pool, func([]byte) error { return nil })
		ctx, cancel := context.WithCancelCause(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := Handshake(ctx, Config{Client: client, Certificate: cert, Fingerprints: []Fingerprint{print}, Profiles: profiles, Link: link})
			done <- err
		}()
		stop := errors.New("stopped by the test")
		for i := range int(records%8) + 1 {
			r := []byte{kind, 254, 253, 0, 0, 0, 0, 0, 0, 0, byte(i)}
			r = append(binary.BigEndian.AppendUint16(r, uint16(len(b))), b...)
			link.Deliver(r)
			link.Deliver(b) // and as it is
		}
		for len(link.in) > 0 { // pion takes them in its own time; a handshake that has ended takes none
			select {
			case err := <-done:
				done <- err
				goto end
			default:
			}
		}
	end:
		cancel(stop)
		if err := <-done; err == nil {
			t.Fatal("a handshake succeeded without a peer")
		}
		_ = link.Close()
		if n := pool.Out(); n != 0 {
			t.Fatalf("%d buffers out", n)
		}
	})
}
