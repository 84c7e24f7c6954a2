package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/codecs"
	"github.com/isthmus-gateway/isthmus/integration/internal/bench/cores"
)

// Options of a fleet.
type Options struct {
	Calls    int
	Media    Media
	Plain    bool // no ICE, DTLS and SRTP on the browser side, packets of the same size: for the kernel floor
	Material *codecs.Material
	Connect  Connect
}

const (
	setUpTimeout = 15 * time.Second // of one call
	setUpAtOnce  = 8                // calls
	listeners    = 4                // calls of a transcoding fleet whose audio is kept and compared
)

// Fleet is the calls through one system under test. Its methods are for one goroutine.
type Fleet struct {
	o       Options
	calls   []*call
	used    int   // of them, 0: all
	opened  int64 // when the last window began, ns since its Run
	poll    *poller
	core    *cores.Set // that Run keeps to; nil: any
	began   time.Time
	profile string
}

// New sets all calls up, some at once. On an error nothing is left.
func New(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{o: o, calls: make([]*call, o.Calls), began: time.Now()}
	id, err := newIdentity()
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	if f.poll, err = newPoller(); err != nil {
		return nil, err
	}
	if err = f.connectAll(ctx, &id); err == nil {
		err = f.watch()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if k := f.calls[0].browser.keys; k != nil {
		f.profile = k.profile
	}
	return f, nil
}

// connectAll fills f.calls.
func (f *Fleet) connectAll(ctx context.Context, id *identity) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	next, errs := make(chan int), make([]error, f.o.Calls)
	for range min(setUpAtOnce, f.o.Calls) {
		wg.Go(func() {
			for i := range next {
				if f.calls[i], errs[i] = f.connect(ctx, id, i); errs[i] != nil {
					errs[i] = fmt.Errorf("load: call %d: %w", i, errs[i])
					cancel()
				}
			}
		})
	}
	for i := range f.o.Calls {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return ctx.Err()
}

func (f *Fleet) connect(ctx context.Context, id *identity, i int) (*call, error) {
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	s, err := openSocket(0)
	if err != nil {
		return nil, err
	}
	c := &call{index: i, media: f.o.Media, plain: f.o.Plain, material: f.o.Material, browser: browser{socket: s, ice: newPeer()}}
	if c.core, c.control, err = openPair(); err != nil {
		s.close()
		return nil, err
	}
	for d := range c.out {
		c.out[d].ssrc, c.out[d].seq = rand.Uint32(), uint16(rand.Uint32())&0x7fff
	}
	a, err := f.o.Connect(ctx, Offer{
		Call: i, Media: c.media, Plain: c.plain, Browser: s.local, Ufrag: c.browser.ice.ufrag, Pwd: c.browser.ice.pwd,
		Fingerprint: id.fingerprint, Core: c.core.local,
	})
	if err == nil {
		c.core.aim(a.Core)
		if c.plain {
			c.browser.aim(a.Access)
		} else {
			err = c.browser.connect(ctx, id, a)
		}
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// watch gives the sockets to the poller, keys 2i and 2i+1 for browser and core of call i, and has arrivals stamped.
func (f *Fleet) watch() error {
	for i, c := range f.calls {
		if err := errors.Join(f.poll.add(c.browser.socket, int32(2*i)), f.poll.add(c.core, int32(2*i+1))); err != nil {
			return err
		}
		if i%f.stampEvery() != 0 {
			continue
		}
		if err := errors.Join(c.browser.stamp(), c.core.stamp()); err != nil {
			return fmt.Errorf("load: times of arrival: %w", err)
		}
	}
	return nil
}

// Use makes Run use the first n calls only; 0: all. The others stay up, silent.
func (f *Fleet) Use(n int) { f.used = min(n, len(f.calls)) }

// active are the calls that Run uses.
func (f *Fleet) active() []*call {
	if f.used > 0 {
		return f.calls[:f.used]
	}
	return f.calls
}

// Keep makes Run keep to some cores; the system that it measures has others.
func (f *Fleet) Keep(core *cores.Set) { f.core = core }

// Profile is the SRTP profile of the calls; empty for plain ones.
func (f *Fleet) Profile() string { return f.profile }

// Close ends the browsers and closes all sockets.
func (f *Fleet) Close() {
	for _, c := range f.calls {
		if c != nil {
			c.close()
		}
	}
	f.poll.close()
}

// listen empties the records and makes room for a window in those of the sample calls.
func (f *Fleet) listen(warm, window time.Duration) {
	if !f.o.Media.Transcoded() {
		return
	}
	for _, c := range f.calls {
		for d := range c.in {
			c.in[d].record, c.in[d].at, c.out[d].log = nil, nil, nil
		}
	}
	active := f.active()
	for i := range min(listeners, len(active)) {
		c := active[i*len(active)/min(listeners, len(active))]
		for d := range c.in {
			if c.in[d].record == nil {
				c.in[d].record = make([]byte, 0, int(window/frameTime+50)*(frameLen+2))
			}
			packets := int((warm+window)/frameTime) + 50
			c.in[d].record, c.in[d].records, c.in[d].at = c.in[d].record[:0], 0, make([]int64, 0, packets)
			c.out[d].log, c.out[d].logged = make([]int64, 0, packets), c.out[d].count
		}
	}
}

// payloads are those of a record, in order.
func (h *heard) payloads() (out [][]byte) {
	for b := h.record; len(b) > 2; {
		n := int(binary.BigEndian.Uint16(b))
		out, b = append(out, b[2:2+n]), b[2+n:]
	}
	return out
}
