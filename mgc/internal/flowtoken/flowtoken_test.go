package flowtoken

import (
	"bytes"
	"errors"
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

func TestOpenRefusesForgery(t *testing.T) {
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
