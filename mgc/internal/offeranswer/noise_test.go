package offeranswer

import (
	"slices"
	"strings"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// noisy is a call of a browser whose offer has the formats, up to our offer to the core.
func noisy(t *testing.T, p Policy, formats string) (Media, string) {
	t.Helper()
	offer := parse(t, strings.NewReplacer("%s", "actpass").Replace(chrome))
	offer.Media[0].Codecs = nil
	for _, c := range []codec.Codec{
		{Name: "opus", PT: 111, ClockRate: 48000, Channels: 2}, {Name: "PCMA", PT: 8, ClockRate: 8000, Channels: 1},
		{Name: "CN", PT: 13, ClockRate: 8000, Channels: 1}, {Name: "CN", PT: 106, ClockRate: 32000, Channels: 1},
	} {
		if strings.Contains(formats, c.Name) {
			offer.Media[0].Codecs = append(offer.Media[0].Codecs, c)
		}
	}
	return offeredBy(t, p, offer)
}

func tells(m *Media, side Side) (local, remote bool) {
	noise := func(c *iqv1.Codec) bool {
		return c.GetName() == codec.ComfortNoise && c.GetPayloadType() == 13 && c.GetClockRate() == 8000
	}
	s := m.ModifyDescriptor(side, Open).GetStreams()[0]
	return slices.ContainsFunc(s.GetLocal().GetCodecs(), noise), slices.ContainsFunc(s.GetRemote().GetCodecs(), noise)
}

// Comfort noise is offered to the core where the browser has offered it, or what is transcoded pauses; what is agreed, the media gateway is told of both
// ways, and the browser gets it where media are relayed.
func TestR3551_ComfortNoiseOffered(t *testing.T) {
	for name, c := range map[string]struct {
		noise    Noise
		dtx      DTX
		prefer   Preference
		formats  string
		core     []string
		answer   string
		offered  bool
		agreed   bool
		toAccess bool
	}{
		"relayed":                      {NoiseOffer, DTXOff, PreferRelay, "opus PCMA CN", nil, "8 13", true, true, true},
		"transcoded":                   {NoiseOffer, DTXOff, PreferOpus, "opus PCMA CN", nil, "8 13", true, true, false},
		"the core has none":            {NoiseOffer, DTXOff, PreferRelay, "opus PCMA CN", nil, "8", true, false, false},
		"the browser has none":         {NoiseOffer, DTXOff, PreferRelay, "opus PCMA", nil, "8 13", false, false, false},
		"pauses":                       {NoiseOffer, DTXCore, PreferRelay, "opus", nil, "8 13", true, true, false},
		"pauses of what is relayed":    {NoiseOffer, DTXCore, PreferRelay, "opus PCMA", nil, "8 13", false, false, false},
		"pauses of what is transcoded": {NoiseOffer, DTXBoth, PreferOpus, "opus PCMA", nil, "8 13", true, true, false},
		"AMR":                          {NoiseOffer, DTXCore, PreferOpus, "opus CN", []string{codec.AMRWB}, "97", false, false, false},
		"answered only":                {NoiseAnswer, DTXCore, PreferOpus, "opus PCMA CN", nil, "8 13", false, false, false},
		"by default":                   {"", DTXCore, PreferOpus, "opus PCMA CN", nil, "8 13", false, false, false},
		"off":                          {NoiseOff, DTXCore, PreferOpus, "opus PCMA CN", nil, "8 13", false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := DefaultPolicy()
			p.Noise, p.DTX, p.Prefer = c.noise, c.dtx, c.prefer
			if c.core != nil {
				p.Core = c.core
			}
			m, offer := noisy(t, p, c.formats)
			if strings.Contains(offer, " 13\r\n") != c.offered || strings.Contains(offer, "a=rtpmap:13 CN/8000\r\n") != c.offered || strings.Count(offer, "CN/") > 1 {
				t.Errorf("offered:\n%s", offer)
			}
			if local, _ := tells(&m, Core); local != c.offered {
				t.Errorf("the gateway may receive it: %v", local)
			}
			text := "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP " + c.answer + "\na=rtpmap:97 AMR-WB/16000\n"
			m, err := m.Answer(Core, parse(t, text))
			if err != nil {
				t.Fatal(err)
			}
			m, body, err := m.MakeAnswer(Access)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(body), "CN/8000") != c.toAccess || strings.Contains(string(body), "CN/32000") {
				t.Errorf("the browser is answered:\n%s", body)
			}
			if local, remote := tells(&m, Core); remote != c.agreed || c.agreed && !local {
				t.Errorf("core: told %v, %v", local, remote)
			}
			if local, remote := tells(&m, Access); local != c.toAccess || remote != c.toAccess {
				t.Errorf("access: told %v, %v", local, remote)
			}
			// Later offers say the same, to a browser where it may pick what is relayed.
			for side, has := range map[Side]bool{Access: c.agreed && strings.Contains(c.formats, "CN"), Core: c.offered} {
				n, body, err := m.MakeOffer(side, sdp.DirUnset)
				if err != nil || strings.Contains(string(body), "a=rtpmap:13 CN/8000\r\n") != has || n.Line(side).noiseAgreed() != (has && (side == Access || c.agreed)) {
					t.Errorf("%d is offered (%v):\n%s", side, err, body)
				}
			}
		})
	}
}

// A browser that answers with comfort noise which it was not offered has not got any (RFC 3264 §6.1): the core is not offered it later.
func TestR3551_ComfortNoiseThatWasNotOffered(t *testing.T) {
	p := DefaultPolicy()
	p.Noise = NoiseOffer
	m, _, err := New(p, 1, 2, strings.Repeat("t", 32)).Offer(Core, phoneSays(t, "", "RTP/AVP", ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, side := range []Side{Access, Core} {
		if m, err = m.Resolve(side, chosen(side)); err != nil {
			t.Fatal(err)
		}
	}
	m, offer, err := m.MakeOffer(Access, sdp.DirUnset)
	if err != nil || strings.Contains(string(offer), "CN/") {
		t.Fatalf("%v:\n%s", err, offer)
	}
	answer := parse(t, strings.NewReplacer("%s", "active").Replace(chrome))
	answer.Media[0].Codecs = []codec.Codec{{Name: "PCMA", PT: 8, ClockRate: 8000, Channels: 1}, {Name: "CN", PT: 13, ClockRate: 8000, Channels: 1}}
	if m, err = m.Answer(Access, answer); err != nil {
		t.Fatal(err)
	}
	if m, _, err = m.MakeAnswer(Core); err != nil {
		t.Fatal(err)
	}
	if _, offer, err = m.MakeOffer(Core, sdp.DirUnset); err != nil || strings.Contains(string(offer), "CN/") {
		t.Errorf("%v:\n%s", err, offer)
	}
}

// TestR3551_ComfortNoiseThroughHold: its payload type stays in every description of a call with a browser of today, whoever offers.
func TestR3551_ComfortNoiseThroughHold(t *testing.T) {
	p := DefaultPolicy()
	p.Noise, p.Prefer = NoiseOffer, PreferRelay
	playWith(t, "noise_hold", p, "browser offers jssip_offer", "phone answers 8,13,101",
		"browser offers again dir=sendonly", "phone answers 8,13,101 dir=recvonly", "browser offers again", "phone answers 8,13,101",
		"phone offers 8,13,101 dir=sendonly", "browser answers again dir=recvonly setup=active")
}

// A peer that picks AMR and keeps the comfort noise beside it gets none: AMR has silence frames of its own, with the same clock (RFC 3389 §1).
func TestR3389_NoComfortNoiseBesideAMR(t *testing.T) {
	for _, list := range []string{"99 13", "8 99 13"} {
		p := DefaultPolicy()
		p.Noise, p.Prefer, p.Core = NoiseOffer, PreferOpus, []string{codec.AMR, codec.PCMA}
		m, offer := noisy(t, p, "opus PCMA CN")
		if !strings.Contains(offer, "a=rtpmap:13 CN/8000\r\n") || !strings.Contains(offer, "a=rtpmap:99 AMR/8000") {
			t.Fatalf("offered:\n%s", offer)
		}
		text := "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP " + list + "\na=rtpmap:99 AMR/8000\na=fmtp:99 mode-change-capability=2;max-red=0\n"
		m, err := m.Answer(Core, parse(t, text))
		if err != nil {
			t.Fatal(err)
		}
		if m, _, err = m.MakeAnswer(Access); err != nil {
			t.Fatal(err)
		}
		if _, remote := tells(&m, Core); remote != strings.HasPrefix(list, "8") {
			t.Errorf("%s: told %v", list, remote)
		}
	}
}
