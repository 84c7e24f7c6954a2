package browser

import (
	"fmt"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/baresip"
	"github.com/isthmus-gateway/isthmus/integration/internal/peers/kamailio"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// browserCalls: the browser calls baresip, each hears the other's tone, the browser hangs up.
func browserCalls(p *party) {
	mark := p.bob.Mark()
	id := p.talk()
	p.codecIs(id)
	p.ok(p.alice.Hangup(p.ctx, id))
	p.told(p.bob, mark, "CALL_CLOSED")
	p.inState(id, "ended")
}

// baresipCalls: baresip calls the browser through Kamailio's location table and the Path, baresip hangs up.
func baresipCalls(p *party) {
	mark := p.bob.Mark()
	p.tell(p.bob, "dial", "sip:alice@"+domain)
	c := p.incoming()
	if c.Peer != "bob" {
		p.t.Errorf("the phone shows a call from %q, want bob", c.Peer)
	}
	p.told(p.bob, mark, "CALL_RINGING")
	p.ok(p.alice.Answer(p.ctx, c.ID))
	p.told(p.bob, mark, "CALL_ESTABLISHED")
	p.inState(c.ID, "connected")
	p.both(c.ID, p.bob, bobHz)
	p.codecIs(c.ID)
	p.tell(p.bob, "hangup", "")
	ended := p.inState(c.ID, "ended")
	if ended.Failure != nil || !strings.Contains(ended.EndText, "bob ended the call") {
		p.t.Errorf("the phone says %q, %+v of a call that bob ended", ended.EndText, ended.Failure)
	}
}

// codecIs checks what the browser sends and receives, and what was agreed with baresip.
func (p *party) codecIs(id string) {
	p.t.Helper()
	want := "opus 48 kHz"
	if p.mode == "relay" || p.mode == "osrtp" || p.mode == "full" {
		want = "PCMA 8 kHz"
	}
	if p.mode == "g722" {
		want = "G722 8 kHz" // the clock of its RTP, RFC 3551 §4.5.2
	}
	core := map[string]string{"relay": "PCMA/8000", "full": "PCMA/8000", "opus": "PCMA/8000", "amrwb": "AMR-WB/16000", "amr": "AMR/8000", "osrtp": "PCMA/8000", "required": "PCMA/8000", "g722": "G722/8000", "opus-g722": "G722/8000"}[p.mode]
	mgc := adminv1.NewControllerAdminClient(scenario.Dial(p.t, "127.0.0.1:7401"))
	p.until("the MGC to have "+core+" towards baresip", func() (bool, any) {
		r, err := mgc.ListCalls(p.ctx, &adminv1.ListCallsRequest{})
		return err == nil && len(r.Calls) == 1 && r.Calls[0].CoreCodec == core, fmt.Sprint(r, err)
	})
	p.until("the browser to use "+want, func() (bool, any) {
		s, err := p.alice.Stats(p.ctx, id)
		return err == nil && s.CodecIn == want && s.CodecOut == want, fmt.Sprint(s, err)
	})
	if s, err := p.alice.Stats(p.ctx, id); err != nil || s.SRTP != "SRTP_AEAD_AES_128_GCM" { // RFC 5764 §4.1.2: what we like best of the browser's
		p.t.Errorf("the browser has SRTP profile %q, %v", s.SRTP, err)
	}
}

// holdByBrowser: nobody hears anybody while the browser holds, and both do again after.
func holdByBrowser(p *party) {
	id := p.talk()
	n := len(p.wire(0))
	p.ok(p.alice.Hold(p.ctx, id))
	p.onWire(n, "a re-INVITE with sendonly", func(m kamailio.Message) bool {
		return strings.HasPrefix(m.StartLine(), "INVITE") && strings.Contains(m.Body(), "a=sendonly")
	})
	p.until("the phone to show hold", func() (bool, any) { c := p.call(id); return c.LocalHold, c })
	p.browserHearsNothing(id)
	p.hearsNothing(p.bob)
	p.ok(p.alice.Resume(p.ctx, id))
	p.until("the phone to show no hold", func() (bool, any) { c := p.call(id); return !c.LocalHold, c })
	p.both(id, p.bob, bobHz)
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// holdByBaresip: baresip does not hear the browser while it holds, the browser is told, and both hear each other after.
func holdByBaresip(p *party) {
	id := p.talk()
	p.tell(p.bob, "hold", "")
	p.until("the phone to show that it is held", func() (bool, any) { c := p.call(id); return c.RemoteHold, c })
	p.hearsNothing(p.bob)
	p.tell(p.bob, "resume", "")
	p.until("the phone to show that it is no longer held", func() (bool, any) { c := p.call(id); return !c.RemoteHold, c })
	p.both(id, p.bob, bobHz)
	p.tell(p.bob, "hangup", "")
	p.inState(id, "ended")
}

// digitsToBaresip: each key press of the browser is one event of RFC 4733 at the far end, in order.
func digitsToBaresip(p *party) {
	const digits = "159#0*"
	id := p.talk()
	mark := p.bob.Mark()
	p.ok(p.alice.DTMF(p.ctx, id, digits))
	p.until("baresip to have the digits "+digits, func() (bool, any) {
		var got, ended strings.Builder
		for _, e := range p.bob.Since(mark) {
			switch e.Type {
			case "CALL_DTMF_START":
				got.WriteString(e.Param)
			case "CALL_DTMF_END":
				ended.WriteString("x")
			}
		}
		return got.String() == digits && ended.Len() >= len(digits), got.String() + " " + ended.String()
	})
	p.both(id, p.bob, bobHz)
	p.ok(p.alice.Hangup(p.ctx, id))
	p.inState(id, "ended")
}

// digitsByInfo: the browser's events reach baresip as INFO, one per press, and not in the media too.
func digitsByInfo(p *party) {
	n := len(p.wire(0))
	digitsToBaresip(p)
	var keys strings.Builder
	for _, m := range p.wire(n) {
		if strings.HasPrefix(m.StartLine(), "INFO ") && m.From.String() == gateway {
			line, _, _ := strings.Cut(m.Body(), "\r\n")
			keys.WriteString(strings.TrimPrefix(strings.ReplaceAll(line, " ", ""), "Signal="))
		}
	}
	if got := keys.String(); got != "159#0*" {
		p.t.Errorf("keys by INFO: %q", got)
	}
}

// digitsToBrowser: keys of baresip are heard in the browser, which plays events of RFC 4733 as tones. Of a key's two tones the
// phone shows the stronger, that of the column.
func digitsToBrowser(p *party) {
	id := p.talk()
	p.tell(p.bob, "mute", "")
	for key, column := range map[string]float64{"1": 1209, "5": 1336, "9": 1477} {
		p.browserHearsNothing(id)
		// Four presses, as one is shorter than the window that the phone analyses.
		p.listen(id)
		p.tell(p.bob, "sndcode", strings.Repeat(key, 4))
		p.browserHeard(column)
	}
	p.tell(p.bob, "mute", "")
	p.both(id, p.bob, bobHz)
	p.tell(p.bob, "hangup", "")
	p.inState(id, "ended")
}

// twoCalls: alice talks to bob and to carol by turns; the other one waits on hold; each call ends for itself, the one that carol made
// by alice, the one that alice made by bob.
func twoCalls(p *party) {
	bobs := p.talk()
	mark := p.carol.Mark()
	p.tell(p.carol, "dial", "sip:alice@"+domain)
	c := p.incoming()
	p.ok(p.alice.Answer(p.ctx, c.ID))
	p.told(p.carol, mark, "CALL_ESTABLISHED")
	p.both(c.ID, p.carol, carolHz)
	p.hearsNothing(p.bob)
	p.ok(p.alice.Resume(p.ctx, bobs))
	p.both(bobs, p.bob, bobHz)
	p.hearsNothing(p.carol)
	p.ok(p.alice.Hangup(p.ctx, c.ID))
	p.told(p.carol, mark, "CALL_CLOSED")
	p.inState(c.ID, "ended")
	p.both(bobs, p.bob, bobHz)
	p.tell(p.bob, "hangup", "")
	p.inState(bobs, "ended")
}

// inviteToAudio prints how long it takes from the browser's INVITE on the wire to the first audio heard, and on the way there to
// the 200, to ICE and to DTLS connected; baresip answers at once.
func inviteToAudio(p *party) {
	p.tell(p.bob, "answermode", "auto")
	defer p.tell(p.bob, "answermode", "manual")
	var answer, ice, dtls, audio []float64
	for range 7 {
		id := p.dial("bob")
		p.browserHears(id, bobHz)
		m, err := p.alice.Metrics(p.ctx, id)
		p.ok(err)
		if m.InviteToAudioMs <= 0 {
			p.t.Fatalf("the phone has no time for call %s: %+v", id, m)
		}
		answer, ice = append(answer, m.AnsweredAt-m.InviteSentAt), append(ice, m.ICEConnectedAt-m.InviteSentAt)
		dtls, audio = append(dtls, m.DTLSConnectedAt-m.InviteSentAt), append(audio, m.InviteToAudioMs)
		p.ok(p.alice.Hangup(p.ctx, id))
		p.inState(id, "ended")
		p.until("bob to have no call", func() (bool, any) { return p.idle(p.bob) })
	}
	fmt.Printf("INVITE to audio, Chromium - Isthmus - Kamailio - baresip, %s: median %.0f ms (200 after %.0f, ICE %.0f, DTLS %.0f), all %.0f\n",
		p.mode, median(audio), median(answer), median(ice), median(dtls), audio)
}

func median(ms []float64) float64 {
	ms = slices.Sorted(slices.Values(ms))
	return ms[len(ms)/2]
}

// idle reports whether baresip has no call.
func (p *party) idle(a *baresip.Agent) (bool, any) {
	list, err := a.Command(p.ctx, "listcalls", "")
	return err == nil && !strings.Contains(list, "sip:"), fmt.Sprint(list, err)
}
