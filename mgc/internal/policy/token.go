package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// scope is the service that tokens are for.
const scope = "npcf-policyauthorization"

// errToken is every failure to get an access token.
var errToken = errors.New("policy: no access token")

const (
	tokenTimeout = 5 * time.Second  // of one request to the NRF
	tokenPause   = time.Second      // between a failed request and the next
	tokenDefault = time.Minute      // lifetime when the NRF tells none
	tokenMargin  = 30 * time.Second // a token is renewed that long before its end, or after four fifths of its life
)

// tokens keeps the access token of TS 29.510 §5.4.2. One request at a time is under way; a token about to end is renewed beside its use.
type tokens struct {
	cfg     TokenConfig
	client  *http.Client
	metrics *Metrics
	ctx     context.Context
	wg      *sync.WaitGroup

	mu       sync.Mutex // guards all below
	token    string
	renew    time.Time
	expires  time.Time
	fetching chan struct{} // closed when the request under way ends; nil: none
	err      error         // of the last request
	pause    time.Time
}

// get returns a valid token, "" when the configuration has no token endpoint. It waits for the NRF at most as long as ctx lives.
func (t *tokens) get(ctx context.Context) (string, error) {
	if t.cfg.URL == "" {
		return "", nil
	}
	for {
		t.mu.Lock()
		now := time.Now()
		valid := t.token != "" && now.Before(t.expires)
		if t.fetching == nil && (!valid || now.After(t.renew)) && !now.Before(t.pause) {
			t.fetching = make(chan struct{})
			t.wg.Add(1)
			go t.fetch(t.fetching)
		}
		token, wait, err := t.token, t.fetching, t.err
		t.mu.Unlock()
		switch {
		case valid:
			return token, nil
		case wait == nil:
			return "", fmt.Errorf("%w: %w", errToken, err)
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return "", fmt.Errorf("%w: %w", errToken, ctx.Err())
		}
	}
}

// drop forgets token, which was refused; a newer one stays.
func (t *tokens) drop(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == token {
		t.token = ""
	}
}

func (t *tokens) fetch(done chan struct{}) {
	defer t.wg.Done()
	ctx, cancel := context.WithTimeout(t.ctx, tokenTimeout)
	defer cancel()
	token, life, err := t.request(ctx)
	result := "ok"
	t.mu.Lock()
	now := time.Now()
	if t.err = err; err != nil {
		result = "failed"
		t.pause = now.Add(tokenPause)
	} else {
		t.token, t.expires, t.renew = token, now.Add(life), now.Add(life-min(life/5, tokenMargin))
	}
	t.fetching = nil
	close(done)
	t.mu.Unlock()
	t.metrics.tokens.WithLabelValues(result).Inc()
}

// request asks the NRF (TS 29.510 §6.3.5.2.2). Errors never hold the token or the secret.
func (t *tokens) request(ctx context.Context) (string, time.Duration, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "nfInstanceId": {t.cfg.Instance}, "nfType": {t.cfg.Type}, "targetNfType": {"PCF"}, "scope": {scope},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.cfg.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if t.cfg.Client != "" {
		secret, err := os.ReadFile(t.cfg.SecretFile)
		if err != nil {
			return "", 0, err
		}
		req.SetBasicAuth(url.QueryEscape(t.cfg.Client), url.QueryEscape(strings.TrimSpace(string(secret)))) // RFC 6749 §2.3.1
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = resp.Body.Close() }() // what matters was read
	var out struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Expires *int64 `json:"expires_in"`
		Error   string `json:"error"`
	}
	err = json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxBody)).Decode(&out)
	switch {
	case resp.StatusCode != http.StatusOK:
		return "", 0, fmt.Errorf("token endpoint answers %d %.40q", resp.StatusCode, out.Error)
	case err != nil:
		return "", 0, errors.New("token endpoint answers no JSON")
	case out.Token == "" || !strings.EqualFold(out.Type, "Bearer") || strings.ContainsAny(out.Token, " \t\r\n"):
		return "", 0, errors.New("token endpoint answers no Bearer token")
	case out.Expires == nil:
		return out.Token, tokenDefault, nil
	}
	return out.Token, time.Duration(min(max(*out.Expires, 1), 86400)) * time.Second, nil
}
