package stack

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
)

// Ports that are chosen from: below those that the kernel gives to sockets without a port, so that nobody gets one by chance before the daemon
// that it is for.
const portMin, portMax = 10000, 17999

// FreePorts returns the first of n loopback ports in a row that nobody has at the moment. network: "tcp" or "udp".
func FreePorts(network string, n int) (int, error) {
	var err error
	for range 100 {
		first := portMin + rand.IntN(portMax-portMin+2-n)
		if err = free(network, first, n); err == nil {
			return first, nil
		}
	}
	return 0, fmt.Errorf("stack: no %d free ports of %s: %w", n, network, err)
}

// free opens the ports for a moment.
func free(network string, first, n int) (err error) {
	var held []io.Closer
	defer func() {
		for _, c := range held {
			err = errors.Join(err, c.Close())
		}
	}()
	for port := first; port < first+n; port++ {
		var c io.Closer
		if at := fmt.Sprintf("127.0.0.1:%d", port); network == "tcp" {
			c, err = net.Listen(network, at)
		} else {
			c, err = net.ListenPacket(network, at)
		}
		if err != nil {
			return err
		}
		held = append(held, c)
	}
	return nil
}
