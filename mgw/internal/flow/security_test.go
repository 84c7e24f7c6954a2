package flow

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

func stranger(t *testing.T) *net.UDPConn {
	t.Helper()
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.Close() })
	return u
}

func write(t *testing.T, u *net.UDPConn, b []byte, to netip.AddrPort) {
	t.Helper()
	if _, err := u.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatal(err)
	}
}

func (x *call) accessAddr() netip.AddrPort {
	c := x.a.Local().Candidates[0]
	return netip.AddrPortFrom(netip.MustParseAddr(c.Address), c.Port)
}

func TestR8827_R8122_R5763_WrongFingerprintFailsBeforeMedia(t *testing.T) {
	for _, role := range []Role{RoleServer, RoleClient} {
		b := newBed(t, nil)
		a := b.access("a1")
		b.configure(a, both(SendRecv, []codec.Codec{pcma}, pcma, codec.Codec{}))
		br := newBrowser(t)
		remote := br.remote(role)
		other, err := dtls.NewCertificate(time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		f, _ := dtls.FingerprintOf(other)
		remote.Fingerprints = []Fingerprint{Fingerprint(f)}
		if err := a.SetRemote(remote); err != nil {
			t.Fatal(err)
		}
		br.connect(a.Local())
		if err := br.secure(a.Local(), role == RoleServer); err == nil && role == RoleServer {
			// A client finishes one flight ahead of the verdict at most; its media must not pass.
			br.send(packet(8, 1, 1, 160, make([]byte, 160)))
		}
		if e := b.ev.wait(t, a, DTLSFailed, 1); e.Reason != dtls.ErrFingerprint.Error() {
			t.Errorf("role %d: reason %q", role, e.Reason)
		}
		if s := a.Stats(); s.PacketsReceived != 0 {
			t.Errorf("role %d: media passed: %+v", role, s)
		}
		if _, ok := b.ev.find(a, DTLSConnected, 1); ok {
			t.Errorf("role %d: connected", role)
		}
	}
}

func TestDTLSTimeout(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Timers.DTLS = 50 * time.Millisecond })
	a := b.access("a1")
	b.configure(a, Settings{})
	br := newBrowser(t)
	if err := a.SetRemote(br.remote(RoleClient)); err != nil {
		t.Fatal(err)
	}
	br.connect(a.Local()) // ICE only
	if e := b.ev.wait(t, a, DTLSFailed, 1); e.Reason != dtls.ErrTimeout.Error() {
		t.Errorf("reason %q", e.Reason)
	}
}

func TestClientHelloFromUnvalidatedAddressIsNotAnswered(t *testing.T) {
	b := newBed(t, nil)
	a := b.access("a1")
	b.configure(a, Settings{})
	br := newBrowser(t)
	if err := a.SetRemote(br.remote(RoleServer)); err != nil {
		t.Fatal(err)
	}
	u := stranger(t)
	hello := append([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 1, 0, 0, 28}, make([]byte, 36)...)
	to := netip.AddrPortFrom(loopback, a.Local().Candidates[0].Port)
	for range 5 {
		write(t, u, hello, to)
	}
	eventually(t, "hellos counted as stray", func() bool { return b.e.Counters().Dropped >= 5 })
	_ = u.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := u.Read(make([]byte, 100)); err == nil {
		t.Errorf("answered with %d bytes", n)
	}
	// The real one still gets through.
	br.connect(a.Local())
	if err := br.secure(a.Local(), true); err != nil {
		t.Fatal(err)
	}
	b.ev.wait(t, a, DTLSConnected, 1)
}

func TestR8445_2_WrongCredentialsTeachNothing(t *testing.T) {
	b := newBed(t, nil)
	a := b.access("a1")
	b.configure(a, Settings{})
	br := newBrowser(t)
	remote := br.remote(RoleServer)
	if err := a.SetRemote(remote); err != nil {
		t.Fatal(err)
	}
	u := stranger(t)
	l := a.Local()
	to := netip.AddrPortFrom(loopback, l.Candidates[0].Port)
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(l.Ufrag+":"+remote.Ufrag),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.RawAttribute{Type: stun.AttrICEControlling, Length: 8, Value: make([]byte, 8)},
		stun.RawAttribute{Type: stun.AttrPriority, Length: 4, Value: []byte{1, 2, 3, 4}},
		stun.NewShortTermIntegrity("not the password of the agent"), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write(t, u, m.Raw, to)
	}
	br.connect(l) // goes through the same agent afterwards, so the forged checks have been judged by then
	e := b.ev.wait(t, a, ICEConnected, 1)
	if e.Pair.Remote.Port == addrPortOf(u).Port() {
		t.Error("the forger was selected")
	}
	var paths int
	a.w.do(func() { paths = len(a.s.paths) })
	if _, known := b.ev.find(a, ICEConnected, 2); known || paths != 1 {
		t.Errorf("%d paths", paths)
	}
	if c := b.e.Counters(); c.ChecksTaken < c.ChecksAnswered+3 || c.ChecksAnswered == 0 {
		t.Errorf("%d checks taken, %d answered, of which 3 were forged", c.ChecksTaken, c.ChecksAnswered)
	}
}

func TestStrangersWithClonedSSRC(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(3, 100)
	before := x.c.Stats()
	u := stranger(t)
	// Core side: same SSRC, next sequence number, valid codec.
	for i := range 10 {
		write(t, u, packet(8, 0xcc, uint16(103+i), uint32(103+i)*160, bytes.Repeat([]byte{0xee}, 160)), x.c.Local().RTP)
	}
	eventually(t, "core strangers counted", func() bool { return x.c.Stats().Dropped["source"] == 10 })
	if s := x.c.Stats(); s.PacketsReceived != before.PacketsReceived {
		t.Errorf("stranger admitted: %+v", s)
	}
	// Access side: a recorded packet of the browser from another address, and garbage with the browser's SSRC from the right one.
	prot, err := x.b.tx.ProtectRTP(packet(8, 0xbb, 200, 200*160, make([]byte, 160)))
	if err != nil {
		t.Fatal(err)
	}
	stray := x.e.Counters().Dropped
	write(t, u, prot, x.accessAddr())
	eventually(t, "access stranger counted", func() bool { return x.e.Counters().Dropped == stray+1 })
	if _, err := x.b.conn.Write(packet(8, 0xbb, 201, 201*160, make([]byte, 160))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "forged SRTP counted", func() bool { return x.a.Stats().Dropped["unauthenticated"] == 1 })
	if _, err := x.b.conn.Write(prot); err != nil {
		t.Fatal(err)
	}
	x.s.read()
	if _, err := x.b.conn.Write(prot); err != nil {
		t.Fatal(err)
	}
	eventually(t, "replay counted", func() bool { return x.a.Stats().Dropped["replay"] == 1 })
	x.exchange(3, 300) // the call is unharmed
	eventually(t, "refusals in the totals", func() bool {
		r := x.e.Counters().Refused
		return r[gate.Source] == 10 && r[gate.Unauthenticated] == 1 && r[gate.Replay] == 1
	})
	if len(x.b.media) != 0 {
		t.Errorf("%d packets too many at the browser", len(x.b.media))
	}
}

func TestMediaOfUnknownPayloadTypeIsDropped(t *testing.T) {
	x := newCall(t, relaySpec())
	x.s.send(x.c.Local().RTP, packet(96, 1, 1, 1, make([]byte, 20)))
	x.s.send(x.c.Local().RTP, []byte{0x40, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1})
	eventually(t, "drops", func() bool {
		d := x.c.Stats().Dropped
		return d["payload_type"] == 1 && d["malformed"] == 1
	})
}

func TestBadRemotesAndSettingsAreRefused(t *testing.T) {
	b := newBed(t, nil)
	a, c := b.access("a1"), b.core("c1", nil)
	good := Fingerprint{Hash: "sha-256", Value: b.e.Fingerprint().Value}
	for name, r := range map[string]AccessRemote{
		"ufrag alone":     {Ufrag: "abcd"},
		"short pwd":       {Ufrag: "abcd", Pwd: "short"},
		"bad characters":  {Ufrag: "ab cd", Pwd: "0123456789012345678901"},
		"weak hash":       {Fingerprints: []Fingerprint{{Hash: "sha-1", Value: "00"}}},
		"broken hex":      {Fingerprints: []Fingerprint{{Hash: "sha-256", Value: "zz" + good.Value[2:]}}},
		"role out of set": {Role: 9},
	} {
		if err := a.SetRemote(r); !errors.Is(err, ErrBadRemote) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]CoreRemote{
		"IPv6 on IPv4": {RTP: netip.MustParseAddrPort("[::1]:4000")},
		"multicast":    {RTP: netip.MustParseAddrPort("224.0.0.1:4000")},
		"latch mode":   {RTP: sipAddr, Latch: 9},
	} {
		if err := c.SetRemote(r); !errors.Is(err, ErrBadRemote) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, s := range map[string]Settings{
		"twice":      {Recv: []codec.Codec{pcma, {Name: "x", PT: 8, ClockRate: 8000}}},
		"no clock":   {Recv: []codec.Codec{{Name: "x", PT: 8}}},
		"big type":   {Send: codec.Codec{Name: "x", PT: 200, ClockRate: 8000}},
		"dtmf sent":  {Send: ev8},
		"audio dtmf": {SendDTMF: pcma},
		"dscp":       {DSCP: 64},
		"ptime":      {Ptime: 15 * time.Millisecond},
		"mode":       {Mode: 7},
		"police":     {Police: &Policing{}},
	} {
		if err := c.Configure(s); !errors.Is(err, ErrBadSettings) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.e.NewAccess(AccessSpec{Realm: "nowhere"}); !errors.Is(err, ErrUnknownRealm) {
		t.Error(err)
	}
	if _, err := b.e.NewCore(CoreSpec{Realm: "access"}); !errors.Is(err, ErrUnknownRealm) {
		t.Error(err)
	}
}

func TestR7675_ExpiredConsentStopsMediaAndACheckResumesIt(t *testing.T) {
	access, core := relaySettings()
	access.Armed = AllEvents
	var got []EventKind
	r := newRig(t, srtp.AES128GCM, access, core)
	r.w.cfg.Events = func(e Event) { got = append(got, e.Kind) }
	buf := make([]byte, bufferSize)
	s := r.a.access
	limit := int64(defaultConsent)
	s.sweep(limit)
	if r.c.core.media(limit, sipAddr, r.fill(buf, 8)) == nil {
		t.Fatal("stopped early")
	}
	s.sweep(limit + 2)
	if len(got) == 0 || got[len(got)-1] != ConsentLost {
		t.Fatalf("events %v", got)
	}
	if r.c.core.media(limit+3, sipAddr, r.fill(buf, 8)) != nil {
		t.Error("sent without consent")
	}
	// Media of the peer is no consent; only a check is (RFC 7675 §5.1).
	prot, _ := r.peerTx.ProtectRTP(r.fill(buf, 8))
	r.a.access.rtp(limit+4, prot)
	if r.c.core.media(limit+5, sipAddr, r.fill(buf, 8)) != nil {
		t.Error("media of the peer restored consent")
	}
	s.check(limit+6, 1, checkFrom(browserAddr))
	if r.c.core.media(limit+7, sipAddr, r.fill(buf, 8)) == nil {
		t.Error("a check does not restore consent")
	}
}

func TestR8863_ICEFailsOnlyAfterChecksWithoutNomination(t *testing.T) {
	access, core := relaySettings()
	access.Armed = AllEvents
	r := newRig(t, srtp.AES128GCM, access, core)
	failed := 0
	r.w.cfg.Events = func(e Event) {
		if e.Kind == ICEFailed {
			failed++
		}
	}
	limit := int64(r.w.cfg.Timers.ICE)
	s := r.a.access
	s.sweep(10 * limit)
	if failed != 0 {
		t.Error("failed though a pair is nominated")
	}
	s.a.newest.Store(2)
	s.restarted()
	s.sweep(20 * limit)
	if failed != 0 {
		t.Error("failed before any check: the peer may still be ringing")
	}
	s.check(30*limit, 2, checkFrom(browserAddr))
	s.sweep(31 * limit)
	if failed != 0 {
		t.Error("failed early")
	}
	s.sweep(31*limit + 1)
	s.sweep(32 * limit)
	if failed != 1 {
		t.Errorf("reported %d times", failed)
	}
}
