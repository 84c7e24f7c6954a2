package auth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Bounds of what an issuer may answer, in bytes.
const (
	maxHeader = 16 << 10
	maxBody   = 512 << 10
)

var (
	errOversize = errors.New("answer is too long")
	errStatus   = errors.New("unexpected status")
	errBody     = errors.New("answer is no JSON object")
)

// fetcher speaks HTTP with issuers: bounded in time and size, JSON only, no redirects - one could lead to plain HTTP or to a
// host inside. Safe for concurrent use.
type fetcher struct {
	client  *http.Client
	timeout time.Duration
	metrics *metrics
}

// newFetcher makes a client of its own, or uses the transport of the one given.
func newFetcher(given *http.Client, timeout time.Duration, caFile string, m *metrics) (*fetcher, error) {
	f := &fetcher{timeout: timeout, metrics: m, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if given != nil {
		f.client.Transport = given.Transport
		return f, nil
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32, MaxConnsPerHost: 128, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout, MaxResponseHeaderBytes: maxHeader, DisableCompression: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("auth.ca: %w", err)
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("auth.ca: no certificate in %s", caFile)
		}
	}
	f.client.Transport = t
	return f, nil
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }

// get fetches a JSON object. kind names the endpoint in metrics.
func (f *fetcher) get(ctx context.Context, kind, url string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return f.do(kind, req)
}

// post sends a form with client authentication (RFC 6749 §2.3.1: both parts are form-encoded first).
func (f *fetcher) post(ctx context.Context, kind, endpoint string, form url.Values, id, secret string) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	return f.do(kind, req)
}

// do runs the exchange and counts it. Numbers stay as written (json.Number). Errors hold the host and what went wrong,
// nothing of the request's or the answer's body.
func (f *fetcher) do(kind string, req *http.Request) (map[string]any, error) {
	req.Header.Set("Accept", "application/json")
	object, err := f.exchange(req)
	f.metrics.fetches.WithLabelValues(kind, resultOf(err)).Inc()
	if err != nil {
		return nil, fmt.Errorf("%s from %s: %w", kind, req.URL.Host, err)
	}
	return object, nil
}

func (f *fetcher) exchange(req *http.Request) (map[string]any, error) {
	resp, err := f.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // its text repeats the whole URL
			err = ue.Err
		}
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w %d", errStatus, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, errOversize
	}
	return decodeObject(body)
}

// decodeObject reads exactly one JSON object.
func decodeObject(body []byte) (map[string]any, error) {
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil || object == nil {
		return nil, errBody
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errBody
	}
	return object, nil
}

// resultOf is the metric label of an exchange.
func resultOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, errOversize):
		return "oversize"
	case errors.Is(err, errStatus):
		return "status"
	case errors.Is(err, errBody):
		return "garbage"
	}
	return "failed"
}
