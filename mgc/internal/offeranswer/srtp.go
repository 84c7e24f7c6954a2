package offeranswer

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// SRTP says whether media towards the core is protected, with keys from signalling (RFC 4568; standards IQ-14, R4568, R8643).
type SRTP string

// The values.
const (
	SRTPOff      SRTP = "off"      // RTP only; an offer of RTP/SAVP is refused
	SRTPOsrtp    SRTP = "osrtp"    // opportunistic (RFC 8643): offered in RTP/AVP; RTP with peers that do not answer with a key
	SRTPRequired SRTP = "required" // RTP/SAVP; peers that give no usable key are refused
)

// on reports whether keys are exchanged at all.
func (s SRTP) on() bool { return s == SRTPOsrtp || s == SRTPRequired }

// Suites are all crypto-suites that there are, best first.
var Suites = []sdp.Suite{sdp.AES256GCM, sdp.AES128GCM, sdp.AES128CM80, sdp.AES128CM32}

// Secret is a master key with its salt. It is in the records of calls, and never printed.
type Secret []byte

// String hides the secret.
func (Secret) String() string { return "(hidden)" }

// GoString hides the secret.
func (Secret) GoString() string { return "(hidden)" }

// Format hides the secret, whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(hidden)")) }

// Key is one SRTP key.
type Key struct {
	Tag    uint32    `json:"tag,omitempty"`
	Suite  sdp.Suite `json:"suite"`
	Secret Secret    `json:"key,omitempty"`
	MKI    []byte    `json:"mki,omitempty"` // of the peer's packets, as it is in them; ours have none (RFC 4568 §6.1)
}

// IsZero reports whether there is no key.
func (k Key) IsZero() bool { return k.Suite == "" }

// same reports whether two keys protect alike.
func (k Key) same(o Key) bool { return k.sameSecret(o) && bytes.Equal(k.MKI, o.MKI) }

func (k Key) sameSecret(o Key) bool { return k.Suite == o.Suite && bytes.Equal(k.Secret, o.Secret) }

func keyOf(k sdp.Keying) Key { return Key{Tag: k.Tag, Suite: k.Suite, Secret: k.Key, MKI: k.MKI} }

// Crypto is the SRTP of the core side.
type Crypto struct {
	Keys []Key `json:"keys,omitempty"` // ours, by suite: the MGW's choice at Add, for good
	Told []Key `json:"told,omitempty"` // what our last description lists, without secrets
	Peer Key   `json:"peer,omitzero"`  // what the peer sends with; zero: plain RTP
}

func secureProto(proto string) bool { return proto == "RTP/SAVP" || proto == "RTP/SAVPF" }

// usableLine reports whether the line has a transport that side can have.
func (m *Media) usableLine(side Side, d *sdp.Media) bool {
	if side == Access {
		return strings.HasSuffix(d.Proto, "RTP/SAVPF") || strings.HasSuffix(d.Proto, "RTP/SAVP")
	}
	plain := d.Proto == "RTP/AVP" || d.Proto == "RTP/AVPF"
	if plain && m.Policy.SRTP != SRTPRequired {
		return true
	}
	if !plain && !secureProto(d.Proto) || !m.Policy.SRTP.on() {
		return false
	}
	_, err := m.offered(d)
	return err == nil
}

// takeCrypto reads the peer's key; changed says that an offer brings another one than before.
func (m *Media) takeCrypto(l *Line, d *sdp.Media, answer bool) (changed bool, err error) {
	if !m.Policy.SRTP.on() {
		return false, nil // crypto attributes in RTP/AVP are not ours to understand
	}
	take := m.offered
	if answer {
		take = func(d *sdp.Media) (Key, error) { return m.answered(l, d) }
	}
	k, err := take(d)
	switch {
	case err == nil:
	case secureProto(d.Proto), m.Policy.SRTP == SRTPRequired && hasCrypto(d), answer && hasCrypto(d): // an answer with a key that cannot be used is no plain RTP
		return false, unacceptable(399, "%s", strings.NewReplacer(`"`, "", `\`, "").Replace(err.Error()))
	case m.Policy.SRTP == SRTPRequired:
		return false, unacceptable(302, "SRTP is required (RFC 4568)")
	}
	if slices.ContainsFunc(l.Crypto.Keys, k.sameSecret) && !k.IsZero() {
		return false, unacceptable(399, "crypto attribute: tag %d repeats our key", k.Tag)
	}
	changed = !answer && !k.same(l.Crypto.Peer)
	l.Crypto.Peer = k
	return changed, nil
}

func hasCrypto(d *sdp.Media) bool {
	return len(d.Cryptos) > 0 || slices.ContainsFunc(d.Other, func(a sdp.Attribute) bool { return a.Name == "crypto" })
}

// offered returns the first key of an offer that can be used: the order is the offerer's preference (RFC 4568 §5.1.1, §5.1.2).
func (m *Media) offered(d *sdp.Media) (Key, error) {
	first := errors.New("no crypto attribute")
	for i, c := range d.Cryptos {
		if slices.ContainsFunc(d.Cryptos[:i], func(o sdp.Crypto) bool { return o.Tag == c.Tag }) {
			return Key{}, fmt.Errorf("crypto attribute: tag %d twice", c.Tag)
		}
	}
	for i, c := range d.Cryptos {
		k, err := m.Policy.read(c)
		if err == nil && !slices.Contains(m.Policy.suites(), k.Suite) {
			err = fmt.Errorf("crypto attribute: tag %d: crypto-suite %s is not allowed", c.Tag, k.Suite)
		}
		if err == nil {
			return keyOf(k), nil
		}
		if i == 0 {
			first = err
		}
	}
	return Key{}, first
}

// read reads a crypto attribute whose key the media gateway can take.
func (p Policy) read(c sdp.Crypto) (sdp.Keying, error) {
	k, err := c.Read()
	if err == nil && p.NoMKI && len(k.MKI) > 0 {
		err = fmt.Errorf("crypto attribute: tag %d: MKI is not for every media gateway", c.Tag)
	}
	return k, err
}

// answered returns the key of an answer on the line: one attribute, with the tag and suite of one that was offered (RFC 4568 §5.1.3).
func (m *Media) answered(l *Line, d *sdp.Media) (Key, error) {
	if len(d.Cryptos) != 1 {
		return Key{}, fmt.Errorf("%d crypto attributes in the answer, one is needed", len(d.Cryptos))
	}
	k, err := m.Policy.read(d.Cryptos[0])
	if err != nil {
		return Key{}, err
	}
	if !slices.ContainsFunc(l.Crypto.Told, func(o Key) bool { return o.Tag == k.Tag && o.Suite == k.Suite }) {
		return Key{}, fmt.Errorf("crypto attribute: tag %d with %s was not offered", k.Tag, k.Suite)
	}
	return keyOf(k), nil
}

// suites are those of the policy, all when it names none.
func (p Policy) suites() []sdp.Suite {
	if len(p.Suites) == 0 {
		return Suites
	}
	return p.Suites
}

// coreProto is the transport of a first offer of ours to the core.
func (p Policy) coreProto() string {
	if p.SRTP == SRTPRequired {
		return "RTP/SAVP"
	}
	return "RTP/AVP"
}

// listKeys are the suites in the policy's order, each with a tag of its own for the call, without secrets.
func (p Policy) listKeys() []Key {
	if !p.SRTP.on() {
		return nil
	}
	var out []Key
	for i, s := range p.suites() {
		out = append(out, Key{Tag: uint32(i) + 1, Suite: s})
	}
	return out
}

// offerKeys lists all our keys, what is in use first, so that it stays in use (RFC 4568 §7.1.4).
func (m *Media) offerKeys(l *Line) {
	list := m.Policy.listKeys()
	if i := slices.IndexFunc(list, func(k Key) bool { return k.Suite == l.Crypto.Peer.Suite }); i > 0 {
		k := list[i]
		list = slices.Insert(slices.Delete(list, i, i+1), 0, k)
	}
	l.Crypto.Told = list
}

// answerKeys lists the one key that answers the peer's, under its tag.
func (l *Line) answerKeys() {
	l.Crypto.Told = nil
	if k := l.Crypto.Peer; !k.IsZero() {
		l.Crypto.Told = []Key{{Tag: k.Tag, Suite: k.Suite}}
	}
}

// attributes are the crypto lines of our description.
func (c *Crypto) attributes() []sdp.Crypto {
	var out []sdp.Crypto
	for _, t := range c.Told {
		for _, k := range c.Keys {
			if k.Suite == t.Suite {
				out = append(out, sdp.NewCrypto(t.Tag, t.Suite, k.Secret))
			}
		}
	}
	return out
}

// resolveKeys takes the keys that the MGW has chosen.
func (c *Crypto) resolveKeys(list []*iqv1.SrtpCrypto) error {
	keys := slices.Clone(c.Keys)
	for _, r := range list {
		k := Key{Suite: sdp.Suite(r.GetSuite()), Secret: Secret(r.GetKey())}
		switch n := k.Suite.KeyLength(); {
		case len(k.Secret) == 0:
			continue
		case n == 0 || len(k.Secret) != n:
			return fmt.Errorf("key of %d octets for crypto-suite %q: %w", len(k.Secret), r.GetSuite(), ErrReply)
		}
		keys = append(slices.DeleteFunc(keys, func(o Key) bool { return o.Suite == k.Suite }), k)
	}
	c.Keys = keys
	return nil
}

// complete reports whether there is a key for each suite of the policy.
func (m *Media) complete(c *Crypto) bool {
	return !slices.ContainsFunc(m.Policy.listKeys(), func(k Key) bool {
		return !slices.ContainsFunc(c.Keys, func(o Key) bool { return o.Suite == k.Suite })
	})
}

// cryptoMessages are keys on Iq.
func cryptoMessages(keys ...Key) []*iqv1.SrtpCrypto {
	var out []*iqv1.SrtpCrypto
	for _, k := range keys {
		if !k.IsZero() {
			out = append(out, &iqv1.SrtpCrypto{Tag: k.Tag, Suite: string(k.Suite), Key: k.Secret, Mki: k.MKI})
		}
	}
	return out
}
