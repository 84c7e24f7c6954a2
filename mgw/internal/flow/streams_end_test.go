package flow

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/mgw/internal/rtcp"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// TestStreamsEndAtOnce: streams that come, are used and go while the termination is told of its peer, restarts ICE and closes, and while the engine closes:
// each call ends, with ErrClosed or a result; who ends a stream, and who asks again, has the same figures; nothing is left (newBed looks).
func TestStreamsEndAtOnce(t *testing.T) {
	for round := range 12 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			b := newBed(t, nil)
			a := b.access("a")
			cores := make([]*Core, 4)
			for i := range cores {
				cores[i] = b.core(fmt.Sprint("c", i), a)
				b.configure(cores[i], relaySpec().core)
			}
			var wg sync.WaitGroup
			fine := func(what string, err error, also ...error) {
				for _, e := range append(also, ErrClosed) {
					if errors.Is(err, e) {
						return
					}
				}
				if err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			begin := make(chan struct{})
			for i, c := range cores {
				wg.Go(func() {
					<-begin
					for n := range 20 {
						x, err := a.NewStream(StreamSpec{Stream: uint32(2 + i)})
						if err != nil {
							fine("NewStream", err)
							return
						}
						s := relaySpec().access
						s.MID, s.MIDExt, s.Source = fmt.Sprint(i), midExt, uint32(i+n)
						fine("Configure", x.Configure(s))
						fine("Connect", b.e.Connect(x, c), ErrConnected)
						x.Stats()
						x.Local()
						fine("Disconnect", b.e.Disconnect(x, c))
						var both [2]Stats
						var closers sync.WaitGroup
						for k := range both {
							closers.Go(func() { both[k] = x.Close() })
						}
						closers.Wait()
						if fmt.Sprint(both[0]) != fmt.Sprint(both[1]) || fmt.Sprint(x.Stats()) != fmt.Sprint(both[0]) {
							t.Errorf("figures %+v and %+v, then %+v", both[0], both[1], x.Stats())
						}
					}
				})
			}
			wg.Go(func() {
				<-begin
				for i := range 10 {
					r := AccessRemote{Ufrag: fmt.Sprintf("uf%02d", i), Pwd: "0123456789012345678901", Mux: true}
					fine("SetRemote", a.SetRemote(r))
					fine("RestartICE", a.RestartICE())
				}
			})
			if round%3 != 0 {
				wg.Go(func() { <-begin; a.Close() })
			}
			if round%2 == 0 {
				wg.Go(func() {
					<-begin
					if err := b.e.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			close(begin)
			wg.Wait()
		})
	}
}

// TestRFC3550_6_6_ByeOfEachStream: the browser hears of the end of each stream, of one that ends before the termination and of all with it, protected and with
// the report that goes before.
func TestRFC3550_6_6_ByeOfEachStream(t *testing.T) {
	x := newStreamed(t, 3, nil)
	x.bothWays(1, true)
	said := map[uint32]bool{}
	// bye waits for the last reports of streams.
	bye := func(n int) {
		t.Helper()
		limit := time.After(wait.Limit)
		for len(said) < n {
			select {
			case m := <-x.b.media:
				if m[1] < 192 || m[1] > 223 {
					continue
				}
				plain, err := x.b.rx.OpenRTCP(m)
				if err != nil {
					t.Fatal(err)
				}
				var info rtcp.Info
				if err := rtcp.Parse(plain, 0, false, &info); err != nil {
					t.Fatal(err)
				}
				if info.Bye {
					if said[info.Sender] || !info.SR || info.Packets != 1 {
						t.Errorf("last report %+v", info)
					}
					said[info.Sender] = true
				}
			case <-limit:
				t.Fatalf("BYE of %d streams, want %d", len(said), n)
			}
		}
	}
	x.ends[1].(*AccessStream).Close()
	if bye(1); !said[x.ssrcs[1]] {
		t.Errorf("BYE of %v, not of the stream that has ended", said)
	}
	x.a.Close()
	bye(3)
}
