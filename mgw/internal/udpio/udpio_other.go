//go:build !linux || portable

package udpio

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Socket is one UDP socket with a goroutine that reads ahead one datagram at a time.
type Socket struct {
	conn  *net.UDPConn
	local netip.AddrPort

	closed    atomic.Bool
	closeOnce sync.Once
	readers   sync.WaitGroup

	ready chan arrived  // cap readAhead; writer: the read goroutine; full: it waits, and the kernel drops
	done  chan struct{} // closed by Close

	mu     sync.Mutex // guards poller, key
	poller *Poller
	key    uint32
}

const readAhead = 256

type arrived struct {
	b    []byte
	from netip.AddrPort
}

// Open binds a socket; port 0 lets the kernel choose. Errors name the address and the cause. Options.TOS is not supported here.
func Open(local netip.AddrPort, o Options) (*Socket, error) {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
	if err != nil {
		return nil, err
	}
	if o.ReceiveBuffer > 0 {
		_ = c.SetReadBuffer(o.ReceiveBuffer)
	}
	if o.SendBuffer > 0 {
		_ = c.SetWriteBuffer(o.SendBuffer)
	}
	port := c.LocalAddr().(*net.UDPAddr).Port
	s := &Socket{conn: c, local: netip.AddrPortFrom(local.Addr().Unmap(), uint16(port)), ready: make(chan arrived, readAhead), done: make(chan struct{})}
	s.readers.Go(s.read)
	return s, nil
}

func (s *Socket) read() {
	buf := make([]byte, 65536)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		a := arrived{append([]byte(nil), buf[:n]...), netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
		select {
		case s.ready <- a:
			s.notify()
		case <-s.done:
			return
		}
	}
}

// notify tells the poller that a datagram waits.
func (s *Socket) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poller != nil {
		s.poller.mark(s.key)
	}
}

// Local is the bound address with the port that the kernel chose.
func (s *Socket) Local() netip.AddrPort { return s.local }

// SetTOS is not supported on this platform; it does nothing.
func (s *Socket) SetTOS(int) error { return nil }

// StampArrivals is not supported on this platform: Message.Stamp is 0.
func (s *Socket) StampArrivals(bool) {}

// SendTo sends one datagram at once, from any goroutine. Errors: ErrClosed, or the kernel's.
func (s *Socket) SendTo(b []byte, to netip.AddrPort) error {
	if s.closed.Load() {
		return ErrClosed
	}
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	return err
}

// Close closes the socket and waits for its goroutine. Idempotent.
func (s *Socket) Close() (err error) {
	s.closeOnce.Do(func() {
		s.closed.Store(true)
		close(s.done)
		err = s.conn.Close()
		s.readers.Wait()
	})
	return err
}

// Addr is a destination.
type Addr struct{ to netip.AddrPort }

// IsZero reports that a holds no destination.
func (a *Addr) IsZero() bool { return !a.to.IsValid() }

// Addr makes the destination ap for sending on s. A destination of the other family gives a zero Addr.
func (s *Socket) Addr(ap netip.AddrPort) Addr {
	a := ap.Addr().Unmap()
	if !ap.IsValid() || a.Is6() != s.local.Addr().Is6() {
		return Addr{}
	}
	return Addr{netip.AddrPortFrom(a, ap.Port())}
}

// Reader reads datagrams for one worker.
type Reader struct{}

// NewReader returns a Reader.
func NewReader() *Reader { return &Reader{} }

// ReadBatch takes up to MaxBatch waiting datagrams, as on Linux.
func (r *Reader) ReadBatch(s *Socket, bufs [][]byte, msgs []Message) (int, error) {
	n := 0
	for n < min(len(bufs), MaxBatch) && r.ReadOne(s, bufs[n], &msgs[n]) {
		n++
	}
	return n, nil
}

// ReadOne takes one waiting datagram; false when none waits.
func (r *Reader) ReadOne(s *Socket, buf []byte, m *Message) bool {
	select {
	case a := <-s.ready:
		*m = Message{N: copy(buf, a.b), From: a.from, Truncated: len(a.b) > len(buf)}
		if len(s.ready) > 0 {
			s.notify()
		}
		return true
	default:
		return false
	}
}

// Writer queues datagrams until Flush.
type Writer struct {
	msgs [MaxQueue]outgoing
	n    int
}

type outgoing struct {
	s  *Socket
	to netip.AddrPort
	b  []byte
}

// NewWriter returns a Writer.
func NewWriter() *Writer { return &Writer{} }

// Room is the number of datagrams that can be queued before the next Flush.
func (w *Writer) Room() int { return MaxQueue - w.n }

// Queue notes b for sending on s, as on Linux; tos is ignored.
func (w *Writer) Queue(s *Socket, to *Addr, b []byte, _ uint8) {
	if to.IsZero() || len(b) == 0 {
		panic("udpio: queued without destination or content")
	}
	w.msgs[w.n] = outgoing{s, to.to, b}
	w.n++
}

// Flush sends everything queued and returns how many were taken.
func (w *Writer) Flush() (sent int) {
	for i := range w.msgs[:w.n] {
		m := &w.msgs[i]
		if m.s.SendTo(m.b, m.to) == nil {
			sent++
		}
	}
	clear(w.msgs[:w.n])
	w.n = 0
	return sent
}

// Poller tells which sockets have datagrams.
type Poller struct {
	mu     sync.Mutex // guards ready, woken
	ready  map[uint32]struct{}
	woken  bool
	signal chan struct{} // cap 1
	keys   []uint32
}

// NewPoller makes a Poller.
func NewPoller() (*Poller, error) {
	return &Poller{ready: make(map[uint32]struct{}), signal: make(chan struct{}, 1)}, nil
}

func (p *Poller) mark(key uint32) {
	p.mu.Lock()
	p.ready[key] = struct{}{}
	p.mu.Unlock()
	p.poke()
}

func (p *Poller) poke() {
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

// Add watches s; Ready reports it as key.
func (p *Poller) Add(s *Socket, key uint32) error {
	s.mu.Lock()
	s.poller, s.key = p, key
	s.mu.Unlock()
	if len(s.ready) > 0 {
		p.mark(key)
	}
	return nil
}

// Remove stops watching s.
func (p *Poller) Remove(s *Socket) error {
	s.mu.Lock()
	key := s.key
	s.poller = nil
	s.mu.Unlock()
	p.mu.Lock()
	delete(p.ready, key)
	p.mu.Unlock()
	return nil
}

// Wait returns the number of ready sockets, as on Linux; hold has no effect.
func (p *Poller) Wait(timeout time.Duration, _ bool) (n int, woken bool, err error) {
	if n, woken = p.collect(); n > 0 || woken || timeout == 0 {
		return n, woken, nil
	}
	var limit <-chan time.Time
	if timeout > 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		limit = t.C
	}
	select {
	case <-p.signal:
	case <-limit:
	}
	n, woken = p.collect()
	return n, woken, nil
}

func (p *Poller) collect() (int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = p.keys[:0]
	for k := range p.ready {
		p.keys = append(p.keys, k)
	}
	clear(p.ready)
	woken := p.woken
	p.woken = false
	return len(p.keys), woken
}

// Ready is the key of the i-th ready socket of the last Wait.
func (p *Poller) Ready(i int) uint32 { return p.keys[i] }

// Nap sleeps d, for datagrams to gather; Wake does not shorten it here.
func (p *Poller) Nap(d time.Duration, _ bool) { time.Sleep(d) }

// Wake makes a present or the next Wait return.
func (p *Poller) Wake() {
	p.mu.Lock()
	p.woken = true
	p.mu.Unlock()
	p.poke()
}

// Close releases the poller.
func (p *Poller) Close() error { return nil }
