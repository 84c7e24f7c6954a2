package dtls

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/mgw/internal/bufpool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func certificate(t testing.TB) (tls.Certificate, Fingerprint) {
	t.Helper()
	c, err := NewCertificate(time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f, err := FingerprintOf(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, f
}

// links joins two Links back to back; lose drops the n-th datagram of each side when it returns true.
func links(pool *bufpool.Pool, lose func(n int) bool) (a, b *Link) {
	count := [2]int{}
	a = NewLink(pool, func(p []byte) error {
		count[0]++
		if !lose(count[0]) {
			b.Deliver(p)
		}
		return nil
	})
	b = NewLink(pool, func(p []byte) error {
		count[1]++
		if !lose(count[1]) {
			a.Deliver(p)
		}
		return nil
	})
	return a, b
}

type result struct {
	a   *Association
	err error
}

// run does both handshakes and closes nothing.
func run(t *testing.T, ctx context.Context, client, server Config) (c, s result) {
	t.Helper()
	done := make(chan result, 1)
	go func() {
		a, err := Handshake(ctx, server)
		done <- result{a, err}
	}()
	a, err := Handshake(ctx, client)
	return result{a, err}, <-done
}

var profiles = []uint16{7, 1} // AEAD_AES_128_GCM, AES128_CM_HMAC_SHA1_80

func none(int) bool { return false }

func TestHandshakeExportsSameKeysAndPrefersGCM(t *testing.T) {
	for name, lose := range map[string]func(int) bool{"clean": none, "first datagram lost": func(n int) bool { return n == 1 }} {
		t.Run(name, func(t *testing.T) {
			var pool bufpool.Pool
			cc, cf := certificate(t)
			sc, sf := certificate(t)
			lc, ls := links(&pool, lose)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			c, s := run(t, ctx,
				Config{Client: true, Certificate: cc, Fingerprints: []Fingerprint{{"sha-1", "00"}, sf}, Profiles: profiles, Link: lc},
				Config{Certificate: sc, Fingerprints: []Fingerprint{cf}, Profiles: profiles, Link: ls})
			if c.err != nil || s.err != nil {
				t.Fatalf("client %v, server %v", c.err, s.err)
			}
			if c.a.Profile() != 7 || s.a.Profile() != 7 {
				t.Errorf("profiles %v, %v", c.a.Profile(), s.a.Profile())
			}
			const label = "EXTRACTOR-dtls_srtp"
			mc, errC := c.a.ExportKeyingMaterial(label, nil, 60)
			ms, errS := s.a.ExportKeyingMaterial(label, nil, 60)
			if errC != nil || errS != nil || len(mc) != 60 || !bytes.Equal(mc, ms) {
				t.Errorf("keying material differs: %v, %v", errC, errS)
			}
			ended := make(chan struct{})
			go func() { s.a.Wait(); close(ended) }()
			c.a.Close() // close_notify reaches the server
			select {
			case <-ended:
			case <-ctx.Done():
				t.Error("server does not notice close_notify")
			}
			s.a.Close()
			if n := pool.Out(); n != 0 {
				t.Errorf("%d buffers out", n)
			}
		})
	}
}

func TestRFC8122_5_WrongFingerprintIsRefusedBySideThatChecks(t *testing.T) {
	for _, badServer := range []bool{false, true} {
		var pool bufpool.Pool
		cc, cf := certificate(t)
		sc, sf := certificate(t)
		_, other := certificate(t)
		if badServer {
			cf = other // the server expects another client
		} else {
			sf = other
		}
		lc, ls := links(&pool, none)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, s := run(t, ctx,
			Config{Client: true, Certificate: cc, Fingerprints: []Fingerprint{sf}, Profiles: profiles, Link: lc},
			Config{Certificate: sc, Fingerprints: []Fingerprint{cf}, Profiles: profiles, Link: ls})
		checked := c
		if badServer {
			checked = s
		}
		if !errors.Is(checked.err, ErrFingerprint) {
			t.Errorf("badServer %v: client %v, server %v", badServer, c.err, s.err)
		}
		for _, r := range []result{c, s} {
			if r.a != nil {
				r.a.Close()
			}
		}
		cancel()
		if n := pool.Out(); n != 0 {
			t.Errorf("%d buffers out", n)
		}
	}
}

func TestNoCommonProfileFails(t *testing.T) {
	var pool bufpool.Pool
	cc, cf := certificate(t)
	sc, sf := certificate(t)
	lc, ls := links(&pool, none)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, s := run(t, ctx,
		Config{Client: true, Certificate: cc, Fingerprints: []Fingerprint{sf}, Profiles: []uint16{1}, Link: lc},
		Config{Certificate: sc, Fingerprints: []Fingerprint{cf}, Profiles: []uint16{7}, Link: ls})
	if c.err == nil || s.err == nil {
		t.Errorf("client %v, server %v", c.err, s.err)
	}
}

func TestTimeoutAndCancel(t *testing.T) {
	var pool bufpool.Pool
	sc, sf := certificate(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	l := NewLink(&pool, func([]byte) error { return nil })
	if _, err := Handshake(ctx, Config{Client: true, Certificate: sc, Fingerprints: []Fingerprint{sf}, Profiles: profiles, Link: l}); !errors.Is(err, ErrTimeout) {
		t.Errorf("err %v, want ErrTimeout", err)
	}
	if l.Deliver([]byte{1}) {
		t.Error("closed link takes datagrams")
	}
	ctx2, cancel2 := context.WithCancel(context.Background())
	cancel2()
	l = NewLink(&pool, func([]byte) error { return nil })
	if _, err := Handshake(ctx2, Config{Certificate: sc, Fingerprints: []Fingerprint{sf}, Profiles: profiles, Link: l}); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v, want Canceled", err)
	}
}

func TestFingerprintHashes(t *testing.T) {
	c, f := certificate(t)
	if !f.Valid() || !matches([]Fingerprint{f}, c.Certificate[0]) {
		t.Error("own fingerprint")
	}
	colons := func(h crypto.Hash) string {
		s := h.New()
		s.Write(c.Certificate[0])
		var parts []string
		for _, b := range s.Sum(nil) {
			parts = append(parts, hex.EncodeToString([]byte{b}))
		}
		return strings.Join(parts, ":")
	}
	for name, want := range map[string]struct {
		f  Fingerprint
		ok bool
	}{
		"sha-384 lower case": {Fingerprint{"SHA-384", colons(crypto.SHA384)}, true},
		"sha-512":            {Fingerprint{"sha-512", colons(crypto.SHA512)}, true},
		"sha-1 never":        {Fingerprint{"sha-1", "AA:BB"}, false},
		"hash mismatch":      {Fingerprint{"sha-512", f.Value}, false},
		"garbage":            {Fingerprint{"sha-256", strings.Repeat("x", 95)}, false},
		"empty":              {Fingerprint{}, false},
	} {
		if got := matches([]Fingerprint{want.f}, c.Certificate[0]); got != want.ok {
			t.Errorf("%s: matches %v", name, got)
		}
		if got := want.f.Valid(); got != want.ok {
			t.Errorf("%s: valid %v", name, got)
		}
	}
	if matches(nil, c.Certificate[0]) {
		t.Error("no fingerprint matches everything")
	}
}

func TestLinkQueueIsBounded(t *testing.T) {
	var pool bufpool.Pool
	l := NewLink(&pool, func([]byte) error { return nil })
	taken := 0
	for range linkQueue * 2 {
		if l.Deliver([]byte{1}) {
			taken++
		}
	}
	if taken != linkQueue {
		t.Errorf("took %d, want %d", taken, linkQueue)
	}
	_ = l.Close()
	_ = l.Close()
	if pool.Out() != 0 {
		t.Errorf("%d buffers out", pool.Out())
	}
}
