package call

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/callcore"
	"github.com/isthmus-gateway/isthmus/mgc/internal/store"
)

// aloneIn runs a test of an instance whose store ends with its process.
func aloneIn(t *testing.T, f func(s *store.Memory, i *instance)) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		t.Cleanup(s.Close)
		f(s, poolOn(t, s).instance("m1", func(c *Config) { c.Alone = true }))
	})
}

// TestAloneRecordIsWrittenOnceThingsAreCalm: one write for all that happens while a call is set up, none for a call that is over at once.
func TestAloneRecordIsWrittenOnceThingsAreCalm(t *testing.T) {
	aloneIn(t, func(_ *store.Memory, i *instance) {
		r := i.setUp()
		if n := len(i.pool.records()); n != 0 {
			t.Errorf("%d records at once", n)
		}
		time.Sleep(calmAfter)
		synctest.Wait()
		list := i.pool.records()
		if len(list) != 1 || list[0].Revision != 1 {
			t.Fatalf("records %+v", list)
		}
		var revived callcore.State
		if err := json.Unmarshal(list[0].Value.State, &revived); err != nil {
			t.Fatal(err)
		}
		if got := revived.Record(); got.Answer.IsZero() {
			t.Errorf("the record is of %+v", got)
		}
		time.Sleep(time.Minute) // nothing changes, nothing is written
		if list := i.pool.records(); list[0].Revision != 1 {
			t.Errorf("revision %d", list[0].Revision)
		}
		i.hangUp(r)
		i.hangUp(i.setUp())
	})
}

// TestAloneCallsNeedNoStore: what cannot be read by anybody does not hold calls up.
func TestAloneCallsNeedNoStore(t *testing.T) {
	aloneIn(t, func(s *store.Memory, i *instance) {
		s.Fail(errors.New("out of memory"))
		r := i.setUp()
		time.Sleep(time.Second)
		s.Fail(nil)
		i.hangUp(r)
	})
}
