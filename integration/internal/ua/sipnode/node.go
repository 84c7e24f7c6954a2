// Package sipnode is one SIP element's sockets and transactions for test peers and the demo core:
// a UDP socket and a TCP listener on the same port, RFC 3261 §17 transactions with RFC 6026, and
// nothing above them. Floor 0 of the integration module.
//
// Owner: Node owns one reader goroutine per socket and, per TCP connection, a reader and a writer;
// Close waits for all of them. Messages of one socket are handled in arrival order, which is why the
// element does not use the transport of the SIP library it takes its parser and messages from.
package sipnode

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// ErrClosed reports use of a closed Node.
var ErrClosed = errors.New("sipnode: closed")

const (
	maxMessage  = 64 << 10 // bytes; also the largest UDP datagram read
	maxTCPConns = 256      // accepted and dialled together; more are refused
	maxTx       = 8192     // server transactions alive at once; more are answered 503 statelessly
)

// Timers are the base timers of RFC 3261 §17.1.1.1; zero fields take the RFC's values.
type Timers struct {
	T1 time.Duration // round-trip estimate, default 500 ms
	T2 time.Duration // longest retransmission interval, default 4 s
	T4 time.Duration // longest time a message stays in the network, default 5 s
}

func (t Timers) withDefaults() Timers {
	if t.T1 == 0 {
		t.T1 = 500 * time.Millisecond
	}
	if t.T2 == 0 {
		t.T2 = 4 * time.Second
	}
	if t.T4 == 0 {
		t.T4 = 5 * time.Second
	}
	return t
}

// Handler receives what no existing transaction consumes. Both methods run on the socket's reader
// goroutine, in arrival order, and must not block.
type Handler interface {
	// ServeRequest takes a new server transaction; somebody must answer it in the end.
	ServeRequest(tx *ServerTx)
	// ServeAck takes the ACK of a 2xx, which is no transaction of its own (RFC 3261 §17.1.1.3).
	ServeAck(req *sip.Request, from Target)
}

// Config describes a Node.
type Config struct {
	// Listen is the address for UDP and TCP, "127.0.0.1:0" picks one free port for both.
	Listen string
	// UserAgent is written as User-Agent or Server, empty writes none.
	UserAgent string
	// Timers, see there.
	Timers Timers
	// Trace, when set, sees each message sent ("->") and received ("<-"). It runs on internal
	// goroutines, must not block and must not keep msg.
	Trace func(direction string, peer Target, msg []byte)
	// Warn, when set, hears of dropped input and failed sends in one line of safe text.
	Warn func(text string)
}

// Node is one SIP element's transport and transaction layer.
type Node struct {
	cfg     Config
	timers  Timers
	handler Handler
	parser  *sip.Parser
	udp     *net.UDPConn
	tcp     *net.TCPListener
	addr    netip.AddrPort
	wg      sync.WaitGroup

	mu       sync.Mutex // guards the fields below and the state of every transaction
	closed   bool
	conns    map[netip.AddrPort]*tcpConn
	clients  map[string]*ClientTx
	servers  map[string]*ServerTx
	awaiting map[string]*ServerTx // answered 2xx, waiting for their ACK
}

// Listen opens the sockets and starts reading. The caller owns the Node and must Close it.
func Listen(cfg Config, h Handler) (*Node, error) {
	n := &Node{
		cfg: cfg, timers: cfg.Timers.withDefaults(), handler: h, parser: sip.NewParser(),
		conns:    map[netip.AddrPort]*tcpConn{},
		clients:  map[string]*ClientTx{},
		servers:  map[string]*ServerTx{},
		awaiting: map[string]*ServerTx{},
	}
	if err := n.open(); err != nil {
		return nil, fmt.Errorf("sipnode: listen %s: %w", cfg.Listen, err)
	}
	n.wg.Add(2)
	go n.readUDP()
	go n.acceptTCP()
	return n, nil
}

// open binds UDP and TCP to the same port; with port 0 it tries a few times, as the port that UDP
// got may be taken on TCP.
func (n *Node) open() error {
	want, err := netip.ParseAddrPort(n.cfg.Listen)
	if err != nil {
		return err
	}
	for range 20 {
		udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(want))
		if err != nil {
			return err
		}
		got := udp.LocalAddr().(*net.UDPAddr).AddrPort()
		tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(want.Addr(), got.Port())))
		if err == nil {
			n.udp, n.tcp = udp, tcp
			n.addr = netip.AddrPortFrom(want.Addr(), got.Port())
			return nil
		}
		udp.Close()
		if want.Port() != 0 {
			return err
		}
	}
	return errors.New("no port free for both UDP and TCP")
}

// Addr is the bound address, the same for UDP and TCP.
func (n *Node) Addr() netip.AddrPort { return n.addr }

// Close ends all transactions without telling their owners, closes all sockets and waits for the
// goroutines. Safe to call twice.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	for _, tx := range n.clients {
		tx.stopTimersLocked()
	}
	for _, tx := range n.servers {
		tx.stopTimersLocked()
	}
	conns := make([]*tcpConn, 0, len(n.conns))
	for _, c := range n.conns {
		conns = append(conns, c)
	}
	clear(n.clients)
	clear(n.servers)
	clear(n.awaiting)
	n.mu.Unlock()

	err := errors.Join(n.udp.Close(), n.tcp.Close())
	for _, c := range conns {
		c.close()
	}
	n.wg.Wait()
	return err
}

func (n *Node) warnf(format string, args ...any) {
	if n.cfg.Warn != nil {
		n.cfg.Warn(fmt.Sprintf(format, args...))
	}
}

func (n *Node) readUDP() {
	defer n.wg.Done()
	buf := make([]byte, maxMessage)
	for {
		size, src, err := n.udp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // a connection-refused of an earlier send surfaces here
		}
		from := Target{Network: UDP, Addr: netip.AddrPortFrom(src.Addr().Unmap(), src.Port())}
		n.receive(buf[:size], from, nil)
	}
}

// receive parses one message and hands it to its transaction or to the handler.
func (n *Node) receive(data []byte, from Target, conn *tcpConn) {
	if len(trimCRLF(data)) == 0 {
		return // RFC 5626 §4.4.1 keep-alive
	}
	if n.cfg.Trace != nil {
		n.cfg.Trace("<-", from, data)
	}
	msg, err := n.parser.ParseSIP(data)
	if err != nil {
		n.warnf("unparsable message of %d bytes from %s: %q", len(data), from, err.Error())
		return
	}
	if err := validate(msg); err != nil {
		n.warnf("invalid message from %s: %q", from, err.Error())
		return
	}
	switch m := msg.(type) {
	case *sip.Request:
		stampVia(m, from)
		n.receiveRequest(m, from, conn)
	case *sip.Response:
		n.receiveResponse(m)
	}
}

// validate checks what every message must have (RFC 3261 §8.1.1) and the library does not insist on.
func validate(msg sip.Message) error {
	switch {
	case msg.Via() == nil:
		return errors.New("no Via")
	case msg.From() == nil, msg.To() == nil:
		return errors.New("no From or To")
	case msg.CallID() == nil:
		return errors.New("no Call-ID")
	case msg.CSeq() == nil:
		return errors.New("no CSeq")
	}
	if r, ok := msg.(*sip.Request); ok && msg.CSeq().MethodName != r.Method {
		return errors.New("CSeq names another method")
	}
	if b, _ := msg.Via().Params.Get("branch"); b == "" {
		return errors.New("no branch in Via")
	}
	return nil
}

// stampVia records where a request really came from (RFC 3261 §18.2.1, RFC 3581 §4).
func stampVia(req *sip.Request, from Target) {
	via := req.Via()
	ip := from.Addr.Addr().String()
	_, rport := via.Params.Get("rport")
	if via.Host != ip || rport {
		via.Params.Remove("received")
		via.Params.Add("received", ip)
	}
	if rport {
		via.Params.Remove("rport")
		via.Params.Add("rport", strconv.Itoa(int(from.Addr.Port())))
	}
}

// transmit sends wire to t: over conn if given, else by t's network. It never blocks on a peer.
func (n *Node) transmit(wire []byte, t Target, conn *tcpConn) error {
	if n.cfg.Trace != nil {
		n.cfg.Trace("->", t, wire)
	}
	if conn != nil {
		return conn.enqueue(wire)
	}
	_, err := n.udp.WriteToUDPAddrPort(wire, t.Addr)
	return err
}

// later runs f after d under the lock, unless the Node was closed meanwhile. What f returns is run
// after unlocking.
func (n *Node) later(d time.Duration, f func() func()) *time.Timer {
	return time.AfterFunc(d, func() {
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			return
		}
		n.wg.Add(1)
		defer n.wg.Done()
		after := f()
		n.mu.Unlock()
		if after != nil {
			after()
		}
	})
}

func trimCRLF(b []byte) []byte {
	for len(b) > 0 && (b[0] == '\r' || b[0] == '\n' || b[0] == 0) {
		b = b[1:]
	}
	return b
}
