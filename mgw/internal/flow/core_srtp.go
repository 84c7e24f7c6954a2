package flow

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

const (
	// keyOverlap is how long packets under the peer's former key are still taken once one under the new key has come: those on their way.
	keyOverlap = int64(time.Second)
	// keyPatience is how long the former key serves when none comes.
	keyPatience = int64(10 * time.Second)
)

// Crypto is one SRTP key with its suite (RFC 4568 §4). Key is master key and salt: secret, and hidden from formatting. MKI is what the packets under it
// carry, 1 to 128 octets, empty for none: the peer's only, ours have none (RFC 4568 §6.1).
type Crypto struct {
	Suite string
	Key   []byte
	MKI   []byte
}

// String hides the key.
func (c Crypto) String() string { return c.Suite + " (key hidden)" }

// GoString hides the key.
func (c Crypto) GoString() string { return c.String() }

// newKeys are our keys of one termination, one per suite.
func newKeys() []Crypto {
	out := make([]Crypto, len(srtp.Profiles))
	for i, p := range srtp.Profiles {
		out[i] = Crypto{Suite: p.Suite(), Key: p.NewKey()}
	}
	return out
}

// check refuses keys that cannot be used.
func (r *CoreRemote) checkCrypto() error {
	switch {
	case r.Crypto.Suite == "" && len(r.Crypto.Key) == 0:
		return nil
	case !r.Secure:
		return fmt.Errorf("%w: a key for plain RTP", ErrBadRemote)
	}
	p, ok := srtp.SuiteNamed(r.Crypto.Suite)
	if !ok {
		return fmt.Errorf("%w: unknown crypto-suite", ErrBadRemote)
	}
	if n := len(r.Crypto.Key); n != p.KeyLength() {
		return fmt.Errorf("%w: key of %d octets for %s", ErrBadRemote, n, p.Suite())
	}
	if n := len(r.Crypto.MKI); n > srtp.MaxMKI {
		return fmt.Errorf("%w: MKI of %d octets", ErrBadRemote, n)
	}
	return nil
}

// coreKeys is the SRTP of a core termination. Owned by the worker.
type coreKeys struct {
	// senders by suite. They live as long as the termination: their keys do, and a second context with a key would use its keystream twice.
	senders [4]ownKey
	own     *ownKey // the one in use; nil: plain RTP
	now     peerKey
	former  peerKey // what the peer had before; packets on their way still have it
	until   int64   // when former stops being tried
	taken   bool    // a packet under now has come
}

// ownKey is our key of one suite in use.
type ownKey struct {
	tx   *srtp.Sender
	last uint64 // number of the newest packet when another took its place (stamp.Stamper.Sent); 0: none has
}

// send makes to, nil for plain RTP, what packets leave under.
func (c *coreState) send(to *ownKey) {
	k, out := &c.crypto, &c.t.out
	if out.tx = nil; to != nil {
		out.tx = to.tx
	}
	if to == k.own {
		return
	}
	if k.own != nil {
		k.own.last = out.stamp.Sent()
	}
	if k.own = to; to != nil && to.last != 0 {
		out.stamp.Resume(to.last)
	}
}

// peerKey is one key of the peer with its replay and rollover state.
type peerKey struct {
	suite string
	key   []byte
	rx    *srtp.Receiver
}

func (k *peerKey) is(c Crypto) bool {
	return k.rx != nil && k.suite == c.Suite && bytes.Equal(k.key, c.Key)
}

// setCrypto follows the keys of a remote description that check has passed. A key that stays keeps its state; one that was in use before
// the present one has kept its own, for a description that is undone (RFC 3264 §8).
func (c *coreState) setCrypto(now int64, secure bool, peer Crypto) error {
	c.t.out.secure, c.secure = secure, secure
	if peer.Suite == "" {
		c.send(nil)
		c.t.in.rx = nil
		return nil
	}
	own, err := c.sender(peer.Suite)
	if err != nil {
		return err
	}
	k := &c.crypto
	switch {
	case k.now.is(peer):
	case k.former.is(peer):
		k.now, k.former, k.until, k.taken = k.former, k.now, now+keyPatience, false
	default:
		p, _ := srtp.SuiteNamed(peer.Suite)
		rx, err := srtp.NewReceiver(p, peer.Key)
		if err != nil {
			return err
		}
		k.former, k.until, k.taken = k.now, now+keyPatience, false
		k.now = peerKey{suite: peer.Suite, key: bytes.Clone(peer.Key), rx: rx}
	}
	k.now.rx.SetMKI(bytes.Clone(peer.MKI))
	c.send(own)
	c.t.in.rx = k.now.rx
	return nil
}

// sender is what we send with under our key for suite.
func (c *coreState) sender(suite string) (*ownKey, error) {
	for i, own := range c.c.local.Keys {
		if own.Suite != suite {
			continue
		}
		k := &c.crypto.senders[i]
		if k.tx == nil {
			p, _ := srtp.SuiteNamed(suite)
			tx, err := srtp.NewSender(p, own.Key)
			if err != nil {
				return nil, err
			}
			k.tx = tx
		}
		return k, nil
	}
	return nil, fmt.Errorf("%w: unknown crypto-suite", ErrBadRemote)
}

// open authenticates and decrypts b in place under the peer's key, or while that changes under its former one (RFC 4568 §7.1.4 leaves
// open when the change takes effect). control: b is SRTCP.
func (c *coreState) open(now int64, b []byte, control bool) ([]byte, error) {
	rx, k := c.t.in.rx, &c.crypto
	if rx == nil {
		return nil, srtp.ErrAuth
	}
	if k.former.rx == nil || now >= k.until {
		return openWith(rx, b, control)
	}
	scratch := c.t.w.scratch[:copy(c.t.w.scratch, b)] // a failure leaves nothing of b
	first, second := k.former.rx, rx                  // the likelier one: a failure costs
	if k.taken {
		first, second = rx, k.former.rx
	}
	plain, err := openWith(first, b, control)
	if err != nil && !errors.Is(err, srtp.ErrReplay) {
		if plain, err = openWith(second, b[:copy(b, scratch)], control); err == nil && !k.taken {
			k.taken, k.until = true, min(k.until, now+keyOverlap)
		}
	}
	return plain, err
}

func openWith(rx *srtp.Receiver, b []byte, control bool) ([]byte, error) {
	if control {
		return rx.OpenRTCP(b)
	}
	return rx.OpenRTP(b)
}
