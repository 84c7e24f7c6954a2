package srtp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// RTP under AES-GCM is the packet path of every call with a browser, so that its state is of our own making, in a few cache lines: pion keeps it in maps, and
// with hundreds of calls in turns none of that is in the caches when it is needed. SRTCP and the other profiles are pion's (ADR 018).

const (
	tagLen = 16 // RFC 7714 §12: no other tag is negotiated

	labelKey  = 0 // RFC 3711 §4.3.1
	labelSalt = 2
)

// aead protects RTP packets under one session key. The zero value is none.
type aead struct {
	gcm    cipher.AEAD
	saltHi uint64
	saltLo uint32
	iv     [12]byte // of the packet in hand: a local one would be allocated
}

// init derives the session key and salt from the master's (RFC 3711 §4.3.1, RFC 7714 §11).
func (a *aead) init(key, salt []byte) error {
	prf, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	return a.session(derive(prf, salt, labelKey, len(key)), derive(prf, salt, labelSalt, len(salt)))
}

// session sets the session key and salt.
func (a *aead) session(key, salt []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	if a.gcm, err = cipher.NewGCM(block); err != nil {
		return err
	}
	a.saltHi, a.saltLo = binary.BigEndian.Uint64(salt), binary.BigEndian.Uint32(salt[8:])
	return nil
}

// derive is the key derivation of RFC 3711 §4.3.3 for a key that is never derived again (rate 0): n octets of keystream.
func derive(prf cipher.Block, salt []byte, label byte, n int) []byte {
	var x [aes.BlockSize]byte // 112 bits, then the counter
	copy(x[:14], salt)
	x[7] ^= label
	out := make([]byte, (n+aes.BlockSize-1)/aes.BlockSize*aes.BlockSize)
	for i := 0; i < len(out); i += aes.BlockSize {
		prf.Encrypt(out[i:], x[:])
		x[15]++
	}
	return out[:n]
}

// nonce is that of a packet (RFC 7714 §8.1), until the next one is made.
func (a *aead) nonce(ssrc uint32, index uint64) []byte {
	binary.BigEndian.PutUint64(a.iv[:], a.saltHi^(uint64(ssrc)<<16|index>>32))
	binary.BigEndian.PutUint32(a.iv[8:], a.saltLo^uint32(index))
	return a.iv[:]
}

// seal encrypts b in place under the packet's index, and appends the tag; without room for that the packet moves. b has passed rtp.ParseHeader.
func (a *aead) seal(b rtp.Packet, index uint64) []byte {
	if cap(b)-len(b) < tagLen {
		b = append(make([]byte, 0, len(b)+tagLen), b...)
	}
	n := b.HeaderLen()
	a.gcm.Seal(b[n:n], a.nonce(b.SSRC(), index), b[n:], b[:n])
	return b[:len(b)+tagLen]
}

// open authenticates b and decrypts it in place. b has passed rtp.ParseHeader and has room for a tag behind its header.
func (a *aead) open(b rtp.Packet, index uint64) ([]byte, error) {
	n := b.HeaderLen()
	if _, err := a.gcm.Open(b[n:n], a.nonce(b.SSRC(), index), b[n:], b[:n]); err != nil {
		return nil, ErrAuth
	}
	return b[:len(b)-tagLen], nil
}
