package coreedge

import (
	"net/netip"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/mgc/internal/siptransport"
)

// trustFor is how long a resolved core address stays allowed after it was last seen in the DNS.
const trustFor = 10 * time.Minute

// maxTrusted bounds the learnt addresses.
const maxTrusted = 4096

// trustList knows which sources may send requests.
type trustList struct {
	allow []netip.Prefix
	rate  int // refusals answered per second

	mu      sync.Mutex // guards what follows
	learnt  map[netip.Addr]time.Time
	second  int64 // of the count
	answers int
}

func newTrustList(allow []netip.Prefix, rate int) *trustList {
	return &trustList{allow: allow, rate: rate, learnt: make(map[netip.Addr]time.Time)}
}

// learn allows an address until the time.
func (t *trustList) learn(a netip.Addr, until time.Time) {
	if !a.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.learnt) >= maxTrusted {
		now := time.Now()
		for k, v := range t.learnt {
			if now.After(v) {
				delete(t.learnt, k)
			}
		}
		if len(t.learnt) >= maxTrusted {
			return
		}
	}
	t.learnt[a] = until
}

func (t *trustList) trusted(a netip.Addr, now time.Time) bool {
	for _, p := range t.allow {
		if p.Contains(a) {
			return true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	until, ok := t.learnt[a]
	return ok && now.Before(until)
}

// mayAnswer spends one of the answers that strangers get in this second.
func (t *trustList) mayAnswer(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := now.Unix(); s != t.second {
		t.second, t.answers = s, 0
	}
	t.answers++
	return t.answers <= t.rate
}

// admit is the Admission of the core listeners.
func (e *Edge) admit(_ *headers.Msg, from siptransport.Flow) siptransport.Verdict {
	now := time.Now()
	switch {
	case from.Trusted: // by its certificate, as the configuration says
		return siptransport.Admit
	case e.trust.trusted(from.Remote.Addr(), now):
		return siptransport.Admit
	case siptransport.Reliable(from.Transport) || e.trust.mayAnswer(now):
		return siptransport.Refuse
	}
	return siptransport.Drop // a spoofed source must not make us its amplifier
}
