package flow

import (
	"bytes"
	"errors"
	"strconv"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// named is settings with a MID; told, with a source.
func named(mid string) func(*Settings) {
	return func(s *Settings) { s.MID, s.MIDExt = mid, midExt }
}

func told(ssrc uint32) func(*Settings) { return func(s *Settings) { s.Source = ssrc } }

// addStream adds a stream with a partner to a call whose transport may be up.
func (x *streamed) addStream() {
	x.t.Helper()
	n := len(x.ends)
	st, err := x.a.NewStream(StreamSpec{Stream: uint32(n + 1)})
	if err != nil {
		x.t.Fatal(err)
	}
	c, err := x.e.NewCore(CoreSpec{ID: "c1", Realm: "core", Stream: uint32(n + 1), Near: x.a})
	if err != nil {
		x.t.Fatal(err)
	}
	rs := relaySpec()
	rs.access.MID, rs.access.MIDExt = strconv.Itoa(n), midExt
	x.configure(st, rs.access)
	x.configure(c, rs.core)
	if err := x.e.Connect(st, c); err != nil {
		x.t.Fatal(err)
	}
	s := newSIP(x.t)
	if err := c.SetRemote(CoreRemote{RTP: s.addr()}); err != nil {
		x.t.Fatal(err)
	}
	x.ends, x.cores, x.sips, x.ssrcs = append(x.ends, st), append(x.cores, c), append(x.sips, s), append(x.ssrcs, st.Local().SSRC)
}

// TestR9143_9_2_SourceFromBeforeTheSecondStream: a browser that has stopped to name its packets when we had reported on them, and whose description tells no
// SSRC, is heard on when a second line comes, with the same payload types.
func TestR9143_9_2_SourceFromBeforeTheSecondStream(t *testing.T) {
	x := newStreamed(t, 1, nil)
	x.bothWays(1, false)
	x.addStream()
	for i := range x.ends {
		body := bytes.Repeat([]byte{byte(i + 1)}, 160)
		p := packet(8, uint32(0xb0+i), 2, 320, body)
		if i > 0 {
			p = withMID(strconv.Itoa(i), p)
		}
		x.b.send(p)
		if got := x.sips[i].read(); !bytes.Equal(got.Payload(), body) {
			t.Fatalf("stream %d: other media than sent", i+1)
		}
	}
	if d := x.a.Stats().Dropped; d["stream"] != 0 {
		t.Errorf("dropped %v", d)
	}
}

// TestR9143_9_2_TablesFollowTheDescriptions: what a description tells of a source later counts before what was found out without it, and a line that comes
// back with another MID has none of the sources of the one before.
func TestR9143_9_2_TablesFollowTheDescriptions(t *testing.T) {
	plain := func(pt uint8, ssrc uint32) []byte { return packet(pt, ssrc, 1, 160, make([]byte, 160)) }
	t.Run("source told late", func(t *testing.T) {
		r, u := twoStreams(t, func(*Settings) {}, func(s *Settings) { s.Recv = nil })
		s := r.a.access
		if s.assign(plain(8, 50)) != r.a { // the second stream takes nothing yet
			t.Fatal("not by payload type")
		}
		_, set := relaySettings()
		set.Source = 50
		if err := u.configure(2, set); err != nil {
			t.Fatal(err)
		}
		if s.assign(plain(8, 50)) != u {
			t.Error("the source that stream 2 has told stays with stream 1")
		}
	})
	t.Run("told again, moved by MID meanwhile", func(t *testing.T) {
		both := func(s *Settings) { named("a")(s); told(50)(s) }
		r, u := twoStreams(t, both, named("b"))
		s := r.a.access
		if s.assign(withMID("b", plain(8, 50))) != u {
			t.Fatal("not by MID")
		}
		if err := r.a.configure(2, r.a.set); err != nil { // hold, say
			t.Fatal(err)
		}
		if s.assign(plain(8, 50)) != u {
			t.Error("the same description again takes a source back that its MID has moved")
		}
	})
	for name, between := range map[string]bool{"another MID": false, "another MID, given up between": true} {
		t.Run(name, func(t *testing.T) { anotherMID(t, between) })
	}
}

// anotherMID: a line becomes another one; between: it was given up for a while, and had no MID then.
func anotherMID(t *testing.T, between bool) {
	plain := func(pt uint8, ssrc uint32) []byte { return packet(pt, ssrc, 1, 160, make([]byte, 160)) }
	r, u := twoStreams(t, named("a"), named("b"))
	s := r.a.access
	s.assign(withMID("b", plain(8, 50)))
	set := u.set
	if between {
		off := set
		off.Mode, off.MID, off.MIDExt = Inactive, "", 0
		if err := u.configure(2, off); err != nil {
			t.Fatal(err)
		}
	}
	set.MID = "c"
	if err := u.configure(2, set); err != nil {
		t.Fatal(err)
	}
	if s.assign(plain(8, 50)) != nil {
		t.Error("a source of the line before is taken for one of the new line")
	}
	if s.assign(withMID("c", plain(8, 51))) != u || s.assign(plain(8, 51)) != u {
		t.Error("the new line has no source")
	}
	if string(u.out.mid) != "c" {
		t.Errorf("our packets are named %q", u.out.mid)
	}
}

// TestSourceInUseIsNotForgotten: many other sources do not displace one that is heard.
func TestSourceInUseIsNotForgotten(t *testing.T) {
	r, u := twoStreams(t, named("a"), named("b"))
	s := r.a.access
	s.assign(withMID("b", packet(8, 50, 1, 1, nil)))
	for i := range uint32(3 * maxBound) {
		s.assign(withMID("a", packet(8, 1000+i, 1, 1, nil)))
		if s.assign(packet(8, 50, 1, 1, nil)) != u {
			t.Fatalf("forgotten after %d others", i+1)
		}
	}
}

// TestR9143_15_NamedAgainForANewAssociation: a browser that makes a new association may be another one: it knows none of our sources.
func TestR9143_15_NamedAgainForANewAssociation(t *testing.T) {
	r, u := twoStreams(t, named("a"), named("b"))
	s := r.a.access
	s.controlAll(2, reportOn(71, u.out.stamp.SSRC(), 0))
	if u.out.mid != nil {
		t.Fatal("named although it is known")
	}
	s.run = &handshake{}
	s.secured(4, s.run, srtp.AES128GCM, r.a.out.tx, r.a.in.rx)
	if string(u.out.mid) != "b" || string(r.a.out.mid) != "a" {
		t.Errorf("MIDs %q and %q", r.a.out.mid, u.out.mid)
	}
}

// reportOn is a sender report of a source with a block about another.
func reportOn(from, about uint32, lost uint8) []byte {
	b := make([]byte, 52)
	b[0], b[1], b[3] = 0x81, 200, 12
	put32(b[4:], from)
	put32(b[8:], from) // NTP time
	put32(b[28:], about)
	b[32] = lost
	return b
}

// TestR8108_OthersReportsAreNoSignOfLife: where RTCP counts as media, and where reports are what a judgement rests on, those of the other streams of a
// transport say nothing of this one.
func TestR8108_OthersReportsAreNoSignOfLife(t *testing.T) {
	r, u := twoStreams(t, named("a"), func(s *Settings) { named("b")(s); s.RTCPIsMedia = true })
	s := r.a.access
	for i, m := range []string{"a", "b"} {
		b := withMID(m, packet(8, uint32(70+i), 1, 160, make([]byte, 160)))
		s.assign(b).media(1, b)
	}
	u.in.open = true
	u.in.heard = 1
	s.controlAll(5, reportOn(70, r.a.out.stamp.SSRC(), 0))
	if u.in.heard != 1 || u.leg.Statistics().ReportsReceived != 0 {
		t.Errorf("stream 2 was heard at %d, has %d reports, by one on stream 1", u.in.heard, u.leg.Statistics().ReportsReceived)
	}
	if n := r.a.leg.Statistics().ReportsReceived; n != 1 {
		t.Errorf("stream 1 has %d reports", n)
	}
	s.controlAll(6, reportOn(71, 99, 0)) // of its source
	if u.in.heard != 6 {
		t.Error("stream 2 does not hear the report of its source")
	}
	s.controlAll(7, reportOn(70, u.out.stamp.SSRC(), 0)) // about it: browsers report on all by one of their sources
	if u.in.heard != 7 || u.leg.Statistics().ReportsReceived != 2 {
		t.Error("stream 2 does not hear the report about it")
	}
	rr := []byte{0x80, 201, 0, 1, 0, 0, 0, 71}
	s.controlAll(8, rr)
	if u.in.heard != 8 || r.a.leg.Statistics().ReportsReceived != 2 {
		t.Error("an empty report of its source, which is on hold, is one of stream 2, and of stream 2 alone")
	}
}

// TestR3711_9_1_SourcesOfStreamsDiffer: streams share a key, so no two may have one SSRC: their key stream would be the same.
func TestR3711_9_1_SourcesOfStreamsDiffer(t *testing.T) {
	b := newBed(t, nil)
	a := b.access("a")
	if _, err := a.NewStream(StreamSpec{Stream: 2, SSRC: a.Local().SSRC}); !errors.Is(err, ErrSSRC) {
		t.Errorf("the SSRC of the first stream: %v", err)
	}
	if _, err := a.NewStream(StreamSpec{Stream: 2, SSRC: 77}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.NewStream(StreamSpec{Stream: 3, SSRC: 77}); !errors.Is(err, ErrSSRC) {
		t.Errorf("the SSRC of the second stream: %v", err)
	}
	a.w.do(func() {
		if n := len(a.s.more); n != 1 {
			t.Errorf("%d further streams", n)
		}
	})
}

// TestR9143_9_2_SourcesNamedInRTCP: a source description with a MID tells the stream of a source whose packets do not; our reports name our streams.
func TestR9143_9_2_SourcesNamedInRTCP(t *testing.T) {
	r, u := twoStreams(t, named("a"), named("b"))
	s := r.a.access
	sdes := func(ssrc byte, mid string) []byte {
		return []byte{0x80, 201, 0, 1, 0, 0, 0, ssrc, 0x81, 202, 0, 2, 0, 0, 0, ssrc, 15, 1, mid[0], 0}
	}
	bare := packet(8, 50, 1, 160, make([]byte, 160))
	if s.assign(bare) != nil {
		t.Fatal("known before")
	}
	s.controlAll(2, sdes(50, "c"))
	if s.assign(bare) != nil {
		t.Error("by a MID of nobody")
	}
	s.controlAll(2, sdes(50, "b"))
	if s.assign(bare) != u {
		t.Error("not by the MID of its source description")
	}
	out := make([]byte, 1500)
	for want, x := range map[string]*term{"a": r.a, "b": u} {
		if n := x.leg.Build(3, 0, out); !bytes.Contains(out[:n], []byte{15, 1, want[0]}) {
			t.Errorf("report %x does not name stream %s", out[:n], want)
		}
	}
}

// TestR8108_OneDatagramWithReportsOfAll: what browsers send: a sender report for each of their sources, of which the first has the blocks about all of ours.
func TestR8108_OneDatagramWithReportsOfAll(t *testing.T) {
	r, u := twoStreams(t, named("a"), named("b"))
	s := r.a.access
	for i, m := range []string{"a", "b"} {
		b := withMID(m, packet(8, uint32(70+i), 1, 160, make([]byte, 160)))
		s.assign(b).media(1, b)
	}
	report := func(from byte, about ...uint32) []byte {
		b := make([]byte, 28+24*len(about))
		b[0], b[1], b[3] = 0x80|byte(len(about)), 200, byte(len(b)/4-1)
		b[7], b[11] = from, from // SSRC, NTP time
		for i, ssrc := range about {
			put32(b[28+24*i:], ssrc)
			b[32+24*i] = byte(64 * (i + 1)) // lost
		}
		return b
	}
	b := append(report(70, r.a.out.stamp.SSRC(), u.out.stamp.SSRC()), report(71)...)
	b = append(b, 0x82, 203, 0, 2, 0, 0, 0, 70, 0, 0, 0, 99) // and a BYE, of one that is not of stream 2
	s.controlAll(5, b)
	out := make([]byte, 1500)
	for i, x := range []*term{r.a, u} {
		if got := x.leg.RemoteLoss(); got != 25*(i+1) {
			t.Errorf("stream %d: the peer loses %d %%", i+1, got)
		}
		if x.out.mid != nil {
			t.Errorf("stream %d is named still", i+1)
		}
		x.leg.Build(6, 0, out)
		if want := byte(70 + i); out[8+16+1] != want { // last sender report, of an RR with one block
			t.Errorf("stream %d: last sender report % x, want %d", i+1, out[24:28], want)
		}
	}
	for i, m := range []string{"a", "b"} { // whoever said BYE may come back
		b := packet(8, uint32(70+i), 2, 320, make([]byte, 160))
		if got := s.assign(b); got == nil || got.set.MID != m {
			t.Errorf("source %d is not of stream %q any more", 70+i, m)
		}
	}
}
