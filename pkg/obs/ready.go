package obs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// askTimeout bounds AskReady: a daemon that does not answer its own machine within it is not well.
const askTimeout = 3 * time.Second

// AskReady asks /readyz of a daemon on this machine whose Handler listens on addr, host:port. Every address as host
// (0.0.0.0, [::] or none) means loopback. nil: it is ready; else what it said, or why it did not answer within 3 s. For probes of
// container engines in images without an HTTP client.
func AskReady(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("ask %q: %w", addr, err)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	t := &http.Transport{} // no proxy, whatever the environment says
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", addr, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // as much as came
		return errors.New("not ready: " + strings.TrimSpace(string(why)))
	}
	return nil
}
