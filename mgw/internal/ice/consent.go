package ice

import (
	"math/rand/v2"
	"net/netip"
)

// consent asks the peer every 5 s, randomised by 20 %, whether we may go on sending (RFC 7675 §5.1). Each request has a transaction of its own and is
// sent once; what expires after 30 s is decided by whoever gets the answers.
type consent struct {
	at    int64 // of the next request; 0: no pair is selected
	lost  bool
	asked [6]transaction // the last ones: 30 s
	n     int            // requests so far
}

const consentEvery = int64(5e9)

// begin starts the clock for a newly selected pair.
func (c *consent) begin(now int64) { c.at, c.lost = now+consentWait(), false }

// consentWait is a random time from 4 to 6 s.
func consentWait() int64 { return consentEvery*8/10 + rand.Int64N(consentEvery*4/10) }

// askConsent sends the request that is due. When consent is lost none is sent until the peer checks the pair again: with the credentials that
// it then proves to have, and an answer of its own. DEVIATES RFC 7675 §5.1: which asks for an ICE restart before sending resumes.
func (a *Agent) askConsent(now int64, lost bool) {
	c := &a.full.consent
	c.lost = lost
	if c.at == 0 || now < c.at {
		return
	}
	c.at = now + consentWait()
	if lost {
		return
	}
	tx := newTransaction()
	old := &c.asked[c.n%len(c.asked)]
	a.cfg.Mux.forget(*old)
	*old = tx
	c.n++
	a.cfg.Mux.expect(tx, a)
	a.ask(tx, a.selected, a.full.controlling, false)
}

// consented takes the answer to such a request; false: it answers none.
func (a *Agent) consented(tx transaction, src netip.AddrPort, r response) bool {
	c := &a.full.consent
	for i := range c.asked {
		if c.asked[i] != tx {
			continue
		}
		c.asked[i] = transaction{}
		a.cfg.Mux.forget(tx)
		if r.code == 0 && src == a.selected {
			a.cfg.Checked(Check{From: src, Nominated: true, Priority: a.full.selected.Priority, Answered: true})
		}
		return true
	}
	return false
}
