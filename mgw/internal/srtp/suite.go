package srtp

import (
	"crypto/rand"
	"fmt"

	"github.com/pion/srtp/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bucket"
)

// Profiles are all that there are here. As crypto-suites of RFC 4568 each has its own name, key and salt length.
var Profiles = []Profile{AES256GCM, AES128GCM, AES128CMSHA1_80, AES128CMSHA1_32}

// Suite is the name of p as a crypto-suite in SDP (RFC 4568 §6.2, RFC 7714 §14.2); empty when p is not known.
func (p Profile) Suite() string {
	switch p {
	case AES256GCM:
		return "AEAD_AES_256_GCM"
	case AES128GCM:
		return "AEAD_AES_128_GCM"
	case AES128CMSHA1_80:
		return "AES_CM_128_HMAC_SHA1_80"
	case AES128CMSHA1_32:
		return "AES_CM_128_HMAC_SHA1_32"
	}
	return ""
}

// SuiteNamed returns the profile of a crypto-suite; ok is false for one that is not known.
func SuiteNamed(name string) (p Profile, ok bool) {
	for _, p := range Profiles {
		if p.Suite() == name {
			return p, true
		}
	}
	return 0, false
}

// aead reports whether p is of AES-GCM.
func (p Profile) aead() bool { return p == AES128GCM || p == AES256GCM }

// lengths are those of master key and master salt, octets.
func (p Profile) lengths() (key, salt int) {
	switch p {
	case AES256GCM:
		return 32, 12
	case AES128GCM:
		return 16, 12
	case AES128CMSHA1_80, AES128CMSHA1_32:
		return 16, 14
	}
	return 0, 0
}

// KeyLength is the length of a key with its salt, octets.
func (p Profile) KeyLength() int {
	key, salt := p.lengths()
	return key + salt
}

// NewKey returns a random master key with its salt. It is secret.
func (p Profile) NewKey() []byte {
	b := make([]byte, p.KeyLength())
	_, _ = rand.Read(b) // never fails since Go 1.24
	return b
}

// NewSender makes the context for what we send under a key that we have told the peer (RFC 4568 §6.1). Two contexts with one key would
// use a keystream twice: the caller keeps the Sender as long as the key. key: master key and salt.
func NewSender(p Profile, key []byte) (*Sender, error) {
	k, err := p.split(key)
	if err != nil {
		return nil, err
	}
	return newSender(p, k, key[len(k):])
}

// NewReceiver makes the context for what the peer sends under its key.
func NewReceiver(p Profile, key []byte) (*Receiver, error) {
	k, err := p.split(key)
	if err != nil {
		return nil, err
	}
	return newReceiver(p, k, key[len(k):])
}

// split returns the master key before the salt.
func (p Profile) split(key []byte) ([]byte, error) {
	if !p.Known() {
		return nil, fmt.Errorf("srtp: profile %#04x not supported", uint16(p))
	}
	if len(key) != p.KeyLength() {
		return nil, fmt.Errorf("srtp: key of %d octets, %s has %d", len(key), p.Suite(), p.KeyLength())
	}
	k, _ := p.lengths()
	return key[:k], nil
}

func newSender(p Profile, key, salt []byte) (*Sender, error) {
	ctx, err := srtp.CreateContext(key, salt, p.pion())
	if err != nil {
		return nil, fmt.Errorf("srtp: sender: %w", err)
	}
	s := &Sender{ctx: ctx}
	if p.aead() {
		if err := s.aead.init(key, salt); err != nil {
			return nil, fmt.Errorf("srtp: sender: %w", err)
		}
	}
	return s, nil
}

func newReceiver(p Profile, key, salt []byte) (*Receiver, error) {
	ctx, err := srtp.CreateContext(key, salt, p.pion(),
		srtp.SRTPReplayProtection(ReplayWindow), srtp.SRTCPReplayProtection(ReplayWindow))
	if err != nil {
		return nil, fmt.Errorf("srtp: receiver: %w", err)
	}
	r := &Receiver{ctx: ctx, tags: p.tagLengths(), strangers: bucket.New(strangerRate, strangerRate), clock: monotonic}
	if p.aead() {
		if err := r.aead.init(key, salt); err != nil {
			return nil, fmt.Errorf("srtp: receiver: %w", err)
		}
	}
	return r, nil
}
