// Package portset hands out even/odd UDP port pairs of a range (RFC 3550 §11). Floor 0.
// Owner: none; a Set is safe for concurrent use and belongs to the control side, never to the packet path.
package portset

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrExhausted says that no pair is free now; pairs in quarantine may be so later.
var ErrExhausted = errors.New("portset: no port pair free")

// Set is the pairs of one address. A pair is named by its even port.
type Set struct {
	quarantine time.Duration

	mu      sync.Mutex // guards all below
	free    []uint16   // FIFO ring: the pair unused for longest comes first
	head    int
	n       int
	taken   map[uint16]bool
	resting []rest // in order of until
}

type rest struct {
	port  uint16
	until time.Time
}

// New makes the set of all whole pairs in min..max, inclusive. quarantine is how long a released pair rests, so that late packets of
// an old call do not reach a new one. Errors: a range without any pair, or below 1024.
func New(min, max uint16, quarantine time.Duration) (*Set, error) {
	first := int(min) + int(min)%2
	if min < 1024 || first+1 > int(max) {
		return nil, fmt.Errorf("portset: range %d-%d holds no even/odd pair above 1023", min, max)
	}
	s := &Set{quarantine: quarantine, taken: make(map[uint16]bool)}
	for p := first; p+1 <= int(max); p += 2 {
		s.free = append(s.free, uint16(p))
	}
	s.n = len(s.free)
	return s, nil
}

// Take returns the even port of a pair that is now the caller's. now must not go back. Errors: ErrExhausted.
func (s *Set) Take(now time.Time) (uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake(now)
	if s.n == 0 {
		return 0, ErrExhausted
	}
	p := s.free[s.head]
	s.head = (s.head + 1) % len(s.free)
	s.n--
	s.taken[p] = true
	return p, nil
}

// Release gives a pair back; it rests for the quarantine. Releasing what is not taken panics: a second owner would lose its port.
func (s *Set) Release(now time.Time, even uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.taken[even] {
		panic(fmt.Sprintf("portset: port %d released but not taken", even))
	}
	delete(s.taken, even)
	s.resting = append(s.resting, rest{even, now.Add(s.quarantine)})
	s.wake(now)
}

// InUse is the number of pairs taken, without those that rest.
func (s *Set) InUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken)
}

// Size is the number of pairs in all.
func (s *Set) Size() int { return len(s.free) }

// wake moves rested pairs to the end of the free ring. Caller holds mu.
func (s *Set) wake(now time.Time) {
	i := 0
	for ; i < len(s.resting) && !now.Before(s.resting[i].until); i++ {
		s.free[(s.head+s.n)%len(s.free)] = s.resting[i].port
		s.n++
	}
	s.resting = s.resting[:copy(s.resting, s.resting[i:])]
}
