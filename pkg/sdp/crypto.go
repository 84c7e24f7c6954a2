package sdp

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Suite is a crypto-suite (RFC 4568 §6.2).
type Suite string

// The suites that Isthmus speaks.
const (
	AES256GCM  Suite = "AEAD_AES_256_GCM"        // RFC 7714 §14.2
	AES128GCM  Suite = "AEAD_AES_128_GCM"        // RFC 7714 §14.2
	AES128CM80 Suite = "AES_CM_128_HMAC_SHA1_80" // RFC 4568 §6.2.1
	AES128CM32 Suite = "AES_CM_128_HMAC_SHA1_32" // RFC 4568 §6.2.2
)

// KeyLength is the length of master key and master salt, octets; 0 for a suite that is not known.
func (s Suite) KeyLength() int {
	switch s {
	case AES256GCM:
		return 32 + 12
	case AES128GCM:
		return 16 + 12
	case AES128CM80, AES128CM32:
		return 16 + 14
	}
	return 0
}

// Keying is what a crypto attribute says once it has been read.
type Keying struct {
	Tag      uint32
	Suite    Suite
	Key      []byte // master key, then salt; secret
	Lifetime uint64 // packets; 0: not given
	MKI      []byte // as it is in packets, 1 to 128 octets; nil: they have none
}

// String hides the key.
func (k Keying) String() string { return fmt.Sprintf("%d %s (key hidden)", k.Tag, k.Suite) }

// GoString hides the key.
func (k Keying) GoString() string { return k.String() }

// String hides the key.
func (c Crypto) String() string { return fmt.Sprintf("%d %+.40q (key hidden)", c.Tag, c.Suite) }

// GoString hides the key.
func (c Crypto) GoString() string { return c.String() }

const (
	maxTag      = 999_999_999 // RFC 4568 §9.1: up to nine digits
	maxLifetime = 1 << 48     // RFC 3711 §9.2
	maxMKI      = 128         // octets (RFC 4568 §6.1)
)

// ErrCrypto is wrapped by the errors of Crypto.Read.
var ErrCrypto = errors.New("crypto attribute")

// NewCrypto describes the key that we send with.
func NewCrypto(tag uint32, s Suite, key []byte) Crypto {
	return Crypto{Tag: tag, Suite: string(s), KeyParams: "inline:" + base64.StdEncoding.EncodeToString(key)}
}

// Read checks the attribute and returns its key (RFC 4568 §6.1, §6.3). It is strict: one inline key of the suite's length, with or without MKI, and no
// session parameter that would change what is protected. Errors wrap ErrCrypto, are one line for people, and hold neither key nor unprintable
// text.
func (c Crypto) Read() (Keying, error) {
	k := Keying{Tag: c.Tag, Suite: Suite(c.Suite)}
	fail := func(format string, args ...any) (Keying, error) {
		return Keying{}, fmt.Errorf("%w: tag %d: %s", ErrCrypto, c.Tag, fmt.Sprintf(format, args...))
	}
	n := k.Suite.KeyLength()
	switch {
	case c.Tag > maxTag:
		return fail("too long")
	case n == 0:
		return fail("crypto-suite %+.40q", c.Suite)
	case strings.Contains(c.KeyParams, ";"):
		return fail("several keys, one is taken")
	}
	method, info, ok := strings.Cut(c.KeyParams, ":")
	if !ok || !strings.EqualFold(method, "inline") {
		return fail("key method is not inline")
	}
	parts := strings.Split(info, "|")
	key, err := base64.RawStdEncoding.Strict().DecodeString(unpadded(parts[0]))
	switch {
	case err != nil:
		return fail("key is not base64")
	case len(key) != n:
		return fail("key of %d octets, %s has %d", len(key), c.Suite, n)
	}
	k.Key = key
	for i, p := range parts[1:] {
		switch {
		case strings.Contains(p, ":"):
			if i != len(parts)-2 {
				return fail("MKI is not the last of the key")
			}
			if k.MKI, err = mki(p); err != nil {
				return fail("%s", err)
			}
			continue
		case i > 0:
			return fail("two lifetimes")
		}
		if k.Lifetime, ok = lifetime(p); !ok {
			return fail("lifetime")
		}
	}
	if err := checkSession(c.Params); err != nil {
		return fail("%s", err)
	}
	return k, nil
}

// unpadded drops the padding, which is of no meaning here (RFC 4568 §6.1).
func unpadded(s string) string {
	for range 2 {
		s = strings.TrimSuffix(s, "=")
	}
	return s
}

// lifetime reads "2^31" or a number of packets, from 1 to 2^48.
func lifetime(s string) (uint64, bool) {
	power, isPower := strings.CutPrefix(s, "2^")
	if isPower {
		s = power
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 10, 64)
	switch {
	case err != nil || isPower && v > 48:
		return 0, false
	case isPower:
		v = 1 << v
	}
	return v, v > 0 && v <= maxLifetime
}

// mki reads "value:length", a decimal number and how many octets of packets it takes (RFC 4568 §6.1, §9.2).
func mki(s string) ([]byte, error) {
	const digits = 309 // of a number of 128 octets
	value, length, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(length, 10, 8)
	if err != nil || n == 0 || n > maxMKI {
		return nil, errors.New("MKI length is not 1 to 128")
	}
	if value == "" || len(value) > digits || strings.Trim(value, "0123456789") != "" {
		return nil, errors.New("MKI is not a number of at most 128 octets")
	}
	v, ok := new(big.Int).SetString(value, 10)
	if !ok || v.BitLen() > 8*int(n) {
		return nil, fmt.Errorf("MKI does not fit into %d octets", n)
	}
	return v.FillBytes(make([]byte, n)), nil
}

// checkSession refuses session parameters but those that may be ignored: the window size hint, and unknown ones that say so (RFC 4568 §6.3).
func checkSession(params string) error {
	for _, p := range strings.Fields(params) {
		name, val, _ := strings.Cut(p, "=")
		switch strings.ToUpper(name) {
		case "WSH":
			if w, err := strconv.ParseUint(val, 10, 16); err != nil || w < 64 {
				return errors.New("session parameter WSH below 64")
			}
		case "KDR":
			if val != "0" { // one derivation of keys is what we have; as a power of two it is 1 to 24, and 0 the default
				return errors.New("session parameter KDR is not supported")
			}
		case "UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "UNAUTHENTICATED_SRTP", "FEC_ORDER", "FEC_KEY":
			return fmt.Errorf("session parameter %s is not supported", strings.ToUpper(name))
		default:
			if !strings.HasPrefix(name, "-") {
				return fmt.Errorf("unknown session parameter %+.40q", name)
			}
		}
	}
	return nil
}
