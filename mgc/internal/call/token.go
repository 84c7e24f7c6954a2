package call

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/flowtoken"
	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// keyBytes is the length of a call key before hex.
const keyBytes = 12

// newKey returns a call key: 24 hex digits, unguessable.
func newKey() string {
	var b [keyBytes]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// seal makes the token of a leg: any instance that holds the pool's keys finds the call record from it, nobody else can make one.
func seal(s *flowtoken.Sealer, key string, leg callcore.Leg) string {
	raw, _ := hex.DecodeString(key) // made by newKey
	return s.Seal(flowtoken.KindCall, append(raw, byte(leg)))
}

// open returns the call key and leg of a token. Errors: flowtoken.ErrForged.
func open(s *flowtoken.Sealer, token string) (string, callcore.Leg, error) {
	raw, err := s.Open(flowtoken.KindCall, token)
	if err != nil {
		return "", 0, err
	}
	if len(raw) != keyBytes+1 {
		return "", 0, fmt.Errorf("call token of %d bytes: %w", len(raw), flowtoken.ErrForged)
	}
	return hex.EncodeToString(raw[:keyBytes]), callcore.Leg(raw[keyBytes]), nil
}

// locate finds the call of an in-dialog request on leg: by the user part of the Request-URI, which was our Contact, else by the To tag.
// A request whose target is a token that does not open is forged (403); one that names no call of ours at all is
// an unknown dialog (481).
func (m *Manager) locate(req *headers.Msg, leg callcore.Leg) (string, int) {
	if u, err := headers.ParseURI(req.RequestURI); err == nil && u.User != "" && m.isOurs(u.Host, u.Port) {
		key, l, err := open(m.deps.Sealer, u.User)
		if err != nil || l != leg {
			return "", 403
		}
		return key, 0
	}
	key, l, err := open(m.deps.Sealer, headers.ToTag(req))
	if err != nil || l != leg {
		return "", 481
	}
	return key, 0
}

// isOurs reports whether host and port are those of our Contacts.
func (m *Manager) isOurs(host string, port uint16) bool {
	hp := headers.HostPort(host, port)
	return hp == m.cfg.AccessHost || hp == m.cfg.CoreHost
}

// isKey reports whether s has the form of a call key.
func isKey(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == keyBytes
}
