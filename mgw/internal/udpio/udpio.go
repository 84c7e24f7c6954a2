// Package udpio is batched, allocation-free UDP for one worker thread: sockets, a readiness poller, readers and a writer. Floor 1. // hot
// Owner: the worker goroutine that polls; only Socket.SendTo and Poller.Wake may be called from others.
//
// Linux uses epoll, recvmmsg and sendmmsg by raw system calls; elsewhere a goroutine per socket stands in (udpio_other.go), with the
// same signatures and no claim to speed. The build tag "portable" selects it on Linux too, for tests.
package udpio

import (
	"errors"
	"net/netip"
)

const (
	// MaxBatch is the most datagrams that one ReadBatch takes.
	MaxBatch = 64
	// MaxQueue is the most datagrams that a Writer holds until Flush.
	MaxQueue = 512
)

// ErrClosed is returned by operations on a closed Socket.
var ErrClosed = errors.New("udpio: socket closed")

// Options of a socket.
type Options struct {
	ReceiveBuffer int // bytes asked of the kernel; 0: its default
	SendBuffer    int // bytes asked of the kernel; 0: its default
	TOS           int // IPv4 TOS or IPv6 traffic class of everything sent; 0: none
}

// Message is the result of one datagram read.
type Message struct {
	N         int            // bytes; 0 with Truncated
	From      netip.AddrPort // IPv4 is never given as IPv4-mapped IPv6
	Truncated bool           // longer than its buffer: to be dropped
	// Stamp is when the kernel took it, ns of the wall clock; 0: not told. See Socket.StampArrivals.
	Stamp int64
}
