package kamailio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// Message is one SIP message at Kamailio.
type Message struct {
	From, To netip.AddrPort
	Text     string // whole: start line, header, body
}

// StartLine is the request or status line.
func (m Message) StartLine() string { line, _, _ := strings.Cut(m.Text, "\r\n"); return line }

// Body is what follows the header.
func (m Message) Body() string { _, body, _ := strings.Cut(m.Text, "\r\n\r\n"); return body }

// Header returns the value of the first header field with the name, "" when there is none.
func (m Message) Header(name string) string {
	head, _, _ := strings.Cut(m.Text, "\r\n\r\n")
	for _, line := range strings.Split(head, "\r\n")[1:] {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// Tap collects copies of SIP messages in HEP version 3. Safe for concurrent use.
type Tap struct {
	conn *net.UDPConn
	done chan struct{} // closed when read has ended

	mu  sync.Mutex // guards all, bad
	all []Message
	bad error
}

func listen(addr string) (*Tap, error) {
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("kamailio: tap: %w", err)
	}
	conn, err := net.ListenUDP("udp", a)
	if err != nil {
		return nil, fmt.Errorf("kamailio: tap: %w", err)
	}
	t := &Tap{conn: conn, done: make(chan struct{})}
	go t.read()
	return t, nil
}

func (t *Tap) read() {
	defer close(t.done)
	buf := make([]byte, 65536)
	for {
		n, err := t.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m Message
		if err == nil {
			m, err = parseHEP(buf[:n])
		}
		t.mu.Lock()
		if err != nil {
			t.bad = err
		} else {
			t.all = append(t.all, m)
		}
		t.mu.Unlock()
	}
}

// Messages returns what has come so far, oldest first. An error means that something came that is no HEP packet.
func (t *Tap) Messages() ([]Message, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Message(nil), t.all...), t.bad
}

func (t *Tap) close() error {
	err := t.conn.Close()
	<-t.done
	if err != nil {
		return fmt.Errorf("kamailio: tap: %w", err)
	}
	return nil
}

// Chunk types of HEP 3 (vendor 0).
const (
	hepSrc4    = 3
	hepDst4    = 4
	hepSrcPort = 7
	hepDstPort = 8
	hepPayload = 15
)

var errHEP = errors.New("kamailio: not a HEP 3 packet")

func parseHEP(p []byte) (Message, error) {
	if len(p) < 6 || string(p[:4]) != "HEP3" || int(binary.BigEndian.Uint16(p[4:])) != len(p) {
		return Message{}, errHEP
	}
	var m Message
	var from, to netip.Addr
	var fromPort, toPort uint16
	for p = p[6:]; len(p) > 0; {
		if len(p) < 6 {
			return Message{}, errHEP
		}
		kind, size := binary.BigEndian.Uint16(p[2:]), int(binary.BigEndian.Uint16(p[4:]))
		if size < 6 || size > len(p) {
			return Message{}, errHEP
		}
		v := p[6:size]
		switch {
		case kind == hepSrc4 && len(v) == 4:
			from = netip.AddrFrom4([4]byte(v))
		case kind == hepDst4 && len(v) == 4:
			to = netip.AddrFrom4([4]byte(v))
		case kind == hepSrcPort && len(v) == 2:
			fromPort = binary.BigEndian.Uint16(v)
		case kind == hepDstPort && len(v) == 2:
			toPort = binary.BigEndian.Uint16(v)
		case kind == hepPayload:
			m.Text = string(v)
		}
		p = p[size:]
	}
	m.From, m.To = netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort)
	return m, nil
}
