package flow

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// identity gives the browser another certificate.
func (b *browser) identity() {
	b.t.Helper()
	cert, err := dtls.NewCertificate(time.Now(), time.Hour)
	if err != nil {
		b.t.Fatal(err)
	}
	f, err := dtls.FingerprintOf(cert)
	if err != nil {
		b.t.Fatal(err)
	}
	b.cert, b.print = cert, Fingerprint(f)
}

// TestR5763_R8842_NewAssociation: another fingerprint, role or tls-id is a new DTLS association over the pair that there is. Media passes
// both ways all the time: under the keys before until the handshake is done, then under the new ones; what was on its way is still taken.
func TestR5763_R8842_NewAssociation(t *testing.T) {
	for name, change := range map[string]func(b *browser, r *AccessRemote){
		"fingerprint": func(b *browser, r *AccessRemote) { b.identity(); r.Fingerprints = b.remote(0).Fingerprints },
		"one more fingerprint": func(_ *browser, r *AccessRemote) {
			r.Fingerprints = append(r.Fingerprints, Fingerprint{Hash: "sha-512", Value: strings.Repeat("AB:", 63) + "AB"})
		},
		"role":   func(_ *browser, r *AccessRemote) { r.Role = RoleClient },
		"tls-id": func(_ *browser, r *AccessRemote) { r.TLSID = "91bbf309c0990a6bec11e38ba2933cee" },
	} {
		t.Run(name, func(t *testing.T) {
			x := newCall(t, relaySpec())
			var seq uint16
			x.pump(3, &seq, x.b, x.b)
			r := x.b.remote(RoleServer)
			change(x.b, &r)
			x.b.renew() // before the gateway may begin
			if err := x.a.SetRemote(r); err != nil {
				t.Fatal(err)
			}
			x.pump(3, &seq, x.b, x.b)
			old := x.b.tx
			if err := x.b.secure(x.a.Local(), r.Role == RoleServer); err != nil {
				t.Fatal(err)
			}
			x.ev.wait(t, x.a, DTLSConnected, 2)
			fresh := x.b.tx
			x.b.tx = old
			x.pump(1, &seq, x.b, x.b) // on its way when the keys changed
			x.b.tx = fresh
			x.pump(3, &seq, x.b, x.b)
			if d := x.a.Stats().Dropped; len(d) != 0 {
				t.Errorf("dropped %v", d)
			}
			x.a.w.do(func() { x.a.s.sweep(x.a.w.now + keyOverlap) })
			eventually(t, "the former association ends", func() bool {
				x.a.mu.Lock()
				defer x.a.mu.Unlock()
				return x.a.former == nil
			})
		})
	}
}

// TestR8842_SameAssociationGoesOn: what does not change the association leaves it alone.
func TestR8842_SameAssociationGoesOn(t *testing.T) {
	x := newCall(t, relaySpec())
	other := Fingerprint{Hash: "sha-512", Value: strings.Repeat("AB:", 63) + "AB"}
	r := x.b.remote(RoleServer)
	r.Fingerprints = append(r.Fingerprints, other)
	x.b.renew()
	if err := x.a.SetRemote(r); err != nil {
		t.Fatal(err)
	}
	if err := x.b.secure(x.a.Local(), true); err != nil {
		t.Fatal(err) // any match is enough
	}
	x.ev.wait(t, x.a, DTLSConnected, 2)
	run := x.a.run
	for name, change := range map[string]func(*AccessRemote){
		"again":         func(*AccessRemote) {},
		"order":         func(r *AccessRemote) { slices.Reverse(r.Fingerprints) },
		"case":          func(r *AccessRemote) { r.Fingerprints[0].Value = strings.ToLower(r.Fingerprints[0].Value) },
		"role unset":    func(r *AccessRemote) { r.Role = 0 },
		"nothing of it": func(r *AccessRemote) { r.Role, r.Fingerprints = 0, nil },
	} {
		r := r
		r.Fingerprints = slices.Clone(r.Fingerprints)
		change(&r)
		if err := x.a.SetRemote(r); err != nil {
			t.Fatal(err)
		}
		if x.a.run != run {
			t.Fatalf("%s: a new association", name)
		}
	}
	x.exchange(3, 100)
}

// TestR8842_RefusedChangeIsTakenBack: when the description that asked for a new association is refused, the one before goes on as if
// nothing had been (RFC 3264 §8).
func TestR8842_RefusedChangeIsTakenBack(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(3, 1)
	before, run := x.b.remote(RoleServer), x.a.run
	for range 3 {
		changed := before
		changed.TLSID = "another"
		if err := x.a.SetRemote(changed); err != nil {
			t.Fatal(err)
		}
		if x.a.run == run {
			t.Fatal("no new association")
		}
		if err := x.a.SetRemote(before); err != nil {
			t.Fatal(err)
		}
	}
	if x.a.run != run {
		t.Error("another association than before")
	}
	x.exchange(3, 100)
	if err := x.b.dtls.Close(); err != nil {
		t.Fatal(err)
	}
	x.ev.wait(t, x.a, DTLSClosed, 1) // it is heard again
	for _, k := range []EventKind{DTLSFailed, DTLSConnected} {
		if _, ok := x.ev.find(x.a, k, map[EventKind]int{DTLSFailed: 1, DTLSConnected: 2}[k]); ok {
			t.Errorf("event %d", k)
		}
	}
}

// TestR8842_ChangeTakenBackAsItsHandshakeEnds: the end of the handshake and the description that takes the change back may meet in any order. The
// association before goes on with its keys in all of them; once it has ended, the description asks for one more.
func TestR8842_ChangeTakenBackAsItsHandshakeEnds(t *testing.T) {
	type meeting struct {
		*call
		before, changed AccessRemote
		old, run        *handshake // before and after the change
		tx              *srtp.Sender
		rx              *srtp.Receiver
	}
	begin := func(t *testing.T) *meeting {
		x := newCall(t, relaySpec())
		m := &meeting{call: x, before: x.b.remote(RoleServer), old: x.a.run, tx: x.b.tx, rx: x.b.rx}
		x.exchange(3, 65530)
		m.changed = m.before
		m.changed.TLSID = "another"
		x.b.renew()
		if err := x.a.SetRemote(m.changed); err != nil {
			t.Fatal(err)
		}
		m.run = x.a.run
		return m
	}
	handshake := func(t *testing.T, m *meeting, n int) {
		if err := m.b.secure(m.a.Local(), true); err != nil {
			t.Fatal(err)
		}
		m.ev.wait(t, m.a, DTLSConnected, n)
	}
	back := func(t *testing.T, m *meeting) {
		if err := m.a.SetRemote(m.before); err != nil {
			t.Fatal(err)
		}
	}
	// goesOn checks that the association before is the present one, for the peer as for us, and no other is left.
	goesOn := func(t *testing.T, m *meeting, late *srtp.Sender) {
		if m.a.run != m.old || !m.old.serves() {
			t.Fatal("another association than before")
		}
		if late != nil { // on its way under the keys of the change
			m.b.tx = late
			m.b.send(packet(8, 0xbb, 60, 9600, make([]byte, 160)))
			m.s.read()
		}
		m.b.tx, m.b.rx = m.tx, m.rx
		m.exchange(3, 100)
		m.a.w.do(func() { m.a.s.sweep(m.a.w.now + keyOverlap); m.a.s.past.until = 0 })
		m.exchange(3, 200)
		if d := m.a.Stats().Dropped; len(d) != 0 {
			t.Errorf("dropped %v", d)
		}
		m.a.mu.Lock()
		former := m.a.former
		m.a.mu.Unlock()
		if former != nil || !m.run.isStopped() {
			t.Error("the association of the change is left")
		}
	}
	t.Run("handshake, description", func(t *testing.T) {
		m := begin(t)
		handshake(t, m, 2)
		back(t, m)
		goesOn(t, m, m.b.tx)
	})
	t.Run("handshake, packets, description", func(t *testing.T) {
		m := begin(t)
		handshake(t, m, 2)
		m.exchange(3, 50)
		back(t, m)
		goesOn(t, m, m.b.tx)
	})
	t.Run("description, handshake", func(t *testing.T) {
		m := begin(t)
		back(t, m)
		key := srtp.AES128GCM.NewKey()
		tx, _ := srtp.NewSender(srtp.AES128GCM, key)
		rx, err := srtp.NewReceiver(srtp.AES128GCM, key)
		if err != nil {
			t.Fatal(err)
		}
		m.a.w.do(func() { m.a.s.secured(m.a.w.now, m.run, srtp.AES128GCM, tx, rx) })
		goesOn(t, m, nil)
		if _, told := m.ev.find(m.a, DTLSConnected, 2); told {
			t.Error("the end of a handshake that was given up is told")
		}
	})
	t.Run("handshake, description, end of the time to take back", func(t *testing.T) {
		m := begin(t)
		handshake(t, m, 2)
		m.a.w.do(func() { m.a.s.reserve = 0 }) // the sweep has seen it end
		back(t, m)
		m.a.endFormer(m.run) // what it began comes too late
		goesOn(t, m, m.b.tx)
	})
	t.Run("handshake, end of the time to take back, description", func(t *testing.T) {
		m := begin(t)
		handshake(t, m, 2)
		m.exchange(3, 50)
		m.a.w.do(func() { m.a.s.sweep(m.a.w.now + keyOverlap) })
		eventually(t, "the association before has ended", func() bool {
			m.a.mu.Lock()
			defer m.a.mu.Unlock()
			return m.a.former == nil && !m.old.serves()
		})
		m.b.renew()
		back(t, m)
		if m.a.run == m.old || m.a.run == m.run {
			t.Fatal("an association that has ended")
		}
		m.exchange(3, 100)
		handshake(t, m, 3)
		m.exchange(3, 200)
	})
}

// TestR5763_NewDeviceWithAnICERestart: a ClientHello of ours goes to the device that the new credentials belong to, not to the one before,
// whose certificate would be wrong.
func TestR5763_NewDeviceWithAnICERestart(t *testing.T) {
	x := newCall(t, relaySpec())
	var seq uint16
	x.pump(3, &seq, x.b, x.b)
	next := newBrowser(t)
	if err := x.a.SetRemote(next.remote(RoleClient)); err != nil {
		t.Fatal(err)
	}
	var begun bool
	x.a.w.do(func() { begun = x.a.s.begun })
	if begun {
		t.Error("the handshake began on the pair of the device before")
	}
	x.pump(3, &seq, x.b, x.b)
	next.connect(x.a.Local())
	if err := next.secure(x.a.Local(), false); err != nil {
		t.Fatal(err)
	}
	x.ev.wait(t, x.a, DTLSConnected, 2)
	x.pump(3, &seq, next, next)
}

// TestR5763_FailedChangeEndsMedia: a new association with a wrong certificate is reported, and the keys before do not outlive it.
func TestR5763_FailedChangeEndsMedia(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(3, 1)
	r := x.b.remote(RoleServer)
	x.b.identity()
	x.b.renew()
	r.TLSID = "another"
	if err := x.a.SetRemote(r); err != nil {
		t.Fatal(err)
	}
	_ = x.b.secure(x.a.Local(), true)
	if e := x.ev.wait(t, x.a, DTLSFailed, 1); e.Reason != dtls.ErrFingerprint.Error() {
		t.Errorf("reason %q", e.Reason)
	}
	x.s.send(x.c.Local().RTP, packet(8, 0xcc, 50, 8000, make([]byte, 160)))
	eventually(t, "nothing leaves without keys", func() bool { return x.c.Stats().Dropped["no_remote"] == 1 })
}

// TestR5763_FormerKeysExpire: packets under the keys before are taken for a moment only.
func TestR5763_FormerKeysExpire(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	s := r.a.access
	run, former := &handshake{}, &handshake{}
	s.run, s.former = run, former
	key := srtp.AES128GCM.NewKey()
	tx, _ := srtp.NewSender(srtp.AES128GCM, key)
	rx, err := srtp.NewReceiver(srtp.AES128GCM, key)
	if err != nil {
		t.Fatal(err)
	}
	s.secured(1000, run, srtp.AES128GCM, tx, rx)
	send := func(now int64, with *srtp.Sender) bool {
		prot, err := with.ProtectRTP(r.fill(make([]byte, bufferSize), 8))
		if err != nil {
			t.Fatal(err)
		}
		return onlyOut(s.rtp(now, prot)) != nil
	}
	if !send(1001, r.peerTx) || !send(1001, tx) || !send(999+keyOverlap, r.peerTx) {
		t.Error("refused during the change")
	}
	if send(1000+keyOverlap, r.peerTx) || !send(1001+keyOverlap, tx) {
		t.Error("the keys before are still taken, or the new ones not")
	}
}
