package flow

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgw/internal/audio"
	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
	"github.com/isthmus-gateway/isthmus/mgw/internal/gate"
	"github.com/isthmus-gateway/isthmus/mgw/internal/ice"
	"github.com/isthmus-gateway/isthmus/mgw/internal/srtp"
	"github.com/isthmus-gateway/isthmus/mgw/internal/udpio"
)

const (
	bufferSize = bufpool.Size
	overhead   = srtp.Overhead
	// readSize leaves room in every buffer for what protection adds.
	readSize = bufferSize - overhead
	// parcel is how many datagrams are read before those to forward are sent: after a stall hundreds wait, and the first of them need not be as
	// late as the last. Fewer would cost more system calls on the sockets that many calls share.
	parcel = 32
	// arena is the number of buffers that a worker reads into, 192 KiB: a batch on top of what is not yet a parcel.
	arena = parcel + udpio.MaxBatch
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
	quiet    bool // another worker tells what concerns all

	count  counters
	shares shares

	// Below: owned by the worker goroutine.
	stop      bool
	now       int64 // when the round began, or its frames had been coded
	began     int64 // when the round began
	round     uint64
	arrivals  arrivals
	waited    int64     // how long the packet in hand had waited for the round, ns; 0: not known
	timed     int       // terminations whose sockets tell that
	socks     []sockRef // by poll key
	free      []uint32  // unused poll keys
	access    []*accessSock
	terms     []*term
	streams   []*stream
	streamsAt int64 // when streams are looked at next
	reader    *udpio.Reader
	writer    *udpio.Writer
	bufs      [][]byte   // arena, each bufferSize long
	reads     [][]byte   // the same, cut to readSize
	used      int        // buffers of the arena in the writer's hands, or just read
	cores     []gathered // of those, what is not processed yet
	own       [][]byte   // ownArena buffers, each bufferSize long
	ownUsed   int
	found     []*path // of the datagrams just read from an access socket, where they are from
	flight    []*term // whose packets are in hand
	scratch   []byte  // a packet that may have to be opened twice
	coding    *audio.Scratch
	msgs      []udpio.Message
	clock     frameClock
	sounded   uint32 // sounders so far
	sweepAt   int64
	sweepNext int // index in terms
	load      loadMeter
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
	component  uint32      // 1, or 2 of RTCP
	component2 *accessSock // the port of component 2; nil: none
	timed      int         // terminations that want to know when media came
	realm      string
	sock       *udpio.Socket
	mux        *ice.Mux
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
		reads: make([][]byte, arena), cores: make([]gathered, 0, arena), flight: make([]*term, arena), found: make([]*path, udpio.MaxBatch), msgs: make([]udpio.Message, udpio.MaxBatch),
	}
	w.own, w.scratch, w.coding = slab(ownArena), make([]byte, bufferSize), audio.NewScratch()
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
// 1st wait for datagrams, commands or the clock; 2nd commands; 3rd read and forward, parcel by parcel; 4th, when all has been read, code the
// frames that are due, so that none lacks a packet that the kernel had; 5th sweep;
// 6th send the rest; 7th under load, let datagrams gather.
func (w *worker) run() {
	runtime.LockOSThread() // never unlocked: the thread, which has a priority of its own, ends with the worker
	w.prioritize()
	udpio.Punctual()
	defer close(w.exited)
	for !w.stop {
		n, _, err := w.poll.Wait(w.timeout(), w.load.busy)
		if err != nil {
			// Only a broken descriptor gets here, which is a fault of the program.
			panic(err)
		}
		w.begin()
		w.runCommands()
		got := w.readAll(n)
		w.runClock()
		w.runSweep()
		w.runStreams()
		w.flush()
		w.rest(got)
	}
}

// prioritize lets packets go before whatever else the machine has to do: 20 ms late is lost.
func (w *worker) prioritize() {
	if w.cfg.Nice == 0 {
		return
	}
	if err := udpio.Prioritize(w.cfg.Nice); err != nil && !w.quiet {
		w.log.Warn("packets have no priority over other work on this machine; CAP_SYS_NICE allows it", zap.Int("nice", w.cfg.Nice), zap.Error(err))
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
	t.weigh(costUnknown)
}

func (w *worker) leave(t *term) {
	last := len(w.terms) - 1
	w.terms[t.slot] = w.terms[last]
	w.terms[t.slot].slot = t.slot
	w.terms[last] = nil
	w.terms = w.terms[:last]
	t.weigh(0)
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
		w.load.frames++
	}
	w.now = w.monotonic()
}

// runSweep looks at some of the terminations, so that each is seen every sweepEvery without a stall for all of them.
func (w *worker) runSweep() {
	if len(w.terms) == 0 || w.now < w.sweepAt {
		return
	}
	w.fetchSweep(min(sweepBatch, len(w.terms)))
	for range min(sweepBatch, len(w.terms)) {
		if w.sweepNext >= len(w.terms) {
			w.sweepNext = 0
		}
		w.terms[w.sweepNext].sweep(w.now)
		w.sweepNext++
	}
	w.sweepAt = w.now + int64(sweepEvery)*int64(min(sweepBatch, len(w.terms)))/int64(len(w.terms))
}
