package siptransport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// udpReadBuffer is the socket buffer asked for, in bytes: about a thousand large requests.
const udpReadBuffer = 1 << 20

// Socket says where a transport listens.
type Socket struct {
	Addr   netip.AddrPort // port 0: chosen by the system
	SentBy string         // host[:port] for Via; "" uses the local address
	V6Only bool           // Addr is [::] and shall not take IPv4, which has a socket of its own
	Edge   Edge
}

// network is the name that package net has for the kind of socket. It takes 0.0.0.0 for both families unless told otherwise.
func (s Socket) network(base string) string {
	switch {
	case s.Addr.Addr().Is4():
		return base + "4"
	case s.V6Only:
		return base + "6"
	}
	return base
}

// UDP is one UDP socket with its reader.
type UDP struct {
	conn   *net.UDPConn
	local  netip.AddrPort
	sentBy string
	edge   Edge
	in     *Ingress
	done   sync.WaitGroup
}

// ListenUDP opens a socket. Messages are read only after Serve.
func ListenUDP(s Socket) (*UDP, error) {
	conn, err := net.ListenUDP(s.network("udp"), net.UDPAddrFromAddrPort(s.Addr))
	if err != nil {
		return nil, fmt.Errorf("siptransport: listen udp %s: %w", s.Addr, err)
	}
	_ = conn.SetReadBuffer(udpReadBuffer) // best effort: the system may cap it
	u := &UDP{conn: conn, local: unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort()), sentBy: s.SentBy, edge: s.Edge}
	if u.sentBy == "" {
		u.sentBy = u.local.String()
	}
	return u, nil
}

// Serve starts the reader. Call it once.
func (u *UDP) Serve(in *Ingress) {
	u.in = in
	u.done.Add(1)
	go u.read()
}

// Close shuts the socket and waits for the reader.
func (u *UDP) Close() error {
	err := u.conn.Close()
	u.done.Wait()
	return err
}

// Local returns the address of the socket.
func (u *UDP) Local() netip.AddrPort { return u.local }

// LinkTo returns the link from this socket to a peer.
func (u *UDP) LinkTo(remote netip.AddrPort) Link { return &udpLink{u, remote} }

func (u *UDP) read() {
	defer u.done.Done()
	buf := make([]byte, headers.MaxMessage)
	for {
		n, remote, err := u.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || isKeepAlive(buf[:n]) {
			continue // an ICMP error or an empty or CRLF keep-alive datagram
		}
		from := u.flow(unmap(remote))
		_ = u.in.Take(buf[:n], headers.Datagram, from, func(via headers.Via) (Link, error) { // counted there
			return u.LinkTo(ReplyAddr(via, from.Remote)), nil
		})
	}
}

func (u *UDP) flow(remote netip.AddrPort) Flow {
	return Flow{Transport: "UDP", Remote: remote, Local: u.local, Edge: u.edge}
}

// isKeepAlive reports a datagram of nothing but CR, LF and NUL.
func isKeepAlive(b []byte) bool {
	for _, c := range b {
		if c != '\r' && c != '\n' && c != 0 {
			return false
		}
	}
	return true
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

type udpLink struct {
	u      *UDP
	remote netip.AddrPort
}

// Flow implements Link.
func (l *udpLink) Flow() Flow { return l.u.flow(l.remote) }

// SentBy implements Link.
func (l *udpLink) SentBy() string { return l.u.sentBy }

// Send implements Link.
func (l *udpLink) Send(msg []byte) error {
	if _, err := l.u.conn.WriteToUDPAddrPort(msg, l.remote); err != nil {
		return fmt.Errorf("siptransport: udp to %s: %w", l.remote, err)
	}
	if in := l.u.in; in != nil {
		in.Metrics.Sent("UDP")
	}
	return nil
}

// SentBy returns host[:port] that the socket advertises.
func (u *UDP) SentBy() string { return u.sentBy }
