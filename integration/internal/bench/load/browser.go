package load

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/pion/rtp"
	"golang.org/x/sys/unix"
)

// browser is the WebRTC end of a call.
type browser struct {
	*socket
	ice  peer
	far  netip.AddrPort // where the system receives
	link *link
	keys *keys // nil: plain
	hdr  rtp.Header
}

const (
	checkEvery = 50 * time.Millisecond // checks until the first success
	pollEvery  = 10                    // ms
)

// connect runs ICE and DTLS until media can flow or ctx ends. It alone reads the socket meanwhile. Nothing is left running on an error.
func (b *browser) connect(ctx context.Context, id *identity, a Answer) error {
	b.aim(a.Access)
	b.far = a.Access
	b.ice.remoteUfrag, b.ice.remotePwd = a.Ufrag, a.Pwd
	b.link = newLink(b.socket)
	conn, err := id.secure(b.link, !a.Client, a.Fingerprint)
	if err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begin, done := make(chan struct{}), make(chan error, 1)
	go func() { // ends with ctx or the handshake
		select {
		case <-begin:
			done <- conn.HandshakeContext(ctx)
		case <-ctx.Done():
			done <- ctx.Err()
		}
	}()
	err = b.serve(begin, done)
	if err == nil {
		b.keys, err = derive(conn, !a.Client)
	}
	if err != nil {
		cancel()
		_ = b.link.Close()
		_ = conn.Close()
	}
	return err
}

// serve reads the socket: checks until one succeeds, then the handshake's records, until done tells its end.
func (b *browser) serve(begin chan<- struct{}, done <-chan error) error {
	var buf [2048]byte
	var next time.Time
	valid := false
	for {
		select {
		case err := <-done: // with an error also when ctx has ended
			switch {
			case err != nil && !valid:
				return fmt.Errorf("ICE: no check succeeded: %w", err)
			case err != nil:
				return fmt.Errorf("DTLS: %w", err)
			}
			return nil
		default:
		}
		if now := time.Now(); !valid && now.After(next) {
			if err := b.consent(); err != nil {
				return err
			}
			next = now.Add(checkEvery)
		}
		fds := []unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, pollEvery) // a signal is an early end
		for n := b.receive(buf[:]); n > 0; n = b.receive(buf[:]) {
			if b.control(buf[:n]) && !valid {
				valid = true
				close(begin)
			}
		}
	}
}

// consent sends a check.
func (b *browser) consent() error {
	m, err := b.ice.check()
	if err != nil {
		return fmt.Errorf("ICE: %w", err)
	}
	b.send(m)
	return nil
}

// control takes a datagram that is no media (RFC 7983 §7); succeeded: a check of ours was answered.
func (b *browser) control(d []byte) (succeeded bool) {
	switch {
	case d[0] < 4:
		reply, ok, err := b.ice.handle(d, b.far)
		if err != nil {
			return false
		}
		if reply != nil {
			b.send(reply)
		}
		return ok
	case d[0] >= 20 && d[0] < 64:
		b.link.deliver(d)
	}
	return false
}

func (b *browser) close() {
	if b.keys != nil {
		_ = b.keys.conn.Close() // its close_notify may be lost
	}
	if b.link != nil {
		_ = b.link.Close()
	}
	b.socket.close()
}
