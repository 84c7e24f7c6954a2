package call

import (
	"context"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/mgc/internal/bus"
)

const (
	subjectSIP    = "sip"    // envelopes
	subjectNotify = "notify" // NotifyRequests for the owner of the call

	// maxLane bounds the parcels that wait for one instance; more fail at once.
	maxLane = 4096
	// parcelTimeout bounds the delivery of one parcel.
	parcelTimeout = 2 * time.Second
)

// courier brings parcels to other instances, those for one instance in order and one after the other. A goroutine per
// instance lives while parcels wait for it.
type courier struct {
	bus *bus.Bus
	ctx context.Context // ends with the manager

	mu     sync.Mutex // guards below
	lanes  map[string][]parcel
	closed bool
	wg     sync.WaitGroup // lanes
}

// parcel is a message and who is told when it was not taken; failed may be nil and must not block.
type parcel struct {
	data   []byte
	failed func(error)
}

func newCourier(ctx context.Context, b *bus.Bus) *courier {
	return &courier{bus: b, ctx: ctx, lanes: map[string][]parcel{}}
}

// send queues a parcel; false when it cannot.
func (c *courier) send(to string, p parcel) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	lane, open := c.lanes[to]
	if c.closed || len(lane) >= maxLane {
		return false
	}
	c.lanes[to] = append(lane, p)
	if !open {
		c.wg.Add(1)
		go c.run(to)
	}
	return true
}

// run delivers what waits for one instance until nothing does.
func (c *courier) run(to string) {
	defer c.wg.Done()
	for {
		c.mu.Lock()
		lane := c.lanes[to]
		if len(lane) == 0 {
			delete(c.lanes, to)
			c.mu.Unlock()
			return
		}
		c.lanes[to] = lane[1:]
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(c.ctx, parcelTimeout)
		_, err := c.bus.Request(ctx, to, subjectSIP, lane[0].data)
		cancel()
		if err != nil && lane[0].failed != nil {
			lane[0].failed(err)
		}
	}
}

// flush waits until nothing waits for any instance, or ctx ends; it looks at each tick.
func (c *courier) flush(ctx context.Context, tick <-chan time.Time) {
	for {
		c.mu.Lock()
		open := len(c.lanes)
		c.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// close takes no more parcels and waits for the lanes, which fail fast once ctx has ended.
func (c *courier) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wg.Wait()
}
