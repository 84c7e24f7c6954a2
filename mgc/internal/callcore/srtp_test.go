package callcore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

const (
	peerKey1 = "cHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBw"
	peerKey2 = "cXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFxcXFx"
)

// secure is a call for a core where SRTP is required.
func secure(t *testing.T) *bench {
	b := newBench(t)
	b.s.d.Cfg.Policy.Media.SRTP = offeranswer.SRTPRequired
	return b
}

// savp is the phone's description with a key; without one when key is empty.
func savp(version int, dir, tag, key string) string {
	d := strings.Replace(fmt.Sprintf(coreAnswer, version, dir), "RTP/AVP", "RTP/SAVP", 1)
	if key != "" {
		d += "a=crypto:" + tag + " AES_CM_128_HMAC_SHA1_80 inline:" + key + "\r\n"
	}
	return d
}

func (b *bench) told() string {
	var out []string
	for _, c := range b.iq.GetActions()[0].GetCommands() {
		for _, k := range c.GetModify().GetDescriptor_().GetStreams()[0].GetRemote().GetCryptos() {
			out = append(out, strings.TrimSuffix(fmt.Sprintf("%.1s:%x", k.GetKey(), k.GetMki()), ":"))
		}
	}
	return strings.Join(out, " ")
}

// The peer may use a new key once it is answered: the MGW knows before. A key that stays costs nothing.
func TestR4568_NewKeyIsToldBeforeTheAnswer(t *testing.T) {
	b := secure(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	if offer := string(b.last["core INVITE"].Body); !strings.Contains(offer, " RTP/SAVP ") || strings.Count(offer, "a=crypto:") != 4 {
		t.Errorf("offer:\n%s", offer)
	}
	b.callee(200, savp(1, "sendrecv", "3", peerKey1))
	if got := b.told(); got != "p" {
		t.Errorf("the MGW is told %q", got)
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "connected"}}}}})
	b.log = nil
	b.request(LegCore, "w1", b.phone("INVITE", 2, savp(2, "sendrecv", "1", peerKey1)))
	b.saw("core> 200", "mgw> Modify Modify")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 2, "")})
	b.request(LegCore, "w2", b.phone("INVITE", 3, savp(3, "sendrecv", "1", peerKey2)))
	b.saw("mgw> Modify")
	if got := b.told(); got != "q" {
		t.Errorf("the MGW is told %q before the answer", got)
	}
	b.reply()
	b.saw("core> 200", "mgw> Modify Modify")
	b.reply()
	b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 3, "")})
	b.request(LegCore, "w3", b.phone("INVITE", 4, savp(4, "sendrecv", "1", peerKey1)))
	b.refused(510)
	b.saw("mgw> Modify", "core> 503") // the key before holds
	b.request(LegCore, "w4", b.phone("INVITE", 5, fmt.Sprintf(coreAnswer, 5, "sendrecv")))
	b.saw("core> 488") // required: the call goes on under the keys that it has
	refusal := b.last["core 488"]
	if w := refusal.Get("Warning"); !strings.Contains(w, "SRTP is required") {
		t.Errorf("Warning: %s", w)
	}
}

// The MKI of the peer's key goes to the media gateway, in an answer and in an offer; ours has none, and a key that stays with another MKI is told too.
func TestR4568_MKIIsTold(t *testing.T) {
	b := secure(t)
	b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
	b.reply()
	b.callee(200, savp(1, "sendrecv", "3", peerKey1+"|2^20|1:4"))
	if b.told() != "p:00000001" {
		t.Errorf("the MGW is told %q", b.told())
	}
	b.reply()
	b.step(AckIn{Leg: LegAccess, Msg: browser("ACK", 1, "")})
	b.step(IqNotify{Req: &iqv1.NotifyRequest{ContextId: "cx1", Events: []*iqv1.ObservedEvent{{Type: iqv1.EventType_EVENT_TYPE_DTLS_STATE, Params: map[string]string{"state": "connected"}}}}})
	for i, mki := range []string{"|1:4", "|513:2"} {
		b.log = nil
		b.request(LegCore, fmt.Sprintf("w%d", i), b.phone("INVITE", 2+i, savp(2+i, "sendrecv", "1", peerKey1+mki)))
		if i == 0 { // what stays needs no waiting for the MGW
			b.saw("core> 200", "mgw> Modify Modify")
			b.reply()
		} else {
			b.saw("mgw> Modify")
			if b.told() != "p:0201" {
				t.Errorf("the MGW is told %q before the answer", b.told())
			}
			b.reply()
			b.saw("core> 200", "mgw> Modify Modify")
			b.reply()
		}
		if answer := string(b.last["core 200"].Body); strings.Count(answer, "a=crypto:") != 1 || strings.Contains(answer, "|") {
			t.Errorf("answer:\n%s", answer)
		}
		b.step(AckIn{Leg: LegCore, Msg: b.phone("ACK", 2+i, "")})
	}
}

// An answer without a usable key ends the call, with a reason for both.
func TestR4568_AnswerWithoutKeyEndsTheCall(t *testing.T) {
	for what, answer := range map[string]string{
		"no key":      savp(1, "sendrecv", "", ""),
		"foreign tag": savp(1, "sendrecv", "9", peerKey1),
		"MKI":         savp(1, "sendrecv", "3", peerKey1+"|2^20|256:1"),
		"RTP/AVP":     fmt.Sprintf(coreAnswer, 1, "sendrecv"),
	} {
		b := secure(t)
		b.step(RequestIn{Leg: LegAccess, Tx: "s1", Msg: browser("INVITE", 1, browserOffer)})
		b.reply()
		b.log = nil
		b.callee(200, answer)
		if got := strings.Join(b.log, ", "); !strings.Contains(got, "core> ACK") || !strings.Contains(got, "core> BYE") || !strings.Contains(got, "access> 488") {
			t.Errorf("%s: %s", what, got)
		}
		bye := b.last["core BYE"]
		if r := bye.Get("Reason"); !strings.Contains(r, "488") {
			t.Errorf("%s: BYE with Reason %q", what, r)
		}
	}
}
