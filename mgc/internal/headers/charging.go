package headers

import "strings"

// ChargingVector is the value of a P-Charging-Vector field (RFC 7315 §4.6).
type ChargingVector struct {
	ICID        string // IMS Charging Identity, globally unique
	GeneratedAt string // host that made the ICID; empty: not given
	OrigIOI     string // Inter Operator Identifiers; empty: not given
	TermIOI     string
	Other       Params // kept as they came
}

// ParseChargingVector parses the value of a P-Charging-Vector field.
func ParseChargingVector(s string) (ChargingVector, error) {
	p, err := ParseParams(";" + s)
	if err != nil {
		return ChargingVector{}, err
	}
	v := ChargingVector{
		ICID: p.Value("icid-value"), GeneratedAt: p.Value("icid-generated-at"), OrigIOI: p.Value("orig-ioi"), TermIOI: p.Value("term-ioi"),
	}
	if v.ICID == "" {
		return ChargingVector{}, syntax("P-Charging-Vector", s)
	}
	for _, q := range p {
		switch strings.ToLower(q.Name) {
		case "icid-value", "icid-generated-at", "orig-ioi", "term-ioi":
		default:
			v.Other = append(v.Other, q)
		}
	}
	return v, nil
}

// String returns the value as on the wire.
func (v ChargingVector) String() string {
	s := "icid-value=" + Quote(v.ICID)
	if v.GeneratedAt != "" {
		s += ";icid-generated-at=" + tokenOrQuoted(v.GeneratedAt)
	}
	if v.OrigIOI != "" {
		s += ";orig-ioi=" + tokenOrQuoted(v.OrigIOI)
	}
	if v.TermIOI != "" {
		s += ";term-ioi=" + tokenOrQuoted(v.TermIOI)
	}
	return s + v.Other.String()
}

func tokenOrQuoted(s string) string {
	if isToken(s) {
		return s
	}
	return Quote(s)
}
