package policy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestPCC08_NoSecretInLogsOrErrors lets everything fail and looks for the client's secret, access tokens, callback tokens and identities.
func TestPCC08_NoSecretInLogsOrErrors(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		p, ln := newFakePCF(t), newPipes()
		p.token = true
		serveH2C(t, ln, p)
		core, logs := observer.New(zap.DebugLevel)
		cfg := testConfig(t, "--token.url=http://127.0.0.1:7778/oauth2/token", "--token.instance="+testInstance, "--token.client=isthmus", "--token.secret_file="+secret, "--failure=refuse",
			"--limits.delete_for=1s", "--pcf=http://127.0.0.1:7777")
		a, err := New(cfg, Deps{Sealer: testSealer(t), Metrics: NewMetrics(prometheus.NewRegistry()), Log: zap.New(core), Dial: ln.dial})
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		note := func(err error) {
			if err != nil {
				seen = append(seen, err.Error())
			}
		}
		s, err := a.Create(t.Context(), offer())
		note(err)
		notify(a, "call-1", "notify", "{")
		for _, say := range []*answer{{}, {status: 500}, {403, nil, `{"cause":"X"}`}, {401, nil, "token-1"}, {307, map[string]string{"Location": "http://evil.example/"}, ""}} {
			p.set(func() { p.hook = func(string, *http.Request) *answer { return say } })
			_, err = a.Update(t.Context(), s, answered())
			note(err)
			f := offer()
			f.Call = "call-2"
			_, err = a.Create(t.Context(), f)
			note(err)
			<-time.After(10 * time.Second)
		}
		ln.mu.Lock()
		ln.down = true
		ln.mu.Unlock()
		a.Delete(s)
		<-time.After(time.Minute)
		note(a.Close(t.Context()))
		for _, l := range logs.All() {
			seen = append(seen, fmt.Sprint(l.Message, l.ContextMap()))
		}
		if len(seen) < 8 {
			t.Errorf("only %d lines: %q", len(seen), seen)
		}
		for _, line := range seen {
			for _, word := range []string{"s3cret", "token-", callbackPath, "imsi-", "msisdn-"} {
				if strings.Contains(line, word) {
					t.Errorf("%q in %q", word, line)
				}
			}
		}
	})
}
