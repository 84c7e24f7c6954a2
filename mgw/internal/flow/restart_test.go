package flow

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
)

// restarted is the browser after an ICE restart as Chromium does it: an agent with new credentials beside the one that still serves. Keys
// are those of the association, which goes on.
func (b *browser) restarted() *browser {
	b.t.Helper()
	n := newBrowser(b.t)
	n.inherit(b)
	return n
}

// inherit gives the browser the certificate and the DTLS association of a former one: a restart makes neither anew.
func (b *browser) inherit(former *browser) {
	b.print, b.cert, b.tx, b.rx = former.print, former.cert, former.tx, former.rx
}

// pump sends n packets each way, up over the pair of from and down to that of to; each must arrive, in its turn.
func (x *call) pump(n int, seq *uint16, from, to *browser) {
	x.t.Helper()
	for range n {
		*seq++
		body := bytes.Repeat([]byte{byte(*seq)}, 160)
		from.send(packet(8, 0xbb, *seq, uint32(*seq)*160, body))
		if p := x.s.read(); !bytes.Equal(p.Payload(), body) {
			x.t.Fatalf("packet %d to the core is not the one that was sent", *seq)
		}
		x.s.send(x.c.Local().RTP, packet(8, 0xcc, *seq, uint32(*seq)*160, body))
		if p := to.read(); !bytes.Equal(p.Payload(), body) {
			x.t.Fatalf("packet %d to the browser is not the one that was sent", *seq)
		}
	}
}

// TestR8445_3_MakeBeforeBreak: the old pair carries media both ways until the new one is nominated; what is under way on it then is still
// taken; the DTLS association and the numbers go on. No packet is lost.
func TestR8445_3_MakeBeforeBreak(t *testing.T) {
	x := newCall(t, relaySpec())
	var seq uint16
	x.pump(20, &seq, x.b, x.b)
	next := x.b.restarted()
	if err := x.a.SetRemote(next.remote(0)); err != nil {
		t.Fatal(err)
	}
	x.moves(next, &seq)
	t.Logf("gap: 0 of %d packets each way", seq)
}

// moves has the browser go over from the pair in use to that of next, which it has told, without a gap.
func (x *call) moves(next *browser, seq *uint16) {
	x.t.Helper()
	x.pump(20, seq, x.b, x.b)
	next.connect(x.a.Local())
	x.ev.wait(x.t, x.a, ICEConnected, 2)
	x.pump(5, seq, x.b, next) // the browser has not switched yet
	x.pump(20, seq, next, next)
	if _, again := x.ev.find(x.a, DTLSConnected, 2); again {
		x.t.Error("the DTLS association was made anew")
	}
	eventually(x.t, "the old credentials are retired", func() bool { return x.a.sock.mux.Agents() == 1 })
	if d := x.a.Stats().Dropped; len(d) != 0 {
		x.t.Errorf("dropped %v", d)
	}
}

// TestR8445_3_RestartsInARow: of many restarts that come to nothing none disturbs the pair in use, and the last one that completes counts.
func TestR8445_3_RestartsInARow(t *testing.T) {
	x := newCall(t, relaySpec())
	var seq uint16
	for range 6 {
		if err := x.a.SetRemote(x.b.restarted().remote(0)); err != nil {
			t.Fatal(err)
		}
		x.pump(3, &seq, x.b, x.b)
		if n := x.a.sock.mux.Agents(); n > 3 {
			t.Fatalf("%d agents", n)
		}
	}
	last := x.b.restarted()
	if err := x.a.SetRemote(last.remote(0)); err != nil {
		t.Fatal(err)
	}
	last.connect(x.a.Local())
	x.ev.wait(t, x.a, ICEConnected, 2)
	x.pump(3, &seq, last, last)
	eventually(t, "one agent is left", func() bool { return x.a.sock.mux.Agents() == 1 })
}

// TestR8445_3_RestartOnHold: a restart while nothing may pass works, and resuming finds the new pair.
func TestR8445_3_RestartOnHold(t *testing.T) {
	spec := relaySpec()
	x := newCall(t, spec)
	x.exchange(3, 1)
	held := spec.access
	held.Mode = Inactive
	x.configure(x.a, held)
	next := x.b.restarted()
	if err := x.a.SetRemote(next.remote(0)); err != nil {
		t.Fatal(err)
	}
	next.connect(x.a.Local())
	x.ev.wait(t, x.a, ICEConnected, 2)
	next.send(packet(8, 0xbb, 10, 1600, make([]byte, 160)))
	eventually(t, "held", func() bool { return x.a.Stats().Dropped["mode"] == 1 })
	x.configure(x.a, spec.access)
	x.b = next
	x.exchange(3, 100)
}

// TestR8445_3_RefusedRestartIsTakenBack: when the offer with new credentials is refused, those before hold again, ours too: the peer has
// kept them, and an answer with others would be a restart that it did not ask for.
func TestR8445_3_RefusedRestartIsTakenBack(t *testing.T) {
	x := newCall(t, relaySpec())
	x.exchange(3, 1)
	before, theirs := x.a.Local(), x.b.remote(0)
	if err := x.a.SetRemote(x.b.restarted().remote(0)); err != nil {
		t.Fatal(err)
	}
	if x.a.Local().Ufrag == before.Ufrag {
		t.Fatal("no restart")
	}
	if err := x.a.SetRemote(theirs); err != nil {
		t.Fatal(err)
	}
	if l := x.a.Local(); l.Ufrag != before.Ufrag || l.Pwd != before.Pwd || x.a.sock.mux.Agents() != 1 {
		t.Errorf("local credentials %s, want %s; %d agents", l.Ufrag, before.Ufrag, x.a.sock.mux.Agents())
	}
	x.exchange(3, 10)
	// A later restart starts from there.
	next := x.b.restarted()
	if err := x.a.SetRemote(next.remote(0)); err != nil {
		t.Fatal(err)
	}
	next.connect(x.a.Local())
	x.ev.wait(t, x.a, ICEConnected, 2)
	// Now it is too late to take back: the old credentials are gone and come as a restart.
	if err := x.a.SetRemote(theirs); err != nil {
		t.Fatal(err)
	}
	if l := x.a.Local().Ufrag; l == before.Ufrag {
		t.Error("credentials of a retired pair came back")
	}
	x.b = next
	x.exchange(3, 100)
}

// TestR7675_RestartThatNeverCompletes: the old pair serves on as long as the peer consents to it, no longer, and consents again with a
// check; a nomination of the new credentials that comes after that resumes, too.
func TestR7675_RestartThatNeverCompletes(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	s, buf := r.a.access, make([]byte, bufferSize)
	passes := func(now int64) bool { return r.c.core.media(now, sipAddr, r.fill(buf, 8)) != nil }
	s.a.newest.Store(2)
	s.restarted()
	limit := int64(defaultConsent)
	now := int64(1)
	for range 20 { // 100 s of consent on the old pair, RFC 7675 §5.1: every 5 s
		now += limit / 6
		s.check(now, 1, ice.Check{From: browserAddr, Nominated: true})
		s.sweep(now)
		if !passes(now) {
			t.Fatal("stopped during the restart")
		}
	}
	s.sweep(now + limit)
	if !passes(now + limit) {
		t.Error("stopped before 30 s")
	}
	s.sweep(now + limit + 1)
	if passes(now + limit + 1) {
		t.Error("sent without consent")
	}
	if r.c.in.drops[gate.Consent] != 1 {
		t.Errorf("drops %v", r.c.in.drops.Map())
	}
	elsewhere := netip.AddrPortFrom(loopback, 40044)
	s.check(now+limit+2, 2, ice.Check{From: elsewhere})
	if passes(now + limit + 2) {
		t.Error("a check without nomination moved media")
	}
	s.check(now+limit+3, 2, ice.Check{From: elsewhere, Nominated: true})
	if !passes(now+limit+3) || s.selected != elsewhere {
		t.Error("the new pair does not serve")
	}
	s.a.wg.Wait()
}

// TestR7675_LossAndReturnAreBothTold: whoever ends calls without consent after a while has to hear that it is back, even on the same pair.
func TestR7675_LossAndReturnAreBothTold(t *testing.T) {
	access, core := relaySettings()
	access.Armed = AllEvents
	r := newRig(t, srtp.AES128GCM, access, core)
	var got []EventKind
	r.w.cfg.Events = func(e Event) { got = append(got, e.Kind) }
	s, limit := r.a.access, int64(defaultConsent)
	for now := limit; now < 5*limit; now += limit / 6 {
		switch {
		case now < 2*limit, now >= 4*limit:
			s.check(now, 1, ice.Check{From: browserAddr})
		}
		s.sweep(now)
	}
	if want := []EventKind{ConsentLost, ICEConnected}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// TestR8863_UnfinishedRestartIsNoFailureWhileTheOldPairServes: checks of the new credentials come and none nominates, for many times the
// patience of ICE; only without consent on the old pair that is a failure.
func TestR8863_UnfinishedRestartIsNoFailureWhileTheOldPairServes(t *testing.T) {
	access, core := relaySettings()
	access.Armed = AllEvents
	r := newRig(t, srtp.AES128GCM, access, core)
	var got []EventKind
	r.w.cfg.Events = func(e Event) { got = append(got, e.Kind) }
	s, limit := r.a.access, int64(defaultConsent)
	s.a.newest.Store(2)
	s.restarted()
	now := int64(1)
	for range 60 {
		now += limit / 6
		s.check(now, 1, ice.Check{From: browserAddr, Nominated: true})
		s.check(now, 2, ice.Check{From: netip.AddrPortFrom(loopback, 40044)})
		s.sweep(now)
	}
	if len(got) != 0 {
		t.Fatalf("events %v", got)
	}
	s.sweep(now + limit + 1)
	if want := []EventKind{ConsentLost, ICEFailed}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// TestR8445_3_ALateNominationOfTheOldCredentialsMovesNothing: once a pair of the restart is selected, a check with the credentials before, even one that
// nominates, selects nothing, from wherever it comes.
func TestR8445_3_ALateNominationOfTheOldCredentialsMovesNothing(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	s := r.a.access
	s.a.newest.Store(2)
	s.restarted()
	next := netip.AddrPortFrom(loopback, 40044)
	s.check(2, 2, ice.Check{From: next, Nominated: true})
	for _, from := range []netip.AddrPort{browserAddr, netip.AddrPortFrom(loopback, 40045)} {
		s.check(3, 1, ice.Check{From: from, Nominated: true})
		if s.selected != next || s.gen != 2 {
			t.Errorf("a latecomer from %s selects %s of generation %d", from, s.selected, s.gen)
		}
	}
	s.a.wg.Wait()
}

// TestR8445_3_ATakenBackRestartMovesNothing: the peer may have begun to check the credentials of a restart that was refused; what comes of that
// selects no pair.
func TestR8445_3_ATakenBackRestartMovesNothing(t *testing.T) {
	access, core := relaySettings()
	r := newRig(t, srtp.AES128GCM, access, core)
	s := r.a.access
	before := s.selected
	s.a.newest.Store(2)
	s.restarted()
	s.revert(2, 1)
	elsewhere := netip.AddrPortFrom(loopback, 40044)
	s.check(3, 2, ice.Check{From: elsewhere, Nominated: true})
	if s.selected != before || s.sock.paths[elsewhere] != nil {
		t.Errorf("the pair is %s, want %s", s.selected, before)
	}
	s.a.wg.Wait()
}
