package turncred

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/isthmus-gateway/isthmus/mgc/internal/headers"
	"github.com/isthmus-gateway/isthmus/pkg/turnauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "a secret of 24 bytes...."

func config(urls ...string) Config {
	return Config{URLs: urls, Secrets: []turnauth.Secret{secret}, Lifetime: 2 * time.Hour}
}

func TestARC09_Offer(t *testing.T) {
	cfg := config("turn:203.0.113.7:3478", "turns:turn.example.com:443?transport=tcp")
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	secrets, err := turnauth.Load("", turnauth.Texts(cfg.Secrets), 0, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	i := New(cfg, secrets, prometheus.NewRegistry())
	now := time.Unix(1_700_000_000, 0)
	i.now = func() time.Time { return now }
	field := func(aor string) string {
		var m headers.Msg
		i.Offer(&m, aor)
		return m.Get(Header)
	}
	form := regexp.MustCompile(`^urls="turn:203.0.113.7:3478 turns:turn.example.com:443\?transport=tcp";username="(1700007200:[A-Za-z0-9_-]{16})";credential="([A-Za-z0-9+/=]+)";ttl=7200$`)
	m := form.FindStringSubmatch(field("sip:alice@x.example"))
	if m == nil || m[2] != turnauth.Password(secret, m[1]) || strings.Contains(m[1], "alice") {
		t.Fatalf("%q", field("sip:alice@x.example"))
	}
	_, code, _ := strings.Cut(m[1], ":")
	now = now.Add(time.Hour)
	if got := field("sip:alice@x.example"); !strings.Contains(got, "1700010800:"+code) {
		t.Errorf("an hour later: %q, want the code %s", got, code)
	}
	if strings.Contains(field("sip:bob@x.example"), code) {
		t.Error("two users have one code")
	}
}

func TestURLs(t *testing.T) {
	for _, good := range []string{"turn:a", "turn:a:1", "turn:[2001:db8::1]:3478?transport=udp", "turns:a.example:443?transport=tcp", "stun:192.0.2.1", "stuns:a:5349"} {
		if c := config(good); c.Validate() != nil {
			t.Errorf("%s: %v", good, c.Validate())
		}
	}
	for _, bad := range []string{"", "turn:", "a:3478", "http://a", "turn:a:b", "turn:a:70000", "turn:a?transport=sctp", "stun:a?transport=udp", "turn://a", "turn:a b", `turn:a";x="`, "turn:u@a", "turn:a/b"} {
		if c := config(bad); c.Validate() == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	c := config("turn:a")
	c.Secrets = []turnauth.Secret{"tooshortsecret"}
	if err := c.Validate(); err == nil || strings.Contains(err.Error(), "tooshort") {
		t.Errorf("%v", err)
	}
}
