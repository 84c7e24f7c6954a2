package call

import (
	"net/netip"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
)

// TestPCC02_BandwidthOfEveryCodec: what the policy function is told of a line is the highest rate of its codecs with payload header, RTP header, SRTP tag, UDP
// and IP, in packets of 20 ms; none is "not known" that may be configured for browsers.
func TestPCC02_BandwidthOfEveryCodec(t *testing.T) {
	four, six := netip.MustParseAddr("198.51.100.10"), netip.MustParseAddr("2001:db8::10")
	const headers, headers6 = 8 * 50 * (20 + 8 + 12 + 16), 8 * 50 * (40 + 8 + 12 + 16)
	c := func(name string, clock uint32, fmtp string) codec.Codec {
		return codec.Codec{Name: name, ClockRate: clock, Fmtp: fmtp}
	}
	for _, x := range []struct {
		codec  codec.Codec
		octets uint64 // in a packet
	}{
		{c("PCMA", 8000, ""), 160}, {c("PCMU", 8000, ""), 160}, {c("G722", 8000, ""), 160},
		{c("opus", 48000, ""), 160}, {c("opus", 48000, "maxaveragebitrate=24000"), 60},
		{c("AMR", 8000, ""), 32}, // 4 + 6 + 244 bits (RFC 4867 §4.3)
		{c("AMR", 8000, "octet-align=1"), 33},
		{c("AMR", 8000, "mode-set=0,2"), 16}, // 118 bits
		{c("AMR-WB", 16000, ""), 61},         // 477 bits
		{c("amr-wb", 16000, "octet-align=1"), 62},
		{c("AMR-WB", 16000, "mode-set=0,1,2"), 33}, // 253 bits, 12.65 kbit/s
		{c("EVS", 16000, ""), 322},
		{c("EVS", 16000, "br=5.9-24.4;bw=nb-swb"), 63}, // 61 and header-full form
		{c("G729", 8000, ""), 20}, {c("iLBC", 8000, ""), 38}, {c("G726-32", 8000, ""), 80}, {c("GSM", 8000, ""), 33},
		{c("speex", 8000, ""), 62}, {c("speex", 16000, ""), 106}, {c("speex", 32000, ""), 110},
	} {
		if got, want := bandwidth([]codec.Codec{x.codec}, four), 8*50*x.octets+headers; got != want {
			t.Errorf("%s %q: %d bit/s, want %d", x.codec.Name, x.codec.Fmtp, got, want)
		}
	}
	amr, event := c("AMR", 8000, ""), c("telephone-event", 8000, "0-15")
	if got := bandwidth([]codec.Codec{amr, c("AMR-WB", 16000, ""), event}, six); got != 8*50*61+headers6 {
		t.Errorf("AMR-WB before AMR over IPv6: %d bit/s", got)
	}
	if got := bandwidth([]codec.Codec{event, c("CN", 8000, ""), c("X-nobody-knows", 8000, "")}, four); got != 0 {
		t.Errorf("no audio: %d bit/s", got)
	}
	// each direction has its own: the browser sends what we have said, and receives what it has
	a := callcore.Side{Ours: []codec.Codec{c("AMR-WB", 16000, "mode-set=0,1,2")}, Theirs: []codec.Codec{c("AMR-WB", 16000, ""), amr}}
	m := audioOf(&callcore.Facts{}, &a, &callcore.Side{})
	if m.BandwidthUp != 8*50*33+headers || m.BandwidthDown != 8*50*61+headers {
		t.Errorf("up %d, down %d", m.BandwidthUp, m.BandwidthDown)
	}
}
