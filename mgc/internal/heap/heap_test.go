package heap

import (
	"runtime/debug"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPercentageLetsASmallHeapGrowToTheFloor(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, most}, {1 << 20, most}, {Floor / 8, 700}, {Floor / 4, 300}, {Floor / 2, plain}, {4 * Floor, plain}} {
		if got := percentage(c.live); got != c.want {
			t.Errorf("%d bytes live: %d %%, want %d", c.live, got, c.want)
		}
	}
}

// script is a keeper whose acts are counted.
func script() (k *keeper, set *[]int, freed *int) {
	set, freed = new([]int), new(int)
	return &keeper{percent: plain, set: func(p int) { *set = append(*set, p) }, free: func() { *freed++ }}, set, freed
}

func TestMemoryIsGivenBackOnceLoadHasEnded(t *testing.T) {
	k, set, freed := script()
	now, allocs := time.Unix(1000, 0), uint64(0)
	look := func(n int, bytes uint64) {
		for range n {
			now, allocs = now.Add(tick), allocs+bytes
			k.look(now, reading{live: Floor / 8, allocs: allocs})
		}
	}
	look(10, 50<<20)
	if len(*set) != 1 || (*set)[0] != 700 || *freed != 0 {
		t.Fatalf("under load: set %v, freed %d times", *set, *freed)
	}
	look(calm-1, 0)
	if *freed != 0 {
		t.Fatal("given back in a pause")
	}
	look(30, 1<<10)
	if len(*set) != 2 || (*set)[1] != plain || *freed != 1 {
		t.Fatalf("after the load: set %v, freed %d times", *set, *freed)
	}
	look(1, 50<<20)
	look(calm, 0)
	if *freed != 2 || (*set)[len(*set)-1] != plain {
		t.Errorf("after the next load: set %v, freed %d times", *set, *freed)
	}
}

func TestGivingBackIsBoundedInTime(t *testing.T) {
	k, _, freed := script()
	k.last, k.after = 100<<20, time.Unix(2000, 0)
	for s := range 100 {
		k.look(time.Unix(int64(1950+s), 0), reading{allocs: 100 << 20})
		if at := 1950 + s; (at >= 2000) != (*freed == 1) {
			t.Fatalf("second %d: freed %d times", at, *freed)
		}
	}
}

func TestStopRestoresThePercentage(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	before := debug.SetGCPercent(333)
	defer debug.SetGCPercent(before)
	Start()()
	if got := debug.SetGCPercent(before); got != 333 {
		t.Errorf("%d %% after stop, want 333", got)
	}
}
