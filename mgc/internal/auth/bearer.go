package auth

import (
	"net/http"
	"strings"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// scheme is the authentication scheme of RFC 8898 §4; its case is insignificant.
const scheme = "Bearer"

// maxParams bounds the parameters beside the token in the 3GPP spelling.
const maxParams = 8

// ParseBearer reads one Authorization value in either spelling: `Bearer <token68>` (RFC 8898 §4) and
// `Bearer access_token="<token68>"` with further parameters (TS 24.371 §A.3.2). ok is false, and err nil, when the scheme is
// another one. maxToken bounds the token in bytes. Errors: BadSyntax; Malformed when only the length is wrong.
func ParseBearer(value string, maxToken int) (token string, ok bool, err error) {
	rest, ok := cutScheme(value)
	if !ok {
		return "", false, nil
	}
	rest = strings.Trim(rest, " \t")
	if len(rest) > maxToken+1024 {
		return "", true, Malformed
	}
	// "access_token=" alone would be a token68 as well: the name of the parameter wins.
	if isToken68(rest) && !strings.EqualFold(rest, "access_token=") {
		token = rest
	} else if token, err = tokenParam(rest); err != nil {
		return "", true, err
	}
	if len(token) > maxToken {
		return "", true, Malformed
	}
	return token, true, nil
}

// cutScheme returns what follows the scheme, and whether the scheme is Bearer. A Bearer without anything behind it is one too.
func cutScheme(value string) (string, bool) {
	value = strings.Trim(value, " \t")
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	rest := value[len(scheme):]
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", false
	}
	return rest, true
}

// tokenParam returns the access_token of a comma-separated parameter list in which no name is repeated.
func tokenParam(s string) (string, error) {
	token := ""
	seen := make([]string, 0, maxParams)
	for {
		name, value, rest, ok := nextAuthParam(s)
		if !ok || len(seen) == maxParams {
			return "", BadSyntax
		}
		name = strings.ToLower(name)
		for _, n := range seen {
			if n == name {
				return "", BadSyntax
			}
		}
		seen = append(seen, name)
		if name == "access_token" {
			if !isToken68(value) {
				return "", BadSyntax
			}
			token = value
		}
		if rest == "" {
			break
		}
		s = rest
	}
	if token == "" {
		return "", BadSyntax
	}
	return token, nil
}

// nextAuthParam reads `name = value` and the comma behind it. value is a quoted-string, returned without quotes, or a token.
// rest is what follows the comma; a comma with nothing behind it is an error.
func nextAuthParam(s string) (name, value, rest string, ok bool) {
	n := strings.IndexByte(s, '=')
	if n < 0 {
		return "", "", "", false
	}
	name = strings.Trim(s[:n], " \t")
	s = strings.TrimLeft(s[n+1:], " \t")
	end := 0
	if strings.HasPrefix(s, `"`) {
		if end = headers.QuotedEnd(s); end < 0 {
			return "", "", "", false
		}
		value = headers.Unquote(s[:end])
	} else {
		if end = strings.IndexAny(s, ", \t"); end < 0 {
			end = len(s)
		}
		if value = s[:end]; !isToken(value) {
			return "", "", "", false
		}
	}
	rest = strings.TrimLeft(s[end:], " \t")
	if !isToken(name) {
		return "", "", "", false
	}
	if rest == "" {
		return name, value, "", true
	}
	if rest[0] != ',' {
		return "", "", "", false
	}
	rest = strings.TrimLeft(rest[1:], " \t")
	return name, value, rest, rest != ""
}

// isToken68 checks 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" (RFC 8898 §4).
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		if c := body[i]; !isAlnum(c) && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return body != ""
}

// isToken checks a token of RFC 3261 §25.1.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && strings.IndexByte("-.!%*_+`'~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// FromRequest returns the one Bearer token of a SIP request, "" when there is none. Errors: as of ParseBearer, BadSyntax when
// there are several.
func FromRequest(req *headers.Msg, maxToken int) (string, error) {
	token, found := "", false
	for i := range req.Fields {
		if !strings.EqualFold(req.Fields[i].Name, "Authorization") {
			continue
		}
		t, ok, err := ParseBearer(req.Fields[i].Value, maxToken)
		switch {
		case err != nil:
			return "", err
		case ok && found:
			return "", BadSyntax
		case ok:
			token, found = t, true
		}
	}
	return token, nil
}

// FromUpgrade returns the token that came with the HTTP upgrade of a WebSocket, from the places that cfg allows, "" when there
// is none (REG-06, a product option: no specification knows it). The caller binds it to the connection with
// Authenticator.Bind, never answers with it in Sec-WebSocket-Protocol, and must check Origin when a cookie may carry it.
// Errors: BadSyntax when two different tokens are there or one is no token68, Malformed when it is too long.
func FromUpgrade(r *http.Request, cfg UpgradeConfig, maxToken int) (string, error) {
	var found []string
	if cfg.Subprotocol != "" {
		for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
			for p := range strings.SplitSeq(line, ",") {
				if t, ok := strings.CutPrefix(strings.Trim(p, " \t"), cfg.Subprotocol); ok {
					found = append(found, t)
				}
			}
		}
	}
	if cfg.Cookie != "" {
		for _, c := range r.CookiesNamed(cfg.Cookie) {
			found = append(found, c.Value)
		}
	}
	if cfg.Query != "" && r.URL != nil {
		found = append(found, r.URL.Query()[cfg.Query]...)
	}
	token := ""
	for _, t := range found {
		switch {
		case len(t) > maxToken:
			return "", Malformed
		case !isToken68(t), token != "" && t != token:
			return "", BadSyntax
		}
		token = t
	}
	return token, nil
}
