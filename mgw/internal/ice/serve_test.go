package ice

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/stun/v4"
)

// answer gives one message to a started agent and returns what it sent back, nil for nothing, and whether the check was reported.
func (x *bench) answer(b []byte, src netip.AddrPort) (m *stun.Message, reported bool) {
	x.t.Helper()
	if v := x.mux.Deliver(b, src); v != Delivered {
		x.t.Fatalf("verdict %d", v)
	}
	select { // all is done by the time that Deliver returns
	case <-x.checks:
		reported = true
	default:
	}
	select {
	case s := <-x.sent:
		m = &stun.Message{Raw: s.b}
		if err := m.Decode(); err != nil || s.to != src {
			x.t.Fatalf("to %v: %v", s.to, err)
		}
	default:
	}
	return m, reported
}

// started is an agent that knows its peer, with the user name of checks for it.
func (x *bench) started() (*Agent, string) {
	a := x.agent()
	if err := a.Start(peerUfrag, peerPwd); err != nil {
		x.t.Fatal(err)
	}
	return a, a.Ufrag() + ":" + peerUfrag
}

// TestR8835_AddressesOfBothFamiliesAreAnswered: the port pair of a realm is one mux, whatever family its own address has.
func TestR8835_AddressesOfBothFamiliesAreAnswered(t *testing.T) {
	x := newBench(t)
	a, user := x.started()
	for _, src := range []string{"192.0.2.1:50000", "[2001:db8::17]:9"} {
		from := netip.MustParseAddrPort(src)
		m, reported := x.answer(request(t, user, a.Pwd(), true), from)
		if m == nil || !reported || m.Type != stun.BindingSuccess {
			t.Fatalf("%s: %v", src, m)
		}
		var mapped stun.XORMappedAddress
		if err := mapped.GetFrom(m); err != nil || mapped.IP.String() != from.Addr().String() || mapped.Port != int(from.Port()) {
			t.Errorf("%s is told to be %v, %v", src, mapped, err)
		}
		if err := stun.NewShortTermIntegrity(a.Pwd()).Check(m); err != nil {
			t.Error(err)
		}
		if err := stun.Fingerprint.Check(m); err != nil {
			t.Error(err)
		}
	}
}

// TestR8445_2_ChecksAreVerified: user name, integrity and fingerprint must be right, what must be understood is, and nothing behind the
// integrity counts.
func TestR8445_2_ChecksAreVerified(t *testing.T) {
	x := newBench(t)
	a, user := x.started()
	good := func(more ...stun.Setter) []byte {
		set := append([]stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername(user)}, more...)
		m, err := stun.Build(append(set, stun.NewShortTermIntegrity(a.Pwd()), stun.Fingerprint)...)
		if err != nil {
			t.Fatal(err)
		}
		return m.Raw
	}
	finger := func(b []byte) []byte {
		b = put(b, attrFingerprint, make([]byte, 4))
		binary.BigEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-8])^fingerprintXOR)
		return b
	}
	wrong := good()
	wrong[len(wrong)-1] ^= 1
	behind := finger(put(slices.Clone(good()[:len(good())-8]), attrUse, nil))
	noIntegrity, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(user), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		b        []byte
		class    stun.MessageType // zero: no answer
		code     stun.ErrorCode
		reported bool
	}{
		{name: "right", b: good(), class: stun.BindingSuccess, reported: true},
		{name: "without fingerprint", b: good()[:0:0], class: stun.BindingSuccess, reported: true},
		{name: "wrong fingerprint", b: wrong},
		{name: "other user", b: request(t, a.Ufrag()+":evil", a.Pwd(), false)},
		{name: "other password", b: request(t, user, "wrongwrongwrongwrongwrong", false)},
		{name: "no integrity", b: noIntegrity.Raw},
		{name: "nomination behind the integrity", b: behind, class: stun.BindingSuccess, reported: true},
		{name: "unknown attribute that must be understood", b: good(stun.RawAttribute{Type: 0x7abc, Value: []byte{1}}), class: stun.BindingError, code: 420},
		{name: "unknown attribute that need not be", b: good(stun.RawAttribute{Type: 0xfabc, Value: []byte{1}}), class: stun.BindingSuccess, reported: true},
		{name: "peer in the controlled role", b: good(stun.RawAttribute{Type: stun.AttrICEControlled, Value: make([]byte, 8)}), class: stun.BindingError, code: 487},
		{name: "priority of another length", b: good(stun.RawAttribute{Type: stun.AttrPriority, Value: []byte{1, 2}})},
		{name: "octets behind the message", b: append(good(), 0, 0, 0, 0)},
	} {
		if tc.name == "without fingerprint" {
			b := good()
			tc.b = b[:len(b)-8]
			binary.BigEndian.PutUint16(tc.b[2:], uint16(len(tc.b)-stunHeader))
		}
		m, reported := x.answer(tc.b, peer)
		if reported != tc.reported {
			t.Errorf("%s: reported: %v", tc.name, reported)
		}
		if m == nil {
			if tc.class != (stun.MessageType{}) {
				t.Errorf("%s: no answer", tc.name)
			}
			continue
		}
		var e stun.ErrorCodeAttribute
		if m.Type != tc.class || tc.code != 0 && (e.GetFrom(m) != nil || e.Code != tc.code) {
			t.Errorf("%s: answered %s %v", tc.name, m.Type, e)
		}
		if err := stun.NewShortTermIntegrity(a.Pwd()).Check(m); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		var u stun.UnknownAttributes
		if tc.code == 420 && (u.GetFrom(m) != nil || len(u) != 1 || u[0] != 0x7abc) {
			t.Errorf("%s: named %v", tc.name, u)
		}
	}
	if a.selected.IsValid() {
		t.Error("a nomination behind the integrity counted")
	}
}
