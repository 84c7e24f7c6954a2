package srtp

import "testing"

// TestFetchTakesEveryContext: one of each profile, one that has sent or heard nothing, and none at all; nothing is changed and nothing allocated.
func TestFetchTakesEveryContext(t *testing.T) {
	profiles(t, func(t *testing.T, p Profile) {
		tx, rx := pair(t, p)
		fetch := func() {
			tx.Fetch()
			tx.FetchKey()
			rx.Fetch()
			rx.FetchKey()
		}
		fetch()
		for seq := range uint16(3) {
			if _, err := rx.OpenRTP(protected(t, tx, 7, seq)); err != nil {
				t.Fatal(err)
			}
			fetch()
		}
		if n := testing.AllocsPerRun(100, fetch); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
	(*Sender)(nil).Fetch()
	(*Sender)(nil).FetchKey()
	(*Receiver)(nil).Fetch()
	(*Receiver)(nil).FetchKey()
	new(Sender).FetchKey()
	new(Receiver).FetchKey()
}
