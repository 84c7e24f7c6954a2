package policy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
)

// authority makes certificates for loopback, in files NAME.crt and NAME.key.
type authority struct {
	*tlstest.Authority
	t     *testing.T
	dir   string
	certs map[string]*tls.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{tlstest.NewAuthority(t, "ca"), t, t.TempDir(), map[string]*tls.Certificate{}}
	tlstest.Put(t, a.file("ca.crt"), a.PEM())
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) make(name string) {
	c := a.Issue(a.t, name, []string{"127.0.0.1"}, nil)
	c.Write(a.t, a.dir, name)
	a.certs[name] = &c.Certificate
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func http2Only() *http.Protocols {
	var p http.Protocols
	p.SetHTTP2(true)
	return &p
}

// serve serves h with mutual TLS until the test ends.
func (a *authority) serve(ln net.Listener, h http.Handler, name string) {
	srv := &http.Server{Handler: h, Protocols: http2Only(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{*a.certs[name]}, ClientCAs: a.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.ServeTLS(ln, "", "") // ends with Close
	}()
	a.t.Cleanup(func() { _ = srv.Close(); <-served })
}

// notify posts body as the PCF does, with its certificate, which is taken, and without, which is not.
func (a *authority) notify(notifURI, body string) {
	a.t.Helper()
	for name, conf := range map[string]*tls.Config{"with": {RootCAs: a.Pool(), Certificates: []tls.Certificate{*a.certs["pcf"]}}, "without": {RootCAs: a.Pool()}} {
		tr := &http.Transport{Protocols: http2Only(), TLSClientConfig: conf}
		resp, err := (&http.Client{Transport: tr}).Post(notifURI+"/notify", "application/json", strings.NewReader(body))
		if name == "without" {
			if err == nil {
				a.t.Errorf("a notification without a certificate: %s", resp.Status)
			}
		} else if err != nil || resp.StatusCode != 204 || resp.ProtoMajor != 2 {
			a.t.Errorf("%v %v", resp, err)
		} else {
			_ = resp.Body.Close()
		}
		tr.CloseIdleConnections()
	}
}

// TestPCC08_MutualTLSAndHTTP2 goes over real sockets: PCF and NRF with mutual TLS, and a notification back over HTTP/2.
func TestPCC08_MutualTLSAndHTTP2(t *testing.T) {
	ca := newAuthority(t)
	ca.make("pcf")
	ca.make("pcscf")
	secret := ca.file("secret")
	if err := os.WriteFile(secret, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, back := listen(t), listen(t)
	p := newFakePCF(t)
	p.root, p.token = "https://"+ln.Addr().String(), true
	ca.serve(ln, p, "pcf")

	cfg := testConfig(t, "--pcf="+p.root, "--tls.ca="+ca.file("ca.crt"), "--tls.cert="+ca.file("pcscf.crt"), "--tls.key="+ca.file("pcscf.key"), "--failure=refuse", "--limits.timeout=10s",
		"--token.url="+p.root+"/oauth2/token", "--token.instance="+testInstance, "--token.client=isthmus", "--token.secret_file="+secret,
		"--callback.listen="+back.Addr().String(), "--callback.cert="+ca.file("pcscf.crt"), "--callback.key="+ca.file("pcscf.key"), "--callback.client_ca="+ca.file("ca.crt"))
	a, err := New(cfg, Deps{Sealer: testSealer(t), Metrics: NewMetrics(prometheus.NewRegistry()), Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	life, end := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() {
		stopped <- a.Serve(life, back, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return ca.certs["pcscf"], nil })
	}()

	s, err := a.Create(ctx, offer())
	if err != nil || !s.Open() {
		t.Fatalf("%+v %v", s, err)
	}
	notifURI := p.resource("s1")["notifUri"].(string)
	if u, err := url.Parse(notifURI); err != nil || u.Host != back.Addr().String() || u.Scheme != "https" {
		t.Fatalf("notifUri %q %v", notifURI, err)
	}
	ca.notify(notifURI, `{"evSubsUri":"`+s.URI+`/events-subscription","evNotifs":[{"event":"SUCCESSFUL_RESOURCES_ALLOCATION"}]}`)
	if e := <-a.Events(); e.Kind != ResourcesAllocated || e.Call != "call-1" {
		t.Errorf("%+v", e)
	}
	a.Delete(s)
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
	if p.deleted["s1"] != 1 {
		t.Error("not deleted")
	}
	end()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestPCC08_TLSFilesAreChecked(t *testing.T) {
	ca := newAuthority(t)
	ca.make("pcf")
	for _, args := range [][]string{{"--tls.ca=" + ca.file("none")}, {"--tls.ca=" + ca.file("pcf.key")}, {"--tls.cert=" + ca.file("ca.crt"), "--tls.key=" + ca.file("none")}} {
		if _, err := New(testConfig(t, args...), Deps{Sealer: testSealer(t), Metrics: NewMetrics(prometheus.NewRegistry()), Log: zaptest.NewLogger(t)}); err == nil {
			t.Errorf("%v accepted", args)
		}
	}
}
