package bucket

import "testing"

func TestIQ08_H248_53_BucketKeepsSustainedRateAndBurst(t *testing.T) {
	const ms = 1_000_000
	b := New(8000, 400) // 160-octet packets each 20 ms fit exactly
	now := int64(1)
	for i := range 1000 {
		if !b.Admit(now, 160) {
			t.Fatalf("packet %d at the agreed rate refused", i)
		}
		now += 20 * ms
	}
	b = New(8000, 400)
	admitted := 0
	for range 1000 { // three times the rate for 1000 * 7 ms
		if b.Admit(now, 160) {
			admitted++
		}
		now += 7 * ms
	}
	if want := (8000*7 + 400) / 160; admitted < want-1 || admitted > want+1 {
		t.Errorf("admitted %d, want about %d", admitted, want)
	}
	if b.Admit(now, 401) {
		t.Error("packet larger than the burst admitted")
	}
	now += 1 << 62 // a pause that would overflow
	if !b.Admit(now, 400) {
		t.Error("full bucket refuses its depth")
	}
	if b.Admit(now, 1) {
		t.Error("empty bucket admits")
	}
	var none Bucket
	if !none.Admit(now, 1<<30) {
		t.Error("no limit refuses")
	}
}

func TestWhatIsLookedAtTakesNothing(t *testing.T) {
	b := New(50, 2)
	for range 10 {
		if !b.Holds(1, 2) {
			t.Fatal("tokens are gone that nobody took")
		}
	}
	b.Take(2)
	if b.Holds(1, 1) || b.Holds(19_000_000, 1) || !b.Holds(21_000_000, 1) {
		t.Error("one token of 50 per second takes 20 ms")
	}
}

func TestAdmitDoesNotAllocate(t *testing.T) {
	b := New(1<<30, 1<<30)
	if n := testing.AllocsPerRun(100, func() { b.Admit(5, 100) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
