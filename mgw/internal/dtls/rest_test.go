package dtls

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// restBed is an association of each side over Links that note the records of the server's side.
type restBed struct {
	t              *testing.T
	pool           bufpool.Pool
	client, server *Association
	toServer       func([]byte)
	ended          [2]chan struct{} // of client and server: Wait has returned

	mu      sync.Mutex
	records [][]byte // that the server has sent, datagram by datagram
	flights [][]byte // that the client has sent
}

func newRestBed(t *testing.T, serverRests bool) *restBed {
	t.Helper()
	b := &restBed{t: t, ended: [2]chan struct{}{make(chan struct{}), make(chan struct{})}}
	cc, cf := certificate(t)
	sc, sf := certificate(t)
	var lc, ls *Link
	lc = NewLink(&b.pool, func(p []byte) error {
		b.mu.Lock()
		b.flights = append(b.flights, append([]byte(nil), p...))
		b.mu.Unlock()
		ls.Deliver(p)
		return nil
	})
	ls = NewLink(&b.pool, func(p []byte) error {
		b.mu.Lock()
		b.records = append(b.records, append([]byte(nil), p...))
		b.mu.Unlock()
		lc.Deliver(p)
		return nil
	})
	b.toServer = func(p []byte) { ls.Deliver(p) }
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// The rested side is noted: the server, or the client in the role of it.
	c, s := Config{Client: true, Certificate: cc, Fingerprints: []Fingerprint{sf}, Profiles: profiles, Link: lc},
		Config{Certificate: sc, Fingerprints: []Fingerprint{cf}, Profiles: profiles, Link: ls}
	if !serverRests {
		c.Client, s.Client = false, true
	}
	rc, rs := run(t, ctx, c, s)
	if rc.err != nil || rs.err != nil {
		t.Fatal(rc.err, rs.err)
	}
	b.client, b.server = rc.a, rs.a
	for i, a := range []*Association{b.client, b.server} {
		go func() { defer close(b.ended[i]); a.Wait() }()
	}
	t.Cleanup(func() {
		b.client.Close()
		b.server.Close()
		<-b.ended[0]
		<-b.ended[1]
		if n := b.pool.Out(); n != 0 {
			t.Errorf("%d buffers left", n)
		}
	})
	return b
}

// stayAwake sets how long the server's side looks at what comes after rest. What must be heard then needs the usual time: on a busy machine pion
// takes a while to read it.
func (b *restBed) stayAwake(d time.Duration) {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	b.server.awake = d
}

// disturb wakes the server's side by a datagram and waits until it rests again, which shows in that its state was taken anew.
func (b *restBed) disturb(p []byte) {
	b.t.Helper()
	b.server.mu.Lock()
	before := b.server.state
	b.server.mu.Unlock()
	b.toServer(p)
	b.until("woken and at rest again", func() bool {
		b.server.mu.Lock()
		defer b.server.mu.Unlock()
		return b.server.conn == nil && b.server.state != before
	})
}

func (b *restBed) resting() bool {
	b.server.mu.Lock()
	defer b.server.mu.Unlock()
	return b.server.conn == nil
}

// until waits for a condition.
func (b *restBed) until(what string, ok func() bool) {
	b.t.Helper()
	for late := time.Now().Add(10 * time.Second); !ok(); runtime.Gosched() {
		select {
		case <-b.ended[1]:
			b.t.Fatal("the association has ended instead of: " + what)
		default:
		}
		if time.Now().After(late) {
			b.t.Fatal("never: " + what)
		}
	}
}

func (b *restBed) settle() {
	b.t.Helper()
	b.until("settled", b.server.Settle)
	b.until("at rest", b.resting)
}

func (b *restBed) wait(what string, c chan struct{}) {
	b.t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		b.t.Fatal("never: " + what)
	}
}

// unique fails when a record number of a protected epoch was used twice: with AEAD that gives the key away.
func (b *restBed) unique() (protected int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := map[[8]byte]bool{}
	for _, d := range b.records {
		for len(d) > recordHeader {
			n := recordHeader + int(d[11])<<8 + int(d[12])
			if number := [8]byte(d[3:11]); number[1] != 0 {
				protected++
				if seen[number] {
					b.t.Errorf("record %x was sent twice", number)
				}
				seen[number] = true
			}
			d = d[n:]
		}
	}
	return protected
}

func TestRestEndsWithThePeersAlert(t *testing.T) {
	for name, server := range map[string]bool{"server rests": true, "client rests": false} {
		t.Run(name, func(t *testing.T) {
			b := newRestBed(t, server)
			before := b.unique()
			b.settle()
			b.client.Close()
			b.wait("the peer's close_notify is heard at rest", b.ended[1])
			b.server.Close()
			if n := b.unique(); n != before+1 {
				t.Errorf("%d protected records sent, not one close_notify", n-before)
			}
		})
	}
}

func TestRestSaysGoodbye(t *testing.T) {
	for name, server := range map[string]bool{"server rests": true, "client rests": false} {
		t.Run(name, func(t *testing.T) {
			b := newRestBed(t, server)
			before := b.unique()
			b.settle()
			if n := b.unique(); n != before {
				t.Errorf("%d records sent on the way to rest", n-before)
			}
			b.server.Close()
			b.wait("close_notify from rest ends the peer", b.ended[0])
			if n := b.unique(); n != before+1 {
				t.Errorf("%d records sent at the end", n-before)
			}
		})
	}
}

// TestRestIsKeptByJunk: records of epoch 0 are not looked at, junk of another wakes the association for a moment and changes nothing.
func TestRestIsKeptByJunk(t *testing.T) {
	b := newRestBed(t, true)
	b.settle()
	junk := make([]byte, 60)
	copy(junk, []byte{22, 254, 253, 0, 0})
	junk[12] = 47
	b.toServer(junk)
	b.toServer([]byte{21, 254, 253})
	b.stayAwake(20 * time.Millisecond)
	for range 3 {
		later := append([]byte(nil), junk...)
		later[0], later[4], later[10] = 23, 1, 77
		b.disturb(later)
	}
	b.stayAwake(awake)
	b.client.Close()
	b.wait("the peer's close_notify is heard after junk", b.ended[1])
	b.unique()
}

func TestUnsettledDoesNotRest(t *testing.T) {
	b := newRestBed(t, true)
	_ = b.server.conn.SetReadDeadline(time.Unix(1, 0)) // what Settle does beside its note
	b.client.Close()
	b.wait("the end", b.ended[1])
	if b.resting() {
		t.Error("it rested unasked")
	}
}

func TestRestPassesOverTheHandshakesEpoch(t *testing.T) {
	var pool bufpool.Pool
	l := NewLink(&pool, func([]byte) error { return nil })
	hello, short, protected := make([]byte, 100), []byte{21, 254, 253, 0, 1}, make([]byte, 40)
	protected[4] = 1
	for _, b := range [][]byte{hello, short, protected} {
		if !l.Deliver(b) {
			t.Fatal("not taken")
		}
	}
	if b := l.next(); b == nil || len(b.Bytes()) != len(protected) {
		t.Fatal("another record was looked at")
	} else {
		b.Release()
	}
	_ = l.Close()
	if b := l.next(); b != nil || pool.Out() != 0 {
		t.Errorf("%d buffers left of a closed link", pool.Out())
	}
}
