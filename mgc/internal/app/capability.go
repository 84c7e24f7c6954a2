package app

import (
	"slices"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	iqv1 "github.com/isthmus-gateway/isthmus/proto/iq/v1"
)

// A media gateway ignores fields that it does not know of, and so that it has not done what they ask. Its capabilities (Capabilities.features) tell what it
// knows: what the configuration always needs decides which gateways are picked, what can be left out of a call is left out until all have it
// (callcore.Needs), and a transaction that asks for more than its gateway has is refused here.

// features are the capabilities that a media gateway must have for this configuration.
func (c *Config) features() []string {
	needs := c.Core.features()
	if offeranswer.RTCPMux(c.Media.RTCPMux) == offeranswer.MuxNegotiate {
		needs = append(needs, "rtcp-component")
	}
	if c.Media.QualityLimit > 0 {
		needs = append(needs, "quality") // an older one refuses the event, and the call with it
	}
	if c.Call.InactiveRelease > 0 && c.Call.InactiveRTCP {
		needs = append(needs, "inactivity-rtcp") // an older one would end calls of those who pause in silence
	}
	return needs
}

// features are those for this core.
func (c *CoreConfig) features() []string {
	if s := offeranswer.SRTP(c.SRTP); s == offeranswer.SRTPOsrtp || s == offeranswer.SRTPRequired {
		return []string{"sdes"}
	}
	return nil
}

// sounding is what media gateways must be able to do for what is configured to be heard.
func (c *Config) sounding() []string {
	auto := func(s string) bool { return s == "" || s == string(callcore.DigitsAuto) }
	if c.Call.Ringback == "gateway" || len(c.Call.Announce) > 0 || !auto(c.Media.DTMF.Access) || !auto(c.Media.DTMF.Core) {
		return []string{"signals"}
	}
	return nil
}

// missing is a capability that the transaction needs and is none of those given; "": there is none.
func missing(features []string, req *iqv1.TransactionRequest) string {
	for _, action := range req.GetActions() {
		for _, c := range action.GetCommands() {
			for _, name := range begins(c.GetAdd().GetDescriptor_()) {
				if !slices.Contains(features, name) {
					return name
				}
			}
			for _, d := range []*iqv1.TerminationDescriptor{c.GetAdd().GetDescriptor_(), c.GetModify().GetDescriptor_()} {
				for _, name := range slices.Concat(sounds(d), keyed(d), further(d)) {
					if !slices.Contains(features, name) {
						return name
					}
				}
			}
		}
	}
	return ""
}

// sounds are the capabilities that a gateway must have for the signals and tones of the descriptor. Stopping of signals needs none: nothing plays there.
func sounds(d *iqv1.TerminationDescriptor) []string {
	tones := func(e *iqv1.EventSpec) bool { return e.GetTones() }
	if len(d.GetSignals().GetSignals()) > 0 || slices.ContainsFunc(d.GetEvents().GetSpecs(), tones) {
		return []string{"signals"}
	}
	return nil
}

// keyed are those for the peer's key: a gateway that does not know of its MKI would take all the peer's packets for forged.
func keyed(d *iqv1.TerminationDescriptor) []string {
	hasMKI := func(k *iqv1.SrtpCrypto) bool { return len(k.GetMki()) > 0 }
	for _, s := range d.GetStreams() {
		if slices.ContainsFunc(s.GetRemote().GetCryptos(), hasMKI) {
			return []string{callcore.FeatureMKI}
		}
	}
	return nil
}

// further are those for more than one stream.
func further(d *iqv1.TerminationDescriptor) []string {
	more := func(s *iqv1.Stream) bool { return s.GetStreamId() > offeranswer.StreamID }
	if slices.ContainsFunc(d.GetStreams(), more) {
		return []string{callcore.FeatureStreams}
	}
	return nil
}

// begins are those for what a termination begins with. A Modify of a call that began without them is not refused for it: that would end the call, which
// may be from a time when gateways did not yet tell of the capability.
func begins(d *iqv1.TerminationDescriptor) []string {
	var out []string
	need := func(name string, is bool) {
		if is {
			out = append(out, name)
		}
	}
	for _, e := range d.GetEvents().GetSpecs() {
		need("quality", e.GetType() == iqv1.EventType_EVENT_TYPE_QUALITY)
	}
	for _, s := range d.GetStreams() {
		need("sdes", len(s.GetLocal().GetCryptos()) > 0 || len(s.GetRemote().GetCryptos()) > 0)
		rtcp := s.GetLocalControl().GetRtcp()
		need(callcore.FeatureXR, rtcp.GetXrVoipMetrics() || rtcp.GetXrRcvrRtt())
		need("rtcp-component", d.GetTransport() != nil && rtcp != nil && !rtcp.GetMux())
	}
	return out
}
