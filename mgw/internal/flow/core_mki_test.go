package flow

import (
	"bytes"
	"errors"
	"testing"

	pionsrtp "github.com/pion/srtp/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// identified gives the peer's packets an MKI from now on.
func (p *peerCrypto) identified(mki ...byte) {
	p.t.Helper()
	x := pionProfiles[p.own.Suite]
	tx, err := pionsrtp.CreateContext(p.own.Key[:x.key], p.own.Key[x.key:], x.p, pionsrtp.MasterKeyIndicator(mki))
	if err != nil {
		p.t.Fatal(err)
	}
	p.tx, p.own.MKI = tx, mki
}

// TestR4568_MKIOfThePeer: the packets of a peer whose key has an MKI carry it, media and reports; ours to it carry none, as our key has none (RFC 4568 §6.1). Who
// has no MKI or another is refused, and what the peer says without the MKI that it has told, too.
func TestR4568_MKIOfThePeer(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		x := newCall(t, relaySpec())
		p := newPeerCrypto(t, x.c.Local(), suite, 1)
		p.identified(0, 0, 0, 1)
		x.remote(p.own, LatchOff)
		for i := range uint16(12) {
			x.toCore(p, 65530+i)
			x.toBrowser(p, 65530+i)
		}
		good := p.protect(packet(8, 0xcc, 20, 3200, make([]byte, 160)))
		tag := map[string]int{"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4}[suite]
		bare, other := p.protect(packet(8, 0xcc, 21, 3360, make([]byte, 160))), p.protect(packet(8, 0xcc, 22, 3520, make([]byte, 160)))
		at := len(bare) - tag - 4
		bare = append(bare[:at], bare[at+4:]...)
		other[at+3] = 2
		for _, b := range [][]byte{bare, other} {
			x.s.send(x.c.Local().RTP, b)
		}
		for range 2 {
			x.s.send(x.c.Local().RTP, bytes.Clone(good))
		}
		x.b.read()
		eventually(t, "forged and repeated ones are refused", func() bool {
			d := x.c.Stats().Dropped
			return d["unauthenticated"] == 2 && d["replay"] == 1
		})
		rr := lossReport(0xcc, x.c.Local().SSRC, 64)
		prot, err := p.tx.EncryptRTCP(nil, rr, nil)
		if err != nil {
			t.Fatal(err)
		}
		write(t, x.s.rtcp, prot, x.c.Local().RTCP)
		eventually(t, "report taken", func() bool { return x.c.Stats().RemoteLossPermille == 250 })

		// Another key with another MKI; what is on its way under the one before is taken.
		late := p.protect(packet(8, 0xcc, 30, 4800, make([]byte, 160)))
		next := newPeerCrypto(t, x.c.Local(), suite, 2)
		next.identified(7)
		x.remote(next.own, LatchOff)
		x.s.send(x.c.Local().RTP, late)
		x.b.read()
		x.toBrowser(next, 31)
		// The key stays, its MKI changes: what has been received stays received.
		repeated := next.protect(packet(8, 0xcc, 32, 5120, make([]byte, 160)))
		x.s.send(x.c.Local().RTP, bytes.Clone(repeated))
		x.b.read()
		repeated[len(repeated)-tag-1] = 8
		changed := next.own
		changed.MKI = []byte{8}
		x.remote(changed, LatchOff)
		x.s.send(x.c.Local().RTP, repeated)
		eventually(t, "the repeated one is refused", func() bool { return x.c.Stats().Dropped["replay"] == 2 })
		// None any more.
		changed.MKI = nil
		x.remote(changed, LatchOff)
		x.toBrowser(newPeerCrypto(t, x.c.Local(), suite, 2), 40)
	})
}

func TestR4568_MKITooLong(t *testing.T) {
	x := newCall(t, relaySpec())
	k := newPeerCrypto(t, x.c.Local(), srtp.Profiles[0].Suite(), 1).own
	k.MKI = make([]byte, srtp.MaxMKI+1)
	if err := x.c.SetRemote(CoreRemote{RTP: x.s.addr(), Secure: true, Crypto: k}); !errors.Is(err, ErrBadRemote) {
		t.Errorf("%v", err)
	}
}
