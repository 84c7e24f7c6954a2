package sipp

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	peer "github.com/isthmus-gateway/isthmus/integration/internal/peers/sipp"
)

// TestMalformed sends what sipp does not let itself be made to send, byte by byte.
func TestMalformed(t *testing.T) {
	both(t, "400", func(t *testing.T, transport string) {
		for _, c := range []struct{ name, old, new, want string }{
			{"CSeq of another method", "CSeq: 1 OPTIONS", "CSeq: 1 INFO", "CSeq Method Does Not Match"},
			{"CSeq beyond 2^31", "CSeq: 1 ", "CSeq: 2147483648 ", "Malformed CSeq"},
			{"two Call-ID", "Max-Forwards", "Call-ID: b\r\nMax-Forwards", "Multiple Call-ID Header Fields"},
			{"two Content-Length", "Content-Length: 0", "Content-Length: 0\r\nContent-Length: 0", "Multiple Content-Length"},
			{"header field without colon", "Max-Forwards: 70", "Max-Forwards 70", "Malformed Header Field"},
			{"space in the Request-URI", "OPTIONS sip:", "OPTIONS sip: ", "Malformed Request-URI"},
			{"headers in the Request-URI", " SIP/2.0\r\n", "?Subject=x SIP/2.0\r\n", "Request-URI With Headers"},
			{"too many header fields", "Content-Length", strings.Repeat("X: y\r\n", 600) + "Content-Length", "Too Many Header Fields"},
		} {
			got, err := exchange(t, transport, "127.0.0.1", strings.Replace(options(transport), c.old, c.new, 1))
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else if got.Status != 400 || got.Reason != c.want {
				t.Errorf("%s: %d %s, want 400 %s", c.name, got.Status, got.Reason, c.want)
			}
		}
	})
	t.Run("body_shorter_than_its_length", func(t *testing.T) {
		t.Parallel()
		got, err := exchange(t, "udp", "127.0.0.1", strings.Replace(options("udp"), "Content-Length: 0", "Content-Length: 5", 1))
		if err != nil || got.Status != 400 || got.Reason != "Content-Length Does Not Match Body" {
			t.Errorf("%v %v, want 400", got.Summary(), err)
		}
	})
	both(t, "505", func(t *testing.T, transport string) {
		got, err := exchange(t, transport, "127.0.0.1", strings.Replace(options(transport), " SIP/2.0\r\n", " SIP/7.0\r\n", 1))
		if err != nil || got.Status != 505 {
			t.Errorf("%v %v, want 505", got.Summary(), err)
		}
	})
	t.Run("oversize", func(t *testing.T) {
		t.Parallel()
		before := metric(t, `isthmus_mgc_sip_refused_total{reason="oversize",transport="TCP"}`)
		got, err := exchange(t, "tcp", "127.0.0.1", strings.Replace(options("tcp"), "Content-Length: 0", "Content-Type: text/plain\r\nContent-Length: 70000", 1))
		if err != nil || got.Status != 400 {
			t.Errorf("%v %v, want 400", got.Summary(), err)
		}
		if after := metric(t, `isthmus_mgc_sip_refused_total{reason="oversize",transport="TCP"}`); after != before+1 {
			t.Errorf("counted %v times", after-before)
		}
	})
	both(t, "stranger", func(t *testing.T, transport string) {
		got, err := exchange(t, transport, "127.0.0.2", options(transport)) // no address of the core
		if err != nil || got.Status != 403 {
			t.Errorf("%v %v, want 403", got.Summary(), err)
		}
	})
	both(t, "well_formed", func(t *testing.T, transport string) { // what the others are made from
		got, err := exchange(t, transport, "127.0.0.1", options(transport))
		if err != nil || got.Status != 200 {
			t.Errorf("%v %v, want 200", got.Summary(), err)
		}
	})
}

// options is a request that the gateway answers 200.
func options(transport string) string {
	return "OPTIONS sip:" + world.core.String() + " SIP/2.0\r\nVia: SIP/2.0/" + strings.ToUpper(transport) + " 127.0.0.1:5555;branch=z9hG4bK" + fmt.Sprint(nextPort.Add(1)) +
		";rport\r\nMax-Forwards: 70\r\nFrom: <sip:core@" + domain + ">;tag=1\r\nTo: <sip:" + world.core.String() + ">\r\nCall-ID: a\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
}

// exchange sends bytes from an address and returns the first response.
func exchange(t *testing.T, transport, from, text string) (peer.Message, error) {
	t.Helper()
	at := net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	d := net.Dialer{Timeout: 5 * time.Second, LocalAddr: at}
	if transport == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: at.IP}
	}
	conn, err := d.Dial(transport, world.core.String())
	if err != nil {
		return peer.Message{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return peer.Message{}, err
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return peer.Message{}, err
	}
	var got []byte
	buf := make([]byte, 65536)
	for !bytes.Contains(got, []byte("\r\n\r\n")) {
		n, err := conn.Read(buf)
		if err != nil {
			return peer.Message{}, err
		}
		got = append(got, buf[:n]...)
	}
	return peer.Parse(string(got))
}
