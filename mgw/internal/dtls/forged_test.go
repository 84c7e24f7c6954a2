package dtls

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// record is one in the clear, as anybody can write it who knows the addresses of a call.
func record(kind byte, epoch uint16, seq uint32, body ...byte) []byte {
	b := make([]byte, recordHeader, recordHeader+len(body))
	b[0], b[1], b[2] = kind, 254, 253
	binary.BigEndian.PutUint16(b[3:], epoch)
	binary.BigEndian.PutUint32(b[7:], seq)
	binary.BigEndian.PutUint16(b[11:], uint16(len(body)))
	return append(b, body...)
}

// forged are records that need no key.
var forged = map[string][]byte{
	"application data":           record(23, 0, 9000, 2, 40),
	"alert":                      record(21, 0, 9001, 2, 40),
	"close_notify":               record(21, 0, 9002, 1, 0),
	"alert too long":             record(21, 0, 9003, 2, 40, 0),
	"alert too short":            record(21, 0, 9004, 2),
	"alert of no level":          record(21, 0, 9005, 9, 99),
	"change cipher spec of 2":    record(20, 0, 9006, 2),
	"change cipher spec of many": record(20, 0, 9007, 1, 1),
	"change cipher spec":         record(20, 0, 9008, 1),
	"handshake too short":        record(22, 0, 9009, 1),
	"handshake of junk":          record(22, 0, 9010, make([]byte, 40)...),
	"unknown type":               record(99, 0, 9011, 1, 2, 3),
	"protected junk":             record(23, 1, 9012, make([]byte, 20)...),
	"protected junk, too short":  record(21, 1, 9013, 1),
	"next epoch":                 record(22, 2, 9014, make([]byte, 40)...),
}

// repeat delivers the client's last flight again, as it does that has lost our answer: other record numbers in the clear.
func (b *restBed) repeat() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range b.flights[1:] { // the first is its hello
		d = append([]byte(nil), d...)
		for at := 0; at+recordHeader < len(d); at += recordHeader + int(binary.BigEndian.Uint16(d[at+11:])) {
			if binary.BigEndian.Uint16(d[at+3:]) == 0 {
				binary.BigEndian.PutUint32(d[at+7:], 20000+binary.BigEndian.Uint32(d[at+7:]))
			}
		}
		b.toServer(d)
	}
}

func (b *restBed) sent() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.records)
}

// Nobody without the keys ends an association that waits for media: RFC 6347 §4.1.2.7 has invalid records discarded. A flight of the
// peer that is repeated because ours was lost is answered, as §4.2.4 asks.
func TestForgedRecordsEndNothingAfterTheHandshake(t *testing.T) {
	for name, r := range forged {
		t.Run(name, func(t *testing.T) {
			b := newRestBed(t, true)
			b.toServer(r)
			n := b.sent()
			b.repeat()
			b.until("the answer to a repeated flight", func() bool { return b.sent() > n })
			b.settle()
			b.client.Close()
			b.wait("the peer's close_notify", b.ended[1])
			b.server.Close()
			b.unique()
		})
	}
}

// At rest a datagram that begins with a protected record wakes the association: nothing behind it is taken for part of a handshake.
func TestForgedRecordsEndNothingAtRest(t *testing.T) {
	for name, r := range forged {
		t.Run(name, func(t *testing.T) {
			for _, server := range []bool{true, false} {
				b := newRestBed(t, server)
				b.settle()
				b.stayAwake(20 * time.Millisecond)
				for range 3 {
					b.disturb(append(record(23, 1, 7000, make([]byte, 20)...), r...))
				}
				b.stayAwake(awake)
				b.client.Close()
				b.wait("the peer's close_notify", b.ended[1])
				b.server.Close()
				b.unique()
			}
		})
	}
}

// A state is resumed once, whatever becomes of the connection: its next record has the same number each time.
func TestRestIsResumedOnce(t *testing.T) {
	b := newRestBed(t, true)
	b.settle()
	b.server.mu.Lock()
	state := b.server.state
	b.server.state = &dtls.State{} // of no cipher suite: the connection fails
	b.server.mu.Unlock()
	b.toServer(record(23, 1, 7000, make([]byte, 20)...))
	b.wait("the end", b.ended[1])
	n := b.sent()
	b.server.mu.Lock()
	b.server.state = state
	again := b.server.resume(nil)
	b.server.mu.Unlock()
	if again {
		t.Error("a state was resumed twice")
	}
	b.server.Close()
	if b.sent() != n {
		t.Error("a record left on a state that had been used")
	}
	b.unique()
}

// What woke an association is not read before its connection stands: pion would judge it as within a handshake.
func TestPortDeliversNothingBeforeItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pool bufpool.Pool
		p := newPort(NewLink(&pool, func([]byte) error { return nil }), pool.Copy(record(23, 1, 1, 1, 2, 3)))
		n := -1
		go func() { n, _, _ = p.ReadFrom(make([]byte, 100)) }()
		if synctest.Wait(); n != -1 {
			t.Fatalf("%d octets before the port was ready", n)
		}
		close(p.ready)
		if synctest.Wait(); n != recordHeader+3 {
			t.Fatalf("%d octets", n)
		}
		_ = p.Close()
	})
}
