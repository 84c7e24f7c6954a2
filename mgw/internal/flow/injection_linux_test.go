//go:build linux && !portable

package flow

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	pionice "github.com/pion/ice/v4"
)

// tcpIntruder is what an intruder does with TCP connections of its own.
type tcpIntruder struct {
	*intruder
	to netip.AddrPort
	// Of the newest attack, all without a valid check: taken by the worker of the termination whose ufrag they named; the same, within a frame; within
	// the first frame.
	begun, half, silent net.Conn
}

// TestR6544_InjectionMatrix is TestInjectionMatrix for a browser that has TCP only: the stranger has connections of its own besides.
func TestR6544_InjectionMatrix(t *testing.T) {
	for _, suite := range []string{"", "AEAD_AES_128_GCM"} {
		name := suite
		if suite == "" {
			name = "RTP"
		}
		t.Run(name, func(t *testing.T) {
			b, addr := tcpBed(t, 1)
			injectionMatrix(t, suite, pionice.NetworkTypeTCP4, b, func(i *intruder) {
				x := &tcpIntruder{intruder: i, to: addr}
				i.also, i.echo, i.listens = x.attack, x.echo, x.listens
			})
		})
	}
}

// attack sends all that an intruder has over connections that no valid check has opened. Those that begin with a check stay until the next attack.
func (i *tcpIntruder) attack(when string) (refused uint64) {
	i.t.Helper()
	if i.hangUp() {
		refused++ // the one that has not come to the end of its first frame
	}
	for _, kind := range []string{"media", "rtcp", "hello", "stun"} {
		for at, b := range i.forged(kind, true, true) {
			if kind == "stun" && at < 2 {
				continue // a request: it names a termination
			}
			c := dialTCP(i.t, i.to)
			i.write(c, frame(b))
			isClosed(i.t, c)
			refused++
		}
	}
	check := i.forged("stun", true, true)[0]
	for _, c := range []*net.Conn{&i.begun, &i.half} {
		*c = dialTCP(i.t, i.to)
		i.write(*c, frame(check))
	}
	var all []byte
	for _, kind := range []string{"media", "rtcp", "hello", "stun"} {
		for _, cloned := range []bool{false, true} {
			for at, b := range i.forged(kind, true, cloned) {
				if kind == "stun" && (at < 2 || cloned) {
					continue
				}
				all = append(all, frame(b)...)
				refused += 2
			}
		}
	}
	i.write(i.begun, all)
	i.write(i.half, append(all, frame(i.forged("media", true, true)[0])[:60]...))
	i.silent = dialTCP(i.t, i.to)
	i.write(i.silent, frame(check)[:20])
	return refused
}

// echo repeats what the browser says, whole and as the rest of the intruder's own frame; what follows that is no frame, and ends the connection.
func (i *tcpIntruder) echo(up []byte) {
	i.write(i.begun, frame(up))
	_, _ = i.half.Write(frame(up))
}

func (i *tcpIntruder) write(c net.Conn, b []byte) {
	i.t.Helper()
	if _, err := c.Write(b); err != nil {
		i.t.Fatal(err)
	}
}

// listens checks that nothing was said over the connections that are still there; a check that is not authentic gets no answer either.
func (i *tcpIntruder) listens(when string) {
	i.t.Helper()
	for _, c := range []net.Conn{i.begun, i.half, i.silent} {
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond)) // what there is, is there: loopback
		buf := make([]byte, 2048)
		if n, err := c.Read(buf); n != 0 || c != i.half && !errors.Is(err, os.ErrDeadlineExceeded) {
			i.t.Fatalf("%s: the stranger gets %x, %v", when, buf[:n], err)
		}
	}
}

// hangUp ends the connections of the attack before; the gateway holds nothing of them. False: there are none.
func (i *tcpIntruder) hangUp() bool {
	i.t.Helper()
	if i.begun == nil {
		return false
	}
	for _, c := range []net.Conn{i.begun, i.half, i.silent} {
		_ = c.Close()
	}
	eventually(i.t, "only the browser's connection is there", func() bool {
		var streams int
		i.a.w.do(func() { streams = len(i.a.w.streams) })
		unknown, _ := i.e.listeners[0].Counts()
		return unknown == 0 && streams <= 1
	})
	return true
}
