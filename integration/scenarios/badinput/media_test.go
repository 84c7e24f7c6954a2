package badinput

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	"github.com/isthmus-gateway/isthmus/integration/internal/webua"
)

func dropped(reason string) string {
	return fmt.Sprintf(`isthmus_mgw_packets_refused_total{reason="%s"}`, reason)
}

// stray counts datagrams on the browsers' port that belong to no termination.
const stray = "isthmus_mgw_datagrams_dropped_total"

func media(t *testing.T, b *bed) {
	t.Run("while it rings", func(t *testing.T) { strangersWhileItRings(t, b) })
	t.Run("wrong fingerprint", func(t *testing.T) { wrongFingerprint(t, b) })
	tapped := &tap{}
	victim := newWitness(t, b, "bob", func(c *webua.Config) { c.Socket = tapped.wrap })
	for _, attack := range []struct {
		name string
		run  func(*testing.T, *bed, *witness, *tap)
	}{
		{"RTP to the core port", strangersAtCore}, {"RTCP to the core port", strangersAtRTCP}, {"RTP to the access port", strangersAtAccess},
		{"STUN", forgedChecks}, {"DTLS", strangeHello}, {"SRTP of the browser", forgedSRTP}, {"on hold", strangersOnHold},
	} {
		t.Run(attack.name, func(t *testing.T) {
			attack.run(t, b, victim, tapped)
			victim.check(t)
		})
	}
	victim.recordingIsClean(t)
}

// recordingIsClean looks for the stranger's tone in all that the far end has received lately.
func (w *witness) recordingIsClean(t *testing.T) {
	t.Helper()
	tel, err := w.telephone()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := scraper.Get("http://" + w.bed.At(scenario.PortStatus) + "/recording/" + strconv.Itoa(tel.Number) + ".wav")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw := make([]byte, 1<<20)
	n := 0
	for m, err := 0, error(nil); err == nil; n += m {
		m, err = resp.Body.Read(raw[n:])
	}
	pcm, err := tone.ReadWAV(raw[:n])
	if err != nil || len(pcm) < 4*tone.Rate {
		t.Fatalf("recording of %d samples: %v", len(pcm), err)
	}
	for at := 0; at+1600 <= len(pcm); at += 1600 {
		if d := tone.Detect(pcm[at : at+1600]); d.Level > -45 && !d.IsTone(callerHz, 15) && d.Freq > 1500 {
			t.Errorf("%.1f s from the end of the recording: %+v", float64(len(pcm)-at)/tone.Rate, d)
		}
	}
}

// farSSRC is the SSRC that the telephone sends with.
func (w *witness) farSSRC(t *testing.T) uint32 {
	t.Helper()
	tel, err := w.telephone()
	if err != nil {
		t.Fatal(err)
	}
	return tel.RTP.LocalSSRC
}

// strangersAtCore send audio to the call's RTP port, from another port and another address, also with the telephone's SSRC.
func strangersAtCore(t *testing.T, b *bed, w *witness, _ *tap) {
	to := b.sockets(t, w.caller.user).rtp
	for _, from := range []string{coreAddr, strangerAddr} {
		for _, ssrc := range []uint32{rand.Uint32(), w.farSSRC(t)} {
			s := newStranger(t, from)
			b.counts(t, "mgw", dropped("source"), 50, func() {
				for _, p := range voice(ssrc, uint16(rand.Uint32())) {
					s.send(t, p, to)
				}
			})
		}
	}
	s := newStranger(t, strangerAddr)
	b.counts(t, "mgw", dropped("source"), 4, func() {
		for _, junk := range [][]byte{{}, {0x80}, make([]byte, 1500), []byte("\xff\xff\xff\xff not RTP at all")} {
			s.send(t, junk, to)
		}
	})
}

// strangersAtRTCP send reports and junk to the call's RTCP port: BYE and total loss in the telephone's name.
func strangersAtRTCP(t *testing.T, b *bed, w *witness, _ *tap) {
	to, ssrc := b.sockets(t, w.caller.user), w.farSSRC(t)
	bye := binary.BigEndian.AppendUint32([]byte{0x81, 203, 0, 1}, ssrc)
	loss := binary.BigEndian.AppendUint32([]byte{0x81, 201, 0, 7}, ssrc)
	loss = append(binary.BigEndian.AppendUint32(loss, ssrc), 255, 127, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	s := newStranger(t, strangerAddr)
	b.counts(t, "mgw", dropped("source"), 3, func() {
		for _, p := range [][]byte{bye, loss, make([]byte, 200)} {
			s.send(t, p, to.rtcp)
		}
	})
	// The far end's address with another port may be a NAT's work and is taken (RFC 3550 allows no other check), junk is not.
	near := newStranger(t, coreAddr)
	b.counts(t, "mgw", dropped("malformed"), 3, func() {
		for _, p := range [][]byte{make([]byte, 200), []byte("\x81\xc8\xff\xff no report"), {0x80, 200}} {
			near.send(t, p, to.rtcp)
		}
	})
	near.send(t, bye, to.rtcp)
}

// strangersAtAccess send to the browsers' port: plain RTP, what the browser itself has sent, and its SSRC with nonsense.
func strangersAtAccess(t *testing.T, b *bed, w *witness, p *tap) {
	to := b.sockets(t, w.caller.user).access
	ssrc, _ := strconv.ParseUint(strings.Fields(sdpValue(w.caller.described(t), "ssrc"))[0], 10, 32)
	s := newStranger(t, strangerAddr)
	b.counts(t, "mgw", stray, 120, func() {
		for _, pkt := range voice(uint32(ssrc), 1000) {
			s.send(t, pkt, to)
		}
		for _, pkt := range p.recorded(t, 20) {
			s.send(t, pkt, to)
		}
		for range 50 {
			noise := make([]byte, 100)
			for i := range noise {
				noise[i] = byte(rand.IntN(256))
			}
			noise[0] = []byte{4, 15, 19, 63, 64, 79, 80, 127, 192, 255, 1, 2, 3, 21, 23, 200}[rand.IntN(16)] // every class of RFC 7983 §7
			s.send(t, noise, to)
		}
	})
	if a := s.answer(50 * time.Millisecond); a != nil {
		t.Errorf("answered with %d bytes", len(a))
	}
}

// forgedChecks: nobody moves the media or learns anything by checks without the password.
func forgedChecks(t *testing.T, b *bed, w *witness, p *tap) {
	to := b.sockets(t, w.caller.user).access
	var answered string
	for _, m := range w.caller.in.all() {
		if strings.Contains(m, "a=ice-pwd:") {
			answered = m
		}
	}
	local, remote := sdpValue(answered, "ice-ufrag"), sdpValue(w.caller.described(t), "ice-ufrag")
	s := newStranger(t, strangerAddr)
	t.Run("wrong password", func(t *testing.T) {
		before := b.value(t, "mgw", "isthmus_mgw_ice_checks_taken_total") - b.value(t, "mgw", "isthmus_mgw_ice_checks_answered_total")
		for range 10 {
			s.send(t, check(local+":"+remote, "this is not the password"), to)
			s.send(t, check(local+":"+remote, sdpValue(w.caller.described(t), "ice-pwd")), to) // the browser's, not the gateway's
			s.send(t, check(local+":"+remote, ""), to)
		}
		eventually(t, deadline, func() string {
			n := b.value(t, "mgw", "isthmus_mgw_ice_checks_taken_total") - b.value(t, "mgw", "isthmus_mgw_ice_checks_answered_total") - before
			if n < 30 {
				return fmt.Sprintf("%v checks taken and not answered, want 30", n)
			}
			return ""
		})
		noSuccess(t, s)
	})
	t.Run("wrong user", func(t *testing.T) {
		b.counts(t, "mgw", stray, 30, func() {
			for range 10 {
				s.send(t, check("nobody:"+remote, "this is not the password"), to)
				s.send(t, check(remote+":"+local, sdpValue(answered, "ice-pwd")), to)
				s.send(t, check("", ""), to)
			}
		})
		noSuccess(t, s)
	})
	t.Run("junk of the browser", func(t *testing.T) { // from the right address, with the right user
		for range 10 {
			p.inject(t, check(local+":"+remote, "this is not the password"))
		}
		broken := check(local+":"+remote, sdpValue(answered, "ice-pwd"))
		for cut := 20; cut < len(broken); cut += 7 {
			p.inject(t, broken[:cut])
		}
	})
}

func noSuccess(t *testing.T, s stranger) {
	t.Helper()
	for a := s.answer(100 * time.Millisecond); a != nil; a = s.answer(10 * time.Millisecond) {
		if len(a) > 1 && binary.BigEndian.Uint16(a) == 0x0101 {
			t.Error("a forged check was answered with success")
		}
	}
}

// strangeHello: a handshake from an address that no check has proven is not answered; from the browser's own address, in the
// middle of the call, it ends nothing.
func strangeHello(t *testing.T, b *bed, w *witness, p *tap) {
	to := b.sockets(t, w.caller.user).access
	s := newStranger(t, strangerAddr)
	b.counts(t, "mgw", stray, 10, func() {
		for range 10 {
			s.send(t, clientHello(), to)
		}
	})
	if a := s.answer(100 * time.Millisecond); a != nil {
		t.Errorf("answered with %d bytes", len(a))
	}
	for range 10 {
		p.inject(t, clientHello())
		p.inject(t, []byte{21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40}) // a fatal alert that nobody has encrypted
		p.inject(t, append([]byte{23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40}, make([]byte, 40)...))
	}
}

// forgedSRTP comes from the browser's own address: replayed, changed, and not protected at all.
func forgedSRTP(t *testing.T, b *bed, w *witness, p *tap) {
	b.counts(t, "mgw", dropped("replay"), 40, func() {
		for _, pkt := range p.recorded(t, 20) {
			p.inject(t, pkt)
			p.inject(t, pkt)
		}
	})
	b.counts(t, "mgw", "isthmus_mgw_packets_refused_total", 90, func() { // what was seen before counts as replay, whatever it holds (RFC 3711 §3.3)
		for _, pkt := range p.recorded(t, 20) {
			bad := append([]byte(nil), pkt...)
			bad[len(bad)-1] ^= 1 // the tag
			p.inject(t, bad)
			bad = append([]byte(nil), pkt...)
			bad[2] ^= 0x40 // the sequence number
			p.inject(t, bad)
		}
		for _, pkt := range voice(rand.Uint32(), 1) {
			p.inject(t, pkt)
		}
	})
	b.counts(t, "mgw", dropped("unauthenticated"), 10, func() { // SRTCP
		for range 10 {
			p.inject(t, append([]byte{0x80, 200, 0, 6}, make([]byte, 60)...))
		}
	})
	b.counts(t, "mgw", dropped("malformed"), 1, func() {
		p.inject(t, []byte{0x80, 8, 0, 1, 0, 0})
		p.inject(t, append([]byte{0x8f, 8, 0, 1}, make([]byte, 20)...)) // more CSRCs than there is room for
	})
}

// strangersOnHold send while the browser has put the call on hold, and after it has taken it up again.
func strangersOnHold(t *testing.T, b *bed, w *witness, p *tap) {
	d, described := dialogOf(t, w.caller), w.caller.described(t)
	attack := func() {
		at := b.sockets(t, w.caller.user)
		s := newStranger(t, strangerAddr)
		b.counts(t, "mgw", dropped("source"), 50, func() {
			for _, pkt := range voice(w.farSSRC(t), 1) {
				s.send(t, pkt, at.rtp)
			}
		})
		b.counts(t, "mgw", stray, 70, func() {
			for _, pkt := range voice(rand.Uint32(), 1) {
				s.send(t, pkt, at.access)
			}
			for _, pkt := range p.recorded(t, 20) {
				s.send(t, pkt, at.access)
			}
		})
	}
	for i, direction := range []string{"sendonly", "inactive", "sendrecv"} {
		m := d.request("INVITE").set("CSeq", fmt.Sprintf("%d INVITE", 3000+i))
		m.sdp(strings.Replace(described, "a=sendrecv", "a="+direction, 1))
		if r := w.caller.ask(t, m); r.status != 200 {
			t.Fatalf("%s: %d %s", direction, r.status, r.reason)
		}
		_ = w.caller.Raw(d.request("ACK").set("CSeq", fmt.Sprintf("%d ACK", 3000+i)).String())
		attack()
	}
}

// strangersWhileItRings send to both ports before there is an answer, while early media flows: whoever comes first captures nothing.
func strangersWhileItRings(t *testing.T, b *bed) {
	near := &ear{want: strangerHz}
	dave := b.register(t, "dave", func(c *webua.Config) { c.Sink = near.take })
	type outcome struct {
		call *webua.Call
		err  error
	}
	done := make(chan outcome, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*deadline)
	defer cancel()
	go func() {
		c, err := dave.Call(ctx, "sip:early@"+domain, tone.NewSine(callerHz, level)) // answered after 3 s of ringing
		done <- outcome{c, err}
	}()
	if raw := dave.in.wait(deadline, func(raw string) bool { return parseReply(raw).status == 183 }); raw == "" {
		t.Error("no early media")
	}
	at := b.sockets(t, "dave")
	for _, from := range []string{coreAddr, strangerAddr} {
		s := newStranger(t, from)
		b.counts(t, "mgw", dropped("source"), 50, func() {
			for _, p := range voice(rand.Uint32(), 1) {
				s.send(t, p, at.rtp)
			}
		})
		b.counts(t, "mgw", stray, 52, func() {
			for _, p := range voice(rand.Uint32(), 1) {
				s.send(t, p, at.access)
			}
			s.send(t, clientHello(), at.access)
			s.send(t, check("nobody:x", "nothing"), at.access)
		})
		if a := s.answer(50 * time.Millisecond); a != nil {
			t.Errorf("answered with %d bytes", len(a))
		}
	}
	o := <-done
	if o.err != nil {
		t.Fatalf("the call was not answered: %v", o.err)
	}
	d := dialogOf(t, dave)
	defer dave.hangup(t, o.call, d)
	eventually(t, deadline, func() string {
		if tel, err := b.telephone("dave"); err != nil || !tel.Last.IsTone(callerHz, 15) {
			return fmt.Sprintf("the far end hears %+v, %v", tel.Last, err)
		}
		return ""
	})
	if n, _ := near.read(); n > 0 || o.call.Result().Packets == 0 {
		t.Errorf("the browser heard the stranger in %d blocks of %d packets", n, o.call.Result().Packets)
	}
}

// wrongFingerprint: the browser's certificate is not the one of its description: no media, and a release that says why.
func wrongFingerprint(t *testing.T, b *bed) {
	erin := b.newBrowser(t, "dave", func(c *webua.Config) {
		c.Offer = func(sdp string) string {
			good := sdpValue(sdp, "fingerprint")
			return strings.ReplaceAll(sdp, good, "sha-256 "+strings.Repeat("AB:", 31)+"AB")
		}
	})
	b.mustRegister(t, erin)
	ctx, cancel := context.WithTimeout(t.Context(), 3*deadline)
	defer cancel()
	defer func() {
		if err := erin.Register(ctx, 0); err != nil {
			t.Error(err)
		}
	}()
	b.counts(t, "mgc", `isthmus_mgc_calls_ended_total{cause="dtls_failed"}`, 1, func() {
		c, err := erin.Call(ctx, target, tone.NewSine(callerHz, level))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-c.Ended():
		case <-time.After(2 * deadline):
			t.Fatal("the call goes on")
		}
		r := c.Result()
		if !strings.Contains(r.Cause, "SIP;cause=488") || !strings.Contains(r.Cause, "DTLS") || !strings.Contains(r.Cause, "fingerprint") {
			t.Errorf("released by %q, want a Reason with the fingerprint", r.Cause)
		}
		if r.Packets != 0 {
			t.Errorf("%d packets of media got through to it", r.Packets)
		}
	})
	if tel, err := b.telephone("dave"); err != nil || tel.State != "ended" || tel.RTP.Recv.Packets != 0 {
		t.Errorf("the far end: %s, %d packets, %v", tel.State, tel.RTP.Recv.Packets, err)
	}
	b.coreGot(t, "BYE", "Reason: SIP;cause=488;")
}
