package turnauth

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of twenty-four."

func TestIssueAndParse(t *testing.T) {
	now := time.Unix(1_700_000_000, 999)
	c := Issue(secret, "sip:alice@x.example", now, time.Hour)
	if c.Username != "1700003600:sip:alice@x.example" || c.Password != Password(secret, c.Username) || c.Expires.Unix() != 1_700_003_600 {
		t.Errorf("%+v", c)
	}
	expires, user, err := Parse(c.Username)
	if err != nil || !expires.Equal(c.Expires) || user != "sip:alice@x.example" {
		t.Errorf("%v %q %v", expires, user, err)
	}
	for _, bad := range []string{"", ":", "1:", "a:b", "-1:b", "+1:b", "1.5:b", "1700003600", "9999999999999:b", "1:" + strings.Repeat("a", MaxUsername), ":b"} {
		if _, _, err := Parse(bad); !errors.Is(err, ErrUsername) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// The values are those of openssl: printf 1700003600:alice | openssl dgst -sha1 -hmac SECRET -binary | base64, and md5 of user:realm:password.
func TestKnownValues(t *testing.T) {
	if got := Password("0123456789abcdef", "1700003600:alice"); got != wantPassword {
		t.Errorf("password %q", got)
	}
	if got := hex.EncodeToString(Key("0123456789abcdef", "1700003600:alice", "isthmus")); got != wantKey {
		t.Errorf("key %q", got)
	}
}

func TestSecretsFollowTheirFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("# of this month\n" + secret + "\n\n  the one of last month \r\n")
	s, err := Load(file, []string{"given on the command line"}, 5*time.Millisecond, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := strings.Join(s.All(), "|"); got != secret+"|the one of last month|given on the command line" || s.First() != secret {
		t.Errorf("%q", got)
	}
	write("short\n")
	until(t, func() bool { _, failed := s.watch.Counts(); return failed > 0 })
	if s.First() != secret {
		t.Error("a broken file was taken")
	}
	write("another secret, long enough\n")
	until(t, func() bool { return s.First() == "another secret, long enough" })
}

func TestSecretsAreRefusedWithoutBeingTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(file, []byte("tellnobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func() (*Secrets, error){
		"no file":   func() (*Secrets, error) { return Load(file+".absent", nil, 0, zap.NewNop()) },
		"short":     func() (*Secrets, error) { return Load(file, nil, 0, zap.NewNop()) },
		"none":      func() (*Secrets, error) { return Load("", nil, 0, zap.NewNop()) },
		"too short": func() (*Secrets, error) { return Load("", []string{"tellnobody"}, 0, zap.NewNop()) },
		"too many":  func() (*Secrets, error) { return Load("", make([]string, MaxSecrets+1), 0, zap.NewNop()) },
		"too long":  func() (*Secrets, error) { return Load("", []string{strings.Repeat("a", MaxSecret+1)}, 0, zap.NewNop()) },
	} {
		if _, err := load(); err == nil || strings.Contains(err.Error(), "tellnobody") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfiguredSecretDoesNotPrint(t *testing.T) {
	var s Secret
	if err := s.UnmarshalText([]byte(secret)); err != nil || Texts([]Secret{s})[0] != secret {
		t.Fatalf("%v %q", err, string(s))
	}
	text, err := s.MarshalText()
	if got := fmt.Sprintf("%v %+v %#v %s %q", s, []Secret{s}, s, s, text); err != nil || strings.Contains(got, secret) {
		t.Errorf("%s %v", got, err)
	}
	if Check([]string{string(text)}) == nil {
		t.Error("what is printed is taken as a secret")
	}
}

func until(t *testing.T, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal("not within 5 s")
		}
		<-tick.C
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1700003600:alice")
	f.Add(":")
	f.Fuzz(func(t *testing.T, name string) {
		expires, user, err := Parse(name)
		if err != nil {
			return
		}
		if user == "" || expires.Unix() < 0 || !strings.HasSuffix(name, ":"+user) {
			t.Errorf("%q: %v %q", name, expires, user)
		}
	})
}

const (
	wantPassword = "bX6VW1SMgYUaKP/OXvh27fz+OXw="
	wantKey      = "9198f1b2783a0822a0abd889282cc192"
)
