package portset

import (
	"errors"
	"testing"
	"time"
)

func TestPairsAreEvenInsideRangeAndUnique(t *testing.T) {
	s, err := New(20001, 20010, 0)
	if err != nil {
		t.Fatal(err)
	}
	if s.Size() != 4 { // 20002, 20004, 20006, 20008: 20010 lacks its odd half
		t.Fatalf("size %d, want 4", s.Size())
	}
	seen := map[uint16]bool{}
	now := time.Unix(0, 0)
	for range 4 {
		p, err := s.Take(now)
		if err != nil {
			t.Fatal(err)
		}
		if p%2 != 0 || p < 20001 || p+1 > 20010 || seen[p] {
			t.Errorf("port %d", p)
		}
		seen[p] = true
	}
	if _, err := s.Take(now); !errors.Is(err, ErrExhausted) {
		t.Errorf("err %v, want ErrExhausted", err)
	}
	if s.InUse() != 4 {
		t.Errorf("in use %d", s.InUse())
	}
}

func TestQuarantine(t *testing.T) {
	s, err := New(20000, 20001, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(100, 0)
	p, _ := s.Take(now)
	s.Release(now, p)
	if s.InUse() != 0 {
		t.Errorf("in use %d", s.InUse())
	}
	if _, err := s.Take(now.Add(2*time.Second - 1)); !errors.Is(err, ErrExhausted) {
		t.Errorf("pair reused while it rests: %v", err)
	}
	if q, err := s.Take(now.Add(2 * time.Second)); err != nil || q != p {
		t.Errorf("after quarantine: %d, %v", q, err)
	}
}

func TestOldestFirst(t *testing.T) {
	s, _ := New(20000, 20003, 0)
	now := time.Unix(0, 0)
	a, _ := s.Take(now)
	s.Release(now, a)
	if b, _ := s.Take(now); b == a {
		t.Error("a pair just released is reused before one that was never used")
	}
}

func TestForeignReleasePanics(t *testing.T) {
	s, _ := New(20000, 20003, 0)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s.Release(time.Unix(0, 0), 20000)
}

func TestBadRange(t *testing.T) {
	for _, r := range [][2]uint16{{1022, 2000}, {20001, 20002}, {20000, 20000}, {30000, 20000}} {
		if _, err := New(r[0], r[1], 0); err == nil {
			t.Errorf("range %v accepted", r)
		}
	}
}
