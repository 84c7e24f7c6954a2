package contexts

import "sync"

// crew counts the goroutines of a Manager. Unlike a sync.WaitGroup it may be entered while Close waits: then it refuses.
type crew struct {
	mu     sync.Mutex // guards what follows
	n      int
	closed bool
	zero   chan struct{} // made by close, closed when n is 0
}

// enter counts a goroutine about to start; false: it must not.
func (c *crew) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.n++
	return true
}

// leave counts a goroutine that ends.
func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.n == 0 && c.zero != nil {
		close(c.zero)
		c.zero = nil
	}
}

// close lets nobody in any more and waits until all have left.
func (c *crew) close() {
	c.mu.Lock()
	c.closed = true
	if c.n == 0 {
		c.mu.Unlock()
		return
	}
	if c.zero == nil {
		c.zero = make(chan struct{})
	}
	zero := c.zero
	c.mu.Unlock()
	<-zero
}
