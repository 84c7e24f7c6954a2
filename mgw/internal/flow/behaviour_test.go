package flow

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

func TestIQ06_H248_37_LatchAndRelatch(t *testing.T) {
	x := newCall(t, relaySpec())
	first, second := newSIP(t), newSIP(t)
	signalled := netip.MustParseAddrPort("127.0.0.1:9") // as a peer behind a NAT tells
	if err := x.c.SetRemote(CoreRemote{RTP: signalled, Latch: LatchOn}); err != nil {
		t.Fatal(err)
	}
	to := x.c.Local().RTP
	// Garbage must not capture the port.
	first.send(to, []byte("not RTP at all"))
	first.send(to, packet(99, 1, 1, 1, make([]byte, 10)))
	eventually(t, "garbage dropped", func() bool {
		d := x.c.Stats().Dropped
		return d["malformed"] == 1 && d["payload_type"] == 1
	})
	if _, ok := x.ev.find(x.c, Latched, 1); ok {
		t.Fatal("latched on garbage")
	}
	second.send(to, packet(8, 5, 1, 160, make([]byte, 160)))
	if e := x.ev.wait(t, x.c, Latched, 1); e.Addr != second.addr() {
		t.Errorf("latched %v, want %v", e.Addr, second.addr())
	}
	x.b.read()
	first.send(to, packet(8, 5, 2, 320, make([]byte, 160)))
	eventually(t, "others locked out", func() bool { return x.c.Stats().Dropped["source"] == 1 })
	x.b.send(packet(8, 0xbb, 1, 160, bytes.Repeat([]byte{7}, 160)))
	if p := second.read(); p.Payload()[0] != 7 {
		t.Error("media does not go to the latched address")
	}
	if s := x.c.Stats(); s.SelectedPair != to.String()+" "+second.addr().String() {
		t.Errorf("pair %q", s.SelectedPair)
	}
	// The same description again keeps what was learnt; Relatch lets another source take its place.
	if err := x.c.SetRemote(CoreRemote{RTP: signalled, Latch: LatchOn}); err != nil {
		t.Fatal(err)
	}
	first.send(to, packet(8, 5, 3, 480, make([]byte, 160)))
	eventually(t, "still locked", func() bool { return x.c.Stats().Dropped["source"] == 2 })
	if err := x.c.SetRemote(CoreRemote{RTP: signalled, Latch: Relatch}); err != nil {
		t.Fatal(err)
	}
	first.send(to, packet(8, 6, 1, 160, make([]byte, 160)))
	if e := x.ev.wait(t, x.c, Latched, 2); e.Addr != first.addr() {
		t.Errorf("relatched %v", e.Addr)
	}
}

func TestIQ07_H248_43_FilterByPrefix(t *testing.T) {
	x := newCall(t, relaySpec())
	other := newSIP(t)
	set := func(prefix string) {
		if err := x.c.SetRemote(CoreRemote{RTP: x.s.addr(), Filter: []netip.Prefix{netip.MustParsePrefix(prefix)}}); err != nil {
			t.Fatal(err)
		}
	}
	set("127.0.0.0/8")
	other.send(x.c.Local().RTP, packet(8, 5, 1, 160, make([]byte, 160)))
	x.b.read()
	set("192.0.2.0/24")
	other.send(x.c.Local().RTP, packet(8, 5, 2, 320, make([]byte, 160)))
	eventually(t, "refused", func() bool { return x.c.Stats().Dropped["source"] == 1 })
}

func TestRFC3264_8_4_HoldModes(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(3, 1)
	spec := relaySpec()
	seq := uint16(10)
	// probe sends one packet each way and tells what arrived: for what shall come it waits as long as it takes.
	probe := func(access, core Mode, coreHears, browserHears bool) (toCore, toBrowser bool) {
		sa, sc := spec.access, spec.core
		sa.Mode, sc.Mode = access, core
		x.configure(x.a, sa)
		x.configure(x.c, sc)
		seq++
		x.b.send(packet(8, 0xbb, seq, uint32(seq)*160, make([]byte, 160)))
		x.s.send(x.c.Local().RTP, packet(8, 0xcc, seq, uint32(seq)*160, make([]byte, 160)))
		patience := map[bool]time.Duration{true: wait.Limit, false: 100 * time.Millisecond}
		_, toCore = x.s.tryRead(patience[coreHears])
		_, toBrowser = x.b.tryRead(patience[browserHears])
		return toCore, toBrowser
	}
	for _, c := range []struct {
		access, core      Mode
		toCore, toBrowser bool
	}{
		{SendRecv, SendRecv, true, true},
		{SendOnly, SendRecv, false, true}, // the browser is only spoken to
		{RecvOnly, SendRecv, true, false},
		{Inactive, SendRecv, false, false},
		{SendRecv, RecvOnly, false, true},
		{SendRecv, SendOnly, true, false},
		{SendRecv, Inactive, false, false},
		{SendRecv, SendRecv, true, true},
	} {
		toCore, toBrowser := probe(c.access, c.core, c.toCore, c.toBrowser)
		if toCore != c.toCore || toBrowser != c.toBrowser {
			t.Errorf("access %d core %d: to core %v, to browser %v", c.access, c.core, toCore, toBrowser)
		}
	}
	if d := x.a.Stats().Dropped["mode"]; d != 4 {
		t.Errorf("browser's packets dropped by mode: %d, want 4", d)
	}
}

func TestContinuityAcrossHoldAndSourceRestart(t *testing.T) {
	x := newCall(t, relaySpec())
	send := func(ssrc uint32, seq uint16, ts uint32) (uint16, uint32) {
		x.s.send(x.c.Local().RTP, packet(8, ssrc, seq, ts, make([]byte, 160)))
		p := x.b.read() // the browser's SRTP context fails on a repeated or reordered-beyond-window number
		if p.SSRC() != x.a.Local().SSRC {
			t.Fatal("SSRC changed")
		}
		return p.Seq(), p.TS()
	}
	s1, t1 := send(1, 65535, 4000000000)
	s2, t2 := send(1, 0, 4000000160)
	s3, t3 := send(2, 500, 77) // the far end restarted with another SSRC
	spec := relaySpec()
	spec.access.Mode = Inactive
	x.configure(x.a, spec.access)
	x.s.send(x.c.Local().RTP, packet(8, 2, 501, 237, make([]byte, 160)))
	eventually(t, "held", func() bool { return x.c.Stats().Dropped["mode"] == 1 })
	spec.access.Mode = SendRecv
	x.configure(x.a, spec.access)
	s4, t4 := send(3, 9000, 1)
	for i, d := range []struct{ s0, s1 uint16 }{{s1, s2}, {s2, s3}, {s3, s4}} {
		if d.s1 != d.s0+1 {
			t.Errorf("step %d: sequence %d after %d", i, d.s1, d.s0)
		}
	}
	if t2 != t1+160 || int32(t3-t2) <= 0 || int32(t4-t3) <= 0 {
		t.Errorf("timestamps %d %d %d %d", t1, t2, t3, t4)
	}
}

func TestR8445_3_ICERestartKeepsMediaAndDTLS(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(3, 1)
	old := x.a.Local()
	if err := x.b.agent.Restart("", ""); err != nil {
		t.Fatal(err)
	}
	if err := x.a.SetRemote(x.b.remote(0)); err != nil { // new credentials, same fingerprint
		t.Fatal(err)
	}
	l := x.a.Local()
	if l.Ufrag == old.Ufrag || l.Pwd == old.Pwd {
		t.Fatal("local credentials did not change")
	}
	if l.Candidates[0] != old.Candidates[0] || l.SSRC != old.SSRC || l.Fingerprints[0] != old.Fingerprints[0] {
		t.Error("more than the credentials changed")
	}
	// Until the browser nominates anew, the old pair carries media to it.
	x.s.send(x.c.Local().RTP, packet(8, 0xcc, 50, 8000, bytes.Repeat([]byte{9}, 160)))
	eventually(t, "sent on the old pair", func() bool { return x.a.Stats().PacketsSent == 4 })
	x.b.gather()
	if err := x.b.agent.SetRemoteCredentials(l.Ufrag, l.Pwd); err != nil {
		t.Fatal(err)
	}
	x.b.addCandidates(l)
	x.ev.wait(t, x.a, ICEConnected, 2)
	eventually(t, "old credentials retired", func() bool { return x.a.sock.mux.Agents() == 1 })
	for len(x.b.media) > 0 {
		<-x.b.media // packets of the time without a pair at the browser
	}
	x.exchange(3, 100)
	x.ev.wait(t, x.a, MediaStarted, 2)
	if _, again := x.ev.find(x.a, DTLSConnected, 2); again {
		t.Error("the DTLS association was made anew")
	}
	// Restart at our wish: new credentials are there before the peer's.
	if err := x.a.RestartICE(); err != nil {
		t.Fatal(err)
	}
	if x.a.Local().Ufrag == l.Ufrag {
		t.Error("RestartICE keeps the credentials")
	}
	mine := x.a.Local().Ufrag
	if err := x.a.RestartICE(); err != nil || x.a.Local().Ufrag != mine {
		t.Error("a second RestartICE changes credentials that wait for the peer's")
	}
	x.exchange(3, 200) // still on the pair before
}

func TestR5763_NewDeviceMakesNewAssociation(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(2, 1)
	other := newBrowser(t)
	if err := x.a.SetRemote(other.remote(RoleServer)); err != nil { // another device takes the call
		t.Fatal(err)
	}
	other.connect(x.a.Local())
	if err := other.secure(x.a.Local(), true); err != nil {
		t.Fatal(err)
	}
	x.ev.wait(t, x.a, DTLSConnected, 2)
	x.b, other = other, x.b
	x.exchange(2, 100)
	_ = other
}

func TestDTLSCloseOfPeerIsReportedAndStopsMedia(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(2, 1)
	if err := x.b.dtls.Close(); err != nil {
		t.Fatal(err)
	}
	x.ev.wait(t, x.a, DTLSClosed, 1)
	x.s.send(x.c.Local().RTP, packet(8, 0xcc, 50, 8000, make([]byte, 160)))
	eventually(t, "nothing leaves without keys", func() bool { return x.c.Stats().Dropped["no_remote"] == 1 })
}

func TestPortExhaustion(t *testing.T) {
	b := newBed(t, func(c *Config) { c.Core[0].PortMin, c.Core[0].PortMax = freeports.UDPPairs(t, 4) })
	var cores []*Core
	for {
		c, err := b.e.NewCore(CoreSpec{ID: "c", Realm: "core"})
		if err != nil {
			if !errors.Is(err, ErrPortsExhausted) {
				t.Fatal(err)
			}
			break
		}
		cores = append(cores, c)
		if l := c.Local(); l.RTP.Port()%2 != 0 || l.RTCP.Port() != l.RTP.Port()+1 {
			t.Errorf("ports %v %v", l.RTP, l.RTCP)
		}
	}
	if len(cores) != 4 || b.e.Counters().PortPairs != 4 {
		t.Fatalf("%d terminations, %+v", len(cores), b.e.Counters())
	}
	cores[1].Close()
	eventually(t, "a released pair comes back", func() bool {
		c, err := b.e.NewCore(CoreSpec{ID: "d", Realm: "core"})
		return err == nil && c.Local().RTP == cores[1].Local().RTP
	})
}

func TestPortOfAnotherProgramIsSkipped(t *testing.T) {
	min, max := freeports.UDPPairs(t, 2)
	b := newBed(t, func(c *Config) { c.Core[0].PortMin, c.Core[0].PortMax = min, max })
	c1 := b.core("c1", nil)
	// The other pair's RTCP half is taken by somebody else.
	free := min + min + 2 - c1.Local().RTP.Port()
	s, err := openUDP(netip.AddrPortFrom(loopback, free+1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.e.NewCore(CoreSpec{ID: "c2", Realm: "core"}); !errors.Is(err, ErrPortsExhausted) {
		t.Errorf("err %v", err)
	}
	_ = s.Close()
	eventually(t, "freed pair", func() bool {
		_, err := b.e.NewCore(CoreSpec{ID: "c3", Realm: "core"})
		return err == nil
	})
}

func TestIQ13_H248_40_MediaInactiveAndActive(t *testing.T) {
	spec := relaySpec()
	spec.core.InactiveAfter = 300 * time.Millisecond
	x := newCall(t, spec)
	x.ev.wait(t, x.c, MediaInactive, 1) // none came at all
	x.s.send(x.c.Local().RTP, packet(8, 1, 1, 160, make([]byte, 160)))
	x.ev.wait(t, x.c, MediaStarted, 1)
	x.ev.wait(t, x.c, MediaActive, 1)
	x.ev.wait(t, x.c, MediaInactive, 2)
	if _, ok := x.ev.find(x.a, MediaInactive, 1); ok {
		t.Error("reported at the default time on the other side")
	}
}

func TestUnarmedEventsAreNotReported(t *testing.T) {
	b := newBed(t, nil)
	c := b.core("c1", nil)
	if err := c.Configure(Settings{Mode: RecvOnly, Recv: []codec.Codec{pcma}, Armed: MediaStarted.Bit()}); err != nil {
		t.Fatal(err)
	}
	s := newSIP(t)
	if err := c.SetRemote(CoreRemote{Latch: LatchOn}); err != nil {
		t.Fatal(err)
	}
	s.send(c.Local().RTP, packet(8, 1, 1, 160, make([]byte, 160)))
	b.ev.wait(t, c, MediaStarted, 1)
	if _, ok := b.ev.find(c, Latched, 1); ok {
		t.Error("unarmed event reported")
	}
	if d := c.Stats().Dropped["no_partner"]; d != 1 {
		t.Errorf("isolated termination: %+v", c.Stats())
	}
}

func TestIQ08_H248_53_PolicingDropsExcess(t *testing.T) {
	spec := relaySpec()
	spec.core.Police = &Policing{BytesPerSecond: 1, BurstBytes: 3 * 172}
	x := newCall(t, spec)
	for i := range 10 {
		x.s.send(x.c.Local().RTP, packet(8, 1, uint16(i), uint32(i)*160, make([]byte, 160)))
	}
	eventually(t, "policed", func() bool { return x.c.Stats().Dropped["policed"] == 7 })
	if s := x.c.Stats(); s.PacketsReceived != 3 {
		t.Errorf("%+v", s)
	}
}

func TestIQ11_IQ12_R8079_RTCPIsMadeAndReadPerSide(t *testing.T) {
	spec := relaySpec()
	spec.config = func(c *Config) { c.Timers.RTCP = 200 * time.Millisecond }
	x := newCall(t, spec)
	x.exchange(5, 1)
	// The core peer gets a sender report of our stream.
	info, from := x.s.report(x.s.rtcp, x.c.Local().SSRC, func(i rtcp.Info) bool { return i.SR && i.Packets == 5 }) // a slow set-up has receiver reports before
	if from.Port() != x.c.Local().RTCP.Port() {
		t.Errorf("from port %d", from.Port())
	}
	if !info.Reported {
		t.Errorf("report %+v", info)
	}
	// The browser gets its own, over the same port, encrypted.
	seen := false
	limit := time.After(wait.Limit)
	for !seen {
		select {
		case m := <-x.b.media:
			if m[1] < 192 || m[1] > 223 {
				continue
			}
			plain, err := x.b.rx.OpenRTCP(m)
			if err != nil {
				t.Fatal(err)
			}
			seen = rtcp.Parse(plain, 0xbb, false, &info) == nil && info.SR && info.Sender == x.a.Local().SSRC && info.Reported
		case <-limit:
			t.Fatal("no RTCP at the browser")
		}
	}
	// Its receiver report of 25 % loss and the sender report's echo give loss and round trip.
	rr := lossReport(0xbb, x.a.Local().SSRC, 64)
	put32(rr[24:], uint32(info.NTP>>16))
	prot, err := x.b.tx.ProtectRTCP(bytes.Clone(rr))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.b.conn.Write(prot); err != nil {
		t.Fatal(err)
	}
	eventually(t, "loss and round trip", func() bool {
		s := x.a.Stats()
		return s.RemoteLossPermille == 250 && s.RTT > 0
	})
	// A stranger's report on the core's RTCP port is refused.
	u := stranger(t)
	write(t, u, rr, x.c.Local().RTCP)
	_ = u
}

// lossReport is a receiver report of the source from about the source of: lost, of 256. It has room for protection.
func lossReport(from, of uint32, lost byte) []byte {
	b := make([]byte, 32, 128)
	b[0], b[1], b[3], b[12] = 0x81, 201, 7, lost
	put32(b[4:], from)
	put32(b[8:], of)
	return b
}

func put32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}

func TestIQ11_IQ12_R5761_MuxOnTheCoreSideAndOff(t *testing.T) {
	spec := relaySpec()
	spec.config = func(c *Config) { c.Timers.RTCP = 100 * time.Millisecond }
	spec.access.RTCPOff = true
	x := newCall(t, spec)
	if err := x.c.SetRemote(CoreRemote{RTP: x.s.addr(), Mux: true}); err != nil {
		t.Fatal(err)
	}
	if info, from := x.s.report(x.s.rtp, x.c.Local().SSRC, func(rtcp.Info) bool { return true }); info.SR || from != x.c.Local().RTP {
		t.Errorf("report %+v from %s", info, from)
	}
	rr := []byte{0x80, 201, 0, 1, 0, 0, 0, 9}
	x.s.send(x.c.Local().RTP, rr)
	var got uint64
	eventually(t, "report read on the RTP port", func() bool {
		x.c.w.do(func() { got = x.c.s.t.leg.Statistics().ReportsReceived })
		return got == 1
	})
	for len(x.b.media) > 0 {
		if m := <-x.b.media; m[1] == 200 || m[1] == 201 {
			t.Error("RTCP sent though it is off")
		}
	}
}

func TestForkSwitchKeepsOneStreamToTheBrowser(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(2, 1)
	c2 := x.bed.core("c2", x.a)
	x.configure(c2, relaySpec().core)
	s2 := newSIP(t)
	if err := c2.SetRemote(CoreRemote{RTP: s2.addr()}); err != nil {
		t.Fatal(err)
	}
	if err := x.e.Connect(x.a, c2); !errors.Is(err, ErrConnected) {
		t.Errorf("second partner: %v", err)
	}
	x.s.send(x.c.Local().RTP, packet(8, 0xcc, 10, 1600, make([]byte, 160)))
	last := x.b.read()
	if err := x.e.Disconnect(x.a, x.c); err != nil {
		t.Fatal(err)
	}
	if err := x.e.Connect(x.a, c2); err != nil {
		t.Fatal(err)
	}
	// The other branch happens to use the same SSRC and numbers.
	s2.send(c2.Local().RTP, packet(8, 0xcc, 10, 1600, bytes.Repeat([]byte{5}, 160)))
	p := x.b.read()
	if p.Seq() != last.Seq()+1 || p.Payload()[0] != 5 || int32(p.TS()-last.TS()) <= 0 {
		t.Errorf("seq %d after %d, ts %d after %d", p.Seq(), last.Seq(), p.TS(), last.TS())
	}
	x.s.send(x.c.Local().RTP, packet(8, 0xcc, 11, 1760, make([]byte, 160)))
	eventually(t, "the old branch leads nowhere", func() bool { return x.c.Stats().Dropped["no_partner"] == 1 })
	x.c.Close()
	s2.send(c2.Local().RTP, packet(8, 0xcc, 11, 1760, make([]byte, 160)))
	x.b.read()
}

func TestCalledAfterClose(t *testing.T) {
	b := newBed(t, nil)
	a, c := b.access("a1"), b.core("c1", nil)
	a.Close()
	c.Close()
	for name, err := range map[string]error{
		"access remote":    a.SetRemote(AccessRemote{}),
		"access restart":   a.RestartICE(),
		"access configure": a.Configure(Settings{}),
		"core remote":      c.SetRemote(CoreRemote{}),
		"core configure":   c.Configure(Settings{}),
		"connect":          b.e.Connect(a, c),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_ = a.Stats()
	_ = c.Stats()
	if err := b.e.Close(); err != nil {
		t.Fatal(err)
	}
	_ = a.Stats()
	if _, err := b.e.NewCore(CoreSpec{Realm: "core"}); !errors.Is(err, ErrClosed) {
		t.Errorf("new after close: %v", err)
	}
	if _, err := b.e.NewAccess(AccessSpec{Realm: "access"}); !errors.Is(err, ErrClosed) {
		t.Errorf("new after close: %v", err)
	}
}
