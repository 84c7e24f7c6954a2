package call

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/pkg/codec"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// TestCHG01_DigestOfOneLine: it is as an older controller wrote it: a call that is adopted from one has not changed.
func TestCHG01_DigestOfOneLine(t *testing.T) {
	one := func(proto string, c codec.Codec) callcore.Side {
		return callcore.Side{Lines: []callcore.Line{{Type: "audio", Proto: proto, Used: true}}, Chosen: c, Dir: sdp.SendRecv}
	}
	a, c := one("UDP/TLS/RTP/SAVPF", codec.Codec{Name: "opus", ClockRate: 48000, Channels: 2}), one("RTP/AVP", codec.Codec{Name: "PCMA", ClockRate: 8000, Channels: 1})
	c.Remote = netip.MustParseAddrPort("10.0.0.7:4000")
	raw, err := json.Marshal(mediaFacts(&callcore.Facts{Sides: [2]callcore.Side{a, c}}))
	want := `[{"Chosen":"opus/48000/2","Dir":7,"Lines":[{"Type":"audio","Proto":"UDP/TLS/RTP/SAVPF","Used":true}],"Remote":""},` +
		`{"Chosen":"PCMA/8000","Dir":7,"Lines":[{"Type":"audio","Proto":"RTP/AVP","Used":true}],"Remote":"10.0.0.7:4000"}]`
	if err != nil || string(raw) != want {
		t.Errorf("%v\n%s\n%s", err, raw, want)
	}
}
