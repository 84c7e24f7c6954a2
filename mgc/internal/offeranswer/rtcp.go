package offeranswer

import (
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/pkg/sdp"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// XRPolicy says on which side and when extended reports are agreed (RFC 3611 §5).
type XRPolicy string

// The values.
const (
	XROff    XRPolicy = "off"
	XRAnswer XRPolicy = "answer" // with peers that ask for them
	XROffer  XRPolicy = "offer"  // also offered to the core
)

// XR are the extended reports that a peer has asked for, and what we have said of them.
type XR struct {
	Metrics   bool   `json:"voip,omitempty"` // it wants VoIP metrics
	Reference string `json:"rtt,omitempty"`  // "rcvr-rtt=all", "rcvr-rtt=sender"; empty: no reference times
	Said      string `json:"said,omitempty"` // value of our attribute; empty: none
}

// readXR reads the rtcp-xr attributes that hold for a: its own, else those of the session (RFC 3611 §5.1). What we have not is left out.
func readXR(d *sdp.Description, a *sdp.Media) XR {
	var out XR
	list := a.Other
	if !slices.ContainsFunc(list, isXR) {
		list = d.Other
	}
	for _, attr := range list {
		if !isXR(attr) {
			continue
		}
		for _, f := range strings.Fields(attr.Value) {
			name, value, _ := strings.Cut(f, "=")
			mode, _, _ := strings.Cut(value, ":") // the most octets of its block; ours is as short as it gets
			switch {
			case name == "voip-metrics":
				out.Metrics = true
			case name == "rcvr-rtt" && (mode == "all" || mode == "sender"):
				out.Reference = "rcvr-rtt=" + mode
			}
		}
	}
	return out
}

func isXR(a sdp.Attribute) bool { return a.Name == "rtcp-xr" }

// mirror is an attribute that agrees to what the peer asked for.
func (x XR) mirror() string {
	if x.Metrics {
		return strings.TrimSpace("voip-metrics " + x.Reference)
	}
	return x.Reference
}

// sayXR decides what our next description says of extended reports: in an answer, and to a peer that has spoken, what the peer asks for.
func (m *Media) sayXR(side Side, answer bool) {
	x := &m.Line(side).XR
	switch {
	case m.Policy.XR != XRAnswer && m.Policy.XR != XROffer:
		x.Said = ""
	case !answer && m.Policy.XR == XROffer && side == Core:
		x.Said = "voip-metrics rcvr-rtt=all"
	default:
		x.Said = x.mirror()
	}
}

// attributes is the rtcp-xr line of our description.
func (x XR) attributes() []sdp.Attribute {
	if x.Said == "" {
		return nil
	}
	return []sdp.Attribute{{Name: "rtcp-xr", Value: x.Said}}
}

// bps is a bandwidth of the peer's description plus one, bit/s; 0: it says none.
type bps uint32

// said reports whether the description says n.
func (b bps) said(n uint32) bool { return b != 0 && uint32(b-1) == n }

// limit is the bandwidth for the media gateway, to which 0 is none.
func (b bps) limit() uint32 {
	if b == 0 {
		return 0
	}
	return uint32(b - 1)
}

// rtcpBandwidth is b=RS or b=RR of a media description, or else of the session (RFC 3556 §2).
func rtcpBandwidth(d *sdp.Description, a *sdp.Media, typ string) bps {
	for _, bs := range [][]sdp.Bandwidth{a.Bandwidth, d.Bandwidth} {
		for _, b := range bs {
			if b.Type == typ {
				return bps(min(uint64(b.Value), 1<<31)) + 1
			}
		}
	}
	return 0
}

// rtcpPolicy is what the media gateway is told of side's RTCP.
func (m *Media) rtcpPolicy(side Side) *iqv1.RtcpPolicy {
	l := m.Line(side)
	allowed := m.Policy.XR == XRAnswer || m.Policy.XR == XROffer
	return &iqv1.RtcpPolicy{
		Mux: side == Access && l.Web.muxed(m.Policy.Mux) || side == Core && l.Mux, ReducedSize: side == Access && l.Web.Rsize, Off: side == Core && l.RTCPOff,
		SendersBps: l.RS.limit(), ReceiversBps: l.RR.limit(),
		XrVoipMetrics: allowed && l.XR.Metrics,
		XrRcvrRtt:     allowed && l.XR.Reference != "" && strings.Contains(l.XR.Said, "rcvr-rtt"), // both have to say so (RFC 3611 §5.2)
	}
}
