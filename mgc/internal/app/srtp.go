package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/offeranswer"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// validateSRTP checks the fields of SRTP towards the core.
func (c *CoreConfig) validateSRTP() error {
	var errs []error
	for i, n := range c.SRTPSuites {
		if !slices.Contains(offeranswer.Suites, sdp.Suite(n)) {
			errs = append(errs, fmt.Errorf("core.srtp_suites: %q is not one of %s", n, suiteNames()))
		}
		if slices.Contains(c.SRTPSuites[:i], n) {
			errs = append(errs, fmt.Errorf("core.srtp_suites: %q twice", n))
		}
	}
	if c.keysInClear() && c.SRTPCleartext != "warn" {
		errs = append(errs, errors.New("core.srtp: required needs a core.next_hop over TLS (sips:, or transport=tls), as SDP carries the keys; core.srtp_cleartext=warn allows it without"))
	}
	return errors.Join(errs...)
}

// keysInClear reports whether SRTP is required, and the keys go to the next hop where anybody on the way can read them (RFC 4568 §7.1). With
// osrtp nothing is promised (RFC 8643 §1).
func (c *CoreConfig) keysInClear() bool {
	if offeranswer.SRTP(c.SRTP) != offeranswer.SRTPRequired {
		return false
	}
	uri := strings.ToLower(c.NextHop)
	_, params, _ := strings.Cut(uri, ";")
	return !strings.HasPrefix(uri, "sips:") && !slices.Contains(strings.Split(params, ";"), "transport=tls")
}

func suiteNames() string {
	var out []string
	for _, s := range offeranswer.Suites {
		out = append(out, string(s))
	}
	return strings.Join(out, ", ")
}
