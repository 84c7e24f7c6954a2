package flow

import (
	"bytes"
	"errors"
	"strconv"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// onlyOut is what leaves, whomever it goes to.
func onlyOut(b []byte, _ *term) []byte { return b }

const midExt = 4

// withMID is packet with a MID.
func withMID(mid string, p []byte) []byte {
	return rtp.Packet(append(make([]byte, 0, len(p)+100), p...)).PutElement(midExt, []byte(mid))
}

// streamed is a call of n streams: of equal formats, so that payload types tell nothing.
type streamed struct {
	*call
	ends  []AccessEnd
	cores []*Core
	sips  []*sip
	ssrcs []uint32 // of ours towards the browser
}

func newStreamed(t *testing.T, n int, change func(i int, s *Settings)) *streamed {
	t.Helper()
	return newStreamedOver(t, n, change, nil, func() *browser { return newBrowser(t) })
}

func newStreamedOver(t *testing.T, n int, change func(i int, s *Settings), config func(*Config), browser func() *browser) *streamed {
	t.Helper()
	x := &streamed{call: &call{bed: newBed(t, config)}}
	var err error
	if x.a, err = x.e.NewAccess(AccessSpec{ID: "a1", Realm: "access", Stream: 1}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		var end AccessEnd = x.a
		ssrc := x.a.Local().SSRC
		if i > 0 {
			st, err := x.a.NewStream(StreamSpec{Stream: uint32(i + 1)})
			if err != nil {
				t.Fatal(err)
			}
			if st.Local().CName != x.a.Local().CName {
				t.Error("streams of one end have different names")
			}
			end, ssrc = st, st.Local().SSRC
		}
		spec := CoreSpec{ID: "c1", Realm: "core", Stream: uint32(i + 1), Near: x.a}
		if i > 0 {
			spec.Near = x.cores[0]
		}
		c, err := x.e.NewCore(spec)
		if err != nil {
			t.Fatal(err)
		}
		rs := relaySpec()
		rs.access.MID, rs.access.MIDExt = strconv.Itoa(i), midExt
		if change != nil {
			change(i, &rs.access)
		}
		x.configure(end, rs.access)
		x.configure(c, rs.core)
		if err := x.e.Connect(end, c); err != nil {
			t.Fatal(err)
		}
		s := newSIP(t)
		if err := c.SetRemote(CoreRemote{RTP: s.addr(), RTCP: addrPortOf(s.rtcp)}); err != nil {
			t.Fatal(err)
		}
		x.ends, x.cores, x.sips, x.ssrcs = append(x.ends, end), append(x.cores, c), append(x.sips, s), append(x.ssrcs, ssrc)
	}
	x.b = browser()
	if err := x.a.SetRemote(x.b.remote(RoleServer)); err != nil {
		t.Fatal(err)
	}
	x.b.connect(x.a.Local())
	if err := x.b.secure(x.a.Local(), true); err != nil {
		t.Fatal("browser DTLS: ", err)
	}
	x.ev.wait(t, x.a, DTLSConnected, 1)
	return x
}

// bothWays sends one packet per stream each way and checks that it arrives in its own.
func (x *streamed) bothWays(seq uint16, named bool) {
	x.t.Helper()
	for i := range x.ends {
		body := bytes.Repeat([]byte{byte(i + 1), byte(seq)}, 80)
		p := packet(8, uint32(0xb0+i), seq, uint32(seq)*160, body)
		if named {
			p = withMID(strconv.Itoa(i), p)
		}
		x.b.send(p)
		if got := x.sips[i].read(); !bytes.Equal(got.Payload(), body) || got.SSRC() != x.cores[i].Local().SSRC || got.HasExtension() {
			x.t.Fatalf("stream %d to the core: ssrc %x, %x", i+1, got.SSRC(), got[:20])
		}
	}
	for i := range x.ends {
		body := bytes.Repeat([]byte{byte(i + 101), byte(seq)}, 80)
		x.sips[i].send(x.cores[i].Local().RTP, packet(8, 0xcc, seq, uint32(seq)*160, body))
		got := x.b.read()
		if !bytes.Equal(got.Payload(), body) || got.SSRC() != x.ssrcs[i] || string(got.Element(midExt)) != strconv.Itoa(i) {
			x.t.Fatalf("stream %d to the browser: ssrc %x, want %x; MID %q", i+1, got.SSRC(), x.ssrcs[i], got.Element(midExt))
		}
	}
}

// TestIQ35_R9143_StreamsShareATransport: three streams with the same payload type go over one ICE and DTLS transport and leave by ports of their own, each with
// source, statistics and events of its own; one that ends leaves the others alone.
func TestIQ35_R9143_StreamsShareATransport(t *testing.T) {
	x := newStreamed(t, 3, nil)
	x.bothWays(1, true)
	x.bothWays(2, false) // by the sources, which are known now
	ports := map[uint16]bool{}
	for i, c := range x.cores {
		ports[c.Local().RTP.Port()] = true
		if ev := x.ev.wait(t, x.ends[i], MediaStarted, 1); ev.Stream != uint32(i+1) {
			t.Errorf("media of stream %d began with stream %d", i+1, ev.Stream)
		}
		if ev := x.ev.wait(t, c, MediaStarted, 1); ev.Stream != uint32(i+1) {
			t.Errorf("media of core stream %d began with stream %d", i+1, ev.Stream)
		}
	}
	if len(ports) != 3 {
		t.Errorf("ports %v", ports)
	}
	for _, k := range []EventKind{ICEConnected, DTLSConnected} {
		if ev := x.ev.wait(t, x.a, k, 1); ev.Stream != 0 {
			t.Errorf("event %d of the transport is of stream %d", k, ev.Stream)
		}
	}
	second := x.ends[1].(*AccessStream)
	if s := second.Close(); s.PacketsReceived != 2 || s.PacketsSent != 2 || s.OctetsReceived != 320 || s.CodecReceived != "PCMA/8000" {
		t.Errorf("statistics of stream 2: %+v", s)
	}
	if s := second.Close(); s.PacketsReceived != 2 {
		t.Error("a second Close tells otherwise")
	}
	if err := second.Configure(Settings{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Configure of a stream that has ended: %v", err)
	}
	x.b.send(packet(8, 0xb1, 3, 480, make([]byte, 160))) // of no stream now: others take the type too
	x.ends, x.cores, x.sips, x.ssrcs = append(x.ends[:1], x.ends[2]), append(x.cores[:1], x.cores[2]), append(x.sips[:1], x.sips[2]), append(x.ssrcs[:1], x.ssrcs[2])
	for i, end := range x.ends {
		body := bytes.Repeat([]byte{7}, 160)
		x.b.send(packet(8, uint32(0xb0+2*i), 3, 480, body))
		if got := x.sips[i].read(); !bytes.Equal(got.Payload(), body) {
			t.Errorf("%d: other media than sent", i)
		}
		if s := end.Stats(); s.PacketsReceived != 3 || s.Dropped["stream"] != uint64(1-i) {
			t.Errorf("%d: received %d, dropped %v", i, s.PacketsReceived, s.Dropped)
		}
	}
	third := x.ends[1]
	first := x.a.Close()
	if s := third.Close(); s.PacketsReceived != 3 || first.PacketsReceived != 3 {
		t.Errorf("after the termination: received %d and %d", s.PacketsReceived, first.PacketsReceived)
	}
	if _, err := x.a.NewStream(StreamSpec{Stream: 9}); !errors.Is(err, ErrClosed) {
		t.Errorf("NewStream: %v", err)
	}
}

// TestR9143_7_3_StreamAddedInTheCall: a stream that comes when the transport is up has all of it at once.
func TestR9143_7_3_StreamAddedInTheCall(t *testing.T) {
	x := newStreamed(t, 1, nil)
	x.bothWays(1, true)
	st, err := x.a.NewStream(StreamSpec{Stream: 2, SSRC: 0x1234})
	if err != nil {
		t.Fatal(err)
	}
	c, err := x.e.NewCore(CoreSpec{ID: "c1", Realm: "core", Stream: 2, Near: x.a})
	if err != nil {
		t.Fatal(err)
	}
	rs := relaySpec()
	rs.access.MID, rs.access.MIDExt = "1", midExt
	x.configure(st, rs.access)
	x.configure(c, rs.core)
	if err := x.e.Connect(st, c); err != nil {
		t.Fatal(err)
	}
	s := newSIP(t)
	if err := c.SetRemote(CoreRemote{RTP: s.addr()}); err != nil {
		t.Fatal(err)
	}
	x.ends, x.cores, x.sips, x.ssrcs = append(x.ends, st), append(x.cores, c), append(x.sips, s), append(x.ssrcs, 0x1234)
	x.bothWays(2, true)
	x.restart()
	x.bothWays(3, false)
	if ev := x.ev.wait(t, st, MediaStarted, 2); ev.Stream != 2 {
		t.Errorf("media after the restart began with stream %d", ev.Stream)
	}
}

// restart is an ICE restart to another socket of the browser's, with a new DTLS association.
func (x *streamed) restart() {
	x.t.Helper()
	old := x.b
	x.b = newBrowser(x.t)
	if err := x.a.SetRemote(x.b.remote(RoleServer)); err != nil {
		x.t.Fatal(err)
	}
	x.b.connect(x.a.Local())
	if err := x.b.secure(x.a.Local(), true); err != nil {
		x.t.Fatal("browser DTLS: ", err)
	}
	x.ev.wait(x.t, x.a, DTLSConnected, 2)
	old.close()
	old.agent, old.dtls = nil, nil
}

// TestStreamsAreRefused: beside a second component, beyond the limit.
func TestStreamsAreRefused(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Access[0].RTCP = true })
	a, err := b.e.NewAccess(AccessSpec{ID: "a", Realm: "access", Component2: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.NewStream(StreamSpec{Stream: 2}); !errors.Is(err, ErrComponent2) {
		t.Errorf("beside component 2: %v", err)
	}
	// What is to multiplex is known before the peer is (Mux alone), and taken back as long as nothing has been given up.
	multiplex := func(mux bool) {
		t.Helper()
		if err := a.SetRemote(AccessRemote{Mux: mux}); err != nil {
			t.Fatal(err)
		}
		if n := len(ofComponent(a.Local(), 2).Candidates); (n == 0) != mux {
			t.Errorf("multiplexed %v: %d candidates of component 2", mux, n)
		}
	}
	for range 2 {
		multiplex(true)
		x, err := a.NewStream(StreamSpec{Stream: 2})
		if err != nil {
			t.Fatalf("with component 2 put aside: %v", err)
		}
		x.Close()
		multiplex(false)
		if _, err := a.NewStream(StreamSpec{Stream: 2}); !errors.Is(err, ErrComponent2) {
			t.Errorf("with component 2 back: %v", err)
		}
	}
	a = b.access("b")
	for i := 2; i <= MaxStreams; i++ {
		if _, err := a.NewStream(StreamSpec{Stream: uint32(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.NewStream(StreamSpec{Stream: 99}); !errors.Is(err, ErrTooManyStreams) {
		t.Errorf("beyond the limit: %v", err)
	}
	for _, s := range []Settings{{MIDExt: 15, MID: "a"}, {MIDExt: 1}, {MIDExt: 1, MID: "12345678901234567"}} {
		if err := a.Configure(s); !errors.Is(err, ErrBadSettings) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// twoStreams is a rig whose access termination has a second stream, without a partner.
func twoStreams(t testing.TB, first, second func(*Settings)) (*rig, *term) {
	t.Helper()
	access, core := relaySettings()
	more := access
	first(&access)
	second(&more)
	r := newRig(t, srtp.AES128GCM, access, core)
	x := &AccessStream{a: r.a.access.a, ssrc: 3}
	u := &term{owner: x, w: r.w, number: 2, access: r.a.access}
	x.t = u
	u.out = outbound{secure: true, stamp: newStamper(3)}
	if err := r.a.access.add(u); err != nil {
		t.Fatal(err)
	}
	if err := u.configure(1, more); err != nil {
		t.Fatal(err)
	}
	return r, u
}

// TestR9143_9_2_PacketsFindTheirStream: MID before source before payload type, as far as each is told; what binds a source, and what does not.
func TestR9143_9_2_PacketsFindTheirStream(t *testing.T) {
	none := func(*Settings) {}
	named := func(mid string) func(*Settings) { return func(s *Settings) { s.MID, s.MIDExt = mid, midExt } }
	of := func(ssrc uint32) func(*Settings) { return func(s *Settings) { s.Source = ssrc } }
	ofType := func(pt uint8) func(*Settings) {
		return func(s *Settings) {
			c := pcma
			c.PT = pt
			s.Recv = append(s.Recv[:1:1], c)
		}
	}
	plain := func(pt uint8, ssrc uint32) []byte { return packet(pt, ssrc, 1, 160, make([]byte, 160)) }
	type step struct {
		b    []byte
		want int // 1, 2; 0: none
	}
	for name, c := range map[string]struct {
		first, second func(*Settings)
		steps         []step
	}{
		"by MID, then by the source that it bound": {named("a"), named("bb"), []step{
			{plain(8, 50), 0}, {withMID("bb", plain(8, 50)), 2}, {plain(8, 50), 2}, {withMID("a", plain(8, 51)), 1}, {plain(8, 51), 1}, {plain(8, 50), 2},
		}},
		"MID moves a source": {named("a"), named("b"), []step{{withMID("b", plain(8, 50)), 2}, {withMID("a", plain(8, 50)), 1}, {plain(8, 50), 1}}},
		"a MID of nobody":    {named("a"), named("b"), []step{{withMID("b", plain(8, 50)), 2}, {withMID("c", plain(8, 50)), 0}, {withMID("c", plain(8, 51)), 0}, {plain(8, 50), 2}}},
		"MID before what is told of the source": {func(s *Settings) { named("a")(s); of(50)(s) }, named("b"),
			[]step{{withMID("b", plain(8, 50)), 2}, {plain(8, 50), 2}}},
		"by a source that was told":       {of(50), of(51), []step{{plain(8, 51), 2}, {plain(8, 50), 1}, {plain(8, 52), 0}}},
		"no source told is not source 0":  {none, none, []step{{plain(8, 0), 0}}},
		"by a payload type":               {ofType(96), ofType(97), []step{{plain(97, 50), 2}, {plain(96, 51), 1}, {plain(8, 50), 2}, {plain(8, 52), 0}, {plain(99, 52), 0}}},
		"an extension that is not agreed": {ofType(96), ofType(97), []step{{withMID("x", plain(97, 50)), 2}}},
		"one side has the extension":      {none, named("b"), []step{{withMID("b", plain(8, 50)), 2}, {plain(8, 50), 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			r, u := twoStreams(t, c.first, c.second)
			terms := []*term{nil, r.a, u}
			for i, s := range c.steps {
				if got := r.a.access.assign(s.b); got != terms[s.want] {
					t.Fatalf("step %d: not stream %d", i+1, s.want)
				}
			}
		})
	}
}

// TestSourcesOfStreamsAreBounded: the oldest of many sources is forgotten, and all of a stream that ends.
func TestSourcesOfStreamsAreBounded(t *testing.T) {
	mid := func(m string) func(*Settings) { return func(s *Settings) { s.MID, s.MIDExt = m, midExt } }
	r, u := twoStreams(t, mid("a"), mid("b"))
	s := r.a.access
	bare := func(ssrc uint32) *term { return s.assign(packet(8, ssrc, 1, 1, nil)) }
	for i := range uint32(3 * maxBound) {
		m := "ab"[i%2 : i%2+1]
		s.assign(withMID(m, packet(8, 1000+i, 1, 1, nil)))
		if bare(1000+i) == nil || len(s.bound) > maxBound {
			t.Fatalf("source %d of %d bound: not known", i, len(s.bound))
		}
	}
	if bare(1001) != nil {
		t.Error("the first of many is still known")
	}
	s.remove(u)
	for _, b := range s.bound {
		if b.t != r.a {
			t.Fatal("a source of a stream that has ended")
		}
	}
	if len(s.bound) == 0 || len(s.more) != 0 {
		t.Errorf("%d sources, %d streams are left", len(s.bound), len(s.more))
	}
}

// TestPacketOfStreamsDoesNotAllocate: neither its way to its stream nor its own MID.
func TestPacketOfStreamsDoesNotAllocate(t *testing.T) {
	mid := func(m string) func(*Settings) { return func(s *Settings) { s.MID, s.MIDExt = m, midExt } }
	r, _ := twoStreams(t, mid("a"), mid("b"))
	buf, now := make([]byte, bufferSize), int64(1)
	n := testing.AllocsPerRun(1000, func() {
		now += 20e6
		p := rtp.Packet(r.fill(buf, 8)).PutElement(midExt, []byte("a"))
		prot, err := r.peerTx.ProtectRTP(p)
		if err != nil {
			t.Fatal(err)
		}
		if out, to := r.a.access.rtp(now, prot); len(out) != rtp.HeaderLen+160 || to != r.c {
			t.Fatalf("%d octets leave; dropped %v", len(out), r.a.in.drops.Map())
		}
		p = rtp.Packet(r.fill(buf, 8)[: rtp.HeaderLen+160 : bufferSize])
		if out := r.c.media(now, p); len(out) != rtp.HeaderLen+rtp.ElementSize(1)+160+16 {
			t.Fatalf("%d octets leave to the browser; dropped %v", len(out), r.c.in.drops.Map())
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	// Without room for it a packet goes without.
	r.seq++
	rtp.PutHeader(buf, rtp.Header{PT: 8, Seq: r.seq, TS: uint32(r.seq) * 160, SSRC: 77})
	full := buf[:bufferSize-overhead]
	if out := r.c.media(now+20e6, full); len(out) != len(full)+16 {
		t.Errorf("%d octets of %d leave", len(out), len(full))
	}
}

// TestStreamsFollowTheirTransport: address, consent and keys are those of all streams at any time.
func TestStreamsFollowTheirTransport(t *testing.T) {
	none := func(*Settings) {}
	r, u := twoStreams(t, none, none)
	s := r.a.access
	u.out.open = true
	same := func(when string, want gate.Reason) {
		t.Helper()
		o, x := &r.a.out, &u.out
		if o.addr != x.addr || o.sock != x.sock || o.stream != x.stream || o.rtcp != x.rtcp || o.tx != x.tx || o.consent != x.consent {
			t.Errorf("%s: the streams differ", when)
		}
		if got := u.unreachable(); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	same("at first", gate.Pass)
	s.check(2, 1, ice.Check{From: sipAddr, Nominated: true})
	same("another pair", gate.Pass)
	s.sweep(2 + int64(defaultConsent) + 1)
	same("no consent", gate.Consent)
	s.check(3+int64(defaultConsent), 1, ice.Check{From: sipAddr, Nominated: true})
	same("consent again", gate.Pass)
	run := &handshake{tx: nil}
	s.run = run
	s.secured(4, run, srtp.AES128GCM, r.a.out.tx, r.a.in.rx)
	same("keys", gate.Pass)
	former, err := srtp.NewReceiver(srtp.AES128GCM, make([]byte, srtp.AES128GCM.KeyLength()))
	if err != nil {
		t.Fatal(err)
	}
	s.resume(5, &handshake{tx: new(srtp.Sender), rx: former})
	same("keys of before", gate.Pass)
	run = s.run
	s.unsecured(run, DTLSClosed, "")
	same("no keys", gate.NoRemote)
	s.clear()
	same("cleared", gate.NoRemote)
}

// TestR8108_ReportsOfSeveralStreams: each stream takes the block about its source and the sender report of its own; what is named ends with the block.
func TestR8108_ReportsOfSeveralStreams(t *testing.T) {
	mid := func(m string) func(*Settings) { return func(s *Settings) { s.MID, s.MIDExt = m, midExt } }
	r, u := twoStreams(t, mid("a"), mid("b"))
	s := r.a.access
	for i, m := range []string{"a", "b"} {
		b := withMID(m, packet(8, uint32(70+i), 1, 160, make([]byte, 160)))
		s.assign(b).media(1, b)
	}
	sr := func(from, about uint32, lost uint8) []byte {
		b := make([]byte, 52)
		b[0], b[1], b[3] = 0x81, 200, 12
		put32(b[4:], from)
		put32(b[8:], from) // NTP time
		put32(b[28:], about)
		b[32] = lost
		return b
	}
	rep := make([]byte, 1500)
	lsr := func(t *term) uint32 {
		n := t.leg.Build(2, 0, rep)
		at := 8 + 16 // of an RR; its block begins at 8
		if rep[1] == 200 {
			at += 20
		}
		_ = n
		return uint32(rep[at])<<24 | uint32(rep[at+1])<<16 | uint32(rep[at+2])<<8 | uint32(rep[at+3])
	}
	s.controlAll(2, sr(71, 3, 128))
	s.controlAll(2, sr(99, 98, 1)) // of others
	if got := u.leg.RemoteLoss(); got != 50 {
		t.Errorf("stream 2: the peer loses %d %%, want 50", got)
	}
	if r.a.leg.Statistics().Reported {
		t.Error("stream 1 takes the report on stream 2")
	}
	if a, b := lsr(r.a), lsr(u); a != 0 || b != 71<<16 {
		t.Errorf("last sender reports %#x and %#x, want none and that of stream 2", a, b)
	}
	if u.out.mid != nil || r.a.out.mid == nil {
		t.Errorf("MIDs %q and %q: only stream 2 is known to the peer", r.a.out.mid, u.out.mid)
	}
	before := u.in.drops[gate.Malformed]
	s.controlAll(3, []byte{0x81, 200, 9})
	if r.a.in.drops[gate.Malformed] != 1 || u.in.drops[gate.Malformed] != before {
		t.Error("what is malformed is counted once")
	}
}
