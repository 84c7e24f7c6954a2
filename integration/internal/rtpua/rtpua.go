// Package rtpua is a plain RTP/AVP audio endpoint on an even/odd UDP port pair, as a SIP telephone on
// the core side has one: RFC 3550 with sender and receiver reports, RFC 3551 G.711, RFC 4733 events.
// It is a strict judge of what it receives. Floor 1 of the integration module.
//
// Owner: Endpoint owns three goroutines, the paced sender, the RTP reader and the RTCP reader. Close
// ends them and waits.
package rtpua

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
)

// Frame is the packet time sent, in media time and on the wire.
const Frame = 20 * time.Millisecond

// Params is what the SDP exchange decided. The zero Params sends nothing and expects nothing.
type Params struct {
	Remote     netip.AddrPort // where RTP goes; invalid while unknown
	RemoteRTCP netip.AddrPort // where RTCP goes; invalid: the port after Remote (RFC 3550 §11)
	Law        tone.Law       // codec in both directions
	PT         uint8          // payload type of that codec
	EventPT    uint8          // payload type of telephone-event/8000, 0 when not agreed
	Send, Recv bool           // direction (RFC 3264 §5.1), from this side
}

// Config describes an Endpoint.
type Config struct {
	IP           netip.Addr    // local address
	CNAME        string        // RTCP source description; default "test@" + IP
	RTCPInterval time.Duration // between reports, default 5 s (RFC 3550 §6.2)
	// OnDigit, when set, gets each finished or begun telephone event once, when it begins. It runs on
	// the reader goroutine and must not block.
	OnDigit func(digit byte)
}

// Endpoint sends and receives one audio stream.
type Endpoint struct {
	cfg       Config
	rtp, rtcp *net.UDPConn
	port      int
	wake      chan struct{} // closed by Close
	once      sync.Once
	wg        sync.WaitGroup
	presses   chan press // cap 32; writers: SendDigits callers; full: they wait
	mu        sync.Mutex // guards the fields below
	params    Params
	src       tone.Source
	sink      tone.Sink
	send      sendState
	recv      *receiver
	rtcpState rtcpState
}

// sendState is what goes into our packets.
type sendState struct {
	ssrc    uint32
	seq     uint16
	ts      uint32 // clock ticks of the next frame
	marker  bool
	packets uint32
	octets  uint32
	errors  uint64
}

// portPairs is how many pairs Open tries before it gives up.
const portPairs = 50

// Open binds a port pair, RTP even and RTCP the next one (RFC 3550 §11), and starts the goroutines.
// Nothing is sent before SetParams. The caller owns the Endpoint and must Close it.
func Open(cfg Config) (*Endpoint, error) {
	if cfg.CNAME == "" {
		cfg.CNAME = "test@" + cfg.IP.String()
	}
	if cfg.RTCPInterval == 0 {
		cfg.RTCPInterval = 5 * time.Second
	}
	rtp, rtcp, err := bindPair(cfg.IP)
	if err != nil {
		return nil, fmt.Errorf("rtpua: ports on %s: %w", cfg.IP, err)
	}
	e := &Endpoint{
		cfg: cfg, rtp: rtp, rtcp: rtcp, port: rtp.LocalAddr().(*net.UDPAddr).Port,
		wake: make(chan struct{}), presses: make(chan press, 32),
		src: tone.Silence{}, sink: discard{}, recv: newReceiver(),
	}
	e.send = sendState{ssrc: rand.Uint32(), seq: uint16(rand.Uint32() >> 17), ts: rand.Uint32(), marker: true}
	e.wg.Add(3)
	go e.sendLoop()
	go e.readLoop()
	go e.rtcpLoop()
	return e, nil
}

type discard struct{}

func (discard) Write([]int16) {}

func bindPair(ip netip.Addr) (rtp, rtcp *net.UDPConn, err error) {
	for range portPairs {
		rtp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
		if err != nil {
			return nil, nil, err
		}
		port := rtp.LocalAddr().(*net.UDPAddr).Port
		if port%2 == 0 && port < 65535 {
			rtcp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(port+1))))
			if err == nil {
				return rtp, rtcp, nil
			}
		}
		rtp.Close()
	}
	return nil, nil, errors.New("no free even/odd pair")
}

// Port is the RTP port; RTCP is Port()+1.
func (e *Endpoint) Port() int { return e.port }

// SetParams applies a new agreement, at any time. SSRC, sequence numbers and timestamps continue.
func (e *Endpoint) SetParams(p Params) {
	if p.Remote.IsValid() && !p.RemoteRTCP.IsValid() {
		p.RemoteRTCP = netip.AddrPortFrom(p.Remote.Addr(), p.Remote.Port()+1)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.Send && !e.params.Send {
		e.send.marker = true // first packet after a pause (RFC 3551 §4.1)
	}
	e.params = p
	e.recv.setParams(p)
}

// Params is the agreement in force.
func (e *Endpoint) Params() Params {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.params
}

// SetSource sets what is sent; nil sends silence. The Endpoint owns src until the next call.
func (e *Endpoint) SetSource(src tone.Source) {
	if src == nil {
		src = tone.Silence{}
	}
	e.mu.Lock()
	e.src = src
	e.mu.Unlock()
}

// SetSink sets who gets the received audio; nil discards it. The Endpoint calls Write from its reader
// goroutine, holding its lock: sink must not call back.
func (e *Endpoint) SetSink(sink tone.Sink) {
	if sink == nil {
		sink = discard{}
	}
	e.mu.Lock()
	e.sink = sink
	e.mu.Unlock()
}

// Close says BYE to the RTCP peer, closes both ports and waits for the goroutines. Safe to call twice.
func (e *Endpoint) Close() error {
	var err error
	e.once.Do(func() {
		e.sendGoodbye()
		close(e.wake)
		err = errors.Join(e.rtp.Close(), e.rtcp.Close())
		e.wg.Wait()
	})
	return err
}

func closed(err error) bool { return errors.Is(err, net.ErrClosed) }
