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
	before := r.now()
	if !from.send([]byte("late reader")) {
		t.Fatal("not sent")
	}
	after := r.now()
	for r.now() < after+int64(20*time.Millisecond) { // nobody reads meanwhile
		time.Sleep(time.Millisecond)
	}
	n, at := to.receiveAt(buf[:], r.glance())
	if string(buf[:n]) != "late reader" || at < before-int64(time.Millisecond) || at > after {
		t.Errorf("%q came at %d, sent from %d to %d", buf[:n], at, before, after)
	}
	if n, at := to.receiveAt(buf[:], r.glance()); n != 0 || at != 0 {
		t.Errorf("%d octets of nothing at %d", n, at)
	}
}
