package callcore

import "github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"

// Capabilities of a media gateway.
const (
	FeatureXR  = "rtcp-xr"  // extended reports (RFC 3611)
	FeatureMKI = "sdes-mki" // MKI of the core peer's packets (RFC 4568 §6.1)

	FeatureStreams = "streams" // several streams per termination (TS 29.334 §5.7.2)
)

// Within is the policy without what the pool of media gateways cannot do yet, as long as one of them is older: a peer is told of nothing then that it would
// not get. common returns those of the capabilities that all have.
func (p Policy) Within(common func([]string) []string) Policy {
	if p.extendedReports() && len(common([]string{FeatureXR})) == 0 {
		p.Media.XR = offeranswer.XROff
	}
	p.Media.NoMKI = p.Media.NoMKI || len(common([]string{FeatureMKI})) == 0 // of several keys that are offered, one without is taken
	if p.Media.Streams > 1 && len(common([]string{FeatureStreams})) == 0 {
		p.Media.Streams = 1 // further lines are refused
	}
	return p
}

// Priority is that of the call's context.
func (s *State) Priority() uint32 {
	if s.d.Cfg.Emergency {
		return emergencyPriority
	}
	return s.d.Cfg.Priority
}

const emergencyPriority = 15 // standards EMG-04

// Needs returns the capabilities that the call's media gateway must have.
func (s *State) Needs() []string {
	var needs []string
	if s.d.Cfg.Policy.extendedReports() {
		needs = append(needs, FeatureXR)
	}
	if s.d.Media.Streams() > 1 {
		needs = append(needs, FeatureStreams)
	}
	return needs
}

func (p *Policy) extendedReports() bool { return p.Media.XR != "" && p.Media.XR != offeranswer.XROff }
