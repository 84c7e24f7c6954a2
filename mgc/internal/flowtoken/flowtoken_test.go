package flowtoken

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func key(id, fill byte) Key {
	k := Key{ID: id}
	for i := range k.Secret {
		k.Secret[i] = fill + byte(i)
	}
	return k
}

func mustNew(t testing.TB, keys ...Key) *Sealer {
	t.Helper()
	s, err := New(keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpenRoundTrip(t *testing.T) {
	s := mustNew(t, key(1, 7))
	for _, n := range []int{0, 1, 16, 64, MaxPayload} {
		payload := bytes.Repeat([]byte{0xa5}, n)
		token := s.Seal(KindCall, payload)
		if strings.Trim(token, "abcdefghijklmnopqrstuvwxyz234567") != "" {
			t.Errorf("token %q has characters outside the tag alphabet", token)
		}
		for _, form := range []string{token, strings.ToUpper(token)} {
			got, err := s.Open(KindCall, form)
			if err != nil || !bytes.Equal(got, payload) {
				t.Errorf("Open(%d bytes) = %x, %v", n, got, err)
			}
		}
	}
	if a, b := s.Seal(KindCall, nil), s.Seal(KindCall, nil); a == b {
		t.Error("two tokens of one payload are equal: the nonce repeats")
	}
}

func TestR5626_2_OpenRefusesForgery(t *testing.T) {
	s := mustNew(t, key(1, 7))
	token := s.Seal(KindFlow, []byte("flow-42"))
	cases := map[string]string{
		"empty":         "",
		"short":         token[:20],
		"truncated":     token[:len(token)-1],
		"padded":        token + "a",
		"not base32":    "0" + token[1:],
		"foreign key":   mustNew(t, key(1, 99)).Seal(KindFlow, []byte("flow-42")),
		"unknown id":    mustNew(t, key(9, 7)).Seal(KindFlow, []byte("flow-42")),
		"other kind":    s.Seal(KindCall, []byte("flow-42")),
		"far too long":  strings.Repeat("a", 1<<16),
		"user text":     "alice",
		"with at":       token + "@x",
		"line breaking": token[:8] + "\n" + token[8:],
	}
	for name, bad := range cases {
		if _, err := s.Open(KindFlow, bad); !errors.Is(err, ErrForged) {
			t.Errorf("%s: err = %v, want ErrForged", name, err)
		}
	}
	for i := range token { // every single character counts
		c := byte('a')
		if token[i] == c {
			c = 'b'
		}
		if got, err := s.Open(KindFlow, token[:i]+string(c)+token[i+1:]); err == nil {
			t.Fatalf("character %d changed and still opened as %q", i, got)
		}
	}
}

func TestRotate(t *testing.T) {
	s := mustNew(t, key(1, 7))
	old := s.Seal(KindCall, []byte("k"))
	if err := s.Rotate([]Key{key(2, 50), key(1, 7)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(KindCall, old); err != nil {
		t.Errorf("token of the older key: %v", err)
	}
	fresh := s.Seal(KindCall, []byte("k"))
	if err := s.Rotate([]Key{key(2, 50)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(KindCall, fresh); err != nil {
		t.Errorf("token of the new key: %v", err)
	}
	if _, err := s.Open(KindCall, old); !errors.Is(err, ErrForged) {
		t.Errorf("token of the dropped key: %v, want ErrForged", err)
	}
	if err := s.Rotate(nil); err == nil {
		t.Error("no key was accepted")
	}
	if err := s.Rotate([]Key{key(3, 1), key(3, 2)}); err == nil {
		t.Error("two keys with one id were accepted")
	}
	if _, err := s.Open(KindCall, fresh); err != nil {
		t.Errorf("failed rotations changed the keys: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	s := mustNew(f, key(1, 7))
	valid := s.Seal(KindFlow, []byte("payload"))
	f.Add(valid)
	f.Add(strings.ToUpper(valid))
	f.Add(valid[:len(valid)-2] + "aa")
	f.Add("")
	f.Add("alice")
	f.Add("\x00\xff")
	f.Fuzz(func(t *testing.T, token string) {
		payload, err := s.Open(KindFlow, token)
		// Workers of one run share the key but not the nonce: whatever opens must be a token of this payload.
		if err == nil && string(payload) != "payload" {
			t.Errorf("%q opened as %q: not made here", token, payload)
		}
	})
}

// TestEveryTruncationIsForged: no part of a token is a token, with or without what base32 would round off.
func TestEveryTruncationIsForged(t *testing.T) {
	s := mustNew(t, key(1, 7))
	for _, n := range []int{0, 1, 12, 16, MaxPayload} {
		token := s.Seal(KindCall, bytes.Repeat([]byte{1}, n))
		for cut := range token {
			for _, part := range []string{token[:cut], token[cut+1:]} {
				if got, err := s.Open(KindCall, part); !errors.Is(err, ErrForged) {
					t.Fatalf("part of %d of %d characters opens as %x, %v", len(part), len(token), got, err)
				}
			}
		}
	}
}

// TestEveryBitCounts: key id, nonce, payload and tag are all authenticated.
func TestEveryBitCounts(t *testing.T) {
	s := mustNew(t, key(1, 7), key(0, 9)) // flipping the lowest bit of the id names the other key
	raw, err := encoding.DecodeString(s.Seal(KindCall, []byte("payload")))
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			if got, err := s.Open(KindCall, encoding.EncodeToString(raw)); !errors.Is(err, ErrForged) {
				t.Fatalf("byte %d bit %d flipped: %x, %v", i, bit, got, err)
			}
			raw[i] ^= 1 << bit
		}
	}
	if _, err := s.Open(KindCall, encoding.EncodeToString(raw)); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// TestRotationStepByStep is the order that Rotate's comment gives: at no step is a token of any instance refused.
func TestRotationStepByStep(t *testing.T) {
	old, fresh := key(1, 7), key(2, 50)
	a, b := mustNew(t, old), mustNew(t, old)
	check := func(step string) {
		t.Helper()
		for _, from := range []*Sealer{a, b} {
			token := from.Seal(KindFlow, []byte("x"))
			for _, to := range []*Sealer{a, b} {
				if _, err := to.Open(KindFlow, token); err != nil {
					t.Errorf("%s: %v", step, err)
				}
			}
		}
	}
	for _, keys := range [][]Key{{old, fresh}, {fresh, old}, {fresh}} {
		for _, s := range []*Sealer{a, b} {
			if err := s.Rotate(keys); err != nil {
				t.Fatal(err)
			}
			check(fmt.Sprintf("keys %v", keys[0].ID))
		}
	}
}

func TestTooLongAPayloadPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	mustNew(t, key(1, 7)).Seal(KindFlow, make([]byte, MaxPayload+1))
}
