package policy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
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
)

// authority makes certificates for loopback.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.make("ca", nil, nil)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) make(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return parsed, key
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// load returns the named certificate.
func (a *authority) load(name string) *tls.Certificate {
	a.t.Helper()
	c, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key"))
	if err != nil {
		a.t.Fatal(err)
	}
	return &c
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
	srv := &http.Server{Handler: h, Protocols: http2Only(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{*a.load(name)}, ClientCAs: a.pool(), ClientAuth: tls.RequireAndVerifyClientCert}}
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
	for name, conf := range map[string]*tls.Config{"with": {RootCAs: a.pool(), Certificates: []tls.Certificate{*a.load("pcf")}}, "without": {RootCAs: a.pool()}} {
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
	ca.make("pcf", ca.cert, ca.key)
	ca.make("pcscf", ca.cert, ca.key)
	secret := ca.file("secret")
	if err := os.WriteFile(secret, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	ln, back := listen(t), listen(t)
	p := newFakePCF(t)
	p.root, p.token = "https://"+ln.Addr().String(), true
	ca.serve(ln, p, "pcf")

	cfg := testConfig(t, "--pcf="+p.root, "--tls.ca="+ca.file("ca.pem"), "--tls.cert="+ca.file("pcscf.pem"), "--tls.key="+ca.file("pcscf.key"), "--failure=refuse", "--limits.timeout=10s",
		"--token.url="+p.root+"/oauth2/token", "--token.instance="+testInstance, "--token.client=isthmus", "--token.secret_file="+secret,
		"--callback.listen="+back.Addr().String(), "--callback.cert="+ca.file("pcscf.pem"), "--callback.key="+ca.file("pcscf.key"), "--callback.client_ca="+ca.file("ca.pem"))
	a, err := New(cfg, Deps{Sealer: testSealer(t), Metrics: NewMetrics(prometheus.NewRegistry()), Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	life, end := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() {
		stopped <- a.Serve(life, back, func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return ca.load("pcscf"), nil })
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
	for _, args := range [][]string{{"--tls.ca=" + ca.file("none")}, {"--tls.ca=" + ca.file("ca.key")}, {"--tls.cert=" + ca.file("ca.pem"), "--tls.key=" + ca.file("none")}} {
		if _, err := New(testConfig(t, args...), Deps{Sealer: testSealer(t), Metrics: NewMetrics(prometheus.NewRegistry()), Log: zaptest.NewLogger(t)}); err == nil {
			t.Errorf("%v accepted", args)
		}
	}
}
