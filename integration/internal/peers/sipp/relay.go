package sipp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// Direction is the way of a datagram through a Relay.
type Direction bool

// The directions.
const (
	ToSipp    Direction = false
	ToGateway Direction = true
)

// Fate is what becomes of a datagram: how many copies of it go on. 0 loses it.
type Fate int

// Relay passes SIP datagrams between the gateway and sipp and loses or repeats those that its judge says. The gateway
// talks to Front, sipp to Back.
type Relay struct {
	Front, Back   netip.AddrPort
	front, back   *net.UDPConn
	gateway, sipp netip.AddrPort
	done          sync.WaitGroup

	mu    sync.Mutex // guards what follows
	judge func(Direction, Message) Fate
	lost  int
	went  []passage
}

type passage struct {
	way Direction
	m   Message
}

// NewRelay opens the sockets on the address and begins to pass. judge is called for one datagram at a time; anything that is no
// SIP message passes. The caller closes the Relay.
func NewRelay(on netip.Addr, gateway, sipp netip.AddrPort, judge func(Direction, Message) Fate) (*Relay, error) {
	r := &Relay{gateway: gateway, sipp: sipp, judge: judge}
	var err error
	if r.front, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(on, 0))); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	if r.back, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(on, 0))); err != nil {
		return nil, errors.Join(fmt.Errorf("relay: %w", err), r.front.Close())
	}
	r.Front, r.Back = r.front.LocalAddr().(*net.UDPAddr).AddrPort(), r.back.LocalAddr().(*net.UDPAddr).AddrPort()
	r.done.Go(func() { r.pass(ToSipp, r.front, r.back, r.sipp) })
	r.done.Go(func() { r.pass(ToGateway, r.back, r.front, r.gateway) })
	return r, nil
}

func (r *Relay) pass(d Direction, in, out *net.UDPConn, to netip.AddrPort) {
	buf := make([]byte, 65535)
	for {
		n, err := in.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the port of an earlier datagram was closed
		}
		for range r.fate(d, buf[:n]) {
			_, _ = out.WriteToUDPAddrPort(buf[:n], to) // as UDP: it may not arrive
		}
	}
}

func (r *Relay) fate(d Direction, datagram []byte) Fate {
	m, err := Parse(string(datagram))
	if err != nil {
		return 1
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.judge(d, m)
	if f == 0 {
		r.lost++
	} else {
		r.went = append(r.went, passage{d, m})
	}
	return f
}

// Lost returns how many datagrams were lost.
func (r *Relay) Lost() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// Passed returns how many datagrams that are what the words say went through.
func (r *Relay) Passed(way Direction, what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, p := range r.went {
		if p.way == way && p.m.Is(what) {
			n++
		}
	}
	return n
}

// Close ends the relay and waits for its goroutines.
func (r *Relay) Close() error {
	err := errors.Join(r.front.Close(), r.back.Close())
	r.done.Wait()
	return err
}

// LoseFirst is a judge that loses the first n datagrams of the direction that are what the words say (Message.Is).
func LoseFirst(n int, d Direction, what string) func(Direction, Message) Fate {
	return func(way Direction, m Message) Fate {
		if n > 0 && way == d && m.Is(what) {
			n--
			return 0
		}
		return 1
	}
}

// LoseEach is a judge that loses every message of every call the first n times that it is sent in a direction: nothing gets
// through that is not repeated, and all that is.
func LoseEach(n int) func(Direction, Message) Fate {
	type message struct {
		way              Direction
		callID, cseq, to string
		status           int
	}
	sent := map[message]int{}
	return func(way Direction, m Message) Fate {
		key := message{way, m.Get("Call-ID"), m.Get("CSeq"), m.Tag("To"), m.Status}
		if sent[key]++; sent[key] <= n {
			return 0
		}
		return 1
	}
}

// Twice is a judge that delivers every datagram two times.
func Twice(Direction, Message) Fate { return 2 }
