package srtp

import (
	"bytes"
	"strings"
	"testing"
)

// Names, key and salt lengths of RFC 4568 §6.2 and RFC 7714 §12, §14.2.
func TestR4568_R7714_Suites(t *testing.T) {
	want := map[string]int{"AES_CM_128_HMAC_SHA1_80": 30, "AES_CM_128_HMAC_SHA1_32": 30, "AEAD_AES_128_GCM": 28, "AEAD_AES_256_GCM": 44}
	if len(Profiles) != len(want) {
		t.Errorf("%d profiles", len(Profiles))
	}
	for name, n := range want {
		p, ok := SuiteNamed(name)
		if !ok || p.Suite() != name || p.KeyLength() != n || !p.Known() {
			t.Errorf("%s: %v %v, %d octets", name, p, ok, p.KeyLength())
			continue
		}
		a, b := p.NewKey(), p.NewKey()
		if len(a) != n || bytes.Equal(a, b) {
			t.Errorf("%s: keys of %d octets, equal %v", name, len(a), bytes.Equal(a, b))
		}
		for _, bad := range [][]byte{nil, a[1:], append(bytes.Clone(a), 0)} {
			_, err1 := NewSender(p, bad)
			_, err2 := NewReceiver(p, bad)
			if err1 == nil || err2 == nil || len(bad) > 0 && strings.Contains(err1.Error()+err2.Error(), string(bad[:4])) {
				t.Errorf("%s: key of %d octets: %v, %v", name, len(bad), err1, err2)
			}
		}
	}
	for _, name := range []string{"", "NULL", "AES_256_CM_HMAC_SHA1_80", "aead_aes_128_gcm"} {
		if p, ok := SuiteNamed(name); ok {
			t.Errorf("%q is %v", name, p)
		}
	}
}

// The tag has the length that the suite says: 10, 4 and 16 octets.
func TestR4568_6_2_TagLength(t *testing.T) {
	for p, n := range map[Profile]int{AES128CMSHA1_80: 10, AES128CMSHA1_32: 4, AES128GCM: 16, AES256GCM: 16} {
		tx, err := NewSender(p, p.NewKey())
		if err != nil {
			t.Fatal(err)
		}
		b, err := tx.ProtectRTP(packet(make([]byte, 512), 7, 1, 20))
		if err != nil || len(b) != 12+20+n {
			t.Errorf("%s: %d octets, %v; want a tag of %d", p.Suite(), len(b), err, n)
		}
	}
}
