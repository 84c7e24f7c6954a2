package auth

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// Leases records who holds a pooled identity, over all instances of the controller when it stands on the shared store. Both
// methods are atomic per key.
type Leases interface {
	// Acquire makes holder the owner of key for ttl from now if it is free or his already, and returns the owner afterwards.
	Acquire(ctx context.Context, key, holder string, ttl time.Duration) (owner string, err error)
	// Release frees the key if holder owns it.
	Release(ctx context.Context, key, holder string) error
}

// Lease is a client's hold on a pooled identity. A plain value, kept with the binding and handed back by Authenticator.Return.
type Lease struct {
	IMPU   string `json:"impu"`
	Holder string `json:"holder"` // names the client without saying who it is
}

// IsZero reports whether there is no lease.
func (l Lease) IsZero() bool { return l.Holder == "" }

// pool assigns pooled identities and keeps them exclusive (REG-09). Safe for concurrent use; it holds no state but Leases.
type pool struct {
	cfg    PoolConfig
	leases Leases
}

// entry is a template with its number filled in.
func (c *PoolConfig) entry(template string, n int) string {
	return strings.Replace(template, "{n}", strconv.Itoa(n), 1)
}

// holderOf names the client: the web identity, and unless it is shared the SIP instance or connection too.
func (p *pool) holderOf(id *Identity, client string) string {
	h := sha256.New()
	h.Write([]byte(id.Issuer + "\x00" + id.Subject))
	if !p.cfg.Shared {
		h.Write([]byte("\x00" + client))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// claim takes the identity that the token was assigned by its issuer, for ttl. Errors: InUse, Unavailable.
func (p *pool) claim(ctx context.Context, id *Identity, impu, client string, ttl time.Duration) (Lease, error) {
	l := Lease{IMPU: impu, Holder: p.holderOf(id, client)}
	owner, err := p.leases.Acquire(ctx, leaseKey(l.IMPU), l.Holder, ttl)
	switch {
	case err != nil:
		return Lease{}, errors.Join(Unavailable, err)
	case owner != l.Holder:
		return Lease{}, InUse
	}
	return l, nil
}

// assign gives the client an identity of our pool for ttl: the one it has, or else the first free one, counted from a place that
// its name determines, so that it comes back to the same one while that is free. Whatever the interleaving of calls on whatever
// instance, no entry has two holders and no holder two entries: the entry is taken first, then the holder's own record, which is
// the tie-break of two calls of one client; the loser gives its entry back. Errors: PoolEmpty, Unavailable.
func (p *pool) assign(ctx context.Context, id *Identity, client string, ttl time.Duration) (Identity, Lease, error) {
	holder := p.holderOf(id, client)
	raw, _ := hex.DecodeString(holder) // made by holderOf
	start := int(binary.BigEndian.Uint32(raw) % uint32(p.cfg.Size))
	for i := range p.cfg.Size {
		n := (start + i) % p.cfg.Size
		owner, err := p.leases.Acquire(ctx, leaseKey(p.impu(n)), holder, ttl)
		if err != nil {
			return Identity{}, Lease{}, errors.Join(Unavailable, err)
		}
		if owner == holder {
			return p.settle(ctx, id, holder, n, ttl)
		}
	}
	return Identity{}, Lease{}, PoolEmpty
}

// settle makes the holder's own record agree with the entry n that it has just taken.
func (p *pool) settle(ctx context.Context, id *Identity, holder string, n int, ttl time.Duration) (Identity, Lease, error) {
	const prefix = "holder/"
	for range 3 {
		text, err := p.leases.Acquire(ctx, prefix+holder, strconv.Itoa(n), ttl)
		if err != nil {
			return Identity{}, Lease{}, errors.Join(Unavailable, err)
		}
		old, err := strconv.Atoi(text)
		if err != nil || old < 0 || old >= p.cfg.Size {
			return Identity{}, Lease{}, errors.Join(Unavailable, errors.New("auth: pool record of another layout"))
		}
		if old == n {
			return p.fill(id, n), Lease{IMPU: p.impu(n), Holder: holder}, nil
		}
		owner, err := p.leases.Acquire(ctx, leaseKey(p.impu(old)), holder, ttl)
		if err != nil {
			return Identity{}, Lease{}, errors.Join(Unavailable, err)
		}
		if owner == holder { // the client has this one already: keep it, give the other back
			if err := p.leases.Release(ctx, leaseKey(p.impu(n)), holder); err != nil {
				return Identity{}, Lease{}, errors.Join(Unavailable, err)
			}
			return p.fill(id, old), Lease{IMPU: p.impu(old), Holder: holder}, nil
		}
		// The record outlived its entry, which is another's now.
		if err := p.leases.Release(ctx, prefix+holder, text); err != nil {
			return Identity{}, Lease{}, errors.Join(Unavailable, err)
		}
	}
	return Identity{}, Lease{}, Unavailable
}

func (p *pool) impu(n int) string {
	return headers.AOR(p.cfg.entry(p.cfg.IMPU, p.cfg.First+n))
}

func (p *pool) fill(id *Identity, n int) Identity {
	out := *id
	out.IMPI = p.cfg.entry(p.cfg.IMPI, p.cfg.First+n)
	out.IMPUs = []string{p.impu(n)}
	return out
}

// giveBack ends a lease after the quarantine: the same client may have it back at once, others only then, so that calls for one
// user do not reach the next. It does nothing when the lease has passed to another.
func (p *pool) giveBack(ctx context.Context, l Lease) error {
	_, err := p.leases.Acquire(ctx, leaseKey(l.IMPU), l.Holder, p.cfg.Quarantine)
	return err
}

func leaseKey(impu string) string { return "impu/" + impu }

// NewMemoryLeases returns Leases of one process. Ended ones are forgotten when their number has doubled.
func NewMemoryLeases() Leases { return &memoryLeases{held: map[string]held{}, sweepAt: 1024} }

type held struct {
	holder string
	until  time.Time
}

type memoryLeases struct {
	mu      sync.Mutex // guards below
	held    map[string]held
	sweepAt int
}

// Acquire implements Leases.
func (m *memoryLeases) Acquire(_ context.Context, key, holder string, ttl time.Duration) (string, error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.held[key]; ok && now.Before(h.until) && h.holder != holder {
		return h.holder, nil
	}
	m.held[key] = held{holder, now.Add(ttl)}
	if len(m.held) >= m.sweepAt {
		for k, h := range m.held {
			if !now.Before(h.until) {
				delete(m.held, k)
			}
		}
		m.sweepAt = max(1024, 2*len(m.held))
	}
	return holder, nil
}

// Release implements Leases.
func (m *memoryLeases) Release(_ context.Context, key, holder string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[key].holder == holder {
		delete(m.held, key)
	}
	return nil
}
