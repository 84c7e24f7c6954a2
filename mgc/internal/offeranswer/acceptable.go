package offeranswer

import (
	"net/netip"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// Acceptable describes what the policy allows on side, for the body of a 488: no session, so every port is 0 and no address is told
// (RFC 3261 §21.4.26, RFC 3264 §9; standards MO-09). It is nil when nothing is allowed.
func (p Policy) Acceptable(side Side) []byte {
	m := Media{Policy: p} // neither peer has spoken: all that can be joined with anything
	codecs := m.candidates(side)
	if len(codecs) == 0 {
		return nil
	}
	nowhere := sdp.AddressOf(netip.IPv4Unspecified())
	a := sdp.Media{Type: "audio", Proto: p.coreProto(), Codecs: append(codecs, m.offerEvents(side, codecs)...)}
	if side == Access {
		a.Proto, a.RTCPMux = "UDP/TLS/RTP/SAVPF", true
	}
	d := sdp.Description{Origin: sdp.Origin{Addr: nowhere}, Connection: &sdp.Connection{Addr: nowhere}, Media: []sdp.Media{a}}
	return d.Marshal()
}
