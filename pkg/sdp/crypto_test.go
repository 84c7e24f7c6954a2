package sdp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// key30 is the key of RFC 4568 §6.1's example, key28 and key44 are for AES-GCM.
const (
	key30 = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
	key28 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw=="
	key44 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKis="
)

func cryptoOf(t testing.TB, line string) (Crypto, bool) {
	t.Helper()
	d, err := Parse([]byte("v=0\r\no=- 1 1 IN IP4 10.0.0.7\r\ns=-\r\nc=IN IP4 10.0.0.7\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 8\r\na=crypto:" + line + "\r\n"))
	if err != nil || len(d.Media[0].Cryptos) != 1 {
		return Crypto{}, false
	}
	return d.Media[0].Cryptos[0], true
}

func TestR4568_CryptoAttribute(t *testing.T) {
	for line, want := range map[string]Keying{
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30:                   {Tag: 1, Suite: AES128CM80},
		"2 AES_CM_128_HMAC_SHA1_32 inline:" + key30 + "|2^20":         {Tag: 2, Suite: AES128CM32, Lifetime: 1 << 20},
		"3 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|1048576":      {Tag: 3, Suite: AES128CM80, Lifetime: 1 << 20},
		"4 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^48 WSH=128": {Tag: 4, Suite: AES128CM80, Lifetime: 1 << 48},
		"5 AEAD_AES_128_GCM inline:" + key28:                          {Tag: 5, Suite: AES128GCM},
		"6 AEAD_AES_128_GCM inline:" + strings.TrimRight(key28, "="):  {Tag: 6, Suite: AES128GCM},
		"7 AEAD_AES_256_GCM inline:" + key44:                          {Tag: 7, Suite: AES256GCM},
		// The MKI is a number and its length in packets, after the lifetime if there is one (RFC 4568 §6.1's example has 1:4).
		"8 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + "|2^20|1:4":                     {Tag: 8, Suite: AES128CM80, Lifetime: 1 << 20, MKI: []byte{0, 0, 0, 1}},
		"9 AES_CM_128_HMAC_SHA1_32 inline:" + key30 + "|255:1":                        {Tag: 9, Suite: AES128CM32, MKI: []byte{255}},
		"10 AEAD_AES_128_GCM inline:" + key28 + "|66051:3 WSH=64":                     {Tag: 10, Suite: AES128GCM, MKI: []byte{1, 2, 3}},
		"11 AEAD_AES_256_GCM inline:" + key44 + "|18446744073709551616:9":             {Tag: 11, Suite: AES256GCM, MKI: []byte{1, 0, 0, 0, 0, 0, 0, 0, 0}},
		"12 AEAD_AES_256_GCM inline:" + key44 + "|0:128":                              {Tag: 12, Suite: AES256GCM, MKI: make([]byte, 128)},
		"999999999 AEAD_AES_256_GCM INLINE:" + key44 + "  KDR=0 -NEWS=1 -UNENCRYPTED": {Tag: 999999999, Suite: AES256GCM},
	} {
		c, ok := cryptoOf(t, line)
		if !ok {
			t.Errorf("%s: not read", line)
			continue
		}
		k, err := c.Read()
		if err != nil || k.Tag != want.Tag || k.Suite != want.Suite || k.Lifetime != want.Lifetime || !bytes.Equal(k.MKI, want.MKI) || len(k.Key) != want.Suite.KeyLength() {
			t.Errorf("%s: %v lifetime %d, %v", line, k, k.Lifetime, err)
		}
		if again, err := NewCrypto(k.Tag, k.Suite, k.Key).Read(); err != nil || !bytes.Equal(again.Key, k.Key) {
			t.Errorf("%s: written and read again: %v", line, err)
		}
	}
}

func TestR4568_CryptoAttributeRefused(t *testing.T) {
	const ok = "1 AES_CM_128_HMAC_SHA1_80 inline:" + key30
	for line, why := range map[string]string{
		"1 AES_256_CM_HMAC_SHA1_80 inline:" + key30:            "crypto-suite",
		"1 aes_cm_128_hmac_sha1_80 inline:" + key30:            "crypto-suite",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key28:            "key of 28 octets",
		"1 AEAD_AES_128_GCM inline:" + key30:                   "key of 30 octets",
		"1 AEAD_AES_256_GCM inline:" + key28:                   "key of 28 octets",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30[:37]:       "base64",
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30[:39] + "!": "base64",
		"1 AES_CM_128_HMAC_SHA1_80 inline:":                    "key of 0 octets",
		"1 AES_CM_128_HMAC_SHA1_80 uri:" + key30:               "method",
		"1 AES_CM_128_HMAC_SHA1_80 " + key30:                   "method",
		ok + "|2^20|1:0":                                       "MKI length",
		ok + "|1:129":                                          "MKI length",
		ok + "|1:":                                             "MKI length",
		ok + "|1:-1":                                           "MKI length",
		ok + "|1:4:4":                                          "MKI length",
		ok + "|256:1":                                          "MKI does not fit into 1 octets",
		ok + "|:4":                                             "MKI is not a number",
		ok + "|-1:4":                                           "MKI is not a number",
		ok + "|x:4":                                            "MKI is not a number",
		ok + "|" + strings.Repeat("9", 310) + ":128":           "MKI is not a number",
		ok + "|1:4|2^20":                                       "MKI is not the last",
		ok + "|1:4|2:4":                                        "MKI is not the last",
		ok + "|2^20|1:4;inline:" + key30 + "|2^20|2:4":         "several keys",
		ok + "|2^49":                                           "lifetime",
		ok + "|0":                                              "lifetime",
		ok + "|2^":                                             "lifetime",
		ok + "|+5":                                             "lifetime",
		ok + "|":                                               "lifetime",
		ok + "|5|6":                                            "two lifetimes",
		ok + " UNENCRYPTED_SRTP":                               "UNENCRYPTED_SRTP",
		ok + " UNENCRYPTED_SRTCP":                              "UNENCRYPTED_SRTCP",
		ok + " UNAUTHENTICATED_SRTP":                           "UNAUTHENTICATED_SRTP",
		ok + " unencrypted_srtp":                               "UNENCRYPTED_SRTP",
		ok + " FEC_ORDER=FEC_SRTP":                             "FEC_ORDER",
		ok + " KDR=5":                                          "KDR",
		ok + " WSH=10":                                         "WSH",
		ok + " NEWS=1":                                         "unknown session parameter",
		"1000000000 AES_CM_128_HMAC_SHA1_80 inline:" + key30[:40]: "too long",
	} {
		c, read := cryptoOf(t, line)
		if !read {
			t.Errorf("%s: not even an attribute", line)
			continue
		}
		_, err := c.Read()
		if !errors.Is(err, ErrCrypto) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %s", line, err, why)
		} else if strings.Contains(err.Error(), key30[:8]) || strings.Contains(err.Error(), key28[:8]) {
			t.Errorf("%s: the error holds the key: %v", line, err)
		}
	}
}

func TestCryptoIsNotPrinted(t *testing.T) {
	c, _ := cryptoOf(t, "1 AES_CM_128_HMAC_SHA1_80 inline:"+key30)
	k, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	m := Media{Cryptos: []Crypto{c}}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", c, c, c, c), fmt.Sprintf("%v %+v %#v", k, k, k), fmt.Sprintf("%+v %#v", m, m), fmt.Sprintf("%+v", &m)} {
		if strings.Contains(text, key30[:8]) || strings.Contains(text, fmt.Sprint(k.Key[:4])) || strings.Contains(text, string(k.Key[:4])) {
			t.Errorf("printed: %s", text)
		}
	}
}

// Whatever is read has a key of its suite's length, and means the same when it is written and read again; an error never holds the key.
func FuzzCrypto(f *testing.F) {
	for _, s := range []string{
		"1 AES_CM_128_HMAC_SHA1_80 inline:" + key30, "2 AES_CM_128_HMAC_SHA1_32 inline:" + key30 + "|2^20|1:4", "3 AEAD_AES_128_GCM inline:" + key28 + " WSH=64",
		"4 AEAD_AES_256_GCM inline:" + key44 + "|2^31 KDR=0 -X=1", "5 AES_CM_128_HMAC_SHA1_80 inline:" + key30 + ";inline:" + key30, "6 F8_128_HMAC_SHA1_80 inline: UNENCRYPTED_SRTP",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, ok := cryptoOf(t, line)
		if !ok {
			return
		}
		k, err := c.Read()
		if err != nil {
			for _, r := range err.Error() {
				if r < ' ' || r > '~' {
					t.Fatalf("error text %q", err)
				}
			}
			if _, info, ok := strings.Cut(c.KeyParams, ":"); ok && Suite(c.Suite).KeyLength() > 0 && c.Params == "" && len(info) >= 16 && strings.Contains(err.Error(), info[:16]) {
				t.Fatalf("the error holds the key: %v", err)
			}
			return
		}
		if len(k.Key) != k.Suite.KeyLength() || len(k.Key) == 0 || k.Lifetime > 1<<48 || len(k.MKI) > 128 {
			t.Fatalf("%v: %d octets, lifetime %d", k, len(k.Key), k.Lifetime)
		}
		again, err := NewCrypto(k.Tag, k.Suite, k.Key).Read()
		if err != nil || again.Tag != k.Tag || again.Suite != k.Suite || !bytes.Equal(again.Key, k.Key) {
			t.Fatalf("%v becomes %v, %v", k, again, err)
		}
		if !strings.Contains(c.KeyParams, base64.RawStdEncoding.EncodeToString(k.Key)) {
			t.Fatalf("key is not what the attribute says")
		}
	})
}
