package flow

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	piondtls "github.com/pion/dtls/v3"
	pionsrtp "github.com/pion/srtp/v3"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/transcode/transcodetest"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/race"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// pionProfiles are the suites in the terms of the independent peer, with the lengths of key and salt (RFC 4568 §6.2, RFC 7714 §12).
var pionProfiles = map[string]struct {
	p         pionsrtp.ProtectionProfile
	key, salt int
}{
	"AEAD_AES_256_GCM":        {pionsrtp.ProtectionProfileAeadAes256Gcm, 32, 12},
	"AEAD_AES_128_GCM":        {pionsrtp.ProtectionProfileAeadAes128Gcm, 16, 12},
	"AES_CM_128_HMAC_SHA1_80": {pionsrtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14},
	"AES_CM_128_HMAC_SHA1_32": {pionsrtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14},
}

// peerCrypto is an SRTP peer of the core side, made of pion's contexts.
type peerCrypto struct {
	t      testing.TB
	own    Crypto
	tx, rx *pionsrtp.Context
}

func newPeerCrypto(t testing.TB, local CoreLocal, suite string, seed byte) *peerCrypto {
	t.Helper()
	x := pionProfiles[suite]
	p := &peerCrypto{t: t, own: Crypto{Suite: suite, Key: bytes.Repeat([]byte{seed}, x.key+x.salt)}}
	var err error
	if p.tx, err = pionsrtp.CreateContext(p.own.Key[:x.key], p.own.Key[x.key:], x.p); err != nil {
		t.Fatal(err)
	}
	for _, k := range local.Keys {
		if k.Suite == suite {
			if p.rx, err = pionsrtp.CreateContext(k.Key[:x.key], k.Key[x.key:], x.p, pionsrtp.SRTPReplayProtection(64), pionsrtp.SRTCPReplayProtection(64)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if p.rx == nil {
		t.Fatalf("the gateway has no key for %s", suite)
	}
	return p
}

func (p *peerCrypto) protect(b []byte) []byte {
	p.t.Helper()
	out, err := p.tx.EncryptRTP(nil, b, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return append(make([]byte, 0, len(out)+64), out...)
}

func (p *peerCrypto) open(b []byte) rtp.Packet {
	p.t.Helper()
	out, err := p.rx.DecryptRTP(nil, b, nil)
	if err != nil {
		p.t.Fatalf("the peer cannot open what the gateway sends: %v", err)
	}
	return out
}

// securely is a call whose core peer has SRTP.
func securely(t *testing.T, spec callSpec, suite string) (*call, *peerCrypto) {
	t.Helper()
	x := newCall(t, spec)
	p := newPeerCrypto(t, x.c.Local(), suite, 1)
	x.remote(p.own, LatchOff)
	x.s.forgetReports()
	return x, p
}

// forgetReports reads what has come: reports from before a change that the gateway has confirmed, which a slow machine may have let it send.
func (s *sip) forgetReports() {
	_ = s.rtcp.SetReadDeadline(time.Now().Add(time.Millisecond))
	for buf := make([]byte, 1500); ; {
		if _, err := s.rtcp.Read(buf); err != nil {
			return
		}
	}
}

func (x *call) remote(k Crypto, latch LatchMode) {
	x.t.Helper()
	if err := x.c.SetRemote(CoreRemote{RTP: x.s.addr(), RTCP: addrPortOf(x.s.rtcp), Secure: true, Crypto: k, Latch: latch}); err != nil {
		x.t.Fatal(err)
	}
}

// toCore sends a packet from the browser and returns what the peer gets.
func (x *call) toCore(p *peerCrypto, seq uint16) rtp.Packet {
	x.t.Helper()
	body := bytes.Repeat([]byte{byte(seq)}, 160)
	x.b.send(packet(8, 0xbb, seq, uint32(seq)*160, body))
	raw := x.s.read()
	if bytes.Contains(raw, body[:16]) {
		x.t.Fatal("plain audio on the wire")
	}
	out := p.open(raw)
	if !bytes.Equal(out.Payload(), body) {
		x.t.Fatalf("to core: %d bytes", len(out.Payload()))
	}
	return out
}

// toBrowser sends a packet from the core and checks that it comes.
func (x *call) toBrowser(p *peerCrypto, seq uint16) {
	x.t.Helper()
	body := bytes.Repeat([]byte{byte(seq) + 7}, 160)
	x.s.send(x.c.Local().RTP, p.protect(packet(8, 0xcc, seq, uint32(seq)*160, body)))
	if got := x.b.read(); !bytes.Equal(got.Payload(), body) {
		x.t.Fatalf("to browser: %d bytes", len(got.Payload()))
	}
}

func eachSuite(t *testing.T, f func(t *testing.T, suite string)) {
	for _, p := range srtp.Profiles {
		t.Run(p.Suite(), func(t *testing.T) { f(t, p.Suite()) })
	}
}

// Both ways, across the rollover of the peer's sequence numbers, with reports.
func TestR4568_R3711_CoreSRTPBothWays(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		spec := relaySpec()
		spec.config = func(c *Config) { c.Timers.RTCP = 100 * time.Millisecond }
		x, p := securely(t, spec, suite)
		for i := range 12 {
			x.toCore(p, 65530+uint16(i))
			x.toBrowser(p, 65530+uint16(i))
		}
		replay := p.protect(packet(8, 0xcc, 20, 3200, make([]byte, 160)))
		x.s.send(x.c.Local().RTP, bytes.Clone(replay))
		x.b.read()
		x.s.send(x.c.Local().RTP, replay)
		eventually(t, "replay dropped", func() bool { return x.c.Stats().Dropped["replay"] == 1 })

		buf := make([]byte, 1500)
		_ = x.s.rtcp.SetReadDeadline(time.Now().Add(wait.Limit))
		n, err := x.s.rtcp.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := p.rx.DecryptRTCP(nil, buf[:n], nil)
		if err != nil {
			t.Fatalf("report of the gateway: %v", err)
		}
		var info rtcp.Info
		if err := rtcp.Parse(plain, 0xcc, false, &info); err != nil || info.Sender != x.c.Local().SSRC {
			t.Errorf("report %+v, %v", info, err)
		}
		rr := lossReport(0xcc, x.c.Local().SSRC, 64)
		prot, err := p.tx.EncryptRTCP(nil, rr, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{rr, prot} { // the plain one must not count
			write(t, x.s.rtcp, b, x.c.Local().RTCP)
		}
		eventually(t, "report taken", func() bool { return x.c.Stats().RemoteLossPermille == 250 })
		if d := x.c.Stats().Dropped["unauthenticated"]; d != 1 {
			t.Errorf("%d reports refused, want the plain one", d)
		}
	})
}

func TestR4568_CoreSRTPTranscoded(t *testing.T) {
	transcodetest.Need(t, opus)
	spec := callSpec{role: RoleServer, access: both(SendRecv, []codec.Codec{opus, ev48}, opus, ev48), core: both(SendRecv, []codec.Codec{pcma, ev8}, pcma, ev8)}
	x, p := securely(t, spec, "AEAD_AES_256_GCM")
	for i := range uint16(30) {
		x.s.send(x.c.Local().RTP, p.protect(packet(8, 0xcc, i, uint32(i)*160, bytes.Repeat([]byte{0xd5}, 160))))
		x.b.send(packet(111, 0xbb, i, uint32(i)*960, []byte{0xf8, 0xff, 0xfe}))
		<-time.After(time.Millisecond)
	}
	if got := x.b.read(); got.PT() != 111 {
		t.Errorf("payload type %d", got.PT())
	}
	if got := p.open(x.s.read()); got.PT() != 8 || len(got.Payload()) != 160 {
		t.Errorf("payload type %d, %d bytes", got.PT(), len(got.Payload()))
	}
}

// AEAD_AES_256_GCM on the browser's side (RFC 5764 §4.1.2, RFC 7714 §14.2).
func TestR5764_R7714_DTLSWithAES256(t *testing.T) {
	for role, name := range map[Role]string{RoleServer: "server", RoleClient: "client"} {
		t.Run(name, func(t *testing.T) {
			spec := relaySpec()
			spec.role, spec.profiles = role, []piondtls.SRTPProtectionProfile{piondtls.SRTP_AEAD_AES_256_GCM}
			x := newCall(t, spec)
			if e := x.ev.wait(t, x.a, DTLSConnected, 1); e.Profile != "SRTP_AEAD_AES_256_GCM" {
				t.Errorf("profile %s", e.Profile)
			}
			x.exchange(3, 1)
		})
	}
}

// Nobody without the key is heard, moves media or captures the port: while keys are not agreed, while the port latches, in the call, on hold.
func TestR4568_IQ06_StrangerWithWrongKey(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		x := newCall(t, relaySpec())
		p := newPeerCrypto(t, x.c.Local(), suite, 1)
		evil := newPeerCrypto(t, x.c.Local(), suite, 66)
		thief, to, refused := newSIP(t), x.c.Local().RTP, uint64(0)
		attack := func(when string) {
			t.Helper()
			for i, from := range []*sip{thief, x.s, thief, x.s} { // from elsewhere, and with the peer's own address
				b := packet(8, 0xcc, uint16(3000+i), uint32(i), make([]byte, 160))
				if i < 2 {
					b = evil.protect(b)
				} // else plain RTP
				from.send(to, b)
			}
			refused += 4
			eventually(t, when+": all four counted", func() bool {
				d := x.c.Stats().Dropped
				return d["source"]+d["unauthenticated"] == refused
			})
			if _, ok := x.b.tryRead(20 * time.Millisecond); ok {
				t.Fatalf("%s: a stranger is heard", when)
			}
		}
		x.remote(Crypto{}, LatchOn) // offered with keys, not answered
		attack("set-up")
		if x.c.Stats().Dropped["unauthenticated"] != 4 {
			t.Errorf("set-up: %v", x.c.Stats().Dropped)
		}
		x.remote(p.own, LatchOn)
		attack("latching")
		if _, ok := x.ev.find(x.c, Latched, 1); ok {
			t.Fatal("latched on a wrong key")
		}
		x.toBrowser(p, 1)
		if e := x.ev.wait(t, x.c, Latched, 1); e.Addr != x.s.addr() {
			t.Fatalf("latched %v", e.Addr)
		}
		attack("mid-call")
		x.toCore(p, 1)
		hold := relaySpec().core
		hold.Mode = Inactive
		x.configure(x.c, hold)
		attack("on hold")
		x.configure(x.c, relaySpec().core)
		attack("after hold")
		x.remote(p.own, Relatch)
		attack("relatching")
		if _, ok := x.ev.find(x.c, Latched, 2); ok {
			t.Fatal("latched again on a wrong key")
		}
		x.toBrowser(p, 2)
		x.toCore(p, 2)
	})
}

// A new key of the peer: packets under the former one that are on their way are heard, later ones are not, and what we send goes on
// under our key without a new rollover counter or sequence.
func TestR4568_PeerChangesItsKey(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		x, old := securely(t, relaySpec(), suite)
		first := x.toCore(old, 1)
		x.toBrowser(old, 65535)
		x.toBrowser(old, 1) // rolled over: a receiver that began anew could not know
		fresh := newPeerCrypto(t, x.c.Local(), suite, 2)
		fresh.rx = old.rx // what it receives with is the gateway's
		x.remote(fresh.own, LatchOff)
		x.toBrowser(old, 2)
		x.toBrowser(fresh, 3)
		x.toBrowser(old, 4)
		if p := x.toCore(fresh, 2); p.Seq() != first.Seq()+1 || p.SSRC() != first.SSRC() {
			t.Errorf("sequence %d after %d", p.Seq(), first.Seq())
		}
		x.c.w.do(func() { x.c.s.crypto.until = x.c.w.now }) // the second is over
		x.s.send(x.c.Local().RTP, old.protect(packet(8, 0xcc, 5, 800, make([]byte, 160))))
		eventually(t, "former key refused", func() bool { return x.c.Stats().Dropped["unauthenticated"] == 1 })
		x.toBrowser(fresh, 6)
		x.remote(old.own, LatchOff) // the description is undone
		x.toBrowser(old, 7)
		x.toCore(old, 3)
	})
}

// Another suite and back, plain RTP and back: no keystream is used twice, as the sender of a key lives as long as the key.
func TestR4568_SuiteAndBack(t *testing.T) {
	x, a := securely(t, relaySpec(), "AES_CM_128_HMAC_SHA1_80")
	b := newPeerCrypto(t, x.c.Local(), "AEAD_AES_128_GCM", 3)
	x.toCore(a, 1)
	x.remote(b.own, LatchOff)
	x.toCore(b, 2)
	x.toBrowser(b, 2)
	if err := x.c.SetRemote(CoreRemote{RTP: x.s.addr()}); err != nil {
		t.Fatal(err)
	}
	x.b.send(packet(8, 0xbb, 3, 480, bytes.Repeat([]byte{3}, 160)))
	if p := x.s.read(); p.Payload()[0] != 3 {
		t.Error("no plain RTP")
	}
	tx := x.c.s.crypto.senders
	x.remote(a.own, LatchOff)
	x.toCore(a, 4)
	x.toBrowser(a, 4)
	if x.c.s.crypto.senders != tx {
		t.Error("a second sender for the same key")
	}
}

func TestR4568_BadKeysAreRefused(t *testing.T) {
	b := newBed(t, nil)
	c := b.core("c1", nil)
	for what, r := range map[string]CoreRemote{
		"suite":  {Secure: true, Crypto: Crypto{Suite: "NULL", Key: make([]byte, 30)}},
		"length": {Secure: true, Crypto: Crypto{Suite: "AEAD_AES_256_GCM", Key: make([]byte, 30)}},
		"plain":  {Crypto: Crypto{Suite: "AEAD_AES_128_GCM", Key: make([]byte, 28)}},
	} {
		if err := c.SetRemote(r); !errors.Is(err, ErrBadRemote) {
			t.Errorf("%s: %v", what, err)
		}
	}
	other := b.core("c2", nil)
	for i, k := range c.Local().Keys {
		if text := fmt.Sprintf("%v %+v %#v %s", k, k, k, k); strings.Contains(text, fmt.Sprint(k.Key[:4])) || bytes.Contains([]byte(text), k.Key[:4]) || !strings.Contains(text, "hidden") {
			t.Errorf("printed: %s", text)
		}
		if bytes.Equal(k.Key, other.Local().Keys[i].Key) {
			t.Errorf("two terminations share the key for %s", k.Suite)
		}
	}
}

func TestSecureCorePacketDoesNotAllocate(t *testing.T) {
	eachSuite(t, func(t *testing.T, suite string) {
		access, core := relaySettings()
		r := newRig(t, srtp.AES128GCM, access, core)
		r.c.core.c.local.Keys = newKeys()
		profile, _ := srtp.SuiteNamed(suite)
		key, former := profile.NewKey(), profile.NewKey()
		set := func(k []byte) {
			if err := r.c.core.setRemote(1, CoreRemote{RTP: sipAddr, Secure: true, Crypto: Crypto{Suite: suite, Key: k}}); err != nil {
				t.Fatal(err)
			}
		}
		set(key)
		tx, err := srtp.NewSender(profile, key)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, bufferSize)
		now := int64(1)
		step := func() {
			now += int64(20 * time.Millisecond)
			prot, err := r.peerTx.ProtectRTP(r.fill(buf, 8))
			if err != nil {
				t.Fatal(err)
			}
			if out := onlyOut(r.a.access.rtp(now, prot)); len(out) <= rtp.HeaderLen+160 {
				t.Fatalf("%d bytes, drops %v", len(out), r.a.in.drops.Map())
			}
			if prot, err = tx.ProtectRTP(r.fill(buf, 8)); err != nil {
				t.Fatal(err)
			}
			if out := r.c.core.media(now, sipAddr, prot); len(out) <= rtp.HeaderLen+160 {
				t.Fatalf("%d bytes, drops %v", len(out), r.c.in.drops.Map())
			}
		}
		if n := testing.AllocsPerRun(500, step); n > race.Allocs(2) {
			t.Errorf("%v allocations per packet each way", n)
		}
		set(former) // as if it were new: all of the peer's packets are still under the other one
		until := now + int64(time.Hour)
		r.c.core.crypto.until = until
		if n := testing.AllocsPerRun(500, step); n > race.Allocs(2) {
			t.Errorf("while the key changes: %v allocations per packet each way", n)
		}
	})
}

// Our key of a suite lives as long as the termination. When the peer comes back to it after more than half of the sequence numbers, under another
// suite or none, its packets go on behind the last one: the peer can open them, and no keystream is used twice (RFC 3711 §9.1).
func TestR3711_9_1_SuiteAndBackUsesNoKeystreamTwice(t *testing.T) {
	const suite, other = "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_128_GCM"
	for name, between := range map[string]string{"another suite": other, "plain RTP": ""} {
		t.Run(name, func(t *testing.T) {
			x, p := securely(t, relaySpec(), suite)
			var seq, last uint16
			for range 28 { // 80,000 numbers: past a rollover
				seq += 2900
				last = x.toCore(p, seq).Seq()
			}
			step := func() { // plain
				x.b.send(packet(8, 0xbb, seq, uint32(seq)*160, make([]byte, 160)))
				x.s.read()
			}
			if between == "" {
				if err := x.c.SetRemote(CoreRemote{RTP: x.s.addr(), RTCP: addrPortOf(x.s.rtcp)}); err != nil {
					t.Fatal(err)
				}
			} else {
				q := newPeerCrypto(t, x.c.Local(), between, 2)
				x.remote(q.own, LatchOff)
				step = func() { x.toCore(q, seq) }
			}
			x.s.forgetReports()
			for range 14 { // 40,000
				seq += 2900
				step()
			}
			x.remote(p.own, LatchOff)
			x.s.forgetReports()
			for i := range uint16(3) {
				seq++
				if got := x.toCore(p, seq).Seq(); got != last+1+i {
					t.Fatalf("packet %d, want %d", got, last+1+i)
				}
			}
		})
	}
}
