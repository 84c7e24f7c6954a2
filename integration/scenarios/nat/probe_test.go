package nat

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/isthmus-gateway/isthmus/integration/internal/peers/netns"
	"github.com/isthmus-gateway/isthmus/integration/internal/scenario"
)

// probePort and otherPort are those of the STUN servers for probes, at the gateway's address and at another one.
const probePort, otherPort = 3500, 3501

// probe finds out what the translators between the client and the Internet do (RFC 5780 §4.3, §4.4), with servers made for it.
func probe(t *testing.T, client *netns.Space, from string) behaviour {
	t.Helper()
	first, port, address := probeServer(t, gateway, probePort), probeServer(t, gateway, otherPort), probeServer(t, elsewhere, probePort)
	// Two sockets: asking another server opens the filter for it.
	asker, waiter := clientSocket(t, client, from), clientSocket(t, client, from)
	m1, m2, m3 := ask(t, asker, first), ask(t, asker, port), ask(t, asker, address)
	if m1.Addr() == netip.MustParseAddr(from) {
		t.Errorf("nothing translates %s", from)
	}
	b := behaviour{mapping: "endpoint", filtering: "port"}
	switch {
	case m1 != m2:
		b.mapping = "port"
	case m1 != m3:
		b.mapping = "address"
	}
	outside := ask(t, waiter, first)
	if reaches(t, address, waiter, outside, first) {
		b.filtering = "endpoint"
	} else if reaches(t, port, waiter, outside, first) {
		b.filtering = "address"
	}
	return b
}

func probeServer(t *testing.T, addr string, port uint16) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), port)))
	scenario.Must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func clientSocket(t *testing.T, client *netns.Space, from string) (c *net.UDPConn) {
	t.Helper()
	scenario.Must(t, client.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)))
		return err
	}))
	t.Cleanup(func() { c.Close() })
	return c
}

// ask sends a binding request, lets the server answer and returns the address in the answer.
func ask(t *testing.T, from, server *net.UDPConn) netip.AddrPort {
	t.Helper()
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := from.WriteToUDPAddrPort(request.Raw, to); err != nil {
		t.Fatal(err)
	}
	got, source := receive(t, server)
	if got.TransactionID != request.TransactionID {
		t.Fatalf("%v got another request", to)
	}
	answer := stun.MustBuild(got, stun.BindingSuccess, &stun.XORMappedAddress{IP: source.Addr().AsSlice(), Port: int(source.Port())})
	if _, err := server.WriteToUDPAddrPort(answer.Raw, source); err != nil {
		t.Fatal(err)
	}
	got, _ = receive(t, from)
	var mapped stun.XORMappedAddress
	if err := mapped.GetFrom(got); err != nil || got.TransactionID != request.TransactionID {
		t.Fatalf("a wrong answer: %v, %v", got, err)
	}
	ip, _ := netip.AddrFromSlice(mapped.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(mapped.Port))
}

// reaches reports whether a message of another server gets to the client; one of the server that it has asked comes behind it in any case.
// What is let through may overtake nothing, but on a busy machine it does: three times is enough.
func reaches(t *testing.T, other, client *net.UDPConn, outside netip.AddrPort, asked *net.UDPConn) bool {
	t.Helper()
	for range 3 {
		stranger, friend := stun.MustBuild(stun.TransactionID, stun.BindingSuccess), stun.MustBuild(stun.TransactionID, stun.BindingSuccess)
		for _, m := range []struct {
			c   *net.UDPConn
			raw []byte
		}{{other, stranger.Raw}, {asked, friend.Raw}} {
			if _, err := m.c.WriteToUDPAddrPort(m.raw, outside); err != nil {
				t.Fatal(err)
			}
		}
		for last := false; !last; {
			got, _ := receive(t, client)
			if got.TransactionID == stranger.TransactionID {
				return true
			}
			last = got.TransactionID == friend.TransactionID
		}
	}
	return false
}

func receive(t *testing.T, c *net.UDPConn) (*stun.Message, netip.AddrPort) {
	t.Helper()
	scenario.Must(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	buf := make([]byte, 1500)
	n, source, err := c.ReadFromUDPAddrPort(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%v received nothing", c.LocalAddr())
	}
	scenario.Must(t, err)
	m := &stun.Message{Raw: buf[:n]}
	scenario.Must(t, m.Decode())
	return m, netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
}
