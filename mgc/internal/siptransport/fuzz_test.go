package siptransport

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
)

// capture is a Link and Sink that keeps what it is given.
type capture struct {
	msgs []headers.Msg
	sent [][]byte
}

func (c *capture) OnMessage(m headers.Msg, _ Flow) { c.msgs = append(c.msgs, m) }
func (c *capture) OnClosed(Flow, error)            {}
func (c *capture) Flow() Flow                      { return Flow{} }
func (c *capture) SentBy() string                  { return "gw.example" }
func (c *capture) Send(b []byte) error             { c.sent = append(c.sent, b); return nil }

// FuzzTake gives the ingress messages of any content over every framing, from friends and strangers. What is handed on must be
// valid and say where it came from; an answer must be a SIP response of its own, at most one, never to a response or ACK; a
// datagram from a stranger that is malformed is not answered.
func FuzzTake(f *testing.F) {
	good := options("UDP", "h.example", ";rport", "c1")
	for i, seed := range []string{
		good, good + good, good[:60], "", "\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "x y z\r\n\r\n",
		options("WS", "x.invalid", ";received=192.0.2.66;maddr=192.0.2.66;rport=9", "c2"),
		"ACK" + good[7:], "INVITE sip:a SIP/9.9" + good[len("OPTIONS sip:x@example.com SIP/2.0"):],
		good[:len(good)-4] + "\r\nSubject: \x1b[31m\r\n\r\n", good[:len(good)-4] + "\r\nCSeq: 2 OPTIONS\r\nl: 9\r\n\r\nbody",
	} {
		f.Add([]byte(seed), uint8(i))
	}
	from := Flow{Transport: "UDP", Remote: netip.MustParseAddrPort("192.0.2.1:5060")}
	f.Fuzz(func(t *testing.T, raw []byte, mode uint8) {
		framing := headers.Framing(mode % 3)
		verdict := Verdict(mode / 3 % 3)
		c := &capture{}
		in := ingress(c, func(*headers.Msg, Flow) Verdict { return verdict })
		err := in.Take(bytes.Clone(raw), framing, from, func(via headers.Via) (Link, error) {
			if to := ReplyAddr(via, from.Remote); to.Addr() != from.Remote.Addr() {
				t.Fatalf("the answer would go to %s", to)
			}
			return c, nil
		})
		request, _ := headers.Read(raw, framing)
		if len(c.msgs)+len(c.sent) > 1 || len(c.msgs) == 1 && err != nil {
			t.Fatalf("%d messages handed on, %d answers, %v", len(c.msgs), len(c.sent), err)
		}
		for _, m := range c.msgs {
			via, verr := headers.TopVia(&m)
			if headers.Validate(&m) != nil || verr != nil {
				t.Fatalf("handed on: %v, %v", headers.Validate(&m), verr)
			}
			if m.IsRequest() && (verdict != Admit || ReplyAddr(via, from.Remote).Addr() != from.Remote.Addr()) {
				t.Fatalf("request of a stranger, or with a Via that lies: %s", via.String())
			}
		}
		for _, b := range c.sent {
			if !request.IsRequest() || request.Method == "ACK" {
				t.Fatalf("answer to %q", request.Method)
			}
			if verdict == Drop || verdict == Refuse && errors.Is(err, ErrMalformed) {
				t.Fatalf("a stranger got %q", b)
			}
			resp, rerr := headers.Read(b, headers.Datagram)
			if resp.Status < 400 || bytes.Count(b, []byte("SIP/2.0 ")) > 1+bytes.Count(raw, []byte("SIP/2.0 ")) {
				t.Fatalf("answered by %q: %v", b, rerr)
			}
		}
	})
}
