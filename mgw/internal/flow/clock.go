package flow

import (
	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
)

// pulse is the place of a transcoder or a sounder in its worker's frame clock.
type pulse struct {
	of   ticker
	due  int64
	heap int // 1 + index in worker.clock; 0: not scheduled
}

// ticker makes the frame that is due.
type ticker interface{ tick(now int64) }

// set makes p due at a time; audio.Idle: never.
func (c *frameClock) set(p *pulse, due int64) {
	switch {
	case due == audio.Idle:
		c.remove(p)
	case p.heap == 0:
		p.due = due
		c.add(p)
	case due != p.due:
		p.due = due
		c.fix(p)
	}
}

// frameClock is a heap of transcoders and sounders by due time; it allocates only to grow. Owned by the worker.
type frameClock struct{ heap []*pulse }

// next is the earliest due time; ok is false when nothing is scheduled.
func (c *frameClock) next() (due int64, ok bool) {
	if len(c.heap) == 0 {
		return 0, false
	}
	return c.heap[0].due, true
}

func (c *frameClock) add(t *pulse) {
	c.heap = append(c.heap, t)
	t.heap = len(c.heap)
	c.up(len(c.heap) - 1)
}

// fix restores the order after t.due has changed.
func (c *frameClock) fix(t *pulse) {
	if i := t.heap - 1; !c.down(i) {
		c.up(i)
	}
}

// remove takes t out if it is in.
func (c *frameClock) remove(t *pulse) {
	if t.heap == 0 {
		return
	}
	i, last := t.heap-1, len(c.heap)-1
	c.swap(i, last)
	c.heap[last] = nil
	c.heap = c.heap[:last]
	t.heap = 0
	if i < last && !c.down(i) {
		c.up(i)
	}
}

func (c *frameClock) swap(i, j int) {
	c.heap[i], c.heap[j] = c.heap[j], c.heap[i]
	c.heap[i].heap, c.heap[j].heap = i+1, j+1
}

func (c *frameClock) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if c.heap[parent].due <= c.heap[i].due {
			return
		}
		c.swap(i, parent)
		i = parent
	}
}

func (c *frameClock) down(i int) (moved bool) {
	for {
		least := i
		for _, k := range [2]int{2*i + 1, 2*i + 2} {
			if k < len(c.heap) && c.heap[k].due < c.heap[least].due {
				least = k
			}
		}
		if least == i {
			return moved
		}
		c.swap(i, least)
		i, moved = least, true
	}
}
