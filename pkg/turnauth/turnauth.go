// Package turnauth makes and checks the time-limited TURN credentials that a controller and a media gateway agree on by a shared secret,
// without a word between them (draft-uberti-behave-turn-rest-00, as other TURN servers have it too). Floor 1 of pkg. Owner: Secrets owns
// the goroutine that looks at its file.
//
// A user name is "expiry:user", expiry in seconds since 1970; its password is base64(HMAC-SHA1(secret, user name)).
package turnauth

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"
)

// MaxUsername bounds a user name, in bytes (RFC 8489 §14.3 allows 508).
const MaxUsername = 256

// ErrUsername refuses a user name that is not of the form "expiry:user".
var ErrUsername = errors.New("turnauth: not expiry:user")

// Credential is what a client gets.
type Credential struct {
	Username string
	Password string // never logged
	Expires  time.Time
}

// Issue makes a credential that is valid until now+life, in whole seconds. user is the key of quotas; it is seen by whoever sees the packets.
func Issue(secret, user string, now time.Time, life time.Duration) Credential {
	expires := now.Add(life).Truncate(time.Second)
	name := strconv.FormatInt(expires.Unix(), 10) + ":" + user
	return Credential{Username: name, Password: Password(secret, name), Expires: expires}
}

// Password is the password of a user name.
func Password(secret, username string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Key is the key of the long-term credential mechanism for a user name (RFC 8489 §9.2.2, MD5).
func Key(secret, username, realm string) []byte {
	sum := md5.Sum([]byte(username + ":" + realm + ":" + Password(secret, username)))
	return sum[:]
}

// Parse takes a user name apart. It believes nothing: whoever has no secret can make any. Errors: ErrUsername.
func Parse(username string) (expires time.Time, user string, err error) {
	digits, user, ok := strings.Cut(username, ":")
	if !ok || user == "" || len(username) > MaxUsername || len(digits) == 0 || len(digits) > 12 {
		return time.Time{}, "", ErrUsername
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return time.Time{}, "", ErrUsername
		}
	}
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return time.Time{}, "", ErrUsername
	}
	return time.Unix(seconds, 0), user, nil
}
