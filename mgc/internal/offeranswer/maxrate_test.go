package offeranswer

import (
	"net/netip"
	"testing"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// The media gateway sends a peer no more than b=AS or b=TIAS of its description allows, headers included; a phone that allots what annex A.15 of TS
// 26.114 has for a mode gets that mode.
func TestPeersBandwidthBoundsWhatIsSent(t *testing.T) {
	wide := codec.Codec{Name: codec.AMRWB, PT: 97, ClockRate: 16000}
	aligned := codec.Codec{Name: codec.AMRWB, PT: 98, ClockRate: 16000, Fmtp: "octet-align=1"}
	narrow := codec.Codec{Name: codec.AMR, PT: 99, ClockRate: 8000}
	opus := codec.Codec{Name: codec.Opus, PT: 111, ClockRate: 48000, Channels: 2}
	pcma, _ := codec.Static(8)
	const v4, v6 = "192.0.2.1:4000", "[2001:db8::1]:4000"
	for _, c := range []struct {
		codec           codec.Codec
		remote          string
		session, media  sdp.Bandwidth
		ptime, maxptime uint32
		want            uint32
	}{
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{}, 0, 0, 0},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 41}, 0, 0, 23850},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 40}, 0, 0, 23050},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 30}, 20, 240, 12650},
		{aligned, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 30}, 20, 240, 12650},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 1}, 0, 0, 6600},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS"}, 0, 0, 0},
		{wide, v6, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 38}, 0, 0, 12650},
		{wide, v6, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 49}, 0, 0, 23850},
		{wide, v6, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 41}, 0, 0, 15850},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 30}, 80, 0, 23850}, // fewer headers
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 30}, 80, 20, 12650},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 30}, 30, 0, 12650},
		{wide, v4, sdp.Bandwidth{Type: "AS", Value: 30}, sdp.Bandwidth{}, 0, 0, 12650},
		{wide, v4, sdp.Bandwidth{Type: "AS", Value: 30}, sdp.Bandwidth{Type: "AS", Value: 41}, 0, 0, 23850},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "TIAS", Value: 13200}, 0, 0, 12650},
		{wide, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "RS", Value: 600}, 0, 0, 0},
		{narrow, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 29}, 0, 0, 12200},
		{narrow, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 25}, 0, 0, 7950},
		{pcma, v4, sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 25}, 0, 0, 0}, // has no lower rate
		{opus, "", sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 40}, 0, 0, 22000},
		{opus, "", sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 40}, 10, 0, 6000},
		{opus, "", sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 10}, 0, 0, 1},
		{opus, "", sdp.Bandwidth{}, sdp.Bandwidth{Type: "AS", Value: 4000}, 0, 0, 128000},
		{opus, "", sdp.Bandwidth{}, sdp.Bandwidth{Type: "TIAS", Value: 20000}, 0, 0, 20000},
	} {
		var d sdp.Description
		a := sdp.Media{Bandwidth: []sdp.Bandwidth{{Type: "X-YZ", Value: 128}}}
		if c.session.Type != "" {
			d.Bandwidth = append(d.Bandwidth, c.session)
		}
		if c.media.Type != "" {
			a.Bandwidth = append(a.Bandwidth, c.media)
		}
		m, side := Media{}, Core
		if c.remote == "" {
			side = Access
		} else {
			m.Lines[Core].Remote = netip.MustParseAddrPort(c.remote)
		}
		l := m.Line(side)
		l.Ptime, l.MaxPtime, l.Allowed = c.ptime, c.maxptime, allowed(&d, &a)
		if got := m.maxBitrate(side, c.codec); got != c.want {
			t.Errorf("%+v: %d bit/s", c, got)
		}
	}
}

// It is part of what the media gateway is told of the peer.
func TestPeersBandwidthReachesTheMediaGateway(t *testing.T) {
	m, _ := called(t, mtsi(), parse(t, "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP 97\nb=AS:30\na=rtpmap:97 AMR-WB/16000\n"))
	r := m.ModifyDescriptor(Core, Open).GetStreams()[0].GetRemote()
	if c := r.GetCodecs()[0]; c.GetName() != codec.AMRWB || r.GetMaxBitrate() != 12650 {
		t.Errorf("%v", r)
	}
}

// Packets longer than any media gateway makes are nothing to refuse a call for: it is asked for the longest.
func TestRFC8866_6_4_LongerPacketsThanAreMade(t *testing.T) {
	for said, want := range map[string][2]uint32{
		"a=ptime:240\na=maxptime:240\n":  {240, 240},
		"a=ptime:500\na=maxptime:2000\n": {240, 240},
		"a=ptime:20\na=maxptime:9999\n":  {20, 240},
		"a=maxptime:40\n":                {0, 40},
	} {
		m, _ := called(t, mtsi(), parse(t, "v=0\no=- 9 1 IN IP4 10.9.0.7\ns=-\nc=IN IP4 10.9.0.7\nt=0 0\nm=audio 4000 RTP/AVP 8\n"+said))
		r := m.ModifyDescriptor(Core, Open).GetStreams()[0].GetRemote()
		if got := [2]uint32{r.GetPtimeMs(), r.GetMaxptimeMs()}; got != want {
			t.Errorf("%q: ptime and maxptime %v, want %v", said, got, want)
		}
	}
}
