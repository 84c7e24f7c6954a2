package sdp

import (
	"slices"
	"strconv"
	"strings"
)

// Limits of what is read of capability negotiation; what is beyond is ignored.
const (
	maxTransportCaps = 32
	maxPotential     = 32
)

// Potential is a potential configuration of a media line that differs from its actual one in nothing but the transport protocol
// (RFC 5939 §3.5.1).
type Potential struct {
	Config uint64 // number of the configuration, from 1; the lowest one is preferred
	Cap    uint64 // number of the transport protocol capability
	Proto  string // e.g. "RTP/AVPF"
}

// Actual is the value of the acfg attribute by which an answer says that it uses p (RFC 5939 §3.5.2).
func (p Potential) Actual() string {
	return strconv.FormatUint(p.Config, 10) + " t=" + strconv.FormatUint(p.Cap, 10)
}

// Potentials returns the potential configurations of m, the preferred one first. Left out are those that are damaged, that need more than
// another transport protocol - attributes to be added or deleted, extensions that must be understood -, and all when the offer requires an
// option that we do not have (RFC 5939 §3.3.2).
func (d *Description) Potentials(m *Media) []Potential {
	if requiresUnknown(d.Other) || requiresUnknown(m.Other) {
		return nil
	}
	caps := map[uint64]string{}
	for _, list := range [2][]Attribute{d.Other, m.Other} {
		readTransportCaps(list, caps)
	}
	var out []Potential
	for _, a := range m.Other {
		if a.Name == "pcfg" && len(out) < maxPotential {
			if p, ok := readPotential(a.Value, caps); ok {
				out = append(out, p)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Potential) int {
		switch {
		case a.Config < b.Config:
			return -1
		case a.Config > b.Config:
			return 1
		}
		return 0
	})
	return out
}

// requiresUnknown reports whether a creq attribute names an option other than the base one (RFC 5939 §3.3.2).
func requiresUnknown(list []Attribute) bool {
	for _, a := range list {
		if a.Name != "creq" {
			continue
		}
		for tag := range strings.SplitSeq(a.Value, ",") {
			if strings.TrimSpace(tag) != "cap-v0" {
				return true
			}
		}
	}
	return false
}

// readTransportCaps reads tcap attributes: a number, and protocols that count up from it (RFC 5939 §3.4.2). A number that stands twice
// means nothing.
func readTransportCaps(list []Attribute, caps map[uint64]string) {
	for _, a := range list {
		if a.Name != "tcap" {
			continue
		}
		f := strings.Fields(a.Value)
		if len(f) < 2 {
			continue
		}
		n, ok := capNumber(f[0])
		if !ok {
			continue
		}
		for i, proto := range f[1:] {
			if len(caps) >= maxTransportCaps {
				return
			}
			if _, twice := caps[n+uint64(i)]; twice {
				proto = ""
			}
			caps[n+uint64(i)] = proto
		}
	}
}

// readPotential reads a pcfg attribute: of alternative protocols the first one (RFC 5939 §3.5.1).
func readPotential(value string, caps map[uint64]string) (Potential, bool) {
	var p Potential
	f := strings.Fields(value)
	if len(f) < 2 {
		return p, false
	}
	var ok bool
	if p.Config, ok = capNumber(f[0]); !ok {
		return p, false
	}
	for _, item := range f[1:] {
		key, list, has := strings.Cut(item, "=")
		if !has {
			return p, false
		}
		switch {
		case strings.HasPrefix(key, "+"): // an extension that must be understood
			return p, false
		case key == "a": // attributes that the configuration needs, or deletes
			return p, false
		case key == "t":
			first, _, _ := strings.Cut(list, "|")
			if p.Cap, ok = capNumber(first); !ok {
				return p, false
			}
			p.Proto = caps[p.Cap]
		}
	}
	return p, p.Proto != ""
}

// capNumber reads a number of capability negotiation, 1 to 2^31-1 (RFC 5939 §3.4.2).
func capNumber(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 31)
	return n, err == nil && n > 0
}
