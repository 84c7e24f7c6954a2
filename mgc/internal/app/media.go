package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// validate checks the lists of codecs.
func (c *MediaConfig) validate() error {
	var policing error
	if n := c.Policing.Percent; n > 0 && n < 100 {
		policing = fmt.Errorf("media.policing.percent: %d; 0, or 100 to 1000", n)
	}
	return errors.Join(policing,
		checkCodecs("media.core_codecs", c.CoreCodecs, offeranswer.SIPCodecs, offeranswer.MTSICodecs, offeranswer.PassThrough),
		checkLimit(c.QualityLimit),
		checkCodecs("media.access_codecs", c.AccessCodecs, offeranswer.WebCodecs, offeranswer.PassThrough),
	)
}

// checkLimit refuses a limit of quality that no estimate reaches.
func checkLimit(mos float64) error {
	if mos != 0 && mos < 1 {
		return fmt.Errorf("media.quality_limit: %g; allowed: 0, or 1..4.5", mos)
	}
	return nil
}

// checkCodecs refuses names that are in none of the sets, and repetitions.
func checkCodecs(field string, names []string, sets ...[]string) error {
	allowed := slices.Compact(slices.Sorted(slices.Values(slices.Concat(sets...))))
	for i, n := range names {
		same := func(o string) bool { return strings.EqualFold(n, o) }
		switch {
		case !slices.ContainsFunc(allowed, same):
			return fmt.Errorf("%s: %q is not one of %s", field, n, strings.Join(allowed, ", "))
		case slices.ContainsFunc(names[:i], same):
			return fmt.Errorf("%s: %q twice", field, n)
		}
	}
	return nil
}

// media is the media policy that the configuration and the profile of the core make.
func (c *Config) media() offeranswer.Policy {
	p := offeranswer.DefaultPolicy()
	p.Prefer = offeranswer.Preference(c.Core.choose(c.Media.Prefer, string(offeranswer.PreferRelay), string(offeranswer.PreferCore)))
	p.MTSI = c.Core.Profile == profileIMS
	if p.MTSI {
		p.Core = offeranswer.MTSICodecs
	}
	if len(c.Media.CoreCodecs) > 0 {
		p.Core = c.Media.CoreCodecs
	}
	if len(c.Media.AccessCodecs) > 0 {
		p.Access = c.Media.AccessCodecs
	}
	p.DTX, p.XR = offeranswer.DTX(c.Media.DTX), offeranswer.XRPolicy(c.Media.RTCPXR)
	p.Noise = offeranswer.Noise(c.Core.choose(c.Media.ComfortNoise, string(offeranswer.NoiseOffer), string(offeranswer.NoiseAnswer)))
	p.Mux = offeranswer.RTCPMux(c.Media.RTCPMux)
	p.DSCP, p.Latch = uint32(c.Media.DSCP), c.Core.Latch == "on"
	if n := c.Media.Policing; n.Percent > 0 {
		p.Police = offeranswer.Police{Percent: uint32(n.Percent), Burst: n.Burst}
	}
	p.Streams = c.Call.AudioStreams
	p.SRTP = offeranswer.SRTP(c.Core.SRTP)
	for _, s := range c.Core.SRTPSuites {
		p.Suites = append(p.Suites, sdp.Suite(s))
	}
	return p
}
