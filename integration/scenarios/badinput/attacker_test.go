package badinput

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // MESSAGE-INTEGRITY is HMAC-SHA1 (RFC 8489 §14.5)
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/tone"
	adminv1 "github.com/isthmus-gateway/isthmus/proto/admin/v1"
)

// tap is a browser's media socket that keeps what went out and can send it again, or send anything else.
type tap struct {
	net.PacketConn

	mu   sync.Mutex // guards what follows
	sent [][]byte   // SRTP, newest last, at most 100
	to   net.Addr
}

func (p *tap) wrap(c net.PacketConn) net.PacketConn {
	p.PacketConn = c
	return p
}

// WriteTo implements net.PacketConn.
func (p *tap) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) > 12 && b[0]>>6 == 2 && (b[1] < 192 || b[1] > 223) { // RTP, not RTCP (RFC 5761 §4)
		p.mu.Lock()
		p.sent, p.to = append(p.sent, append([]byte(nil), b...)), to
		p.sent = p.sent[max(0, len(p.sent)-100):]
		p.mu.Unlock()
	}
	return p.PacketConn.WriteTo(b, to)
}

// ReadFrom implements net.PacketConn. pion takes the end of a file for an orderly end and complains of everything else.
func (p *tap) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.PacketConn.ReadFrom(b)
	if errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	return n, from, err
}

// recorded are the newest n packets that went out.
func (p *tap) recorded(t *testing.T, n int) [][]byte {
	t.Helper()
	var out [][]byte
	eventually(t, deadline, func() string {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.sent) < n {
			return fmt.Sprintf("only %d packets sent", len(p.sent))
		}
		out = append([][]byte(nil), p.sent[len(p.sent)-n:]...)
		return ""
	})
	return out
}

// inject sends from the browser's own address to the gateway.
func (p *tap) inject(t *testing.T, b []byte) {
	t.Helper()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	if _, err := p.PacketConn.WriteTo(b, to); err != nil {
		t.Fatal(err)
	}
}

// sockets are the addresses of a call at the media gateway.
type sockets struct{ rtp, rtcp, access netip.AddrPort }

// sockets finds those of the newest call of a browser.
func (b *bed) sockets(t *testing.T, caller string) (s sockets) {
	t.Helper()
	b.admin(t, func(ctx context.Context, c adminv1.ControllerAdminClient, g adminv1.GatewayAdminClient) error {
		calls, err := c.ListCalls(ctx, &adminv1.ListCallsRequest{})
		if err != nil {
			return err
		}
		key := ""
		for _, x := range calls.GetCalls() {
			if strings.Contains(x.GetFrom(), caller+"@") {
				key = x.GetCallId()
			}
		}
		contexts, err := g.ListContexts(ctx, &adminv1.ListContextsRequest{})
		if err != nil {
			return err
		}
		for _, x := range contexts.GetContexts() {
			for _, term := range x.GetTerminations() {
				at, err := netip.ParseAddrPort(term.GetLocalAddress())
				switch {
				case x.GetCorrelationId() != key || err != nil:
				case term.GetKind() == "rtp-core":
					s.rtp, s.rtcp = at, netip.AddrPortFrom(at.Addr(), at.Port()+1)
				default:
					s.access = at
				}
			}
		}
		if key == "" || !s.rtp.IsValid() || !s.access.IsValid() {
			return fmt.Errorf("call of %s: key %q, sockets %+v of %v", caller, key, s, contexts)
		}
		return nil
	})
	return s
}

// stranger is a socket that belongs to no call, on an address of its own.
type stranger struct{ *net.UDPConn }

func newStranger(t *testing.T, address string) stranger {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(address)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return stranger{c}
}

func (s stranger) send(t *testing.T, b []byte, to netip.AddrPort) {
	t.Helper()
	if _, err := s.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatal(err)
	}
}

// answer returns what comes back at once, nil when nothing does.
func (s stranger) answer(within time.Duration) []byte {
	_ = s.SetReadDeadline(time.Now().Add(within))
	buf := make([]byte, 2000)
	n, err := s.Read(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// voice is a second of the stranger's tone as RTP packets in A-law.
func voice(ssrc uint32, seq uint16) [][]byte {
	src := tone.NewSine(strangerHz, -6)
	pcm := make([]int16, tone.FrameLen)
	var out [][]byte
	for i := range 50 {
		src.Fill(pcm)
		p := []byte{0x80, 8}
		p = binary.BigEndian.AppendUint16(p, seq+uint16(i))
		p = binary.BigEndian.AppendUint32(p, uint32(i*tone.FrameLen))
		p = binary.BigEndian.AppendUint32(p, ssrc)
		out = append(out, tone.ALaw.Encode(p, pcm))
	}
	return out
}

// STUN attributes (RFC 8489 §18.3, RFC 8445 §16.1).
const (
	attrUsername       = 0x0006
	attrIntegrity      = 0x0008
	attrPriority       = 0x0024
	attrUseCandidate   = 0x0025
	attrFingerprint    = 0x8028
	attrControlling    = 0x802a
	stunMagic          = 0x2112a442
	stunFingerprintXor = 0x5354554e
)

// check is a connectivity check that nominates; pwd "" leaves MESSAGE-INTEGRITY out.
func check(username, pwd string) []byte {
	m := binary.BigEndian.AppendUint16(nil, 1)
	m = binary.BigEndian.AppendUint16(m, 0)
	m = binary.BigEndian.AppendUint32(m, stunMagic)
	id := make([]byte, 12)
	_, _ = rand.Read(id) // never fails
	m = append(m, id...)
	m = stunAttr(m, attrUsername, []byte(username))
	m = stunAttr(m, attrPriority, []byte{126, 255, 255, 255})
	m = stunAttr(m, attrControlling, make([]byte, 8))
	m = stunAttr(m, attrUseCandidate, nil)
	if pwd != "" {
		binary.BigEndian.PutUint16(m[2:], uint16(len(m)-20+24))
		h := hmac.New(sha1.New, []byte(pwd))
		h.Write(m)
		m = stunAttr(m, attrIntegrity, h.Sum(nil))
	}
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)-20+8))
	return stunAttr(m, attrFingerprint, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(m)^stunFingerprintXor))
}

// stunAttr appends an attribute and sets the message's length.
func stunAttr(m []byte, kind uint16, value []byte) []byte {
	m = binary.BigEndian.AppendUint16(m, kind)
	m = binary.BigEndian.AppendUint16(m, uint16(len(value)))
	m = append(m, value...)
	for len(m)%4 != 0 {
		m = append(m, 0)
	}
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)-20))
	return m
}

// clientHello is a DTLS 1.2 ClientHello without a cookie, as far as it matters before the first answer.
func clientHello() []byte {
	body := append([]byte{254, 253}, make([]byte, 32)...) // version, random
	body = append(body, 0, 0, 0, 2, 0xc0, 0x2b, 1, 0)     // session id, cookie, one suite, no compression
	hs := append([]byte{1, 0, 0, byte(len(body)), 0, 0, 0, 0, 0, 0, 0, byte(len(body))}, body...)
	return append([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(hs))}, hs...)
}

// sdpValue is the value of the first a= line with the name.
func sdpValue(sdp, name string) string {
	_, rest, _ := strings.Cut(sdp, "\r\na="+name+":")
	v, _, _ := strings.Cut(rest, "\r\n")
	return v
}
