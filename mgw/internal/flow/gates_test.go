package flow

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
)

// A stranger that sends first, and all the time, wins no latch that a filter is beside: not at the beginning, not when latching again.
func TestIQ06_IQ07_FilterKeepsStrangersFromTheLatch(t *testing.T) {
	x := newCall(t, relaySpec())
	to := x.c.Local().RTP
	stranger, peer, moved := newSIP(t), newSIP(t), newSIP(t)
	refused := uint64(0)
	attack := func(when string) {
		t.Helper()
		for i := range 5 {
			stranger.send(to, packet(8, 5, uint16(i), uint32(i)*160, make([]byte, 160)))
		}
		refused += 5
		eventually(t, when+": all refused", func() bool { return x.c.Stats().Dropped["source"] == refused })
	}
	ports := func(s *sip) [2]uint16 { return [2]uint16{s.addr().Port(), s.addr().Port()} }
	set := func(latch LatchMode, s *sip) {
		t.Helper()
		r := CoreRemote{RTP: netip.MustParseAddrPort("127.0.0.1:9"), Latch: latch, Filter: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, FilterPorts: ports(s)}
		if err := x.c.SetRemote(r); err != nil {
			t.Fatal(err)
		}
	}
	set(LatchOn, peer)
	attack("first")
	peer.send(to, packet(8, 5, 1, 160, make([]byte, 160)))
	if e := x.ev.wait(t, x.c, Latched, 1); e.Addr != peer.addr() {
		t.Fatalf("latched %v", e.Addr)
	}
	attack("latched")
	set(Relatch, moved)
	attack("latching again")
	peer.send(to, packet(8, 5, 2, 320, bytes.Repeat([]byte{2}, 160)))
	x.b.read()
	if p := x.b.read(); p.Payload()[0] != 2 {
		t.Error("the peer as it was is not heard until another takes its place")
	}
	moved.send(to, packet(8, 5, 3, 480, make([]byte, 160)))
	if e := x.ev.wait(t, x.c, Latched, 2); e.Addr != moved.addr() {
		t.Errorf("latched again %v", e.Addr)
	}
	attack("latched again")
}

// Latching again ends: a stranger that comes later finds what was learnt before.
func TestIQ06_H248_37_RelatchEnds(t *testing.T) {
	spec := relaySpec()
	spec.config = func(c *Config) { c.Timers.Relatch = 1 } // ns
	x := newCall(t, spec)
	to := x.c.Local().RTP
	peer, stranger := newSIP(t), newSIP(t)
	for _, mode := range []LatchMode{LatchOn, Relatch} {
		if err := x.c.SetRemote(CoreRemote{RTP: netip.MustParseAddrPort("127.0.0.1:9"), Latch: mode}); err != nil {
			t.Fatal(err)
		}
		if mode == Relatch {
			stranger.send(to, packet(8, 6, 1, 160, make([]byte, 160)))
			eventually(t, "the stranger is refused", func() bool { return x.c.Stats().Dropped["source"] == 1 })
		}
		peer.send(to, packet(8, 5, 1+uint16(mode), 160*(1+uint32(mode)), make([]byte, 160)))
		x.b.read()
	}
	x.b.send(packet(8, 0xbb, 1, 160, bytes.Repeat([]byte{7}, 160)))
	if p := peer.read(); p.Payload()[0] != 7 {
		t.Error("media does not go to what was learnt before")
	}
}

func TestIQ07_H248_43_AnotherAddressThanTheRemoteDescription(t *testing.T) {
	x := newCall(t, relaySpec())
	sender, other := newSIP(t), newSIP(t)
	r := CoreRemote{RTP: x.s.addr(), Filter: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, FilterPorts: [2]uint16{sender.addr().Port(), sender.addr().Port()}}
	if err := x.c.SetRemote(r); err != nil {
		t.Fatal(err)
	}
	for i, s := range []*sip{other, x.s} { // not even the address that media goes to
		s.send(x.c.Local().RTP, packet(8, 5, 1, 160, make([]byte, 160)))
		eventually(t, "refused", func() bool { return x.c.Stats().Dropped["source"] == uint64(i)+1 })
	}
	sender.send(x.c.Local().RTP, packet(8, 5, 2, 320, bytes.Repeat([]byte{3}, 160)))
	if p := x.b.read(); p.Payload()[0] != 3 {
		t.Error("the allowed source is not heard")
	}
	x.b.send(packet(8, 0xbb, 1, 160, bytes.Repeat([]byte{7}, 160)))
	if p := x.s.read(); p.Payload()[0] != 7 {
		t.Error("media does not go to the remote description's address")
	}
}

// A flood on one termination, far beyond what was agreed, is cut to that, and takes no packet from a call beside it on the same worker.
func TestIQ08_H248_53_FloodDoesNotHurtOthers(t *testing.T) {
	spec := relaySpec()
	const rate = 2 * 8600 // twice G.711
	spec.core.Police = &Policing{BytesPerSecond: rate, BurstBytes: rate}
	x := newCall(t, spec)
	flooded := x.core("c2", nil)
	beside := x.access("a2")
	x.configure(flooded, spec.core)
	x.configure(beside, spec.access)
	if err := x.e.Connect(beside, flooded); err != nil {
		t.Fatal(err)
	}
	evil := newSIP(t)
	if err := flooded.SetRemote(CoreRemote{RTP: evil.addr()}); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	stop, done := make(chan struct{}), sync.WaitGroup{}
	done.Add(1)
	go func() {
		defer done.Done()
		p, to := packet(8, 1, 1, 160, make([]byte, 160)), net.UDPAddrFromAddrPort(flooded.Local().RTP)
		for i := range 1 << 20 {
			select {
			case <-stop:
				return
			default:
			}
			rtp.Packet(p).SetSeq(uint16(i))
			_, _ = evil.rtp.WriteTo(p, to)
		}
	}()
	eventually(t, "the flood is policed", func() bool { return flooded.Stats().Dropped["policed"] > 1000 })
	for i := range 50 {
		x.exchange(1, uint16(i+1)) // fails when a packet is lost
	}
	close(stop)
	done.Wait()
	s := flooded.Stats()
	// What was admitted is what the agreed rate gives for the time that it took, and the burst.
	if most := float64(rate) * (2 + time.Since(start).Seconds()); float64(s.OctetsReceived) > most || s.PacketsReceived < rate/172 {
		t.Errorf("admitted %d octets in %d packets, %.0f at most: %+v", s.OctetsReceived, s.PacketsReceived, most, s.Dropped)
	}
	if d := x.c.Stats().Dropped; d != nil {
		t.Errorf("the call beside lost %v", d)
	}
}

// A peer that comes back from hold with what has piled up is within its burst.
func TestIQ08_H248_53_BurstAtResumeIsAdmitted(t *testing.T) {
	spec := relaySpec()
	spec.core.Police = &Policing{BytesPerSecond: 8600, BurstBytes: 8600}
	x := newCall(t, spec)
	x.exchange(5, 1)
	hold := spec.core
	hold.Mode = Inactive
	x.configure(x.c, hold)
	x.configure(x.c, spec.core)
	for i := range 50 { // a second of audio at once
		x.s.send(x.c.Local().RTP, packet(8, 0xcc, 100+uint16(i), 16000+uint32(i)*160, make([]byte, 160)))
	}
	for range 50 {
		x.b.read()
	}
	if d := x.c.Stats().Dropped["policed"]; d != 0 {
		t.Errorf("%d packets policed", d)
	}
}

// watched is a call whose core side is looked at for silence, and the time that this takes.
func watched(t *testing.T, change func(*Settings)) (*call, Settings) {
	spec := relaySpec()
	spec.config = func(c *Config) { c.Timers.RTCP = time.Hour }
	spec.core.InactiveAfter = 200 * time.Millisecond
	change(&spec.core)
	return newCall(t, spec), spec.core
}

func TestIQ13_H248_40_DirectionsByThemselves(t *testing.T) {
	x, open := watched(t, func(s *Settings) { s.WatchOut = true })
	if e := x.ev.wait(t, x.c, MediaInactive, 1); !e.Out {
		t.Error("media from the peer is missed, which nobody asked for")
	}
	x.s.send(x.c.Local().RTP, packet(8, 1, 1, 160, make([]byte, 160))) // in the other direction
	x.b.read()
	if _, ok := x.ev.find(x.c, MediaActive, 1); ok {
		t.Error("media from the peer ends the silence towards it")
	}
	x.b.send(packet(8, 0xbb, 1, 160, make([]byte, 160)))
	if e := x.ev.wait(t, x.c, MediaActive, 1); !e.Out {
		t.Error("wrong direction")
	}

	// The time towards the peer begins when the mode opens, as the one from it does.
	var closed, opened int64
	for _, mode := range []Mode{RecvOnly, SendRecv} {
		open.Mode = mode
		x.c.w.do(func() { closed = x.c.w.now })
		x.configure(x.c, open)
	}
	if x.c.w.do(func() { opened = x.c.s.t.out.sent }); opened < closed {
		t.Errorf("opened at %d, counted from %d", closed, opened)
	}

	x, _ = watched(t, func(s *Settings) { s.WatchIn, s.WatchOut = true, true })
	if a, b := x.ev.wait(t, x.c, MediaInactive, 1), x.ev.wait(t, x.c, MediaInactive, 2); a.Out == b.Out {
		t.Error("each direction is told once")
	}
}

// Silence is told once; hold stops the time, and what was told before it is told anew after.
func TestIQ13_H248_40_OncePerPeriodAndNotOnHold(t *testing.T) {
	x, open := watched(t, func(*Settings) {})
	hold := open
	hold.Mode = SendOnly
	rounds := 0
	silence := func(when string, told int) { // the access side's own detection tells that more than two periods have gone by
		t.Helper()
		clock := relaySpec().access
		clock.InactiveAfter = 500 * time.Millisecond
		for _, clock.Mode = range []Mode{Inactive, SendRecv} {
			x.configure(x.a, clock)
		}
		rounds++
		x.ev.wait(t, x.a, MediaInactive, rounds)
		if _, again := x.ev.find(x.c, MediaInactive, told+1); again {
			t.Fatalf("told again %s", when)
		}
	}
	x.ev.wait(t, x.c, MediaInactive, 1)
	silence("in one period", 1)
	x.configure(x.c, hold)
	silence("on hold", 1)
	x.configure(x.c, open)
	x.ev.wait(t, x.c, MediaInactive, 2)
	x.s.send(x.c.Local().RTP, packet(8, 1, 1, 160, make([]byte, 160)))
	x.ev.wait(t, x.c, MediaActive, 1)
	x.configure(x.c, hold)
	silence("on hold, where the period had begun before", 2)
	x.configure(x.c, open)
	x.ev.wait(t, x.c, MediaInactive, 3)
}

// Neither connectivity checks nor, unless asked for, RTCP are media.
func TestIQ13_H248_40_WhatCountsAsMedia(t *testing.T) {
	report := append([]byte{0x80, 201, 0, 1}, 0, 0, 0, 9) // RR of source 9 without blocks
	for _, counts := range []bool{false, true} {
		x, _ := watched(t, func(s *Settings) { s.RTCPIsMedia = counts })
		x.ev.wait(t, x.c, MediaInactive, 1)
		x.ev.wait(t, x.a, ICEConnected, 1)                        // the browser has checked all the time, and goes on
		for _, b := range [][]byte{report, []byte("no report")} { // the second tells that the first was read
			if _, err := x.s.rtcp.WriteTo(b, net.UDPAddrFromAddrPort(x.c.Local().RTCP)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "RTCP is read", func() bool { return x.c.Stats().Dropped["malformed"] == 1 })
		if counts {
			x.ev.wait(t, x.c, MediaActive, 1)
			continue
		}
		if _, ok := x.ev.find(x.c, MediaActive, 1); ok {
			t.Error("RTCP counts without being asked for")
		}
		x.s.send(x.c.Local().RTP, packet(8, 1, 1, 160, make([]byte, 160)))
		x.ev.wait(t, x.c, MediaActive, 1)
	}
	// The browser's checks do not keep its side alive.
	spec := relaySpec()
	spec.access.InactiveAfter = 200 * time.Millisecond
	x := newCall(t, spec)
	x.ev.wait(t, x.a, MediaInactive, 1)
}
