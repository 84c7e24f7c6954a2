package flow

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/rtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

const (
	bufferSize = bufpool.Size
	overhead   = srtp.Overhead
	// readSize leaves room in every buffer for what protection adds.
	readSize = bufferSize - overhead
	// arena is the number of buffers that a worker reads into, 512 KiB: one round's packets at most.
	arena = 256
	// ownArena is the number of buffers for what the worker writes itself: coded frames and reports. Both together fit the writer's queue.
	ownArena = 64
	// maxBursts is how many batches of one socket are taken before others have their turn.
	maxBursts = 4
	// maxTicks is how many frames are coded before the sockets have their turn again: about 1 ms.
	maxTicks = 8
	// sliceTicks is the same while packets are relayed: 0.1 ms for G.711, 0.3 ms for AMR-WB.
	sliceTicks = 2

	sweepEvery = 200 * time.Millisecond // each termination is looked at so often
	sweepBatch = 64                     // terminations per look
)

// worker is one thread of packets with everything that it alone may touch.
type worker struct {
	cfg  *Config
	log  *zap.Logger
	base time.Time // monotonic time 0
	wall int64     // Unix ns at base

	poll *udpio.Poller

	// Commands: written by any goroutine, run by the worker in order.
	mu       sync.Mutex // guards commands, stopped
	commands []func()
	stopped  bool
	pending  atomic.Bool // commands is not empty
	exited   chan struct{}

	count counters

	// Below: owned by the worker goroutine.
	stop      bool
	now       int64
	round     uint64
	socks     []sockRef // by poll key
	free      []uint32  // unused poll keys
	access    []*accessSock
	terms     []*term
	streams   []*stream
	streamsAt int64 // when streams are looked at next
	reader    *udpio.Reader
	writer    *udpio.Writer
	bufs      [][]byte // arena, each bufferSize long
	reads     [][]byte // the same, cut to readSize
	used      int      // buffers of the arena in the writer's hands, or just read
	own       [][]byte // ownArena buffers, each bufferSize long
	ownUsed   int
	scratch   []byte // a packet that may have to be opened twice
	msgs      []udpio.Message
	clock     frameClock
	sweepAt   int64
	sweepNext int // index in terms
	load      loadMeter
	warmth    uint64 // of warm; without meaning
}

// counters are folded in once per round.
type counters struct {
	received, sent, lost, stray, wakeups, batches atomic.Uint64
	refused                                       [gate.Reasons]atomic.Uint64 // by terminations; told by their sweep and close
}

// sockRef tells what a ready socket is.
type sockRef struct {
	access *accessSock
	second bool // the access socket of the other address family
	core   *coreState
	rtcp   bool
	stream *stream
}

// accessSock is the worker's port in one access realm.
type accessSock struct {
	component uint32      // 1, or 2 of RTCP
	apart     *accessSock // the port of component 2; nil: none
	realm     string
	sock      *udpio.Socket
	mux       *ice.Mux
	// second is the socket of the other address family with its address in candidates; nil: none.
	second     *udpio.Socket
	secondAddr netip.AddrPort
	paths      map[netip.AddrPort]*path // authenticated source addresses of all terminations on the port

	w       *worker
	pool    *bufpool.Pool
	tcp     uint16                     // port for ICE-TCP; 0: none
	streams map[netip.AddrPort]*stream // TCP connections by the addresses that stand for them
	made    uint64                     // of those addresses
}

func newWorker(cfg *Config, base time.Time, log *zap.Logger) (*worker, error) {
	p, err := udpio.NewPoller()
	if err != nil {
		return nil, fmt.Errorf("flow: worker: %w", err)
	}
	w := &worker{
		cfg: cfg, log: log, base: base, wall: base.UnixNano(), poll: p, exited: make(chan struct{}),
		reader: udpio.NewReader(), writer: udpio.NewWriter(),
		reads: make([][]byte, arena), msgs: make([]udpio.Message, arena),
	}
	w.own, w.scratch = slab(ownArena), make([]byte, bufferSize)
	w.bufs = slab(arena)
	for i, b := range w.bufs {
		w.reads[i] = b[:readSize]
	}
	return w, nil
}

// slab is n buffers in one block.
func slab(n int) [][]byte {
	bufs, block := make([][]byte, n), make([]byte, n*bufferSize)
	for i := range bufs {
		bufs[i] = block[i*bufferSize : (i+1)*bufferSize : (i+1)*bufferSize]
	}
	return bufs
}

// run is the worker goroutine. One round:
// 1st wait for datagrams, commands or the clock; 2nd commands; 3rd read, forward and queue; 4th code the frames that are due; 5th sweep;
// 6th send; 7th under load, let datagrams gather.
func (w *worker) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(w.exited)
	for !w.stop {
		n, _, err := w.poll.Wait(w.timeout(), w.load.busy)
		if err != nil {
			// Only a broken descriptor gets here, which is a fault of the program.
			panic(err)
		}
		w.now = w.monotonic()
		w.round++
		w.runCommands()
		got := 0
		w.warmCore(n)
		for i := range n {
			got += w.read(w.poll.Ready(i))
		}
		w.runClock()
		w.runSweep()
		w.runStreams()
		w.flush()
		w.rest(got)
	}
}

func (w *worker) monotonic() int64 { return int64(time.Since(w.base)) }

// timeout is how long Wait may block.
func (w *worker) timeout() time.Duration {
	if w.pending.Load() {
		return 0
	}
	due, ok := w.clock.next()
	if len(w.terms) > 0 && (!ok || w.sweepAt < due) {
		due, ok = w.sweepAt, true
	}
	if len(w.streams) > 0 && (!ok || w.streamsAt < due) {
		due, ok = w.streamsAt, true
	}
	if !ok {
		return -1
	}
	return time.Duration(max(0, due-w.monotonic()))
}

// post queues f to be run by the worker; false when the worker has stopped. It does not wait.
func (w *worker) post(f func()) bool {
	w.mu.Lock()
	if w.stopped {
		w.mu.Unlock()
		return false
	}
	w.commands = append(w.commands, f)
	if !w.pending.Swap(true) {
		w.poll.Wake()
	}
	w.mu.Unlock()
	return true
}

// do runs f on the worker and waits for it; false when the worker has stopped. Never from the worker itself.
func (w *worker) do(f func()) bool {
	done := make(chan struct{})
	if !w.post(func() { f(); close(done) }) {
		return false
	}
	<-done
	return true
}

func (w *worker) runCommands() {
	if !w.pending.Load() {
		return
	}
	w.drain() // what is queued belongs to the state before the commands
	w.mu.Lock()
	todo := w.commands
	w.commands = nil
	w.pending.Store(false)
	w.mu.Unlock()
	for _, f := range todo {
		f()
	}
}

// close stops the goroutine and waits for it. Commands posted before are run.
func (w *worker) close() {
	w.post(func() { w.stop = true })
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	<-w.exited
	w.runCommands()
}

// watch gives a socket to the poller.
func (w *worker) watch(s *udpio.Socket, ref sockRef) (key uint32, err error) {
	if n := len(w.free); n > 0 {
		key = w.free[n-1]
		w.free = w.free[:n-1]
		w.socks[key] = ref
	} else {
		key = uint32(len(w.socks))
		w.socks = append(w.socks, ref)
	}
	if err := w.poll.Add(s, key); err != nil {
		w.socks[key] = sockRef{}
		w.free = append(w.free, key)
		return 0, err
	}
	return key, nil
}

func (w *worker) unwatch(s *udpio.Socket, key uint32) {
	if err := w.poll.Remove(s); err != nil {
		w.log.Error("poller lost a socket", zap.Error(err))
	}
	w.socks[key] = sockRef{}
	w.free = append(w.free, key)
}

// join adds a termination to the sweep.
func (w *worker) join(t *term) {
	if len(w.terms) == 0 {
		w.sweepAt, w.sweepNext = w.now+int64(sweepEvery), 0
	}
	t.slot = len(w.terms)
	w.terms = append(w.terms, t)
}

func (w *worker) leave(t *term) {
	last := len(w.terms) - 1
	w.terms[t.slot] = w.terms[last]
	w.terms[t.slot].slot = t.slot
	w.terms[last] = nil
	w.terms = w.terms[:last]
}

// read takes what waits on a ready socket and returns the number of datagrams.
func (w *worker) read(key uint32) int {
	switch ref := w.socks[key]; {
	case ref.access != nil:
		if ref.second {
			return w.readAccess(ref.access, ref.access.second)
		}
		return w.readAccess(ref.access, ref.access.sock)
	case ref.core != nil:
		return w.readCore(ref.core, ref.rtcp)
	case ref.stream != nil:
		return w.readStream(ref.stream)
	}
	return 0 // closed by a command of this round
}

func (w *worker) readAccess(as *accessSock, sock *udpio.Socket) (got int) {
	for range maxBursts {
		if arena-w.used < udpio.MaxBatch {
			w.flush()
		}
		first := w.used
		n, err := w.reader.ReadBatch(sock, w.reads[first:first+udpio.MaxBatch], w.msgs)
		if err != nil || n == 0 {
			return got
		}
		w.count.batches.Add(1)
		w.used = first + n
		// A command may have been posted before these datagrams were sent: an address that was authenticated, a new key.
		w.runCommands()
		w.warmAccess(as, n)
		for i := range n {
			m := &w.msgs[i]
			if m.Truncated {
				w.count.stray.Add(1)
				continue
			}
			w.accessPacket(as, w.reads[first+i][:m.N:bufferSize], m.From)
		}
		got += n
		if n < udpio.MaxBatch {
			return got
		}
	}
	return got
}

func (w *worker) readCore(c *coreState, isRTCP bool) (got int) {
	s := c.rtp
	if isRTCP {
		s = c.rtcp
	}
	var m udpio.Message
	for range maxBursts {
		if w.used == arena {
			w.flush()
		}
		b := w.reads[w.used]
		if !w.reader.ReadOne(s, b, &m) {
			break
		}
		got++
		if m.Truncated {
			c.t.in.drops.Count(gate.Malformed)
			continue
		}
		if w.corePacket(c, b[:m.N:bufferSize], m.From, isRTCP) {
			w.used++
		}
		// The usual case is one datagram per round; a second look costs a system call and pays only in a burst.
		if c.round != w.round-1 {
			break
		}
	}
	c.round = w.round
	return got
}

// accessPacket demultiplexes one datagram of a browser (RFC 7983 §7). b has spare capacity.
func (w *worker) accessPacket(as *accessSock, b []byte, src netip.AddrPort) {
	switch rtp.Classify(b) {
	case rtp.STUN:
		if as.mux.Deliver(b, src) != ice.Delivered {
			w.count.stray.Add(1)
		}
		return
	case rtp.DTLS:
		if p := as.paths[src]; p != nil {
			p.owner.dtls(b, src)
			return
		}
	case rtp.RTP:
		if p := as.paths[src]; p != nil {
			if out := p.owner.rtp(w.now, b); out != nil {
				w.load.urgent++
				w.send(p.owner.t.partner, out)
			}
			return
		}
	case rtp.RTCP:
		if p := as.paths[src]; p != nil {
			p.owner.rtcp(w.now, b)
			return
		}
	}
	w.count.stray.Add(1)
}

// corePacket takes one datagram of the core network; it reports whether the buffer is now the writer's.
func (w *worker) corePacket(c *coreState, b []byte, src netip.AddrPort, isRTCP bool) bool {
	if isRTCP || c.mux && rtp.IsRTCP(b) {
		c.control(w.now, src, b)
		return false
	}
	out := c.media(w.now, src, b)
	if out == nil {
		return false
	}
	w.load.urgent++
	w.send(c.t.partner, out)
	return true
}

func (w *worker) send(to *term, b []byte) {
	if to.out.stream != nil {
		w.stream(to.out.stream, b)
		return
	}
	w.queue(to.out.sock, &to.out.addr, b, to.out.tos)
}

// stream sends at once: a connection has a queue of its own, and what does not fit into that is lost.
func (w *worker) stream(to *stream, b []byte) {
	if to.Send(b) {
		w.count.sent.Add(1)
	} else {
		w.count.lost.Add(1)
	}
}

func (w *worker) queue(s *udpio.Socket, to *udpio.Addr, b []byte, tos uint8) {
	w.writer.Queue(s, to, b, tos)
}

// buffer is an unused buffer for what the worker writes itself; it is the writer's until the next drain.
func (w *worker) buffer() []byte {
	if w.ownUsed == ownArena {
		w.drain()
	}
	b := w.own[w.ownUsed]
	w.ownUsed++
	return b
}

// drain sends everything queued. What was read and not yet forwarded stays.
func (w *worker) drain() {
	if queued := udpio.MaxQueue - w.writer.Room(); queued > 0 {
		sent := w.writer.Flush()
		w.count.sent.Add(uint64(sent))
		w.count.lost.Add(uint64(queued - sent))
	}
	w.ownUsed = 0
}

// flush is drain at a point where nothing is left to forward: the arena is free again.
func (w *worker) flush() {
	w.drain()
	w.used = 0
}

// runClock codes frames that are due. To code one takes as long as to relay ten packets, so relayed ones go first: those of this round have
// left before, and while there are any the sockets have their turn after a short slice.
func (w *worker) runClock() {
	if due, ok := w.clock.next(); !ok || due > w.now {
		return
	}
	ticks := maxTicks
	if w.load.relaying() {
		w.flush()
		ticks = sliceTicks
	}
	for range ticks {
		due, ok := w.clock.next()
		if !ok || due > w.now {
			return
		}
		w.clock.heap[0].of.tick(w.now)
	}
	w.now = w.monotonic()
}

// runSweep looks at some of the terminations, so that each is seen every sweepEvery without a stall for all of them.
func (w *worker) runSweep() {
	if len(w.terms) == 0 || w.now < w.sweepAt {
		return
	}
	for range min(sweepBatch, len(w.terms)) {
		if w.sweepNext >= len(w.terms) {
			w.sweepNext = 0
		}
		w.terms[w.sweepNext].sweep(w.now)
		w.sweepNext++
	}
	w.sweepAt = w.now + int64(sweepEvery)*int64(min(sweepBatch, len(w.terms)))/int64(len(w.terms))
}
