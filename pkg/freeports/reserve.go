package freeports

import (
	"fmt"
	"net"
	"runtime"
	"sync"
)

// block is how many ports are reserved as one: a range takes every block that it touches.
const block = 50

var (
	mu    sync.Mutex
	taken = map[int]net.PacketConn{} // by number of the block
)

// reserve takes the blocks of the ports first to end-1, all or none; false: somebody has one of them.
func reserve(first, end int) (release func(), ok bool) {
	mu.Lock()
	defer mu.Unlock()
	var mine []int
	give := func() {
		for _, b := range mine {
			if c := taken[b]; c != nil {
				_ = c.Close()
			}
			delete(taken, b)
		}
	}
	for b := first / block; b <= (end-1)/block; b++ {
		c, free := claim(b)
		if !free {
			give()
			return nil, false
		}
		taken[b] = c
		mine = append(mine, b)
	}
	return func() {
		mu.Lock()
		defer mu.Unlock()
		give()
	}, true
}

// claim makes a block known to other processes by an abstract socket's name, which like the ports is of the network namespace, and which goes with the
// process. mu is held.
func claim(b int) (net.PacketConn, bool) {
	if _, ours := taken[b]; ours {
		return nil, false
	}
	if runtime.GOOS != "linux" {
		return nil, true
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: fmt.Sprintf("@isthmus-freeports-%d", b)})
	if err != nil {
		return nil, false
	}
	return c, true
}
