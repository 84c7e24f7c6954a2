package tlsfiles

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/isthmus-gateway/isthmus/pkg/tlstest"
)

// member writes the files of one end: a certificate of ca that names ids.
func member(t *testing.T, ca *tlstest.Authority, ids ...string) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{CA: filepath.Join(dir, "ca.crt")}
	f.Cert, f.Key = ca.Issue(t, ids[0], ids, nil).Write(t, dir, "tls")
	tlstest.Put(t, f.CA, ca.PEM())
	return f
}

func mutual(t *testing.T, f Files) *Mutual {
	t.Helper()
	m, err := NewMutual(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// handshake runs both ends over a connection and returns what each says. The server reads an octet, since with TLS 1.3 the client has finished before
// its certificate is checked.
func handshake(t *testing.T, server, client *tls.Config) (atServer, atClient error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Read(make([]byte, 1))
			_ = c.Close()
		}
		done <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	secure := tls.Client(c, client)
	if atClient = secure.HandshakeContext(t.Context()); atClient == nil {
		_, _ = secure.Write([]byte{1}) // the server says how it went
	} else {
		_ = c.Close()
	}
	return <-done, atClient
}

// TestMutualProvesBothEnds: a server is who was asked for, by name as by address, and a client is of the pool.
func TestMutualProvesBothEnds(t *testing.T) {
	pool, foreign := tlstest.NewAuthority(t, "pool"), tlstest.NewAuthority(t, "foreign")
	server := mutual(t, member(t, pool, "mgc-1", "127.0.0.1"))
	ours := mutual(t, member(t, pool, "mgw-1"))
	if s, c := handshake(t, server.Server("h2"), ours.Client("mgc-1")); s != nil || c != nil {
		t.Errorf("by name: %v, %v", s, c)
	}
	if s, c := handshake(t, server.Server("h2"), ours.Client("127.0.0.1")); s != nil || c != nil {
		t.Errorf("by address: %v, %v", s, c)
	}
	six := mutual(t, member(t, pool, "mgc-6", "2001:db8::1"))
	for _, name := range []string{"2001:db8::1", "2001:DB8:0::1"} {
		if s, c := handshake(t, six.Server("h2"), ours.Client(name)); s != nil || c != nil {
			t.Errorf("by %s: %v, %v", name, s, c)
		}
	}
	names := mutual(t, member(t, pool, "mgc-7")) // as certificates were that did before addresses were looked at
	if _, c := handshake(t, names.Server("h2"), ours.Client("127.0.0.1")); c == nil || !strings.Contains(c.Error(), "cannot validate certificate for 127.0.0.1") {
		t.Errorf("an operator whose certificate has no address is told: %v", c)
	}
	for _, name := range []string{"mgc-2", "127.0.0.2", "::1", ""} {
		if _, err := handshake(t, server.Server("h2"), ours.Client(name)); err == nil {
			t.Errorf("the server was taken for %q", name)
		}
	}
	files := member(t, foreign, "mgw-1")
	files.CA = member(t, pool, "mgw-1").CA // it trusts us, we do not trust it
	if s, _ := handshake(t, server.Server("h2"), mutual(t, files).Client("mgc-1")); s == nil {
		t.Error("a client of another pool was taken")
	}
	if _, c := handshake(t, mutual(t, member(t, foreign, "mgc-1")).Server("h2"), ours.Client("mgc-1")); c == nil {
		t.Error("a server of another pool was taken")
	}
}

// TestMutualFilesAreReadAnew: changed files count at the next handshake; a broken change leaves the former content in force.
func TestMutualFilesAreReadAnew(t *testing.T) {
	ca := tlstest.NewAuthority(t, "pool")
	files := member(t, ca, "mgc-1")
	m := mutual(t, files)
	look := func() []byte {
		m.mu.Lock()
		m.looked = time.Time{} // as if a second had passed
		m.mu.Unlock()
		cert, _ := m.current()
		return cert.Certificate[0]
	}
	first := look()
	tlstest.Put(t, files.Key, []byte("half a ke"))
	if !slices.Equal(look(), first) {
		t.Error("a broken pair was taken")
	}
	ca.Issue(t, "mgc-1", nil, nil).Write(t, filepath.Dir(files.Cert), "tls")
	second := look()
	if slices.Equal(second, first) {
		t.Error("the new certificate is not in force")
	}
	tlstest.Put(t, files.CA, []byte("nothing"))
	if !slices.Equal(look(), second) || m.roots == nil {
		t.Error("an empty file of authorities was taken")
	}
	if err := os.Remove(files.Cert); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(look(), second) {
		t.Error("a file that is gone took the certificate along")
	}
	good, empty := member(t, ca, "mgc-1"), member(t, ca, "mgc-1")
	tlstest.Put(t, empty.CA, []byte("nothing"))
	for name, bad := range map[string]Files{
		"no certificate": {Cert: files.Cert, Key: good.Key, CA: good.CA}, "no key": {Cert: good.Cert, CA: good.CA}, "no CA": {Cert: good.Cert, Key: good.Key},
		"empty CA": empty, "none": {},
	} {
		if _, err := NewMutual(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
