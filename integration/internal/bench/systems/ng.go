package systems

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/isthmus-gateway/isthmus/integration/internal/bench/bencode"
	"github.com/isthmus-gateway/isthmus/pkg/sdp"
)

// ngClient speaks rtpengine's control protocol: a cookie, a space and a dictionary per datagram, answered with the same cookie. A request
// that was repeated is executed once.
type ngClient struct{ address string }

const (
	ngRepeat  = 500 * time.Millisecond
	ngTimeout = 10 * time.Second
)

// request sends a command and returns the reply's dictionary. Errors: no reply in time, or the reason that rtpengine gives.
func (c ngClient) request(ctx context.Context, cmd bencode.Dict) (bencode.Dict, error) {
	ctx, cancel := context.WithTimeout(ctx, ngTimeout)
	defer cancel()
	for {
		rep, err := c.attempt(ctx, append([]byte(rand.Text()+" "), bencode.Append(nil, cmd)...))
		switch {
		case err == nil:
			return rep, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf("ng %s: %w", cmd["command"], err)
		case !isTimeout(err) && !isRefused(err):
			return nil, fmt.Errorf("ng %s: %w", cmd["command"], err)
		}
		select { // not there yet
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// attempt sends the datagram, again when no reply comes.
func (c ngClient) attempt(ctx context.Context, datagram []byte) (bencode.Dict, error) {
	conn, err := net.Dial("udp", c.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	cookie, _, _ := bytes.Cut(datagram, []byte(" "))
	buf := make([]byte, 64<<10)
	for {
		if _, err := conn.Write(datagram); err != nil {
			return nil, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(ngRepeat)); err != nil {
			return nil, err
		}
		body, err := await(conn, cookie, buf)
		if err == nil {
			return verdict(body)
		}
		if !isTimeout(err) || ctx.Err() != nil {
			return nil, err
		}
	}
}

// await reads until the reply with the cookie is there; it aliases buf.
func await(conn net.Conn, cookie, buf []byte) ([]byte, error) {
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if got, body, ok := bytes.Cut(buf[:n], []byte(" ")); ok && bytes.Equal(got, cookie) {
			return body, nil
		}
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}

// isRefused: nobody listens yet.
func isRefused(err error) bool {
	_, ok := err.(*net.OpError)
	return ok && !isTimeout(err)
}

// verdict reads a reply.
func verdict(body []byte) (bencode.Dict, error) {
	v, err := bencode.Parse(body)
	if err != nil {
		return nil, err
	}
	d, ok := v.(bencode.Dict)
	if !ok {
		return nil, fmt.Errorf("reply is a %T", v)
	}
	if r := d["result"]; r != "ok" && r != "pong" {
		return nil, fmt.Errorf("%v: %v", r, d["error-reason"])
	}
	return d, nil
}

// describe sends an offer or answer and returns the description that came back; it has at least one media line.
func (c ngClient) describe(ctx context.Context, cmd bencode.Dict) (*sdp.Description, error) {
	rep, err := c.request(ctx, cmd)
	if err != nil {
		return nil, err
	}
	text, _ := rep["sdp"].(string)
	d, err := sdp.Parse([]byte(text))
	if err == nil && len(d.Media) == 0 {
		err = errors.New("no media line")
	}
	if err != nil {
		return nil, fmt.Errorf("ng %s: description %q: %w", cmd["command"], text, err)
	}
	return d, nil
}
