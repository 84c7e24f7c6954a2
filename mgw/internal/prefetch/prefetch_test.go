package prefetch

import (
	"testing"
	"unsafe"
)

// TestNothingIsRead: any address may be asked for, one that is nobody's too, and memory stays as it is.
func TestNothingIsRead(t *testing.T) {
	type call struct{ a, b [100]byte }
	c := &call{}
	for i := range c.a {
		c.a[i], c.b[i] = 7, 9
	}
	for _, n := range []uintptr{0, 1, 63, 64, 65, 200, 1 << 20} {
		Of(c, n)
		Of((*call)(nil), n)
		At(unsafe.Pointer(c), min(n, unsafe.Sizeof(*c)))
		At(nil, n)
	}
	for i := range c.a {
		if c.a[i] != 7 || c.b[i] != 9 {
			t.Fatal("memory has changed")
		}
	}
	if n := testing.AllocsPerRun(100, func() { Of(c, 200) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
