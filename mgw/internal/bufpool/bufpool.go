// Package bufpool lends datagram buffers of one size to whoever carries a packet across goroutines. Floor 0. // hot
// Owner: the holder of a Buf owns its bytes until Release; a Pool is safe for concurrent use and is meant for control packets
// (STUN, DTLS) only: relayed media stays in the worker's own buffers and never takes its lock.
package bufpool

import (
	"sync"
	"sync/atomic"
)

// Size is the capacity of every buffer, bytes: an Ethernet MTU, room for SRTP trailers, and a power of two.
const Size = 2048

// Pool lends buffers and counts those that are out. The zero value is ready; keep bounds what it retains.
type Pool struct {
	mu   sync.Mutex // guards free
	free []*Buf
	out  atomic.Int64
}

const keep = 256 // free buffers retained, 512 KiB

// Buf is one buffer. It has exactly one holder.
type Buf struct {
	pool *Pool
	held bool
	n    int
	data [Size]byte
}

// Get lends a buffer of length n, contents undefined. It panics when n is negative or larger than Size: callers know their datagrams.
func (p *Pool) Get(n int) *Buf {
	if n < 0 || n > Size {
		panic("bufpool: length out of range")
	}
	p.mu.Lock()
	var b *Buf
	if l := len(p.free); l > 0 {
		b = p.free[l-1]
		p.free[l-1] = nil
		p.free = p.free[:l-1]
	}
	p.mu.Unlock()
	if b == nil {
		b = &Buf{pool: p}
	}
	b.held, b.n = true, n
	p.out.Add(1)
	return b
}

// Copy lends a buffer that holds a copy of src. It panics when src is longer than Size.
func (p *Pool) Copy(src []byte) *Buf {
	b := p.Get(len(src))
	copy(b.data[:], src)
	return b
}

// Out is the number of buffers lent and not released.
func (p *Pool) Out() int { return int(p.out.Load()) }

// Bytes is the content; it is the holder's to change until Release.
func (b *Buf) Bytes() []byte { return b.data[:b.n] }

// Release gives the buffer back. A second Release of the same loan panics: somebody would write into another's packet.
func (b *Buf) Release() {
	p := b.pool
	p.mu.Lock()
	if !b.held {
		p.mu.Unlock()
		panic("bufpool: released twice")
	}
	b.held = false
	if len(p.free) < keep {
		p.free = append(p.free, b)
	}
	p.mu.Unlock()
	p.out.Add(-1)
}
