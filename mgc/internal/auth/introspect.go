package auth

import (
	"container/list"
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// maxSecret bounds the file with the client secret, in bytes.
const maxSecret = 4096

// tokenHash names a token without holding it.
type tokenHash [sha256.Size]byte

func hashOf(token string) tokenHash { return sha256.Sum256([]byte(token)) }

// verdict is a remembered answer.
type verdict struct {
	hash   tokenHash
	id     Identity
	reason Reason    // Accepted, or why not
	until  time.Time // believed until then
}

// asking is a running request that several may wait for.
type asking struct {
	done chan struct{} // closed when v is set
	v    verdict
}

// introspector asks the issuer about each token (RFC 7662). Answers are remembered by the token's hash: good ones until the token
// ends or Cache has passed, bad ones for Negative, "cannot tell" never. One token is asked about once at a time. After Failures
// in a row the endpoint is left alone for CoolDown, then one request tries it. Owner of one goroutine per running request.
type introspector struct {
	rules rules
	cfg   IntrospectionConfig
	fetch *fetcher
	log   *zap.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex // guards below
	closed    bool
	known     map[tokenHash]*list.Element // of verdict
	recent    *list.List                  // of verdict, the most recently used in front
	running   map[tokenHash]*asking
	failures  int       // in a row
	openUntil time.Time // the circuit is open
	trying    bool      // one request tries an endpoint that failed
}

func newIntrospector(r rules, cfg IntrospectionConfig, f *fetcher, log *zap.Logger) *introspector {
	i := &introspector{rules: r, cfg: cfg, fetch: f, log: log, known: map[tokenHash]*list.Element{}, recent: list.New(), running: map[tokenHash]*asking{}}
	i.ctx, i.cancel = context.WithCancel(context.Background())
	return i
}

// close ends the running requests and waits; who waits for them gets Unavailable.
func (i *introspector) close() {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	i.cancel()
	i.wg.Wait()
}

// Verify implements Verifier.
func (i *introspector) Verify(ctx context.Context, token string) (Identity, error) {
	a, v, ok := i.begin(token)
	if !ok {
		return Identity{}, Unavailable
	}
	if a != nil {
		select {
		case <-a.done:
			v = a.v
		case <-ctx.Done():
			return Identity{}, fmt.Errorf("%w: %w", Unavailable, ctx.Err())
		}
	}
	if v.reason != Accepted {
		return Identity{}, v.reason
	}
	return v.id, nil
}

// begin returns a remembered verdict, or the request to wait for; ok is false while the circuit is open.
func (i *introspector) begin(token string) (a *asking, v verdict, ok bool) {
	hash, now := hashOf(token), time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := i.known[hash]; e != nil {
		if v := e.Value.(verdict); now.Before(v.until) {
			i.recent.MoveToFront(e)
			return nil, v, true
		}
		i.forget(e)
	}
	if a := i.running[hash]; a != nil {
		return a, verdict{}, true
	}
	if i.closed || now.Before(i.openUntil) || i.failures >= i.cfg.Failures && i.trying {
		return nil, verdict{}, false
	}
	i.trying = i.failures >= i.cfg.Failures
	a = &asking{done: make(chan struct{})}
	i.running[hash] = a
	i.wg.Add(1)
	go i.ask(a, hash, token)
	return a, verdict{}, true
}

// ask runs one request beside those who wait for it.
func (i *introspector) ask(a *asking, hash tokenHash, token string) {
	defer i.wg.Done()
	claims, err := i.request(token)
	now := time.Now()
	a.v = verdict{hash: hash, reason: Unavailable}
	if err == nil {
		a.v = i.judge(hash, claims, now)
	}
	i.mu.Lock()
	delete(i.running, hash)
	if now.Before(a.v.until) {
		i.remember(a.v)
	}
	opened, closed := i.count(err == nil, now)
	i.mu.Unlock()
	close(a.done)
	switch {
	case opened:
		i.fetch.metrics.open.Set(1)
		i.log.Warn("introspection endpoint fails and is left alone", zap.Duration("for", i.cfg.CoolDown), zap.Error(err))
	case closed:
		i.fetch.metrics.open.Set(0)
		i.log.Info("introspection endpoint answers again")
	case err != nil && i.ctx.Err() == nil:
		i.log.Debug("token not introspected", zap.Error(err))
	}
}

// request asks the endpoint. Errors mean that nothing is known about the token.
func (i *introspector) request(token string) (map[string]any, error) {
	secret, err := readSecret(i.cfg.SecretFile)
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	claims, err := i.fetch.post(i.ctx, "introspection", i.cfg.URL, form, i.cfg.ClientID, secret)
	if err != nil {
		return nil, err
	}
	if _, ok := claims["active"].(bool); !ok {
		return nil, fmt.Errorf("introspection: %w", errBody)
	}
	return claims, nil
}

// judge makes a verdict of an answer.
func (i *introspector) judge(hash tokenHash, claims map[string]any, now time.Time) verdict {
	v := verdict{hash: hash, until: now.Add(i.cfg.Negative)}
	if claims["active"] != true {
		v.reason = Inactive
		return v
	}
	id, err := i.rules.identity(claims, now)
	if v.reason = ReasonOf(err); v.reason != Accepted {
		return v
	}
	v.until = now.Add(i.cfg.Cache)
	if v.until.After(id.Expires) {
		v.until = id.Expires
	}
	id.Recheck = v.until
	v.id = id
	return v
}

// remember keeps a verdict and drops the least recently used one beyond CacheSize. The caller holds mu.
func (i *introspector) remember(v verdict) {
	i.known[v.hash] = i.recent.PushFront(v)
	if i.recent.Len() > i.cfg.CacheSize {
		i.forget(i.recent.Back())
	}
	i.fetch.metrics.cache.WithLabelValues("introspection").Set(float64(i.recent.Len()))
}

func (i *introspector) forget(e *list.Element) {
	delete(i.known, i.recent.Remove(e).(verdict).hash)
	i.fetch.metrics.cache.WithLabelValues("introspection").Set(float64(i.recent.Len()))
}

// count keeps the circuit breaker. The caller holds mu.
func (i *introspector) count(ok bool, now time.Time) (opened, closed bool) {
	i.trying = false
	if ok {
		closed = i.failures >= i.cfg.Failures
		i.failures, i.openUntil = 0, time.Time{}
		return false, closed
	}
	i.failures++
	if i.failures < i.cfg.Failures {
		return false, false
	}
	i.openUntil = now.Add(i.cfg.CoolDown)
	return i.failures == i.cfg.Failures, false
}

// readSecret returns the first line of a file. Errors name the file, never its content.
func readSecret(name string) (string, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("client secret: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	line = strings.TrimRight(line, "\r")
	if line == "" || len(line) > maxSecret {
		return "", fmt.Errorf("client secret: %s is empty or too long", name)
	}
	return line, nil
}
