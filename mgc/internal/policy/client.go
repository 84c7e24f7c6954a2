package policy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// maxBody bounds what is read of any body, bytes.
const maxBody = 64 << 10

// errForeign is a redirection to a host that is not allowed.
var errForeign = errors.New("policy: the PCF names a host that is not allowed")

// request is one request of the service.
type request struct {
	op     string // metric label
	method string
	url    *url.URL
	body   []byte
	ctype  string
}

// reply is a response, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
	from   *url.URL // where the request went in the end
}

// transportError is a request without a response.
type transportError struct {
	err  error
	sent bool // the request may have been processed
}

func (e *transportError) Error() string { return e.err.Error() }
func (e *transportError) Unwrap() error { return e.err }

// newHTTPClient makes the client for HTTP/2 only: over TLS, or in clear where the configuration allows http://. It follows no redirection.
func newHTTPClient(c TLSConfig, dial func(context.Context, string, string) (net.Conn, error), timeout time.Duration) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pool, err := loadCAs(c.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = pool
	}
	if c.Cert != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("policy: client certificate: %w", err)
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	if dial == nil {
		dial = (&net.Dialer{Timeout: timeout}).DialContext
	}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{
		Transport: &http.Transport{
			Protocols: &protocols, TLSClientConfig: conf, DialContext: dial, TLSHandshakeTimeout: timeout,
			IdleConnTimeout: 90 * time.Second, DisableCompression: true,
			HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second, WriteByteTimeout: 5 * time.Second},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func loadCAs(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("policy: CAs: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("policy: CAs: %s holds no certificate", file)
	}
	return pool, nil
}

// do performs r, with an access token when there is a token endpoint. A 401 is answered with one new token, a 307 or 308 followed once to
// an allowed host. Errors: *transportError, errForeign.
func (a *N5) do(ctx context.Context, r request) (reply, error) {
	started := time.Now()
	rep, err := a.doAuthorised(ctx, r)
	result := strconv.Itoa(rep.status)
	if err != nil {
		result = failureLabel(err)
	}
	a.deps.Metrics.requests.WithLabelValues(r.op, result).Inc()
	a.deps.Metrics.seconds.WithLabelValues(r.op).Observe(time.Since(started).Seconds())
	a.note(r.url.Host, rep, err)
	return rep, err
}

func failureLabel(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, errToken):
		return "token"
	case errors.Is(err, errForeign):
		return "foreign"
	}
	return "transport"
}

func (a *N5) doAuthorised(ctx context.Context, r request) (reply, error) {
	renewed, moved := false, false
	for {
		token, err := a.tokens.get(ctx)
		if err != nil {
			return reply{}, &transportError{err: err}
		}
		rep, err := send(ctx, a.http, r, token)
		switch {
		case err != nil:
			return rep, err
		case rep.status == http.StatusUnauthorized && token != "" && !renewed:
			renewed = true
			a.tokens.drop(token)
		case (rep.status == http.StatusTemporaryRedirect || rep.status == http.StatusPermanentRedirect) && !moved:
			to, err := r.url.Parse(rep.header.Get("Location"))
			if err != nil || !a.allowed(to) {
				return rep, errForeign
			}
			moved, r.url = true, to
		default:
			return rep, nil
		}
	}
}

// send performs one HTTP exchange.
func send(ctx context.Context, client *http.Client, r request, token string) (reply, error) {
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	fail := func(err error) (reply, error) {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		var uerr *url.Error
		if errors.As(err, &uerr) { // its URL may hold a callback token
			err = uerr.Err
		}
		return reply{}, &transportError{err: err, sent: sent.Load()}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url.String(), bytes.NewReader(r.body))
	if err != nil {
		return fail(err)
	}
	if r.body == nil {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	if r.ctype != "" {
		req.Header.Set("Content-Type", r.ctype)
	}
	req.Header.Set("Accept", "application/json, application/problem+json")
	req.Header.Set("User-Agent", "PCSCF") // TS 29.500 §5.2.2.2: the NF type
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to the end or not wanted
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil && resp.StatusCode >= 300 {
		return fail(err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: body, from: r.url}, nil // the head of a success says enough
}

// allowed reports whether our requests, with our token, may go to u: a host of the configuration, by its scheme.
func (a *N5) allowed(u *url.URL) bool {
	if u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !a.cfg.Insecure && !isLoopback(u.Hostname())) {
		return false
	}
	for _, root := range a.roots {
		if strings.EqualFold(root.Host, u.Host) {
			return root.Scheme == u.Scheme
		}
	}
	for _, h := range a.cfg.Hosts {
		if strings.EqualFold(h, u.Host) || strings.EqualFold(h, u.Hostname()) {
			return true
		}
	}
	return false
}

// retryAfter reads the header field (RFC 9110 §10.2.3); 0: none or unreadable. At most maxHold.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return min(time.Duration(s)*time.Second, maxHold)
	}
	if t, err := http.ParseTime(v); err == nil && t.After(now) {
		return min(t.Sub(now), maxHold)
	}
	return 0
}
