package load

import (
	"testing"
	"time"
)

func TestArrivalIsTheKernelsNotTheReaders(t *testing.T) {
	from, err := openSocket(0)
	if err != nil {
		t.Fatal(err)
	}
	defer from.close()
	to, err := openSocket(0)
	if err != nil {
		t.Fatal(err)
	}
	defer to.close()
	from.aim(to.local)
	var buf [100]byte
	r := &runner{base: time.Now()}
	if n, at := to.receiveAt(buf[:], r.glance()); n != 0 || at != 0 {
		t.Errorf("%d octets of nothing at %d", n, at)
	}
	if err := to.stamp(); err != nil {
		t.Fatal(err)
	}
	late := 0
	for range 100 { // the kernel takes a moment to begin with it, and meanwhile notes when it is read
		before := r.now()
		if !from.send([]byte("late reader")) {
			t.Fatal("not sent")
		}
		after := r.now()
		for r.now() < after+int64(10*time.Millisecond) { // nobody reads meanwhile
			time.Sleep(time.Millisecond)
		}
		n, at := to.receiveAt(buf[:], r.glance())
		if string(buf[:n]) != "late reader" || at < before-int64(time.Millisecond) {
			t.Fatalf("%q came at %d, sent from %d to %d", buf[:n], at, before, after)
		}
		if at <= after {
			return
		}
		late++
	}
	t.Errorf("%d packets came when they were read", late)
}
