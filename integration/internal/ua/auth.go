package ua

import (
	"errors"
	"fmt"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// ErrChallenge reports a challenge that cannot be answered.
var ErrChallenge = errors.New("ua: challenge cannot be answered")

// authorize adds to req the answer to the first challenge of res that this side can compute: the
// server lists them in its order of preference (RFC 8760 §2.3). count is the nonce count.
func (a *Agent) authorize(req *sip.Request, res *sip.Response, count int) error {
	in, out := "WWW-Authenticate", "Authorization"
	if res.StatusCode == 407 {
		in, out = "Proxy-Authenticate", "Proxy-Authorization"
	}
	if a.cfg.Password == "" {
		return fmt.Errorf("%w: no password", ErrChallenge)
	}
	for _, h := range res.GetHeaders(in) {
		chal, err := digest.ParseChallenge(h.Value())
		if err != nil || !digest.CanDigest(chal) {
			continue
		}
		cred, err := digest.Digest(chal, digest.Options{
			Method: string(req.Method), URI: req.Recipient.String(),
			Username: a.cfg.authUser(), Password: a.cfg.Password, Count: count,
		})
		if err != nil {
			continue
		}
		for req.RemoveHeader(out) {
		}
		req.AppendHeader(sip.NewHeader(out, cred.String()))
		return nil
	}
	return fmt.Errorf("%w: no known scheme or algorithm", ErrChallenge)
}
