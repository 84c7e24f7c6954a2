package store

import (
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/isthmus-gateway/isthmus/pkg/freeports"
	"github.com/isthmus-gateway/isthmus/pkg/wait"
)

// startServer runs a NATS server as an external cluster would, on a loopback port (0: any).
func startServer(t *testing.T, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	return srv
}

func stopServer(srv *server.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// TestExternalServerGoesAndComesBackEmpty: during the outage operations fail with ErrUnavailable and a mirror keeps what it knew; when the
// server comes back without its records, the bucket is made anew, and the mirror forgets them and goes
// on following.
func TestExternalServerGoesAndComesBackEmpty(t *testing.T) {
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	port := int(freeports.Port(t))
	srv := startServer(t, port)
	e, err := Open(t.Context(), Config{URL: srv.ClientURL(), OpTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Embedded() || e.Healthy() != nil {
		t.Errorf("embedded %v, %v", e.Embedded(), e.Healthy())
	}
	table := NewTable[row](e, "r")
	rev, err := table.Create(t.Context(), "a", row{1}, Forever)
	must(t, rev, err)
	var d diffs
	m, err := NewMirror(t.Context(), table, d.note)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()

	stopServer(srv)
	wait.Until(t, "the outage is noticed", func() bool { return errors.Is(e.Healthy(), ErrUnavailable) })
	_, err = table.Get(t.Context(), "a")
	wantErr(t, "get", err, ErrUnavailable)
	_, err = table.Create(t.Context(), "b", row{1}, Forever)
	wantErr(t, "create", err, ErrUnavailable)
	_, err = e.List(t.Context(), "r")
	wantErr(t, "list", err, ErrUnavailable)
	_, err = e.Count(t.Context())
	wantErr(t, "count", err, ErrUnavailable)
	if v, _, ok := m.Get("a"); !ok || v.N != 1 {
		t.Errorf("the mirror forgot what it knew: %v %v", v, ok)
	}

	srv = startServer(t, port)
	defer stopServer(srv)
	wait.Until(t, "the mirror learns that the records are gone", func() bool { _, _, ok := m.Get("a"); return !ok })
	wait.Until(t, "records can be written again", func() bool {
		_, err := table.Create(t.Context(), "c", row{3}, Forever)
		return err == nil || errors.Is(err, ErrConflict) // written by a try whose answer came too late
	})
	wait.Until(t, "the mirror follows again", func() bool { v, _, ok := m.Get("c"); return ok && v.N == 3 })
	if got := d.take(); !slices.Equal(got, []string{"a ->1", "a 1>-", "c ->3"}) {
		t.Errorf("told %q", got)
	}
	if _, err := table.Get(t.Context(), "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a write that was reported as failed happened later: %v", err)
	}
}

// TestTwoInstancesShareAServer: what one writes the other reads and watches, and the revisions guard both.
func TestTwoInstancesShareAServer(t *testing.T) {
	before := goleak.IgnoreCurrent()
	defer goleak.VerifyNone(t, before)
	srv := startServer(t, 0)
	defer stopServer(srv)
	var tables []Table[row]
	var mirrors []*Mirror[row]
	for range 2 {
		e, err := Open(t.Context(), Config{URL: srv.ClientURL()})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		table := NewTable[row](e, "r")
		m, err := NewMirror(t.Context(), table, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		tables, mirrors = append(tables, table), append(mirrors, m)
	}
	rev, err := tables[0].Create(t.Context(), "x", row{1}, Forever)
	must(t, rev, err)
	wait.Until(t, "the other sees it", func() bool { _, r, ok := mirrors[1].Get("x"); return ok && r == rev })
	r2, err := tables[1].Update(t.Context(), "x", row{2}, rev, Forever)
	must(t, r2, err)
	_, err = tables[0].Update(t.Context(), "x", row{3}, rev, Forever)
	wantErr(t, "update over the other's", err, ErrConflict)
	wait.Until(t, "the first sees it", func() bool { v, _, _ := mirrors[0].Get("x"); return v.N == 2 })
}

func TestOpenFailsWithoutServer(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Config{URL: "nats://" + addr})
	wantErr(t, "open", err, ErrUnavailable)
}
