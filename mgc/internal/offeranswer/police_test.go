package offeranswer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestIQ08_RateFollowsTheCodecs: what is admitted for long is the widest of what the peer may send by our b=AS, times the allowance, and never less than
// a codec may need with packets of 10 ms.
func TestIQ08_RateFollowsTheCodecs(t *testing.T) {
	pcma := codec.Codec{Name: codec.PCMA, PT: 8, ClockRate: 8000}
	opus := codec.Codec{Name: codec.Opus, PT: 111, ClockRate: 48000, Channels: 2}
	narrow := codec.Codec{Name: codec.Opus, PT: 111, ClockRate: 48000, Channels: 2, Fmtp: "useinbandfec=1;maxaveragebitrate=20000"}
	wide := codec.Codec{Name: codec.Opus, PT: 111, ClockRate: 48000, Channels: 2, Fmtp: "maxaveragebitrate=510000"}
	amr := codec.Codec{Name: codec.AMR, PT: 97, ClockRate: 8000, Fmtp: "mode-set=7"}
	event := codec.Codec{Name: codec.TelephoneEvent, PT: 101, ClockRate: 8000}
	evs := codec.Codec{Name: "EVS", PT: 107, ClockRate: 16000}
	for name, c := range map[string]struct {
		ours  []codec.Codec
		local string
		rate  uint32
	}{
		"G.711":           {[]codec.Codec{pcma, event}, "192.0.2.1:4000", 10000},
		"G.711 over IPv6": {[]codec.Codec{pcma, event}, "[2001:db8::1]:4000", 11000},
		"AMR":             {[]codec.Codec{amr, event}, "192.0.2.1:4000", 3625},
		"the widest":      {[]codec.Codec{amr, pcma}, "192.0.2.1:4000", 10000},
		"Opus":            {[]codec.Codec{opus, pcma}, "192.0.2.1:4000", 17200},
		"Opus, narrow":    {[]codec.Codec{narrow}, "192.0.2.1:4000", 9200},
		"Opus, wide":      {[]codec.Codec{wide}, "192.0.2.1:4000", 64950},
		"what is relayed": {[]codec.Codec{evs}, "192.0.2.1:4000", 18125},
	} {
		m := Media{Policy: Policy{Police: Police{Percent: 200, Burst: 2 * time.Second}}}
		l := m.Line(Core)
		l.Ours, l.Local = c.ours, netip.MustParseAddrPort(c.local)
		got := m.policing(Core)
		if got.GetSustainableDataRate() != 2*c.rate || got.GetMaximumBurstSize() != 4*c.rate {
			t.Errorf("%s: %v, want twice %d", name, got, c.rate)
		}
		if d := m.ModifyDescriptor(Core, Open); d.Streams[0].LocalControl.Policing.GetSustainableDataRate() != got.SustainableDataRate {
			t.Errorf("%s: the media gateway is told %v", name, d.Streams[0].LocalControl.Policing)
		}
		// A peer with the shortest packets is within it.
		if c.ours[0].Is(codec.PCMA) && got.SustainableDataRate < 100*(80+12) {
			t.Errorf("%s: packets of 10 ms are not within %v", name, got)
		}
		m.Policy.Police = Police{}
		if p := m.policing(Core); p != nil {
			t.Errorf("%s: %v without a policy", name, p)
		}
	}
}
