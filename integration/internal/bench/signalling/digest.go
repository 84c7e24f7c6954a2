package signalling

import (
	"crypto/md5"
	"encoding/hex"
	"strings"
)

const (
	domain   = "bench.example"
	password = "secret"
	nonce    = "6f1c2b0a9d8e7f60"
	algo     = ", algorithm=MD5"
)

func hash(parts ...string) string {
	sum := md5.Sum([]byte(strings.Join(parts, ":")))
	return hex.EncodeToString(sum[:])
}

// challenge is the core's demand for credentials.
const challenge = `Digest realm="` + domain + `", nonce="` + nonce + `", qop="auth"` + algo

// credentials answer the challenge (RFC 3261 §22.4, RFC 7616).
func credentials(name, method, uri string) string {
	const nc, cnonce = "00000001", "0a4f113b"
	response := hash(hash(name, domain, password), nonce, nc, cnonce, "auth", hash(method, uri))
	return `Digest username="` + name + `", realm="` + domain + `", nonce="` + nonce + `", uri="` + uri + `", response="` + response +
		`", qop=auth, nc=` + nc + `, cnonce="` + cnonce + `"` + algo
}
