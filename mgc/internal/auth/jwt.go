package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Verifier says whose a token is. Verify may block for HTTP, until ctx ends at most. Errors wrap a Reason and hold nothing of
// the token. Implementations are safe for concurrent use.
type Verifier interface {
	Verify(ctx context.Context, token string) (Identity, error)
}

// jwtVerifier checks signed tokens (RFC 7519) of one issuer by its keys.
type jwtVerifier struct {
	rules  rules
	keys   *keySource
	algs   []string
	parser *jwt.Parser
}

func newJWTVerifier(r rules, algs []string, keys *keySource) *jwtVerifier {
	r.needAll = true
	return &jwtVerifier{rules: r, keys: keys, algs: algs,
		parser: jwt.NewParser(jwt.WithValidMethods(algs), jwt.WithStrictDecoding(), jwt.WithJSONNumber(), jwt.WithoutClaimsValidation())}
}

// Verify implements Verifier. The algorithm is held against our list, then against the key, before any cryptography; header
// fields that carry or point to keys (jwk, jku, x5c, x5u) are not looked at (RFC 8725 §3.1, §3.10).
func (v *jwtVerifier) Verify(ctx context.Context, token string) (Identity, error) {
	head, err := joseHeader(token)
	if err != nil {
		return Identity{}, err
	}
	alg, _ := head["alg"].(string)
	if !slices.Contains(v.algs, alg) {
		return Identity{}, Algorithm
	}
	if _, critical := head["crit"]; critical || !isAccessTokenType(head) {
		return Identity{}, Malformed // RFC 7515 §4.1.11: an extension that is not understood
	}
	kid, isText := head["kid"].(string)
	if _, has := head["kid"]; has && (!isText || kid == "" || len(kid) > maxValue) {
		return Identity{}, Malformed
	}
	key, err := v.keys.key(ctx, kid, alg)
	if err != nil {
		return Identity{}, err
	}
	claims := jwt.MapClaims{}
	if _, err := v.parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
		return Identity{}, signatureReason(err)
	}
	return v.rules.identity(claims, time.Now())
}

// signatureReason drops the library's text, which may quote the token.
func signatureReason(err error) Reason {
	if errors.Is(err, jwt.ErrTokenMalformed) {
		return Malformed
	}
	return BadSignature
}

// isAccessTokenType refuses JWTs of other kinds, such as logout tokens (RFC 8725 §3.11); access tokens are at+jwt (RFC 9068 §2.1),
// JWT, or say nothing.
func isAccessTokenType(head map[string]any) bool {
	typ, has := head["typ"]
	s, isText := typ.(string)
	if !has {
		return true
	}
	s = strings.TrimPrefix(strings.ToLower(s), "application/")
	return isText && (s == "jwt" || s == "at+jwt")
}

// joseHeader decodes the first of three segments. Errors: Malformed.
func joseHeader(token string) (map[string]any, error) {
	if strings.Count(token, ".") != 2 {
		return nil, Malformed
	}
	return segment(token[:strings.IndexByte(token, '.')])
}

// issuerOf returns the iss that a JWT claims, unverified: it only chooses who verifies. ok is false for a token that is no JWT.
func issuerOf(token string) (iss string, ok bool) {
	if _, err := joseHeader(token); err != nil {
		return "", false
	}
	claims, err := segment(strings.Split(token, ".")[1])
	if err != nil {
		return "", false
	}
	iss, _ = claims["iss"].(string)
	return iss, true
}

func segment(s string) (map[string]any, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, Malformed
	}
	object, err := decodeObject(b)
	if err != nil {
		return nil, Malformed
	}
	return object, nil
}

// verifiers chooses the verifier of a token: by iss for a JWT, the one that introspects for the rest.
type verifiers struct {
	byIssuer map[string]Verifier
	opaque   Verifier // nil: none
}

// Verify implements Verifier.
func (v *verifiers) Verify(ctx context.Context, token string) (Identity, error) {
	iss, isJWT := issuerOf(token)
	switch {
	case isJWT && v.byIssuer[iss] != nil:
		return v.byIssuer[iss].Verify(ctx, token)
	case isJWT && (iss != "" || v.opaque == nil):
		return Identity{}, WrongIssuer // also not sent to another issuer's endpoint
	case v.opaque != nil:
		return v.opaque.Verify(ctx, token)
	}
	return Identity{}, Malformed
}
