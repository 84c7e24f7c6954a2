package bufpool

import (
	"bytes"
	"testing"
)

func TestCopyAndRelease(t *testing.T) {
	var p Pool
	b := p.Copy([]byte("abc"))
	if !bytes.Equal(b.Bytes(), []byte("abc")) {
		t.Fatalf("content %q", b.Bytes())
	}
	if p.Out() != 1 {
		t.Fatalf("out %d, want 1", p.Out())
	}
	b.Release()
	if p.Out() != 0 {
		t.Fatalf("out %d, want 0", p.Out())
	}
	if again := p.Get(1); again != b {
		t.Error("a released buffer is not lent again")
	}
}

func TestDoubleReleasePanics(t *testing.T) {
	var p Pool
	b := p.Get(10)
	b.Release()
	defer func() {
		if recover() == nil {
			t.Error("second release did not panic")
		}
		if p.Out() != 0 {
			t.Errorf("out %d after a refused release", p.Out())
		}
	}()
	b.Release()
}

func TestOversizePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	var p Pool
	p.Get(Size + 1)
}

func TestRetainsAtMostKeep(t *testing.T) {
	var p Pool
	var bs []*Buf
	for range keep + 10 {
		bs = append(bs, p.Get(0))
	}
	for _, b := range bs {
		b.Release()
	}
	if len(p.free) != keep {
		t.Errorf("retained %d, want %d", len(p.free), keep)
	}
}

func TestGetReleaseDoesNotAllocate(t *testing.T) {
	var p Pool
	p.Get(1).Release()
	if n := testing.AllocsPerRun(100, func() { p.Get(Size).Release() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
