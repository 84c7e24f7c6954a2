package srtp

import (
	"unsafe"

	"github.com/isthmus-gateway/isthmus/mgw/internal/prefetch"
)

// A packet's keys are long out of the caches when it comes. Fetch asks for what a context has itself, FetchKey, some work later, for what that points to.

// Fetch asks the processor for what ProtectRTP touches. A nil s is no harm.
func (s *Sender) Fetch() {
	if s != nil {
		prefetch.Of(s, unsafe.Offsetof(s.sent)+unsafe.Sizeof(s.sent.newest))
	}
}

// FetchKey goes on after Fetch. A nil s is no harm.
func (s *Sender) FetchKey() {
	if s != nil {
		s.aead.fetch()
	}
}

// Fetch asks the processor for what OpenRTP touches. A nil r is no harm.
func (r *Receiver) Fetch() {
	if r != nil {
		prefetch.Of(r, unsafe.Offsetof(r.ctx))
	}
}

// FetchKey goes on after Fetch. A nil r is no harm.
func (r *Receiver) FetchKey() {
	if r != nil {
		r.aead.fetch()
	}
}

const (
	// What the standard library's AES-GCM has of a key: the round keys, with those for decryption, which GCM does not use, behind them, and the products of its
	// hash. Should that change, too little or too much is asked for.
	roundKeys     = 8 + 15*16
	productsBegin = 504
	products      = 256
)

// fetch asks for the key.
func (a *aead) fetch() {
	p := (*[2]unsafe.Pointer)(unsafe.Pointer(&a.gcm))[1] // an interface is a type and an address
	if p == nil {
		return
	}
	prefetch.At(p, roundKeys)
	prefetch.At(unsafe.Add(p, productsBegin), products)
}
