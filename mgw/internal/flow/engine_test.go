package flow

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/dtls"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// descriptors is the number of open file descriptors of the process.
func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestTwoHundredTerminationsLeaveNothing(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Workers = 2 })
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				id := fmt.Sprintf("%d-%d", g, i)
				a, err := b.e.NewAccess(AccessSpec{ID: id + "a", Realm: "access"})
				if err != nil {
					t.Error(err)
					return
				}
				c, err := b.e.NewCore(CoreSpec{ID: id + "c", Realm: "core", Near: a})
				if err != nil {
					t.Error(err)
					return
				}
				remote := AccessRemote{Ufrag: "abcd", Pwd: "0123456789012345678901", Role: Role(1 + i%2), Fingerprints: []Fingerprint{b.e.Fingerprint()}}
				if err := a.SetRemote(remote); err != nil {
					t.Error(err)
				}
				if err := c.SetRemote(CoreRemote{RTP: sipAddr}); err != nil {
					t.Error(err)
				}
				for _, ep := range []Endpoint{a, c} {
					if err := ep.Configure(Settings{Mode: SendRecv, Recv: []codec.Codec{pcma}, Send: pcma}); err != nil {
						t.Error(err)
					}
				}
				if err := b.e.Connect(a, c); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					if err := a.RestartICE(); err != nil {
						t.Error(err)
					}
				}
				if i%2 == 0 {
					a.Close()
					c.Close()
				} else {
					c.Close()
					a.Close()
				}
			}
		})
	}
	wg.Wait()
	if c := b.e.Counters(); c.Accesses != 0 || c.Cores != 0 || c.PortPairs != 0 || c.Buffers != 0 {
		t.Errorf("left: %+v", c)
	}
	if n := descriptors(t); n != fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
	eventually(t, "goroutines gone", func() bool { return runtime.NumGoroutine() <= goroutines })
	var placed int
	for _, n := range b.e.placed {
		placed += n
	}
	if placed != 0 {
		t.Errorf("%d placements left", placed)
	}
}

func TestPlacement(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Workers = 2 })
	a1, a2 := b.access("a1"), b.access("a2")
	if a1.w == a2.w {
		t.Error("both on one worker while the other is idle")
	}
	if a1.Local().Candidates[0].Port == a2.Local().Candidates[0].Port {
		t.Error("workers share a port")
	}
	c2, err := b.e.NewCore(CoreSpec{ID: "c2", Realm: "core", Near: a2})
	if err != nil {
		t.Fatal(err)
	}
	if c2.w != a2.w {
		t.Error("not near")
	}
	a3, err := b.e.NewAccess(AccessSpec{ID: "a3", Realm: "access", Near: c2})
	if err != nil {
		t.Fatal(err)
	}
	if a3.w != c2.w {
		t.Error("not near")
	}
	// Two of a kind that a third will be connected to.
	for _, near := range []Neighbour{a1, a2, c2} {
		c, err := b.e.NewCore(CoreSpec{ID: "c", Realm: "core", Near: near})
		if err != nil {
			t.Fatal(err)
		}
		a, err := b.e.NewAccess(AccessSpec{ID: "a", Realm: "access", Near: near})
		if err != nil {
			t.Fatal(err)
		}
		if c.w != near.place() || a.w != near.place() {
			t.Errorf("not near %T", near)
		}
	}
	if err := b.e.Connect(a1, c2); err == nil {
		t.Error("connected across workers")
	}
}

func TestEngineCloseEndsCallsInFull(t *testing.T) {
	x := newCall(t, relaySpec())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := uint16(0); ; seq++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				_, _ = x.s.rtp.WriteToUDPAddrPort(packet(8, 1, seq, uint32(seq)*160, make([]byte, 160)), x.c.Local().RTP)
			}
		}
	})
	x.b.read()
	if err := x.e.Close(); err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	if s := x.a.Stats(); s.PacketsSent == 0 {
		t.Errorf("final statistics lost: %+v", s)
	}
}

func TestCloseWaitsForTheHandshakesGoroutine(t *testing.T) {
	x := newCall(t, relaySpec())
	x.a.Close()
	buf := make([]byte, 1<<20)
	if stacks := buf[:runtime.Stack(buf, true)]; bytes.Contains(stacks, []byte("runHandshake")) {
		t.Error("Close returned before its goroutine ended")
	}
}

func TestCheckThatComesLateFindsNothing(t *testing.T) {
	b := newBed(t, nil)
	a := b.access("a1")
	a.Close()
	a.post(func() { a.s.check(a.w.now, 1, checkFrom(browserAddr)) })
	var paths int
	a.w.do(func() { paths = len(a.sock.paths) })
	if paths != 0 {
		t.Error("a closed termination learnt an address")
	}
}

func TestBurstIsRelayedWhole(t *testing.T) {
	x := newCall(t, relaySpec())
	const up, down = 6*parcel + 10, 60 // a core socket's buffer is for one peer
	release := make(chan struct{})
	x.a.w.post(func() { <-release }) // datagrams pile up meanwhile
	body := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 100) }
	for i := range up {
		x.b.send(packet(8, 0xbb, uint16(i+1), uint32(i+1)*160, body(i)))
	}
	for i := range down {
		x.s.send(x.c.Local().RTP, packet(8, 0xcc, uint16(i+1), uint32(i+1)*160, body(i)))
	}
	close(release)
	for i := range up {
		if p := x.s.read(); !bytes.Equal(p.Payload(), body(i)) {
			t.Fatalf("to core: packet %d is % x", i, p.Payload()[:4])
		}
	}
	for i := range down {
		if p := x.b.read(); !bytes.Equal(p.Payload(), body(i)) {
			t.Fatalf("to browser: packet %d is % x", i, p.Payload()[:4])
		}
	}
}

func TestBadConfig(t *testing.T) {
	access := AccessRealm{Name: "a", Listen: loopback}
	core := CoreRealm{Name: "c", Listen: loopback, PortMin: 23000, PortMax: 23010}
	before := descriptors(t)
	for name, c := range map[string]Config{
		"no realms":       {},
		"access twice":    {Access: []AccessRealm{access, access}},
		"core twice":      {Core: []CoreRealm{core, core}},
		"no address":      {Access: []AccessRealm{{Name: "a"}}},
		"core no address": {Core: []CoreRealm{{Name: "c", PortMin: 23000, PortMax: 23010}}},
		"empty range":     {Core: []CoreRealm{{Name: "c", Listen: loopback, PortMin: 23001, PortMax: 23002}}},
		"foreign address": {Access: []AccessRealm{{Name: "a", Listen: netip.MustParseAddr("192.0.2.77")}}},
		"ports run out":   {Workers: 2, Access: []AccessRealm{{Name: "a", Listen: loopback, Port: 65535}}},
	} {
		if e, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
			_ = e.Close()
		}
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors left", n-before)
	}
}

// TestR8827_R8122_CertificatesRotate: new calls get the new certificate; a running one keeps its own, in what the peer is told and in
// the association, also when that is made anew: the peer has only that fingerprint.
func TestR8827_R8122_CertificatesRotate(t *testing.T) {
	own, err := dtls.NewCertificate(time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := dtls.FingerprintOf(own)
	spec := relaySpec()
	spec.config = func(c *Config) { c.Certificate = &own }
	x := newCall(t, spec)
	if x.e.Fingerprint() != Fingerprint(f) {
		t.Error("own certificate not used")
	}
	x.exchange(3, 1)
	shown := func(b *browser) Fingerprint {
		t.Helper()
		state, _ := b.dtls.ConnectionState()
		f, err := dtls.FingerprintOf(tls.Certificate{Certificate: state.PeerCertificates})
		if err != nil {
			t.Fatal(err)
		}
		return Fingerprint(f)
	}
	if err := x.e.RotateCertificate(); err != nil {
		t.Fatal(err)
	}
	if x.e.Fingerprint() == Fingerprint(f) {
		t.Fatal("not rotated")
	}
	x.exchange(3, 10) // no gap
	if err := x.a.RestartICE(); err != nil {
		t.Fatal(err)
	}
	if l := x.a.Local(); len(l.Fingerprints) != 1 || l.Fingerprints[0] != Fingerprint(f) {
		t.Errorf("a re-offer of the running call would have %v", l.Fingerprints)
	}
	r := x.b.remote(spec.role)
	r.Ufrag, r.Pwd, r.TLSID = "", "", "another"
	x.b.renew()
	if err := x.a.SetRemote(r); err != nil {
		t.Fatal(err)
	}
	next := newBrowser(t)
	if err := x.a.SetRemote(AccessRemote{Ufrag: next.remote(0).Ufrag, Pwd: next.remote(0).Pwd}); err != nil {
		t.Fatal(err)
	}
	next.cert, next.print = x.b.cert, x.b.print
	next.connect(x.a.Local())
	if err := next.secure(x.a.Local(), true); err != nil {
		t.Fatal(err)
	}
	if shown(next) != Fingerprint(f) {
		t.Error("a new association of the running call has another certificate than its descriptions")
	}

	a := x.access("a2")
	x.configure(a, Settings{})
	if a.Local().Fingerprints[0] != x.e.Fingerprint() {
		t.Error("a new call is told of the old certificate")
	}
	other := newBrowser(t)
	if err := a.SetRemote(other.remote(RoleServer)); err != nil {
		t.Fatal(err)
	}
	other.connect(a.Local())
	if err := other.secure(a.Local(), true); err != nil {
		t.Fatal(err)
	}
	if shown(other) != x.e.Fingerprint() {
		t.Error("a new call has the old certificate")
	}
}

// TestR8827_R8122_Certificate: ECDSA over P-256, no longer valid than 30 days, never the same twice.
func TestR8827_R8122_Certificate(t *testing.T) {
	b := newBed(t, nil)
	seen := map[Fingerprint]bool{}
	for range 3 {
		b.e.mu.Lock()
		cert := b.e.cert
		b.e.mu.Unlock()
		c, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		key, ok := c.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() {
			t.Errorf("key %T", c.PublicKey)
		}
		if left := time.Until(c.NotAfter); left > 30*24*time.Hour || left < 26*24*time.Hour { // media.cert_life is 25 days at most
			t.Errorf("valid for %s", left)
		}
		seen[b.e.Fingerprint()] = true
		if err := b.e.RotateCertificate(); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d certificates of 3", len(seen))
	}
}

func TestAdvertisedAddresses(t *testing.T) {
	public := netip.MustParseAddr("198.51.100.10")
	b := newBed(t, func(c *Config) { c.Access[0].Advertise, c.Core[0].Advertise = public, public })
	if l := b.access("a").Local(); l.Candidates[0].Address != "198.51.100.10" || l.Candidates[0].Port == 0 || l.Candidates[0].Type != "host" {
		t.Errorf("%+v", l.Candidates)
	}
	if l := b.core("c", nil).Local(); l.RTP.Addr() != public || l.RTCP.Addr() != public {
		t.Errorf("%+v", l)
	}
}

func TestCommandsRunInOrderAndNoneIsLostAtClose(t *testing.T) {
	b := newBed(t, nil)
	w := b.e.workers[0]
	var got []int
	for i := range 1000 {
		w.post(func() { got = append(got, i) })
	}
	w.do(func() {})
	for i, v := range got {
		if i != v {
			t.Fatalf("command %d ran as number %d", v, i)
		}
	}
	if len(got) != 1000 {
		t.Fatalf("%d commands ran", len(got))
	}
	if err := b.e.Close(); err != nil {
		t.Fatal(err)
	}
	if w.post(func() {}) || w.do(func() {}) {
		t.Error("command taken after close")
	}
}

func TestFrameClockIsAHeap(t *testing.T) {
	var c frameClock
	var all []*pulse
	x := uint32(1)
	next := func() int64 { x = x*1664525 + 1013904223; return int64(x >> 8) }
	for range 200 {
		tr := &pulse{due: next()}
		all = append(all, tr)
		c.add(tr)
	}
	for i, tr := range all {
		switch i % 3 {
		case 0:
			tr.due = next()
			c.fix(tr)
		case 1:
			c.remove(tr)
			c.remove(tr)
		}
	}
	last := int64(-1)
	for n := 0; ; n++ {
		due, ok := c.next()
		if !ok {
			if n != 133 {
				t.Errorf("%d left, want 133", n)
			}
			return
		}
		if due < last {
			t.Fatalf("%d after %d", due, last)
		}
		last = due
		c.remove(c.heap[0])
	}
}

func TestWorkersHaveProcessorsOfTheirOwn(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	e, err := New(Config{Workers: 3, Access: []AccessRealm{{Name: "access", Listen: loopback}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := runtime.GOMAXPROCS(0); got != before+3 {
		t.Errorf("%d processors with 3 workers, %d before", got, before)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if got := runtime.GOMAXPROCS(0); got != before {
		t.Errorf("%d processors after, %d before", got, before)
	}
}

func TestWorkerHoldsItsProcessorOnlyWhileDatagramsCome(t *testing.T) {
	var l loadMeter
	window := loadWindow
	for i, step := range []struct {
		n    int
		busy bool
	}{{0, false}, {1, true}, {200, true}, {0, false}} {
		l.add(int64(i+1)*window, step.n)
		if l.busy != step.busy {
			t.Errorf("window %d with %d datagrams: busy %v", i, step.n, l.busy)
		}
	}
}
