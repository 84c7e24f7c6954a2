package auth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func poolOf(size int, leases Leases) *pool {
	return &pool{cfg: PoolConfig{IMPI: "guest{n}@ims.example", IMPU: "sip:guest{n}@ims.example", First: 10, Size: size, Quarantine: 30 * time.Second}, leases: leases}
}

func guest(n int) *Identity {
	return &Identity{Issuer: "https://waf.example", Subject: fmt.Sprint("guest", n)}
}

func TestREG09_PoolIsExclusiveBoundedAndSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, p := t.Context(), poolOf(3, NewMemoryLeases())
		held := map[string]Lease{}
		for n := range 3 {
			id, l, err := p.assign(ctx, guest(n), "c", time.Hour)
			if err != nil || len(id.IMPUs) != 1 || id.IMPUs[0] != l.IMPU || "sip:"+id.IMPI != l.IMPU || id.Subject != guest(n).Subject {
				t.Fatalf("%+v %+v %v", id, l, err)
			}
			if _, taken := held[l.IMPU]; taken {
				t.Fatalf("%s handed out twice", l.IMPU)
			}
			held[l.IMPU] = l
		}
		if _, _, err := p.assign(ctx, guest(3), "c", time.Hour); !errors.Is(err, PoolEmpty) {
			t.Fatalf("beyond the pool: %v", err)
		}
		_, again, err := p.assign(ctx, guest(1), "c", time.Hour)
		if err != nil || held[again.IMPU] != again {
			t.Fatalf("the same client got another: %+v %v", again, err)
		}
		if err := p.giveBack(ctx, again); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.assign(ctx, guest(3), "c", time.Hour); !errors.Is(err, PoolEmpty) {
			t.Errorf("in the quarantine: %v", err)
		}
		time.Sleep(31 * time.Second)
		if _, l, err := p.assign(ctx, guest(3), "c", time.Hour); err != nil || l.IMPU != again.IMPU {
			t.Errorf("after the quarantine: %+v %v", l, err)
		}
		if err := p.giveBack(ctx, again); err != nil { // late, and twice: it is another's now
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		if _, l, err := p.assign(ctx, guest(4), "c", time.Hour); !errors.Is(err, PoolEmpty) {
			t.Errorf("a late return freed another's identity: %+v %v", l, err)
		}
		time.Sleep(time.Hour)
		if _, _, err := p.assign(ctx, guest(4), "c", time.Hour); err != nil {
			t.Errorf("leases do not end: %v", err)
		}
	})
}

func TestREG09_SharedOrOneClientEach(t *testing.T) {
	ctx := t.Context()
	p := poolOf(5, NewMemoryLeases())
	_, one, _ := p.assign(ctx, guest(1), "phone", time.Hour)
	_, two, _ := p.assign(ctx, guest(1), "laptop", time.Hour)
	if one.IMPU == two.IMPU || one.IsZero() || two.IsZero() {
		t.Errorf("two clients: %+v %+v", one, two)
	}
	p = poolOf(5, NewMemoryLeases())
	p.cfg.Shared = true
	_, one, _ = p.assign(ctx, guest(1), "phone", time.Hour)
	_, two, _ = p.assign(ctx, guest(1), "laptop", time.Hour)
	if one != two || one.IsZero() {
		t.Errorf("shared: %+v %+v", one, two)
	}
}

// yielding is Leases whose every step may be overtaken: another call of another instance comes between any two.
type yielding struct {
	Leases
	mu   sync.Mutex
	rand *rand.Rand
}

func (y *yielding) pause() {
	y.mu.Lock()
	d := time.Duration(y.rand.IntN(4)) * time.Millisecond
	y.mu.Unlock()
	time.Sleep(d) // the bubble's clock: decides who is next
}

func (y *yielding) Acquire(ctx context.Context, key, holder string, ttl time.Duration) (string, error) {
	y.pause()
	return y.Leases.Acquire(ctx, key, holder, ttl)
}

func (y *yielding) Release(ctx context.Context, key, holder string) error {
	y.pause()
	return y.Leases.Release(ctx, key, holder)
}

// TestREG09_RacesNeverShareAnIdentity lets clients come, come twice at once over two instances, and go, in many orders: at no time
// has an identity two holders or a client two identities.
func TestREG09_RacesNeverShareAnIdentity(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			shared := &yielding{Leases: NewMemoryLeases(), rand: rand.New(rand.NewPCG(seed, 1))}
			instances := []*pool{poolOf(4, shared), poolOf(4, shared)}
			var mu sync.Mutex
			owner, clients := map[string]int{}, map[int]string{}
			var wg sync.WaitGroup
			for n := range 6 {
				wg.Go(func() {
					for range 4 {
						got := make([]Lease, 2)
						var both sync.WaitGroup
						for i, p := range instances {
							both.Go(func() {
								_, l, err := p.assign(t.Context(), guest(n), "c", time.Hour)
								if err != nil && !errors.Is(err, PoolEmpty) {
									t.Errorf("seed %d: %v", seed, err)
								}
								got[i] = l
							})
						}
						both.Wait()
						mu.Lock()
						for _, l := range got {
							if l.IsZero() {
								continue
							}
							if o, taken := owner[l.IMPU]; taken && o != n {
								t.Errorf("seed %d: %s of %d is also %d's", seed, l.IMPU, o, n)
							}
							if c := clients[n]; c != "" && c != l.IMPU {
								t.Errorf("seed %d: client %d has %s and %s", seed, n, c, l.IMPU)
							}
							owner[l.IMPU], clients[n] = n, l.IMPU
						}
						impu := clients[n]
						delete(clients, n)
						delete(owner, impu)
						mu.Unlock()
						if impu != "" {
							if err := instances[0].giveBack(t.Context(), Lease{IMPU: impu, Holder: instances[0].holderOf(guest(n), "c")}); err != nil {
								t.Error(err)
							}
							time.Sleep(31 * time.Second)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// broken is a store that cannot be reached.
type broken struct{}

func (broken) Acquire(context.Context, string, string, time.Duration) (string, error) {
	return "", errors.New("no store")
}
func (broken) Release(context.Context, string, string) error { return errors.New("no store") }

func TestREG09_StoreOutageIs503(t *testing.T) {
	p := poolOf(3, broken{})
	if _, _, err := p.assign(t.Context(), guest(1), "c", time.Hour); ReasonOf(err) != Unavailable {
		t.Errorf("assign: %v", err)
	}
	if _, err := p.claim(t.Context(), guest(1), "sip:a@ims.example", "c", time.Hour); ReasonOf(err) != Unavailable {
		t.Errorf("claim: %v", err)
	}
}

func TestREG09_MemoryLeasesForgetWhatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryLeases().(*memoryLeases)
		for i := range 5000 {
			if _, err := m.Acquire(t.Context(), fmt.Sprint(i), "h", time.Second); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if len(m.held) > 1024 {
			t.Errorf("%d ended leases are kept", len(m.held))
		}
	})
}
