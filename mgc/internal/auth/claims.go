package auth

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
)

// rules are the checks on claims that do not depend on how they were learnt: from a signed token or from introspection.
type rules struct {
	issuer      string
	audience    []string // one of them must be in aud; none: aud is not looked at
	scopes      []string // all must be granted
	skew        time.Duration
	maxLifetime time.Duration // longest life of a verdict, whatever exp says
	needAll     bool          // iss and exp must be there (JWT); introspection may leave them out (RFC 7662 §2.2)
	mapper      *mapper
}

// identity checks the claims and maps them. The order of the checks is that of RFC 7519 §7.2 for a token whose signature is
// known to be good. Errors: a Reason.
func (r *rules) identity(claims map[string]any, now time.Time) (Identity, error) {
	if err := r.checkParties(claims); err != nil {
		return Identity{}, err
	}
	expires, err := r.checkTimes(claims, now)
	if err != nil {
		return Identity{}, err
	}
	if !hasScopes(claims, r.scopes) {
		return Identity{}, ScopeMissing
	}
	sub, ok := claims["sub"].(string)
	if !ok || sub == "" || len(sub) > maxValue {
		return Identity{}, Malformed
	}
	id := Identity{Issuer: r.issuer, Subject: sub, Expires: expires, Recheck: expires}
	return id, r.mapper.identity(&id, claims)
}

// checkParties checks iss and aud.
func (r *rules) checkParties(claims map[string]any) error {
	iss, has := claims["iss"]
	if s, _ := iss.(string); (has || r.needAll) && s != r.issuer {
		return WrongIssuer
	}
	if len(r.audience) == 0 {
		return nil
	}
	for _, a := range stringsOf(claims["aud"]) {
		if slices.Contains(r.audience, a) {
			return nil
		}
	}
	return WrongAudience
}

// checkTimes checks exp, nbf and iat, and returns when the token ends. A token within the skew after its exp lives until the
// skew is over.
func (r *rules) checkTimes(claims map[string]any, now time.Time) (time.Time, error) {
	limit := now.Add(r.maxLifetime)
	exp, has, err := numericDate(claims, "exp")
	switch {
	case err != nil, !has && r.needAll:
		return time.Time{}, Malformed
	case !has:
		exp = limit
	case !now.Before(exp.Add(r.skew)):
		return time.Time{}, Expired
	case !now.Before(exp):
		exp = exp.Add(r.skew)
	}
	for _, name := range [...]string{"nbf", "iat"} {
		at, has, err := numericDate(claims, name)
		if err != nil {
			return time.Time{}, Malformed
		}
		if has && at.After(now.Add(r.skew)) {
			return time.Time{}, NotYetValid
		}
	}
	if exp.After(limit) {
		exp = limit
	}
	return exp, nil
}

// numericDate reads seconds since 1970, with or without a fraction (RFC 7519 §2). A value of another type, negative, or beyond
// the year 9999 is an error: it must not wrap around into the allowed range.
func numericDate(claims map[string]any, name string) (at time.Time, has bool, err error) {
	v, has := claims[name]
	if !has {
		return time.Time{}, false, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, true, Malformed
	}
	f, ferr := n.Float64()
	if ferr != nil || math.IsNaN(f) || f < 0 || f > 253402300799 {
		return time.Time{}, true, Malformed
	}
	whole, frac := math.Modf(f)
	return time.Unix(int64(whole), int64(frac*1e9)), true, nil
}

// hasScopes reports whether the scope claim (RFC 8693 §4.2), or the scp claim that some issuers write, grants all.
func hasScopes(claims map[string]any, need []string) bool {
	var granted []string
	for _, name := range [...]string{"scope", "scp"} {
		for _, s := range stringsOf(claims[name]) {
			granted = append(granted, strings.Fields(s)...)
		}
	}
	for _, s := range need {
		if !slices.Contains(granted, s) {
			return false
		}
	}
	return true
}

// stringsOf returns a string, or the strings of a list.
func stringsOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}
