package app

import (
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/emergency"
	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/mgc/internal/trust"
)

// Profiles of the core. A profile is a coherent set of defaults; each field of the configuration that says auto follows it.
const (
	profileSIP = "sip" // a PBX or SIP provider: none of the IMS header fields
	profileIMS = "ims" // an IMS core, in whose trust domain we are
)

const auto = "auto"

// choose resolves a field: what it says, or the profile's default.
func (c *CoreConfig) choose(field, sip, ims string) string {
	switch {
	case field != auto && field != "":
		return field
	case c.Profile == profileIMS:
		return ims
	}
	return sip
}

// trust is what crosses the border, and what we assert beyond it.
func (c *CoreConfig) trust(host string) trust.Profile {
	return trust.Profile{
		Asserts: c.choose(c.Identity, "none", "assert") == "assert", Host: host, AccessInfo: c.AccessInfo, OrigIOI: c.IOI, History: c.History,
	}
}

// shape applies the profile to the policy of calls.
func (c *CoreConfig) shape(p *callcore.Policy) {
	p.Reliable = c.choose(c.Reliable, "on", "on") == "on"
	p.EarlyMedia = callcore.EarlyMedia(c.choose(c.EarlyMedia, string(callcore.EarlyMediaAlways), string(callcore.EarlyMediaAuthorised)))
	p.Media.Preconditions = offeranswer.Preconditions(c.choose(c.Preconditions, string(offeranswer.PreconditionsOff), string(offeranswer.PreconditionsAnswer)))
	p.SessionExpires, p.MinSE = seconds(c.SessionExpires), seconds(c.MinSE)
	p.T1 = c.T1
}

// regEvent reports whether the registration state of each user is subscribed to.
func (c *CoreConfig) regEvent() bool { return c.choose(c.RegEvent, "off", "on") == "on" }

// emergency is the policy with its mode resolved.
func (c *CoreConfig) emergency(p emergency.Policy) emergency.Policy {
	p.Mode = emergency.Mode(c.choose(string(p.Mode), string(emergency.Ordinary), string(emergency.Redirect)))
	return p
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }
