package auth

import (
	"context"
	"crypto/rand"
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
	owner, err := p.leases.Acquire(ctx, keyIMPU+l.IMPU, l.Holder, ttl)
	switch {
	case err != nil:
		return Lease{}, errors.Join(Unavailable, err)
	case owner != l.Holder:
		return Lease{}, InUse
	}
	return l, nil
}

// Prefixes of the keys of Leases.
const (
	keyIMPU  = "impu/"   // held by the client's name: who uses the identity
	keyOwn   = "client/" // held by the entry's number: which one the client has
	keyTurn  = "turn/"   // held by one call: calls of one client, on whatever instance, take turns
	noNumber = "-"       // of keyOwn: none yet
)

// assign gives the client an identity of our pool for ttl: the one it has, or else the first free one, counted from a place that
// its name determines, so that it comes back to the same one while that is free. Whatever the interleaving of calls on whatever
// instance, no entry has two holders and no client two entries. Errors: PoolEmpty, Unavailable.
func (p *pool) assign(ctx context.Context, id *Identity, client string, ttl time.Duration) (Identity, Lease, error) {
	holder := p.holderOf(id, client)
	done, err := p.takeTurn(ctx, holder)
	if err != nil {
		return Identity{}, Lease{}, err
	}
	defer done()
	n, err := p.number(ctx, holder, ttl)
	if err != nil {
		return Identity{}, Lease{}, err
	}
	out := *id
	out.IMPI, out.IMPUs = p.cfg.entry(p.cfg.IMPI, p.cfg.First+n), []string{p.impu(n)}
	return out, Lease{IMPU: p.impu(n), Holder: holder}, nil
}

// takeTurn waits until no other call of the client runs. A turn that is never given back ends a little after its call must have.
func (p *pool) takeTurn(ctx context.Context, holder string) (done func(), err error) {
	ttl := time.Minute
	if end, ok := ctx.Deadline(); ok {
		ttl = time.Until(end) + 5*time.Second
	}
	call := rand.Text()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		owner, err := p.leases.Acquire(ctx, keyTurn+holder, call, ttl)
		if err != nil {
			return nil, errors.Join(Unavailable, err)
		}
		if owner == call {
			return func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
				defer cancel()
				_ = p.leases.Release(ctx, keyTurn+holder, call) // else it ends by itself
			}, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(Unavailable, ctx.Err())
		}
	}
}

// number returns the client's entry. Its turn it must be.
func (p *pool) number(ctx context.Context, holder string, ttl time.Duration) (int, error) {
	own, err := p.leases.Acquire(ctx, keyOwn+holder, noNumber, ttl)
	if err != nil {
		return 0, errors.Join(Unavailable, err)
	}
	if n, err := strconv.Atoi(own); err == nil && n >= 0 && n < p.cfg.Size {
		owner, err := p.leases.Acquire(ctx, keyIMPU+p.impu(n), holder, ttl)
		if err != nil {
			return 0, errors.Join(Unavailable, err)
		}
		if owner == holder {
			return n, p.setOwn(ctx, holder, own, n, ttl)
		}
	}
	raw, _ := hex.DecodeString(holder) // made by holderOf
	start := int(binary.BigEndian.Uint32(raw) % uint32(p.cfg.Size))
	for i := range p.cfg.Size {
		n := (start + i) % p.cfg.Size
		owner, err := p.leases.Acquire(ctx, keyIMPU+p.impu(n), holder, ttl)
		if err != nil {
			return 0, errors.Join(Unavailable, err)
		}
		if owner == holder {
			return n, p.setOwn(ctx, holder, own, n, ttl)
		}
	}
	return 0, PoolEmpty
}

// setOwn writes down which entry the client has, for ttl. Between the two steps nobody else writes: it is the client's turn. If
// it fails the entry stays taken until its time ends; the client, who was refused, comes back to the same place.
func (p *pool) setOwn(ctx context.Context, holder, old string, n int, ttl time.Duration) error {
	text := strconv.Itoa(n)
	if old != text {
		if err := p.leases.Release(ctx, keyOwn+holder, old); err != nil {
			return errors.Join(Unavailable, err)
		}
	}
	owner, err := p.leases.Acquire(ctx, keyOwn+holder, text, ttl)
	if err != nil || owner != text {
		return errors.Join(Unavailable, err)
	}
	return nil
}

func (p *pool) impu(n int) string {
	return headers.AOR(p.cfg.entry(p.cfg.IMPU, p.cfg.First+n))
}

// giveBack ends a lease after the quarantine: the same client may have it back at once, others only then, so that calls for one
// user do not reach the next. It does nothing when the lease has passed to another.
func (p *pool) giveBack(ctx context.Context, l Lease) error {
	_, err := p.leases.Acquire(ctx, keyIMPU+l.IMPU, l.Holder, p.cfg.Quarantine)
	return err
}

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
func (m *memoryLeases) Acquire(ctx context.Context, key, holder string, ttl time.Duration) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
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
