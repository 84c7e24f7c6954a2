package connmodel

import (
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/gwerr"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// Secret is key material: it is compared and handed on, never formatted.
type Secret string

// String hides the secret.
func (Secret) String() string { return "(hidden)" }

// GoString hides the secret.
func (Secret) GoString() string { return "(hidden)" }

// Crypto is one SRTP key of a core stream (RFC 4568 §4). Key is master key and salt; empty in a local one, whose key the media plane has. MKI is what
// packets under it carry, octets; a local one has none.
type Crypto struct {
	Tag   uint32
	Suite string
	Key   Secret
	MKI   string
}

// keyLength is the length of master key and salt of the crypto-suites that there are, octets (RFC 4568 §6.2, RFC 7714 §12).
var keyLength = map[string]int{
	"AEAD_AES_256_GCM": 32 + 12, "AEAD_AES_128_GCM": 16 + 12, "AES_CM_128_HMAC_SHA1_80": 16 + 14, "AES_CM_128_HMAC_SHA1_32": 16 + 14,
}

const (
	maxCryptos = 8   // crypto attributes of a description
	maxMKI     = 128 // octets (RFC 4568 §6.1)
)

// secureProto reports whether proto is SRTP by its name (RFC 3711, RFC 5124).
func secureProto(proto string) bool {
	return strings.EqualFold(proto, "RTP/SAVP") || strings.EqualFold(proto, "RTP/SAVPF")
}

// parseCryptos checks what local and remote descriptions have in common. No error text holds a key.
func parseCryptos(list []*iqv1.SrtpCrypto, kind Kind) ([]Crypto, *Error) {
	if len(list) > 0 && kind != KindCore {
		return nil, Errorf(gwerr.UnsupportedProperty, "cryptos on a %s termination: its keys come from DTLS", kind)
	}
	if len(list) > maxCryptos {
		return nil, Errorf(gwerr.UnsupportedValue, "%d cryptos, at most %d", len(list), maxCryptos)
	}
	var out []Crypto
	for _, m := range list {
		n, ok := keyLength[m.GetSuite()]
		switch {
		case !ok:
			return nil, Errorf(gwerr.UnsupportedValue, "crypto-suite %q", Clip(m.GetSuite()))
		case len(m.GetKey()) != 0 && len(m.GetKey()) != n:
			return nil, Errorf(codeCommandSyntax, "key of %d octets, %s has %d", len(m.GetKey()), m.GetSuite(), n)
		case len(m.GetMki()) > maxMKI:
			return nil, Errorf(codeCommandSyntax, "MKI of %d octets, at most %d", len(m.GetMki()), maxMKI)
		case hasSuite(out, m.GetSuite()):
			return nil, Errorf(codeCommandSyntax, "crypto-suite %s twice", m.GetSuite())
		}
		out = append(out, Crypto{Tag: m.GetTag(), Suite: m.GetSuite(), Key: Secret(m.GetKey()), MKI: string(m.GetMki())})
	}
	return out, nil
}

func hasSuite(list []Crypto, suite string) bool {
	return slices.ContainsFunc(list, func(c Crypto) bool { return c.Suite == suite })
}

// localCryptos are those of a local description. Keys are CHOOSE: set, they must be what was chosen.
func (s *Stream) localCryptos(list []*iqv1.SrtpCrypto, kind Kind) ([]Crypto, *Error) {
	cs, err := parseCryptos(list, kind)
	if err != nil {
		return nil, err
	}
	for i, c := range cs {
		if c.Key != "" && c.Key != s.Chosen.Keys[c.Suite] {
			return nil, Errorf(gwerr.UnsupportedValue, "key for %s: the gateway chooses it", c.Suite)
		}
		if c.MKI != "" {
			return nil, Errorf(gwerr.UnsupportedValue, "MKI for %s: packets to the peer have none", c.Suite)
		}
		cs[i].Key = ""
	}
	return cs, nil
}

// remoteCryptos are those of a remote description: the key in use, if there is one.
func remoteCryptos(list []*iqv1.SrtpCrypto, kind Kind) ([]Crypto, *Error) {
	cs, err := parseCryptos(list, kind)
	switch {
	case err != nil:
		return nil, err
	case len(cs) > 1:
		return nil, Errorf(gwerr.UnsupportedValue, "%d cryptos; one is agreed (RFC 4568 §5.1.3)", len(cs))
	case len(cs) == 1 && cs[0].Key == "":
		return nil, Errorf(codeCommandSyntax, "no key for %s", cs[0].Suite)
	}
	return cs, nil
}

// checkCryptos holds the two descriptions against each other.
func (s *Stream) checkCryptos() *Error {
	for _, c := range s.Remote.Cryptos {
		if !hasSuite(s.Local.Cryptos, c.Suite) {
			return Errorf(gwerr.UnsupportedValue, "remote: local has no crypto for %s", c.Suite)
		}
	}
	return nil
}

// secure reports whether only SRTP may pass. What was offered with keys and is not answered yet may become either.
func (s *Stream) secure() bool {
	if !s.HasRemote {
		return secureProto(s.Local.Proto) || len(s.Local.Cryptos) > 0
	}
	return secureProto(s.Remote.Proto) || len(s.Remote.Cryptos) > 0
}

// cryptoMessages are cryptos on Iq, with keys only where the receiver has to learn them.
func cryptoMessages(list []Crypto, keys map[string]Secret) []*iqv1.SrtpCrypto {
	var out []*iqv1.SrtpCrypto
	for _, c := range list {
		m := &iqv1.SrtpCrypto{Tag: c.Tag, Suite: c.Suite, Mki: []byte(c.MKI)}
		if k := keys[c.Suite]; k != "" {
			m.Key = []byte(k)
		}
		out = append(out, m)
	}
	return out
}
