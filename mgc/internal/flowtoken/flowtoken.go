// Package flowtoken seals small payloads into tokens that only this pool can make and read: the flow token in Path
// (RFC 5626 §5.2) and the call token in Contact user parts and tags. Floor 1 of mgc; no goroutine, safe for concurrent use.
//
// A token is lower-case base32 without padding, so it survives in a SIP user part and as a tag, which is compared without
// regard to case (RFC 3261 §7.3.1):
//
//	base32( key id (1) | nonce (12) | AES-256-GCM(payload) | authentication tag (16) ),  additional data: kind | key id
//
// A payload of n bytes gives (29+n)*8/5 characters, rounded up: 72 for 16 bytes.
package flowtoken

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// Kinds of token. A token of one kind never opens as another.
const (
	KindFlow byte = 1 // user part of our Path URI: which connection of which instance
	KindCall byte = 2 // user part of our Contact and our tags: which call
	KindReg  byte = 4 // user part of our Contact in a subscription to a registration state: which binding
	KindPeer byte = 3 // user part of our Contact in a dialog that is only relayed: the peer's target and route set
	// KindCallback, below the callback URI of the policy function: which call. Package policy, on the same floor, has it as its own.
	KindCallback byte = 5
)

// KeySize is the length of a key's secret in bytes.
const KeySize = 32

// MaxPayload bounds the payload in bytes; a longer token is refused before any cryptography.
const MaxPayload = 1024

const (
	nonceSize = 12
	overhead  = 1 + nonceSize + 16
)

// ErrForged is returned for everything that this pool did not make: tampered, foreign, of another kind, of a key that is
// no longer known, or no token at all. The SIP answer is 403.
var ErrForged = errors.New("flowtoken: forged token")

// Key is one pool key. ID is written into the token in clear, so that keys can be rotated.
type Key struct {
	ID     byte
	Secret [KeySize]byte
}

// Sealer makes and opens tokens.
type Sealer struct {
	keys atomic.Pointer[keyRing]
}

// keyRing is immutable once published.
type keyRing struct {
	seal  byte
	aeads map[byte]cipher.AEAD
}

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// New returns a Sealer that seals with the first key and opens with all. It fails on no key or on two with one ID.
func New(keys []Key) (*Sealer, error) {
	s := &Sealer{}
	return s, s.Rotate(keys)
}

// Rotate replaces the keys: the first seals from now on, all open. To rotate without breaking live calls, first add the new
// key at the end on every instance, then move it to the front, then drop the old one when its last token has expired.
// On an error the old keys stay.
func (s *Sealer) Rotate(keys []Key) error {
	if len(keys) == 0 {
		return errors.New("flowtoken: no key")
	}
	ring := &keyRing{seal: keys[0].ID, aeads: make(map[byte]cipher.AEAD, len(keys))}
	for i := range keys {
		if ring.aeads[keys[i].ID] != nil {
			return fmt.Errorf("flowtoken: two keys with id %d", keys[i].ID)
		}
		block, err := aes.NewCipher(keys[i].Secret[:])
		if err != nil {
			return fmt.Errorf("flowtoken: key %d: %w", keys[i].ID, err)
		}
		if ring.aeads[keys[i].ID], err = cipher.NewGCM(block); err != nil {
			return fmt.Errorf("flowtoken: key %d: %w", keys[i].ID, err)
		}
	}
	s.keys.Store(ring)
	return nil
}

// Seal returns a token of the kind that holds payload, at most MaxPayload bytes; a longer one is a programming error and panics.
// Two tokens of the same payload differ.
func (s *Sealer) Seal(kind byte, payload []byte) string {
	if len(payload) > MaxPayload {
		panic("flowtoken: payload too long")
	}
	ring := s.keys.Load()
	buf := make([]byte, 1+nonceSize, overhead+len(payload))
	buf[0] = ring.seal
	rand.Read(buf[1:]) // never fails (crypto/rand)
	out := ring.aeads[ring.seal].Seal(buf, buf[1:], payload, []byte{kind, ring.seal})
	return encoding.EncodeToString(out)
}

// Open returns the payload of a token of the kind, or ErrForged. The case of the token is ignored.
func (s *Sealer) Open(kind byte, token string) ([]byte, error) {
	if len(token) > encoding.EncodedLen(overhead+MaxPayload) {
		return nil, ErrForged
	}
	raw, err := encoding.DecodeString(strings.ToLower(token))
	if err != nil || len(raw) < overhead || encoding.EncodeToString(raw) != strings.ToLower(token) {
		return nil, ErrForged
	}
	aead := s.keys.Load().aeads[raw[0]]
	if aead == nil {
		return nil, ErrForged
	}
	payload, err := aead.Open(nil, raw[1:1+nonceSize], raw[1+nonceSize:], []byte{kind, raw[0]})
	if err != nil {
		return nil, ErrForged
	}
	return payload, nil
}
