package dtls

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

// awake is how long an association looks at what has come after rest before it rests again. It bounds what junk may cost.
const awake = 2 * time.Second

// starting is how long pion's goroutines may take to start, which they do at once unless the machine stands still. Failing costs the association.
const starting = 5 * time.Second

// Association is a finished handshake. Once the peer has shown by media that it has all of it, nothing more is to come but an alert or
// the end, perhaps in hours. pion's connection, four goroutines and its buffers, is given up for so long (Settle): what stays is the state
// that a connection is made of again (RFC 6347 §4.1: epoch, sequence number and keys) when a record of the peer comes, or for our close_notify.
type Association struct {
	cfg     Config
	profile uint16
	awake   time.Duration

	mu      sync.Mutex // guards all below
	conn    *dtls.Conn // nil at rest
	port    *port      // of conn
	state   *dtls.State
	settled bool
	spent   bool // a connection has been made of state
	closed  bool
}

// Profile is the number of the SRTP profile agreed on, one of Config.Profiles.
func (a *Association) Profile() uint16 { return a.profile }

// ExportKeyingMaterial derives length bytes of keying material for label (RFC 5705).
func (a *Association) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, err := a.state.ExportKeyingMaterial(label, context, length)
	if err != nil {
		return nil, fmt.Errorf("dtls: export: %w", err)
	}
	return b, nil
}

// Settle says that the peer has finished the handshake: no flight of ours will have to be repeated (RFC 6347 §4.2.4), so that the association may
// rest. It does not wait; false: not now, call again.
func (a *Association) Settle() bool {
	if !a.mu.TryLock() {
		return false
	}
	defer a.mu.Unlock()
	if !a.settled && a.conn != nil {
		a.settled = true
		_ = a.conn.SetReadDeadline(time.Unix(1, 0)) // Wait's read ends and finds it settled
	}
	return true
}

// Wait answers retransmitted handshake flights and returns when the association has ended: the peer closed it, or Close was called.
func (a *Association) Wait() {
	for {
		a.mu.Lock()
		conn := a.conn
		a.mu.Unlock()
		if conn != nil && !a.listen(conn) {
			return
		}
		b := a.cfg.Link.next()
		if b == nil || !a.wake(b) {
			return
		}
	}
}

// listen reads until the association has ended, false, or rests.
func (a *Association) listen(conn *dtls.Conn) bool {
	var buf [256]byte
	for {
		// Application data has no meaning here: audio only, no SCTP. A temporary error of one record does not end the association.
		_, err := conn.Read(buf[:])
		if err == nil {
			continue
		}
		if !temporary(err) {
			return false
		}
		if ended, rests := a.rest(); ended || rests {
			return rests
		}
	}
}

func temporary(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// rest gives the connection up if the association is settled and has not ended. An alert that is read at this very moment is lost, as any
// datagram may be; consent tells the end then.
func (a *Association) rest() (ended, rests bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.port.closed() {
		return true, false
	}
	_ = a.conn.SetReadDeadline(time.Time{})
	if !a.settled {
		return false, false
	}
	// Nothing may leave after the state is taken: its record would have a number, and with AEAD a nonce, that is used again.
	a.port.muted.Store(true)
	state, ok := a.conn.ConnectionState()
	if !ok {
		a.port.muted.Store(false)
		return false, false
	}
	_ = a.conn.Close()
	a.conn, a.port, a.state, a.spent = nil, nil, &state, false
	return false, true
}

// wake makes a connection again that reads b first, which it takes. false: the association has ended.
func (a *Association) wake(b *bufpool.Buf) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		b.Release()
		return false
	}
	return a.resume(b)
}

// resume makes the connection; first is nil or taken. Caller holds mu.
func (a *Association) resume(first *bufpool.Buf) bool {
	if a.spent {
		if first != nil {
			first.Release()
		}
		return false
	}
	a.spent = true
	p := newPort(a.cfg.Link, first)
	p.over.Store(true)
	conn, err := dtls.ResumeWithOptions(a.state, p, linkAddr, options(a.cfg, &verifier{want: a.cfg.Fingerprints})...)
	if err != nil {
		_ = p.Close()
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), starting)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil { // there is no handshake: it starts pion's goroutines
		_ = conn.Close()
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(a.awake))
	close(p.ready) // not before: pion would judge what it reads as within a handshake, and answer it in the clear
	a.conn, a.port = conn, p
	return true
}

// Close sends close_notify (RFC 5246 §7.2.1), ends Wait and closes the Link. Idempotent.
func (a *Association) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	if a.conn != nil || a.resume(nil) {
		_ = a.conn.Close()
	}
	_ = a.cfg.Link.Close()
}

// next is the next datagram that an association at rest has to look at; nil when the Link is closed. Records of epoch 0 are of a
// handshake that is over, or of one that nobody has asked for.
func (l *Link) next() *bufpool.Buf {
	for {
		select {
		case b := <-l.in:
			if r := b.Bytes(); len(r) > recordHeader && binary.BigEndian.Uint16(r[3:]) != 0 {
				return b
			}
			b.Release()
		case <-l.done:
			return nil
		}
	}
}

// recordHeader is the length of that of a DTLS 1.2 record, bytes (RFC 6347 §4.1); the epoch is at its fourth.
const recordHeader = 13
